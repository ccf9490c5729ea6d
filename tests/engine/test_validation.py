"""What is refused before TensorRT sees it."""

import numpy as np
import pytest

from darkprune.backends.cuda_buffers import GPU
from darkprune.engine import targets, validation
from darkprune.engine.targets import TARGETS
from darkprune.errors import CalibrationError, DarkpruneError, GraphError, Unsupported, UsageError
from darkprune.quant.quantization import TENSORRT, Quantization
from darkprune.quant.ranges import Range
from int8_nets import measured
from small_nets import HEAD, cfg, conv, net, section

TEXT = cfg(conv(8), conv(7), conv(8), HEAD)


SECTION = "   {} | [{}]\n      | {}\n"


def marked(line, name="convolutional"):
    """A message's lines that show where a section begins."""
    return SECTION.format(str(line).rjust(2), name, "^" * (len(name) + 2))


def refused(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    assert isinstance(caught.value, DarkpruneError)
    return str(caught.value)


def test_batches(tmp_path):
    plain = net(tmp_path, TEXT)
    validation.require_batch(plain, (1, 1))
    validation.require_batch(plain, (1, 8))
    for batch in ((0, 1), (2, 1), (1, 5000)):
        assert refused(UsageError, validation.require_batch, plain, batch) == (
            "error: a batch of {} to {} images makes no sense\nhint: use 1 to 4096, the smaller number first".format(
                *batch
            )
        )
    wide = net(tmp_path, cfg(conv(64), HEAD, width=416, height=416), "wide")
    assert refused(Unsupported, validation.require_batch, wide, (1, 200)) == (
        "{}:5: error: layer 0 puts out 2215116800 values for 200 images, TensorRT takes at most 2147483647 in a "
        "tensor\n{}hint: use a smaller batch or input size".format(tmp_path / "wide.cfg", marked(5))
    )


def test_a_net_of_flat_values(tmp_path):
    flat = section("net", inputs=8) + section("connected", output=4, activation="linear") + section("softmax")
    assert refused(Unsupported, validation.require_batch, net(tmp_path, flat), (1, 1)) == (
        "{}:1: error: the net takes 8 flat values; only nets that take images become engines\n"
        "{}hint: images need a net with a width and height".format(tmp_path / "net.cfg", marked(1, "net"))
    )


def test_workspace_within_the_memory(tmp_path):
    plain, mib = net(tmp_path, TEXT), 1 << 20
    small = targets.current(GPU("small", (7, 5), 64), None, None)
    assert validation.workspace_bytes(plain, (1, 1), None, TARGETS["rtx"]) == 1024 * mib
    assert validation.workspace_bytes(plain, (1, 1), None, TARGETS["tx2"]) == 1024 * mib
    assert validation.workspace_bytes(plain, (1, 1), None, small) == 16 * mib
    assert validation.workspace_bytes(plain, (1, 1), 63, small) == 63 * mib
    assert refused(UsageError, validation.workspace_bytes, plain, (1, 1), 64, small) == (
        "error: small has 64 MiB, less than 64 of workspace and 1 for the weights and the largest maps\n"
        "hint: use a smaller --workspace, --batch or input size"
    )
    # 4096 images of 16 x 16, 8 and 7 channels, float32
    assert "less than 16 of workspace and 61 for" in refused(
        UsageError, validation.workspace_bytes, plain, (1, 4096), None, small
    )
    for number in (0, 1 << 44):
        assert refused(UsageError, validation.workspace_bytes, plain, (1, 1), number, TARGETS["rtx"]) == (
            "error: --workspace {} is no number of MiB\nhint: use 16 or more, of what the GPU has".format(number)
        )


def quantized(plain, change):
    ranges = measured(plain, keep_float=[0, 3])
    change(ranges)
    return Quantization(plain, ranges, TENSORRT)


@pytest.mark.parametrize("amax", [1e-37, 1e-44])
def test_a_scale_without_an_inverse(tmp_path, amax):
    def shrink(ranges):
        ranges.tensors["L001_convolutional"] = Range(-amax, amax, amax)

    quantization = quantized(net(tmp_path, TEXT), shrink)
    scale = quantization.tensor("L001_convolutional").scale
    if scale == 1.0:  # below all of float32: nothing is left of it, as of a tensor that is 0 everywhere
        return validation.require_scales(quantization)
    assert refused(CalibrationError, validation.require_scales, quantization) == (
        "error: the scale of L001_convolutional is {:g}, of which there is no inverse\nhint: calibrate again".format(
            scale
        )
    )


def test_a_bias_too_large_for_a_scale(tmp_path):
    """Its step is widened until the bias fits into 32 bits, here beyond all of float32."""

    def shrink(ranges):
        ranges.tensors["L000_convolutional"] = Range(-3e-36, 3e-36, 3e-36)

    quantization = quantized(net(tmp_path, TEXT), shrink)
    quantization.net.layers[1].set_param("biases", np.array([0, 0, 0, 0, 0, 1e12, 0], np.float32))
    with np.errstate(over="ignore"):
        found = refused(CalibrationError, validation.require_scales, quantization)
    assert found == (
        "{}:12: error: the weights of filter 5 in layer 1, batch norm folded, have the scale inf\n"
        "{}hint: prune that filter, or leave the layer float: --keep-float first-and-heads,1".format(
            tmp_path / "net.cfg", marked(12)
        )
    )


def test_a_filter_that_decayed_to_nothing_is_all_zero(tmp_path):
    """Weight decay leaves denormal numbers, whose scales have no inverse."""
    plain = net(tmp_path, cfg(conv(8), conv(8), conv(8), HEAD))
    quantization = quantized(plain, lambda ranges: None)
    weights = plain.layers[1].array("weights").copy()
    weights[5] = 1e-38
    quantization.net.layers[1].set_param("weights", weights)
    quantization.net.layers[1].set_param("biases", np.zeros(8, np.float32))
    validation.require_scales(quantization)
    integers, scales = quantization.weights(quantization.net.layers[1], weights)
    assert scales[5] == 1 and not integers[5].any() and integers[4].any()


def test_sound_nets_pass(tmp_path):
    plain = net(tmp_path, TEXT)
    quantization = quantized(plain, lambda ranges: None)
    validation.require_sound(plain, quantization)
    validation.require_sound(plain, None)


def test_arrays_must_fit_the_widths(tmp_path):
    plain = net(tmp_path, TEXT)
    plain.layers[2].set("filters", 9)
    refused(GraphError, validation.require_sound, plain, None)


def test_widths_that_int8_kernels_pad(tmp_path):
    plain = net(tmp_path, TEXT)
    quantization = quantized(plain, lambda ranges: None)
    assert [str(notice) for notice in validation.width_notices(plain, quantization)] == [
        "{}:12: warning: 1 of 2 int8 layers have a number of channels that is no multiple of 4 (layer 1 has 7), which "
        "int8 kernels pad\n{}hint: prune with --round 8, 16 or 32".format(tmp_path / "net.cfg", marked(12))
    ]
    assert validation.width_notices(plain, None) == []


def test_an_int8_engine_without_int8_layers(tmp_path):
    plain = net(tmp_path, TEXT)
    quantization = quantized(plain, lambda ranges: ranges.keep_float.extend(range(len(plain.layers))))
    assert [str(notice) for notice in validation.width_notices(plain, quantization)] == [
        "warning: no layer with weights is INT8, as all are kept float\n"
        "hint: name fewer layers with --keep-float, or use --precision fp16"
    ]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("int4", False, False), "error: unknown precision int4\nhint: use fp32, fp16, int8"),
        (
            ("int8", False, False),
            "error: --precision int8 needs the ranges of the net's tensors\n"
            "hint: make them with darkprune calibrate, and give --ranges FILE",
        ),
        (
            ("fp16", True, False),
            "error: --ranges is for --precision int8\nhint: give --precision int8, or leave the ranges out",
        ),
        (("fp32", False, True), "error: --keep-float is for fp16 and int8\nhint: leave it out: every layer is float32"),
    ],
)
def test_options_that_contradict_each_other(arguments, expected):
    assert refused(UsageError, validation.require_precision, ("fp32", "fp16", "int8"), *arguments) == expected
