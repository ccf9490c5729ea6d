"""Builder, its configuration and profiles, loggers: what both releases have of them."""

import sys

from tensorrt import plan
from tensorrt.device import gpu
from tensorrt.native import Attribute, Dims, Native, checked, dims, integer, members, refuse, text
from tensorrt.network import NetworkBase
from tensorrt.validation import problems, warnings


class ILogger(Native):
    """To be derived from; whoever overrides __init__ has to call this one."""

    Severity = members("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def __init__(self):
        self._made = True

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)  # a class of Python: it may have what it likes

    def log(self, severity, msg):
        raise NotImplementedError('Tried to call pure virtual function "ILogger::log"')


for _severity in ILogger.Severity:
    setattr(ILogger, _severity.name, _severity)


class Logger(ILogger):
    """Prints, from `min_severity` on."""

    def __init__(self, min_severity=ILogger.Severity.WARNING):
        super(Logger, self).__init__()
        self.min_severity = min_severity

    def log(self, severity, msg):
        if int(severity) <= int(self.min_severity):
            sys.stderr.write("[TRT] [{}] {}\n".format(severity.name[0], msg))


def logger_of(value):
    if not isinstance(value, ILogger):
        refuse(value, "an ILogger")
    if not getattr(value, "_made", False):
        raise TypeError("ILogger.__init__() must be called when overriding __init__")
    return value


def require_device(logger, release, what):
    """pybind11's error where the factory of Builder or Runtime gives nothing: without a GPU that this release has."""
    machine, lowest = gpu().machine(), release.LOWEST
    if machine is None:
        logger.log(ILogger.ERROR, "CUDA initialization failure with error: 100")
    elif machine.capability < lowest:
        text = "Target GPU SM {}{} is not supported by this TensorRT release.".format(*machine.capability)
        logger.log(ILogger.ERROR, text)
    else:
        return
    raise TypeError("pybind11::init(): factory function returned nullptr")


class IOptimizationProfile(Native):
    """Smallest, best and largest shape of each input of unknown lengths."""

    extra_memory_target = Attribute(float, -1.0)

    def __init__(self):
        self._shapes = {}

    @checked(input=text, min=dims, opt=dims, max=dims)
    def set_shape(self, input, min, opt, max):
        if not len(min) == len(opt) == len(max) or not all(a <= b <= c for a, b, c in zip(min, opt, max)):
            raise ValueError("Shape provided for min, opt, max is inconsistent.")
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]

    @checked(input=text)
    def get_shape(self, input):
        return [Dims(shape) for shape in self._shapes.get(input, [])]

    def __bool__(self):
        return bool(self._shapes)

    def _ranges(self):
        return dict(self._shapes)


class ConfigBase(Native):
    """IBuilderConfig. Each release binds FLAGS."""

    FLAGS = None
    avg_timing_iterations = Attribute(integer, 1)
    profiling_verbosity = Attribute()
    int8_calibrator = Attribute(lambda value: value)

    def __init__(self, builder):
        self._builder, self._profiles = builder, []
        self._set = 1 << int(self.FLAGS.TF32)  # NvInfer.h, kTF32: "Enabled by default"
        self.profiling_verbosity = builder._release.ProfilingVerbosity.LAYER_NAMES_ONLY

    def _flag(self, flag):
        if not isinstance(flag, self.FLAGS):
            refuse(flag, "a BuilderFlag")
        return 1 << int(flag)

    def set_flag(self, flag):
        self._set |= self._flag(flag)

    def clear_flag(self, flag):
        self._set &= ~self._flag(flag)

    def get_flag(self, flag):
        return bool(self._set & self._flag(flag))

    @property
    def flags(self):
        return self._set

    @flags.setter
    def flags(self, value):
        self._set = integer(value)

    def _flags(self):
        return [flag for flag in self.FLAGS if self.get_flag(flag)]

    def _has(self, name):
        return name in [flag.name for flag in self._flags()]

    @checked(profile=IOptimizationProfile)
    def add_optimization_profile(self, profile):
        if not profile:
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    num_optimization_profiles = property(lambda self: len(self._profiles))


class IHostMemory(bytes):
    """The engine: a buffer, which a class of Python 3.6 can only be as bytes."""

    nbytes = property(len)


class BuilderBase(Native):
    """Each release binds `_release`: a namespace with its version, classes and enumerations."""

    _release = None
    max_threads = Attribute(integer, 1)

    def __init__(self, logger):
        self._logger = logger_of(logger)
        require_device(self._logger, self._release, "Builder")

    logger = property(lambda self: self._logger)
    platform_has_fast_fp16 = property(lambda self: gpu().machine().fast_fp16)
    platform_has_fast_int8 = property(lambda self: gpu().machine().fast_int8)
    platform_has_tf32 = property(lambda self: gpu().machine().capability >= (8, 0))
    num_DLA_cores = property(lambda self: 0)

    def create_network(self, flags=0):
        return self._network(integer(flags))

    def create_builder_config(self):
        return self._release.IBuilderConfig(self)

    def create_optimization_profile(self):
        return IOptimizationProfile()

    @checked(network=NetworkBase, config=ConfigBase)
    def is_network_supported(self, network, config):
        return not problems(network, config, self._release)

    @checked(network=NetworkBase, config=ConfigBase)
    def build_serialized_network(self, network, config):
        found = problems(network, config, self._release)
        for problem in found:
            self._logger.log(ILogger.ERROR, "IBuilder::buildSerializedNetwork: Error Code 4: ({})".format(problem))
        if found:
            return None
        machine = gpu().machine()
        for warning in warnings(network, config, machine):
            self._logger.log(ILogger.WARNING, warning)
        header = {"version": self._release.VERSION, "device": machine.name, "name": network.name}
        header["capability"], header["fast_int8"] = list(machine.capability), machine.fast_int8
        header["detailed"] = config.profiling_verbosity.name == "DETAILED"
        described, arrays = plan.describe(network, config, header)
        return IHostMemory(plan.write(described, arrays))

