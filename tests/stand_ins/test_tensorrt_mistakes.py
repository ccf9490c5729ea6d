"""The stand-ins of TensorRT notice what the real library refuses, ignores or leaves undone."""

import numpy as np
import pytest

from stand_ins.loading import stand_in
from stand_ins.networks import Made

RELEASES = ("tensorrt82", "tensorrt10")
ONLY_LATER = {
    "INetworkDefinition": "add_cast",
    "IBuilderConfig": "set_memory_pool_limit get_memory_pool_limit builder_optimization_level",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
    "IExecutionContext": "execute_async_v3 set_tensor_address set_input_shape infer_shapes",
    "ICudaEngine": "num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape get_tensor_dtype",
    "DataType": "INT64",
}
ONLY_EARLIER = {
    "IBuilderConfig": "max_workspace_size min_timing_iterations",
    "BuilderFlag": "STRICT_TYPES",
    "IExecutionContext": "execute_async_v2 set_binding_shape get_binding_shape",
    "ICudaEngine": "num_bindings get_binding_name get_binding_shape get_binding_dtype binding_is_input",
    "Builder": "max_batch_size",
}
NOWHERE = {"INetworkDefinition": "add_convolution add_pooling add_padding", "IExecutionContext": "enqueueV3"}


@pytest.fixture(params=RELEASES)
def trt(request):
    with stand_in(request.param) as module:
        yield module


@pytest.fixture
def old():
    with stand_in("tensorrt82", "xavier") as module:
        yield module


@pytest.fixture
def new():
    with stand_in("tensorrt10") as module:
        yield module


@pytest.mark.parametrize("release", RELEASES)
def test_each_release_has_only_its_own(release):
    there, absent = (ONLY_EARLIER, ONLY_LATER) if release == "tensorrt82" else (ONLY_LATER, ONLY_EARLIER)
    with stand_in(release) as trt:
        for table, expected in ((there, True), (absent, False), (NOWHERE, False)):
            for owner, names in table.items():
                for name in names.split():
                    assert hasattr(getattr(trt, owner), name) == expected, (owner, name)
        modes = {"InterpolationMode", "SampleMode"} if release == "tensorrt10" else {"ResizeMode", "SliceMode"}
        all_modes = ("InterpolationMode", "SampleMode", "ResizeMode", "SliceMode", "MemoryPoolType", "TensorIOMode")
        assert {name for name in all_modes[:4] if hasattr(trt, name)} == modes
        assert hasattr(trt, "MemoryPoolType") == (release == "tensorrt10")


def test_objects_take_no_attributes_that_they_have_not(trt):
    made = Made(trt)
    pool = made.network.add_pooling_nd(made.input(1, 1, 4, 4), trt.PoolingType.MAX, (2, 2))
    with pytest.raises(AttributeError, match="'IPoolingLayer' object has no attribute 'strides'"):
        pool.strides = (2, 2)
    wrong = "max_workspace_size" if hasattr(trt, "MemoryPoolType") else "builder_optimization_level"
    with pytest.raises(AttributeError):
        setattr(made.config, wrong, 1)


def test_arguments_are_checked(trt):
    made = Made(trt)
    x, network = made.input(1, 2, 4, 4), made.network
    weights = made.weights(np.ones((1, 2, 1, 1)))
    for call in (
        lambda: network.add_pooling_nd(x, 0, (2, 2)),  # a number for an enumeration
        lambda: network.add_pooling_nd(x, trt.PoolingType.MAX, 2),
        lambda: network.add_convolution_nd(x, 1.0, (1, 1), weights),
        lambda: network.add_convolution_nd(x, 1, (1, 1)),
        lambda: network.add_convolution_nd(x, 1, kernel_size=(1, 1), kernel=weights),
        lambda: network.add_concatenation(x),
        lambda: network.add_activation("data", trt.ActivationType.RELU),
        lambda: network.add_input("other", "float32", (1,)),
        lambda: trt.Weights(np.zeros(3)),  # float64
        lambda: trt.Weights([1.0, 2.0]),
        lambda: setattr(network.add_activation(x, trt.ActivationType.RELU), "alpha", "0.1"),
        lambda: setattr(network.add_resize(x), "resize_mode", trt.PoolingType.MAX),
        lambda: made.config.set_flag(1),
    ):
        with pytest.raises(TypeError):
            call()
    assert network.add_convolution_nd(input=x, num_output_maps=1, kernel_shape=(1, 1), kernel=weights) is not None


