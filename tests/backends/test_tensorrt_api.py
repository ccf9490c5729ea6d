"""Which TensorRT is found, and what is made of its silence."""

import sys
import types

import pytest

import need
from darkprune.backends import tensorrt_api
from darkprune.backends.tensorrt_api import Log, load
from darkprune.errors import EngineError, MissingDependency, UsageError

CURE = (
    "\nhint: on a Jetson TensorRT comes with JetPack (see tools/tx2_setup.md), elsewhere from NVIDIA; engines for RTX "
    "GPUs are built without either: pip install tensorrt_rtx_cu12_libs tensorrt_rtx_cu12_bindings"
)


class _Logger(object):
    pass


class _Builder(object):
    def build_serialized_network(self, network, config):
        """Since 8.0."""


def module(name="tensorrt", version="8.2.1", flags=("EXPLICIT_BATCH",), builder=("FP16", "INT8")):
    """A module that has what is asked of every TensorRT."""
    made = types.ModuleType(name)
    made.__version__ = version
    made.Builder, made.ILogger = _Builder, _Logger
    made.NetworkDefinitionCreationFlag = type("Flags", (), {flag: i for i, flag in enumerate(flags)})
    made.BuilderFlag = type("Flags", (), {flag: i for i, flag in enumerate(builder)})
    return made


class _Severity(object):
    def __str__(self):
        return "Severity.WARNING"


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(tensorrt_api, "_LOADED", {})
    monkeypatch.delenv("DARKPRUNE_TENSORRT", raising=False)


def test_nothing_is_installed():
    with pytest.raises(MissingDependency) as caught:
        load()
    halted = "{0}: import of {0} halted; None in sys.modules".format
    names = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    assert str(caught.value) == (
        "error: TensorRT cannot be imported ({})".format("; ".join(halted(name) for name in names)) + CURE
    )


def test_stubs_alone_are_no_tensorrt(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    with pytest.raises(MissingDependency) as caught:
        load("tensorrt")
    assert str(caught.value) == (
        "error: TensorRT cannot be imported (tensorrt: a module without TensorRT in it)" + CURE
    )
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module("tensorrt_rtx"))
    assert load().name == "tensorrt_rtx"


def test_a_release_that_is_too_old(monkeypatch):
    old = module(version="7.1.3.0")
    old.Builder = object
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(MissingDependency) as caught:
        load("tensorrt")
    cause = "error: TensorRT cannot be imported (tensorrt: version 7.1.3.0 is too old, 8.0 or later is needed)"
    assert str(caught.value) == cause + CURE


def test_which_one_is_taken(monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, module(name))
    assert load().name == "tensorrt" and load() is load()
    assert load("tensorrt_rtx").name == "tensorrt_rtx"
    monkeypatch.setenv("DARKPRUNE_TENSORRT", "tensorrt_rtx")
    assert load().title == "TensorRT-RTX 8.2.1" and load("tensorrt").title == "TensorRT 8.2.1"
    monkeypatch.setenv("DARKPRUNE_TENSORRT", "trt")
    with pytest.raises(UsageError) as caught:
        load()
    assert str(caught.value) == "error: DARKPRUNE_TENSORRT is 'trt'\nhint: use tensorrt or tensorrt_rtx"


@pytest.mark.parametrize(
    "flags, builder, strong",
    [
        (["EXPLICIT_BATCH"], ["FP16", "INT8"], False),  # 8.x
        (["EXPLICIT_BATCH", "STRONGLY_TYPED"], ["FP16", "INT8"], True),  # 10
        (["STRONGLY_TYPED"], [], True),  # 11, RTX
        ([], [], True),
    ],
)
def test_networks_are_typed_wherever_they_can_be(flags, builder, strong, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", module(flags=flags, builder=builder))
    api, asked = load(), []
    assert api.strong == strong
    api.network(types.SimpleNamespace(create_network=lambda bits: asked.append(bits) or "made"))
    typed = 1 << flags.index("STRONGLY_TYPED") if builder and strong else 0
    assert asked == [typed if strong else 1]


def test_what_is_none_is_an_error_with_what_tensorrt_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", module())
    api = load()
    assert api.required("made", "make it") == "made"
    with pytest.raises(EngineError) as caught:
        api.required(None, "make it")
    assert str(caught.value) == "error: TensorRT 8.2.1 cannot make it: it does not say why"
    for severity, text in (("ERROR", "no\n memory"), ("WARNING", "slow"), ("INFO", "hello"), ("ERROR", "no  memory")):
        api.logger.log(types.SimpleNamespace(name=severity), text)
    with pytest.raises(EngineError) as caught:
        api.required(None, "make it", "mend it")
    assert str(caught.value) == "error: TensorRT 8.2.1 cannot make it: no memory\nhint: mend it"
    api.logger.log(_Severity(), "as older pybind11 has it")
    assert api.log.warnings == ["slow", "as older pybind11 has it"]
    api.log.clear()
    assert api.log.errors == []


def test_a_log_keeps_only_the_last_messages():
    log = Log()
    for i in range(300):
        log.add("ERROR", str(i))
    assert len(log.errors) == 200 and log.errors[-1] == "299"


def test_the_real_thing(monkeypatch):
    monkeypatch.undo()
    need.tensorrt_rtx()
    api = load("tensorrt_rtx")
    assert api.strong and api.name == "tensorrt_rtx" and api.version[0].isdigit()
    for kind in ("fp32", "fp16", "int8", "int32", "bool"):
        assert api.kind(api.dtype(kind)) == kind
    builder = api.trt.Builder(api.logger)
    network = api.network(builder)
    network.add_input("x", api.dtype("fp32"), (1, 2))
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    with pytest.raises(EngineError) as caught:
        api.required(None, "build")
    assert "TensorRT-RTX {} cannot build: ".format(api.version) in str(caught.value) and "output" in str(caught.value)
