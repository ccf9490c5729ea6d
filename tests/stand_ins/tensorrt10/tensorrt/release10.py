"""What is 10.3's own: typed networks, casts, quantization with a type, memory pools, tensors by name."""

from tensorrt import building, layers_maps, layers_values, layers_weights, network, running, weights
from tensorrt.building import ILogger, IOptimizationProfile, Logger  # noqa: F401
from tensorrt.graph import ILayer, ITensor, Refused  # noqa: F401
from tensorrt.native import Dims, Permutation, checked, integer, members, one, text  # noqa: F401
from tensorrt.types import *  # noqa: F403
from tensorrt.types import TensorLocation

__version__ = VERSION = "10.3.0"
LOWEST = (7, 0)  # compute capability

DataType = members("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4")
float32, float16, int8, int32, bool, uint8, fp8, bfloat16, int64, int4 = DataType
LayerType = members(
    "LayerType",
    "CONVOLUTION CAST ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE PLUGIN UNARY "
    "PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT IDENTITY PLUGIN_V2 SLICE SHAPE "
    "PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT FILL QUANTIZE DEQUANTIZE CONDITION "
    "CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION ONE_HOT NON_ZERO GRID_SAMPLE NMS "
    "REVERSE_SEQUENCE NORMALIZATION "
    "PLUGIN_V3",
)
PaddingMode = members("PaddingMode", "EXPLICIT_ROUND_DOWN EXPLICIT_ROUND_UP SAME_UPPER SAME_LOWER")
InterpolationMode = members("InterpolationMode", "NEAREST LINEAR CUBIC")
SampleMode = members("SampleMode", "STRICT_BOUNDS WRAP CLAMP FILL REFLECT")
UnaryOperation = members(
    "UnaryOperation",
    "EXP LOG SQRT RECIP ABS NEG SIN COS TAN SINH COSH ASIN ACOS ATAN ASINH ACOSH ATANH CEIL FLOOR ERF NOT SIGN ROUND "
    "ISINF ISNAN",
)
BuilderFlag = members(
    "BuilderFlag",
    "FP16 INT8 DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE "
    "OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS VERSION_COMPATIBLE "
    "EXCLUDE_LEAN_RUNTIME FP8 ERROR_ON_TIMING_CACHE_MISS BF16 DISABLE_COMPILATION_CACHE STRIP_PLAN REFIT_IDENTICAL "
    "WEIGHT_STREAMING INT4 REFIT_INDIVIDUAL",
)
NetworkDefinitionCreationFlag = members("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH STRONGLY_TYPED")
ProfilingVerbosity = members("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
MemoryPoolType = members(
    "MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM TACTIC_SHARED_MEMORY"
)
TensorIOMode = members("TensorIOMode", "NONE INPUT OUTPUT")


class Weights(weights.WeightsBase):
    DataType = DataType


class INetworkDefinition(network.NetworkBase):
    TYPES, LAYERS, PADDING, RESIZE, SAMPLE, UNARY = (
        DataType,
        LayerType,
        PaddingMode,
        InterpolationMode,
        SampleMode,
        UnaryOperation,
    )
    _weights_of = staticmethod(weights.converter(Weights))

    @network.logged
    @checked(input=ITensor, to_type=DataType)
    def add_cast(self, input, to_type):
        self._mine(input)
        return self._added(layers_values.ICastLayer(self, [input]), to_type=to_type)

    @network.logged
    @checked(input=ITensor, scale=ITensor, output_type=DataType)
    def add_quantize(self, input, scale, output_type=DataType.INT8):
        """Two arguments, or three."""
        self._mine(input, scale)
        if output_type is not DataType.INT8:
            raise NotImplementedError("this stand-in quantizes to INT8")
        return self._added(layers_values.IQuantizeLayer(self, [input, scale]), to_type=output_type)

    @network.logged
    @checked(input=ITensor, scale=ITensor, output_type=weights.optional(one(DataType)))
    def add_dequantize(self, input, scale, output_type=None):
        """Strongly typed: the output type "must be the same as the scale data type" (NvInfer.h, addDequantize)."""
        self._mine(input, scale)
        output_type = scale.dtype if output_type is None else output_type
        if self._strong and output_type is not scale.dtype:
            raise Refused("addDequantize: output type {} and scale of {}".format(output_type, scale.dtype))
        return self._added(layers_values.IDequantizeLayer(self, [input, scale]), to_type=output_type)

    @checked(flag=NetworkDefinitionCreationFlag)
    def get_flag(self, flag):
        return flag is NetworkDefinitionCreationFlag.STRONGLY_TYPED and self._strong


class IBuilderConfig(building.ConfigBase):
    FLAGS = BuilderFlag
    builder_optimization_level = building.Attribute(integer, 3)

    def __init__(self, builder):
        super(IBuilderConfig, self).__init__(builder)
        self._pools = {}

    @checked(pool=MemoryPoolType, pool_size=integer)
    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[pool] = pool_size

    @checked(pool=MemoryPoolType)
    def get_memory_pool_limit(self, pool):
        return self._pools.get(pool, 0)


class Builder(building.BuilderBase):
    def _network(self, flags):
        if flags >> len(NetworkDefinitionCreationFlag):
            self._logger.log(ILogger.ERROR, "Error Code 3: unknown network creation flags {:#b}".format(flags))
            return None
        strong = 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return INetworkDefinition(self._logger, flags & strong != 0)


class ICudaEngine(running.EngineBase):
    """Inputs and outputs by name."""

    num_io_tensors = property(lambda self: len(self._io))

    def create_execution_context(self, strategy=None):
        """`strategy` says where the memory comes from."""
        return super(ICudaEngine, self).create_execution_context()

    def __getitem__(self, index):
        return self.get_tensor_name(index)

    @checked(index=integer)
    def get_tensor_name(self, index):
        if not 0 <= index < len(self._io):
            raise IndexError("tensor {}".format(index))
        return self._tensor(self._io[index])["name"]

    @checked(name=text)
    def get_tensor_mode(self, name):
        number = self._named(name)
        if number is None:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if self._is_input(number) else TensorIOMode.OUTPUT

    @checked(name=text)
    def get_tensor_shape(self, name):
        number = self._named(name)
        return Dims.invalid() if number is None else Dims(self._tensor(number)["shape"])

    @checked(name=text)
    def get_tensor_dtype(self, name):
        number = self._named(name)
        return DataType.FLOAT if number is None else self._io_type(number)

    @checked(name=text)
    def get_tensor_location(self, name):
        return TensorLocation.DEVICE

    @checked(name=text, profile_index=integer)
    def get_tensor_profile_shape(self, name, profile_index):
        return [Dims(shape) for shape in self._profile(name, profile_index)]


class IExecutionContext(running.ContextBase):
    def __init__(self, engine):
        super(IExecutionContext, self).__init__(engine)
        self._addresses = {}

    @checked(name=text)
    def set_input_shape(self, name, shape):
        number = self._engine._named(name)
        if number is None or not self._engine._is_input(number):
            return self._error("Error Code 3: {} is no input".format(name))
        return self._set_shape(number, tuple(shape))

    @checked(name=text)
    def get_tensor_shape(self, name):
        number = self._engine._named(name)
        return Dims.invalid() if number is None else self._shape_of(number)

    @checked(name=text, memory=integer)
    def set_tensor_address(self, name, memory):
        number = self._engine._named(name)
        if number is None:
            return False
        self._addresses[number] = memory
        return True

    @checked(name=text)
    def get_tensor_address(self, name):
        return self._addresses.get(self._engine._named(name), 0)

    def infer_shapes(self):
        return [self._engine._tensor(n)["name"] for n in self._engine._plan["inputs"] if n not in self._shapes]

    @checked(stream_handle=integer)
    def execute_async_v3(self, stream_handle):
        return self._run({number: self._addresses.get(number) for number in self._engine._io}, stream_handle)

    @checked(bindings=network.sequence_of(integer))
    def execute_v2(self, bindings):
        return self._run_now(dict(zip(self._engine._io, bindings)))


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
IOptimizationProfile IPoolingLayer ITensor InterpolationMode LayerInformationFormat LayerType Logger MatrixOperation
MemoryPoolType NetworkDefinitionCreationFlag PaddingMode Permutation PoolingType ProfilingVerbosity ReduceOperation
ResizeCoordinateTransformation ResizeRoundMode ResizeSelector Runtime SampleMode ScaleMode TensorIOMode TensorLocation
UnaryOperation Weights nptype bfloat16 bool float16 float32 fp8 int32 int4 int64 int8 uint8"""
__all__ = _WORDS.split()
assert all(word in globals() for word in __all__)
