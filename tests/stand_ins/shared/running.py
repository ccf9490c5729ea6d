"""Runtime, engines and execution contexts: what both releases have of them."""

import json

import numpy as np
from tensorrt import plan
from tensorrt.building import ILogger, logger_of, require_device
from tensorrt.device import gpu
from tensorrt.execute import Program
from tensorrt.native import Attribute, Dims, Native, checked, integer
from tensorrt.types import NUMPY


def nptype(trt_type):
    """numpy's type of a DataType; TypeError where it has none (tensorrt/__init__.py)."""
    if getattr(trt_type, "name", None) not in NUMPY:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return NUMPY[trt_type.name]


class RuntimeBase(Native):
    """Each release binds `_release`."""

    _release = None
    max_threads = Attribute(integer, 1)

    def __init__(self, logger):
        self._logger = logger_of(logger)
        require_device(self._logger, self._release, "Runtime")

    logger = property(lambda self: self._logger)

    def deserialize_cuda_engine(self, serialized_engine):
        """None, and a line in the log, for what is no engine, or that of another release or GPU."""
        memoryview(serialized_engine)  # TypeError for what has no buffer
        try:
            found = plan.read(serialized_engine)
        except ValueError as error:
            return self._refused("Error Code 1: Serialization (Serialization assertion failed: {})".format(error))
        if found["version"] != self._release.VERSION:
            text = "Error Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed."
            text += "Version tag does not match. Note: Current Version: {}, Serialized Engine Version: {})"
            return self._refused(text.format(self._release.VERSION, found["version"]))
        machine = gpu().machine()
        if found["device"] != machine.name:
            text = "Error Code 6: The engine plan file is generated on an incompatible device, expecting compute {}.{} "
            text += "got compute {}.{}, please rebuild."
            return self._refused(text.format(*(list(machine.capability) + found["capability"])))
        return self._release.ICudaEngine(found, self._logger)

    def _refused(self, text):
        self._logger.log(ILogger.ERROR, text)
        return None


class EngineBase(Native):
    _release = None

    def __init__(self, found, logger):
        self._plan, self._logger = found, logger
        self._program = Program(found)
        self._io = list(found["inputs"]) + list(found["outputs"])

    name = property(lambda self: self._plan["name"])
    num_layers = property(lambda self: len(self._plan["layers"]))
    num_optimization_profiles = property(lambda self: max(1, len(self._plan["profiles"])))
    has_implicit_batch_dimension = property(lambda self: False)
    device_memory_size = property(lambda self: 0)

    def create_execution_context(self):
        gpu().current()
        return self._release.IExecutionContext(self)

    def create_engine_inspector(self):
        return EngineInspector(self)

    def serialize(self):
        raise NotImplementedError("this stand-in serialises networks only")

    def _tensor(self, number):
        return self._plan["tensors"][number]

    def _named(self, name):
        """The number of the input or output of that name, or None, and a line in the log."""
        for number in self._io:
            if self._tensor(number)["name"] == name:
                return number
        self._logger.log(ILogger.ERROR, "Error Code 3: invalid tensor name: {}".format(name))
        return None

    def _is_input(self, number):
        return number in self._plan["inputs"]

    def _io_type(self, number):
        """Inputs and outputs are of the tensor's own type; NvInfer.h, ITensor::setType: float unless set."""
        return self._release.DataType[self._tensor(number)["dtype"]]

    def _profile(self, name, which):
        shapes = self._plan["profiles"][which].get(name) if self._plan["profiles"] else None
        return shapes or [self._tensor(self._named(name))["shape"]] * 3