def test_a_failing_call_gives_none_and_a_line_in_the_log(trt):
    made = Made(trt)
    x = made.input(1, 2, 4, 4)
    assert made.network.add_convolution_nd(x, 1, (3,), made.weights(np.ones(6))) is None
    assert "(kernelSize).nbDims == 2" in made.errors()[0]


def test_what_is_wrong_with_a_layer_is_seen_in_its_shape_and_when_it_is_built(trt):
    made = Made(trt)
    x = made.input(1, 2, 4, 4)
    layer = made.network.add_convolution_nd(x, 3, (3, 3), made.weights(np.ones(53)))
    with pytest.raises(ValueError):
        tuple(layer.get_output(0).shape)
    assert made.build(layer.get_output(0)) is None
    assert "kernel weights has count 53 but 54 was expected" in made.errors()[0]


@pytest.mark.parametrize(
    "wrong",
    ["sum of other ranks", "sum of other lengths", "concat", "slice", "reshape", "pool", "groups", "constant", "names"],
)
def test_no_engine_of_shapes_that_do_not_fit(wrong, trt):
    made = Made(trt)
    network, x = made.network, made.input(1, 4, 6, 6)
    add = trt.ElementWiseOperation.SUM
    if wrong == "sum of other ranks":
        y = network.add_elementwise(x, made.constant(np.ones(4)), add)
    elif wrong == "sum of other lengths":
        y = network.add_elementwise(x, made.constant(np.ones((1, 3, 1, 1))), add)
    elif wrong == "concat":
        y = network.add_concatenation([x, made.constant(np.ones((1, 1, 5, 6)))])
        y.axis = 1
    elif wrong == "slice":
        y = network.add_slice(x, (0, 2, 0, 0), (1, 3, 6, 6), (1, 1, 1, 1))
    elif wrong == "reshape":
        y = network.add_shuffle(x)
        y.reshape_dims = (1, 5, -1)
    elif wrong == "pool":
        y = network.add_pooling_nd(x, trt.PoolingType.MAX, (9, 9))
    elif wrong == "groups":
        y = made.conv(x, np.ones((2, 2, 1, 1)))
        y.num_groups = 3
    elif wrong == "constant":
        y = network.add_constant((2, 2), made.weights(np.ones(3)))
    else:
        network.add_activation(x, trt.ActivationType.RELU).name = "same"
        y = network.add_activation(x, trt.ActivationType.RELU)
        y.name = "same"
    assert made.build(y.get_output(0)) is None
    assert made.errors()


def test_weights_must_outlive_the_build(trt):
    made = Made(trt)
    x = made.input(1, 1, 2, 2)
    values = np.ones((1, 1, 1, 1), np.float32)
    layer = made.network.add_convolution_nd(x, 1, (1, 1), trt.Weights(values))
    del values
    with pytest.raises(RuntimeError, match="the array behind these weights of 1 values was freed"):
        made.build(layer.get_output(0))
    with pytest.raises(ValueError, match="non-contiguous"):
        trt.Weights(np.ones((2, 3), np.float32).T)


def test_changed_weights_are_seen_since_they_are_read_when_the_engine_is_built(trt):
    made = Made(trt)
    layer = made.conv(made.input(1, 1, 1, 1), np.ones((1, 1, 1, 1)))
    made.keep[0][:] = 3
    assert made.run(np.full((1, 1, 1, 1), 2.0), layer.get_output(0))[0].item() == 6


def test_padding_adds_zeros_where_a_maximum_should_not_see_any(trt):
    made = Made(trt)
    x = made.input(1, 1, 2, 2)
    padded = made.network.add_padding_nd(x, (0, 0), (1, 1)).get_output(0)
    zeros = made.network.add_pooling_nd(padded, trt.PoolingType.MAX, (2, 2))
    pool = made.network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
    pool.post_padding = (1, 1)
    by_zeros, right = made.run(-np.ones((1, 1, 2, 2)), zeros.get_output(0), pool.get_output(0))
    assert by_zeros.ravel().tolist() == [-1, 0, 0, 0]
    assert right.ravel().tolist() == [-1, -1, -1, -1]


