"""What is 8.2's own: enumerations, two-argument quantization, bindings."""

from tensorrt import building, layers_maps, layers_values, layers_weights, network, running, weights
from tensorrt.building import ILogger, IOptimizationProfile, Logger  # noqa: F401
from tensorrt.graph import ILayer, ITensor  # noqa: F401
from tensorrt.native import Attribute, Dims, Permutation, checked, integer, members, refuse, sequence_of, text  # noqa: F401
from tensorrt.types import *  # noqa: F403
from tensorrt.types import TensorLocation

__version__ = VERSION = "8.2.1.8"
LOWEST = (5, 3)  # compute capability

DataType = members("DataType", "FLOAT HALF INT8 INT32 BOOL")
float32, float16, int8, int32, bool = DataType
LayerType = members(
    "LayerType",
    "CONVOLUTION FULLY_CONNECTED ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE PLUGIN "
    "UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT RNN_V2 IDENTITY PLUGIN_V2 SLICE "
    "SHAPE PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT FILL QUANTIZE DEQUANTIZE CONDITION "
    "CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION",
)
PaddingMode = members(
    "PaddingMode", "EXPLICIT_ROUND_DOWN EXPLICIT_ROUND_UP SAME_UPPER SAME_LOWER CAFFE_ROUND_DOWN CAFFE_ROUND_UP"
)
ResizeMode = members("ResizeMode", "NEAREST LINEAR")
SliceMode = members("SliceMode", "DEFAULT WRAP CLAMP FILL REFLECT")
UnaryOperation = members(
    "UnaryOperation",
    "EXP LOG SQRT RECIP ABS NEG SIN COS TAN SINH COSH ASIN ACOS ATAN ASINH ACOSH ATANH CEIL FLOOR ERF NOT SIGN ROUND",
)
BuilderFlag = members(
    "BuilderFlag",
    "FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE "
    "OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS",
)
NetworkDefinitionCreationFlag = members("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH EXPLICIT_PRECISION")
ProfilingVerbosity = members("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
MAX_WORKSPACE = 2**64 - 1


class Weights(weights.WeightsBase):
    DataType = DataType


class INetworkDefinition(network.NetworkBase):
    TYPES, LAYERS, PADDING, RESIZE, SAMPLE, UNARY = (
        DataType,
        LayerType,
        PaddingMode,
        ResizeMode,
        SliceMode,
        UnaryOperation,
    )
    _weights_of = staticmethod(weights.converter(Weights))
    has_explicit_precision = property(lambda self: False)

    @network.logged
    @checked(input=ITensor, scale=ITensor)
    def add_quantize(self, input, scale):
        self._mine(input, scale)
        return self._added(layers_values.IQuantizeLayer(self, [input, scale]))

    @network.logged
    @checked(input=ITensor, scale=ITensor)
    def add_dequantize(self, input, scale):
        self._mine(input, scale)
        return self._added(layers_values.IDequantizeLayer(self, [input, scale]))


class IBuilderConfig(building.ConfigBase):
    FLAGS = BuilderFlag
    max_workspace_size = Attribute(integer, 0)
    min_timing_iterations = Attribute(integer, 1)


class Builder(building.BuilderBase):
    max_batch_size = Attribute(integer, 1)

    def _network(self, flags):
        if flags >> len(NetworkDefinitionCreationFlag):
            self._logger.log(ILogger.ERROR, "Error Code 3: unknown network creation flags {:#b}".format(flags))
            return None
        if not flags & 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH):
            raise NotImplementedError("this stand-in has no networks with an implicit batch")
        return INetworkDefinition(self._logger, False)


class ICudaEngine(running.EngineBase):
    """Inputs and outputs by their number, the binding, inputs first."""

    num_bindings = property(lambda self: len(self._io))
    max_batch_size = property(lambda self: 1)

    def __len__(self):
        return len(self._io)

    def __getitem__(self, key):
        return self.get_binding_index(key) if isinstance(key, str) else self.get_binding_name(key)

    def _number(self, binding):
        if isinstance(binding, str):
            return self._named(binding)
        if not 0 <= integer(binding) < len(self._io):
            raise IndexError("binding {}".format(binding))
        return self._io[binding]

    @checked(index=integer)
    def get_binding_name(self, index):
        return self._tensor(self._number(index))["name"]

    @checked(name=text)
    def get_binding_index(self, name):
        number = self._named(name)
        return -1 if number is None else self._io.index(number)

    def binding_is_input(self, index):
        return self._is_input(self._number(index))

    def get_binding_shape(self, index):
        return Dims(self._tensor(self._number(index))["shape"])

    def get_binding_dtype(self, index):
        return self._io_type(self._number(index))

    def get_profile_shape(self, profile_index, binding):
        name = self._tensor(self._number(binding))["name"]
        return [Dims(shape) for shape in self._profile(name, integer(profile_index))]

    def get_location(self, index):
        self._number(index)
        return TensorLocation.DEVICE


class IExecutionContext(running.ContextBase):
    @checked(binding=integer)
    def set_binding_shape(self, binding, shape):
        number = self._engine._number(binding)
        return self._set_shape(number, tuple(shape))

    @checked(binding=integer)
    def get_binding_shape(self, binding):
        return self._shape_of(self._engine._number(binding))

    @checked(bindings=sequence_of(integer))
    def execute_v2(self, bindings):
        return self._run_now(self._addresses(bindings))

    @checked(bindings=sequence_of(integer), stream_handle=integer)
    def execute_async_v2(self, bindings, stream_handle, input_consumed=None):
        return self._run(self._addresses(bindings), stream_handle)

    def _addresses(self, bindings):
        if len(bindings) != len(self._engine._io):
            refuse(bindings, "one address for each of {} bindings".format(len(self._engine._io)))
        return dict(zip(self._engine._io, bindings))


class Runtime(running.RuntimeBase):
    pass


class _Release(object):
    VERSION, LOWEST, DataType, ProfilingVerbosity = VERSION, LOWEST, DataType, ProfilingVerbosity
    IBuilderConfig, ICudaEngine, IExecutionContext = IBuilderConfig, ICudaEngine, IExecutionContext


for _class in (Builder, Runtime, ICudaEngine):
    _class._release = _Release

IActivationLayer, IConvolutionLayer = layers_values.IActivationLayer, layers_weights.IConvolutionLayer
IPoolingLayer, EngineInspector, nptype = layers_maps.IPoolingLayer, running.EngineInspector, running.nptype

_WORDS = """ActivationType Builder BuilderFlag DataType Dims ElementWiseOperation EngineInspector GatherMode
IActivationLayer IBuilderConfig IConvolutionLayer ICudaEngine IExecutionContext ILayer ILogger INetworkDefinition
IOptimizationProfile IPoolingLayer ITensor LayerInformationFormat LayerType Logger MatrixOperation
NetworkDefinitionCreationFlag PaddingMode Permutation PoolingType ProfilingVerbosity ReduceOperation
ResizeCoordinateTransformation ResizeMode ResizeRoundMode ResizeSelector Runtime ScaleMode SliceMode TensorLocation
UnaryOperation Weights nptype bool float16 float32 int32 int8"""
__all__ = _WORDS.split()
assert all(word in globals() for word in __all__)