class EngineInspector(Native):
    """create_engine_inspector(): the layers as they were built."""

    execution_context = Attribute(lambda value: value)

    def __init__(self, engine):
        self._engine = engine

    def get_engine_information(self, format):
        layers = [self._layer(i) for i in range(self._engine.num_layers)]
        text = {"Layers": layers, "Bindings": [self._engine._tensor(n)["name"] for n in self._engine._io]}
        return json.dumps(text) if format.name == "JSON" else "\n".join(map(str, layers))

    @checked(layer_index=integer)
    def get_layer_information(self, layer_index, format):
        found = self._layer(layer_index)
        return json.dumps(found) if format.name == "JSON" else str(found)

    def _layer(self, index):
        """A name; with ProfilingVerbosity.DETAILED also what was chosen (NvInferRuntime.h, ProfilingVerbosity)."""
        layer = self._engine._plan["layers"][index]
        if not self._engine._plan["detailed"]:
            return layer["name"]
        program = self._engine._program
        formats = {"INT8": "Int8", "HALF": "Half", "FLOAT": "Float"}
        kind = formats.get(program.precision[index], program.precision[index])
        output = self._engine._tensor(layer["output"])
        return {
            "Name": layer["name"],
            "LayerType": layer["kind"].capitalize(),
            "Outputs": [{"Name": output["name"], "Dimensions": output["shape"], "Format/Datatype": kind}],
            "Precision": kind,
        }


class ContextBase(Native):
    """Shapes of the inputs of one run, and the run itself."""

    def __init__(self, engine):
        self._engine, self._shapes = engine, {}
        for number in engine._plan["inputs"]:
            shape = engine._tensor(number)["shape"]
            if -1 not in shape:
                self._shapes[number] = tuple(shape)

    engine = property(lambda self: self._engine)
    all_binding_shapes_specified = property(lambda self: len(self._shapes) == len(self._engine._plan["inputs"]))

    def _error(self, text):
        self._engine._logger.log(ILogger.ERROR, text)
        return False

    def _set_shape(self, number, shape):
        """Within the profile; a static shape only to itself."""
        tensor = self._engine._tensor(number)
        low, _, high = self._engine._profile(tensor["name"], 0)
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high)):
            text = "Error Code 3: API Usage Error (Parameter check failed, condition: engineDims.d[i] == dims.d[i]. "
            text += "Static dimension mismatch or outside of the profile: {} of {})"
            return self._error(text.format(tuple(shape), tensor["name"]))
        self._shapes[number] = tuple(shape)
        return True

    def _shape_of(self, number):
        """The shape in this run; -1 where the input's is not set."""
        if number in self._shapes:
            return Dims(self._shapes[number])
        tensor = self._engine._tensor(number)
        if -1 not in tensor["shape"] or not self.all_binding_shapes_specified:
            return Dims(tensor["shape"])
        return Dims(self._engine._program.shapes(self._shapes)[number])

    def _run(self, addresses, handle):
        """Puts the run into a stream: the addresses and shapes are those of now, the values those of then.

        NvInferRuntime.h, enqueueV2 and enqueueV3: asynchronous; all input shapes must be set before.
        """
        module = gpu()
        try:
            stream = module.stream(handle)
        except module.Fault as fault:
            return self._error("Error Code 1: Cuda Runtime ({})".format(fault.code))
        if not self.all_binding_shapes_specified:
            return self._error("Error Code 3: input shapes are not specified")
        if any(address in (None, 0) for address in addresses.values()):
            return self._error("Error Code 3: API Usage Error (an input or output has no address)")
        shapes, engine = dict(self._shapes), self._engine

        def work():
            inputs = {}
            for number, shape in shapes.items():
                kind = np.dtype(NUMPY[engine._io_type(number).name])
                data = module.at(addresses[number], int(np.prod(shape)) * kind.itemsize)
                inputs[number] = data.view(kind).reshape(shape).copy()
            for number, values in engine._program.run(inputs).items():
                kind = np.dtype(NUMPY[engine._io_type(number).name])
                found = np.ascontiguousarray(values, kind).reshape(-1).view(np.uint8)
                module.at(addresses[number], len(found))[:] = found

        stream.pending.append(work)
        return True

    def _run_now(self, addresses):
        if not self._run(addresses, 0):
            return False
        gpu().streams[0].synchronize()
        return True