def test_pooling_rounds_down_its_stride_is_1_and_its_mean_counts_no_padding(trt):
    made = Made(trt)
    x = made.input(1, 1, 5, 5)
    pool = made.network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
    assert tuple(pool.get_output(0).shape) == (1, 1, 4, 4)
    pool.stride_nd = (2, 2)
    assert tuple(pool.get_output(0).shape) == (1, 1, 2, 2)
    pool.padding_mode = trt.PaddingMode.EXPLICIT_ROUND_UP
    assert tuple(pool.get_output(0).shape) == (1, 1, 3, 3)
    mean = made.network.add_pooling_nd(x, trt.PoolingType.AVERAGE, (2, 2))
    mean.pre_padding, mean.stride_nd = (1, 1), (2, 2)
    counted = made.network.add_pooling_nd(x, trt.PoolingType.AVERAGE, (2, 2))
    counted.pre_padding, counted.stride_nd = (1, 1), (2, 2)
    counted.average_count_excludes_padding = False
    up, without, all_cells = made.run(
        np.ones((1, 1, 5, 5)), pool.get_output(0), mean.get_output(0), counted.get_output(0)
    )
    assert up.shape == (1, 1, 3, 3) and without[0, 0, 0, 0] == 1 and all_cells[0, 0, 0, 0] == 0.25


def test_quantize_takes_two_arguments_in_8_2(old):
    made = Made(old)
    x, step = made.input(1, 1, 1, 1), made.constant(1.0)
    with pytest.raises(TypeError):
        made.network.add_quantize(x, step, old.int8)
    assert made.network.add_quantize(x, step) is not None


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale, trt):
    made = Made(trt)
    assert made.build(made.rounded(made.input(1, 1, 1, 1), scale)) is None
    assert any("scale coefficients must have positive values" in text for text in made.errors())


def test_activations_have_one_scale_weights_one_per_filter(trt):
    made = Made(trt)
    assert made.build(made.rounded(made.input(1, 2, 1, 1), [1.0, 2.0], axis=1)) is None
    assert any("activations cannot be quantized per-channel" in text for text in made.errors())


def test_typed_networks_join_no_types(new):
    made = Made(new)
    half = made.network.add_cast(made.input(1, 1, 2, 2), new.float16).get_output(0)
    assert half.dtype == new.float16
    layer = made.conv(half, np.ones((1, 1, 1, 1)))
    assert made.build(layer.get_output(0)) is None
    assert "`input` and `kernel` must be of same type. `input` type is Half but `kernel` is Float" in made.errors()[0]
    other = Made(new)
    half = other.network.add_cast(other.input(1, 1, 2, 2), new.float16).get_output(0)
    layer = other.conv(half, np.ones((1, 1, 1, 1)))
    layer.kernel, layer.bias = other.weights([1], np.float16), other.weights([1])
    assert other.build(layer.get_output(0)) is None
    assert "`input` and `bias` must be of same type" in other.errors()[0]


def test_typed_networks_refuse_precisions_ranges_and_flags(new):
    made = Made(new)
    layer = made.network.add_activation(made.input(1, 1, 1, 1), new.ActivationType.RELU)
    layer.precision = new.float16
    layer.set_output_type(0, new.float16)
    assert layer.get_output(0).set_dynamic_range(-1.0, 1.0) is False
    assert not layer.precision_is_set and not layer.output_type_is_set(0) and len(made.errors()) == 3
    made.config.set_flag(new.BuilderFlag.FP16)
    assert made.build(layer.get_output(0)) is None


