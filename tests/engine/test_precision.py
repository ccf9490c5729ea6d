"""Which type each layer computes in, and the flags that say so where networks have no types."""

import types

import pytest

import small_nets
from darkprune.engine.precision import Precision
from darkprune.errors import UsageError
from darkprune.quant.quantization import TENSORRT, Quantization
from int8_nets import measured
from small_nets import HEAD, conv


def quantization(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), conv(4), conv(4), HEAD))
    return Quantization(net, measured(net), TENSORRT)


def types_of(precision, count=4):
    return " ".join(precision.of(i) for i in range(count))


def api(*flags):
    """What has these flags, and networks without types."""
    named = types.SimpleNamespace(**{name: name for name in flags})
    return types.SimpleNamespace(strong=False, trt=types.SimpleNamespace(BuilderFlag=named))


def test_layers(tmp_path):
    assert types_of(Precision("fp32")) == "fp32 fp32 fp32 fp32"
    assert types_of(Precision("fp16", keep_float=[1])) == "fp16 fp32 fp16 fp16"
    found = Precision("int8", quantization=quantization(tmp_path))
    assert types_of(found) == "fp16 int8 int8 fp16"
    assert [found.real(i) for i in (0, 1, None)] == ["fp16", "fp32", "fp32"]
    found = Precision("int8", keep_float=[3], quantization=quantization(tmp_path))
    assert types_of(found) == "fp16 int8 int8 fp32"
    assert types_of(Precision("int8", quantization=quantization(tmp_path), half=False)) == "fp32 int8 int8 fp32"


def test_flags(tmp_path):
    old, new = api("FP16", "INT8", "STRICT_TYPES"), api("FP16", "INT8", "STRICT_TYPES", "PREFER_PRECISION_CONSTRAINTS")
    assert Precision("fp32").flags(new) == []
    assert Precision("fp16").flags(new) == ["FP16", "PREFER_PRECISION_CONSTRAINTS"]
    found = Precision("int8", quantization=quantization(tmp_path))
    assert found.flags(old) == ["FP16", "INT8", "STRICT_TYPES"]
    found = Precision("int8", quantization=found.quantization, half=False)
    assert found.flags(new) == ["INT8", "PREFER_PRECISION_CONSTRAINTS"]
    assert found.flags(types.SimpleNamespace(strong=True)) == []


def test_what_contradicts_itself(tmp_path):
    for arguments, text in (
        (("fp8",), "error: there is no precision 'fp8'\nhint: use fp32, fp16, int8"),
        (("int8",), "error: ranges are used by int8, and by nothing else\nhint: calibrate first, or use fp16"),
        (("fp16", (), 7), "error: ranges are used by int8, and by nothing else\nhint: use int8"),
        (
            ("int8", [0, 2], quantization(tmp_path)),
            "error: layer 2 is to stay float and to be int8\nhint: leave it out of one of both",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            Precision(*arguments)
        assert str(caught.value) == text
