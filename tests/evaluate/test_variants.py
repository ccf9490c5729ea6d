"""A net's forms as ONNX files, and how long they take in processes of their own."""

import os

import pytest

import need
from darkprune.backends.clock import Clock
from darkprune.errors import MissingDependency, VerifyError
from darkprune.evaluate import variants
from darkprune.evaluate.advice import PLAIN, VARIANTS, Variant
from darkprune.evaluate.latency import Timing
from darkprune.evaluate.onnx_latency import FileMeasurement
from small_nets import HEAD, cfg, conv, net

FEW = Clock(warm=1, most=3, duration=0.2)
DENSE = cfg(conv(8), conv(12), HEAD)
THIN = cfg(conv(32), conv(32, groups=32), conv(48, size=1), conv(48, groups=48), HEAD, width=160, height=160)


@pytest.fixture
def files(tmp_path):
    need.onnx()
    need.onnxruntime()
    from int8_nets import measured

    made = net(tmp_path, DENSE)
    return variants.write_models(made, measured(made), VARIANTS, str(tmp_path))


def test_each_form_is_a_file_of_its_own_that_is_timed_in_turn(files, monkeypatch):
    import onnx

    shapes = {}
    for variant, path in files.items():
        arrays = onnx.load(path).graph.initializer
        shapes[variant] = {tuple(array.dims)[:1] for array in arrays if len(array.dims) == 4}
        assert any(array.data_type == onnx.TensorProto.INT8 for array in arrays) == variant.int8
    assert shapes == {variant: {(8,), (12,), (5,)} if variant.pad == 1 else {(16,), (5,)} for variant in VARIANTS}
    order = []
    timed = FileMeasurement.in_fresh_process
    monkeypatch.setattr(FileMeasurement, "in_fresh_process", lambda self: order.append(self.path) or timed(self))
    some = {variant: files[variant] for variant in VARIANTS[:2]}
    found = variants.measure(some, 1, 2, FEW)
    assert order == list(some.values()) * 2
    assert list(found) == list(some) and all(len(times) == 2 and min(times) > 0 for times in found.values())


def test_a_file_that_onnxruntime_refuses(tmp_path):
    need.onnxruntime()
    path = str(tmp_path / "no.onnx")
    with open(path, "wb") as stream:
        stream.write(b"no model")
    with pytest.raises(VerifyError, match="ONNX Runtime .* refuses the model"):
        FileMeasurement(path, 1, FEW.as_dict()).in_fresh_process()


def test_advice_is_what_was_measured(tmp_path, monkeypatch):
    need.onnx()
    need.onnxruntime()
    from int8_nets import measured

    def told(self):
        name = os.path.basename(self.path)
        return Timing([{"fp32-1.onnx": 0.004, "fp32-16.onnx": 0.003, "int8-1.onnx": 0.006}[name]], 0.0, None)

    monkeypatch.setattr(FileMeasurement, "in_fresh_process", told)
    made = net(tmp_path, THIN)
    advice = variants.advise(made, measured(made), rounds=2, variants=VARIANTS[:3])
    assert [round(found.median_ms, 6) for found in advice.times] == [4, 3, 6]
    assert advice.best.variant == Variant(False, 16) and advice.share > 0.9
    only = variants.advise(made, None, rounds=1, variants=VARIANTS[:2])
    assert [found.variant for found in only.times] == [PLAIN, Variant(False, 16)]


def test_only_a_thin_net_of_some_size_is_doubtful(tmp_path):
    assert variants.doubtful(net(tmp_path, THIN, "thin"))
    assert not variants.doubtful(net(tmp_path, THIN.replace("160", "32"), "tiny"))
    assert not variants.doubtful(net(tmp_path, cfg(conv(32), conv(64), HEAD, width=160, height=160), "dense"))


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    def absent():
        raise MissingDependency("onnx cannot be imported: no", hint="pip install onnx")

    monkeypatch.setattr(variants, "import_onnx", absent)
    with pytest.raises(MissingDependency):
        variants.advise(net(tmp_path, DENSE), None)