def weak_int8(old, *missing):
    """A convolution and a relu, with ranges but for the missing ones."""
    made = Made(old)
    x = made.input(1, 1, 2, 2)
    layer = made.conv(x, np.full((1, 1, 1, 1), 0.3))
    y = made.network.add_activation(layer.get_output(0), old.ActivationType.RELU).get_output(0)
    for name, tensor in (("data", x), ("conv", layer.get_output(0)), ("relu", y)):
        if name not in missing:
            assert tensor.set_dynamic_range(-1.27, 1.27)
    made.config.set_flag(old.BuilderFlag.INT8)
    return made, y


def test_int8_without_any_range_fails(old):
    made, y = weak_int8(old, "data", "conv", "relu")
    assert made.build(y) is None
    assert "no scaling factors detected" in made.errors()[0]


def test_a_missing_range_costs_int8_where_it_is_read_and_made(old):
    made, y = weak_int8(old)
    assert made.program(y).precision == ["INT8", "INT8"]
    assert [severity for severity, _ in made.said] == []
    made, y = weak_int8(old, "data")
    assert made.program(y).precision == ["FLOAT", "INT8"]
    assert made.said == [
        (
            "WARNING",
            "Missing scale and zero-point for tensor data, expect fall back to non-int8 implementation for any layer "
            "consuming or producing given tensor",
        )
    ]


def test_ranges_are_finite_and_in_order(old):
    tensor = Made(old).input(1, 1, 1, 1)
    assert tensor.set_dynamic_range(-1.0, float("inf")) is False
    assert tensor.set_dynamic_range(1.0, -1.0) is False
    assert tensor.dynamic_range is None


def test_int8_on_a_tx2_is_said_and_falls_back():
    with stand_in("tensorrt82", "tx2") as trt:
        made, y = weak_int8(trt)
        made.config.set_flag(trt.BuilderFlag.FP16)
        assert made.program(y).precision == ["HALF", "HALF"]
        assert "Int8 support requested on hardware without native Int8 support" in made.said[0][1]
        assert not made.builder.platform_has_fast_int8 and made.builder.platform_has_fast_fp16


def test_a_precision_needs_its_flag_and_somebody_who_obeys(old):
    made, y = weak_int8(old)
    layer = made.network.get_layer(0)
    layer.precision = old.float16
    assert made.build(y) is None
    assert "Half precision has been set for a layer or layer output, but fp16 is not configured" in made.errors()[0]
    obeyed = ("FP16 PREFER_PRECISION_CONSTRAINTS", "HALF"), ("FP16 STRICT_TYPES", "HALF")
    for flags, expected in (("FP16", "INT8"),) + obeyed:
        made, y = weak_int8(old)
        made.network.get_layer(0).precision = old.float16
        for flag in flags.split():
            made.config.set_flag(old.BuilderFlag[flag])
        assert made.program(y).precision[0] == expected


def test_a_dynamic_input_needs_a_profile(trt):
    made = Made(trt)
    y = made.network.add_activation(made.input(-1, 1, 2, 2), trt.ActivationType.RELU).get_output(0)
    assert tuple(y.shape) == (-1, 1, 2, 2)
    assert made.build(y) is None
    assert "no optimization profile has been defined" in made.errors()[0]
    profile = made.builder.create_optimization_profile()
    with pytest.raises(ValueError, match="inconsistent"):
        profile.set_shape("data", (2, 1, 2, 2), (1, 1, 2, 2), (4, 1, 2, 2))
    profile.set_shape("data", (1, 1, 2, 2), (2, 1, 2, 2), (4, 1, 2, 2))
    assert made.config.add_optimization_profile(profile) == 0
    assert made.builder.build_serialized_network(made.network, made.config) is not None


def test_wrong_creation_flags_give_no_network(trt):
    builder = Made(trt).builder
    assert builder.create_network(1 << 7) is None
    with pytest.raises(TypeError):
        builder.create_network(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


@pytest.mark.parametrize("release, gpu", [("tensorrt82", "none"), ("tensorrt10", "tx2")])
def test_no_builder_without_a_gpu_that_the_release_knows(release, gpu):
    with stand_in(release, gpu) as trt:
        with pytest.raises(TypeError, match="factory function returned nullptr"):
            trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))


def test_a_logger_that_forgets_its_base_is_noticed(trt):
    class Log(trt.ILogger):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match="__init__"):
        trt.Builder(Log())
