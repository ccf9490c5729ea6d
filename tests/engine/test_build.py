"""Building on stand-ins of TensorRT 8.2 and 10.3, and on TensorRT-RTX itself: what is set, and what the report says."""

import json
import os
import weakref

import pytest

import need
from darkprune.backends import tensorrt_api
from darkprune.engine import inspect
from darkprune.engine import report as reports
from darkprune.engine.build import NO_GPU, Build, Request, write
from darkprune.errors import DarkpruneError, EngineError
from darkprune.graph.build import load
from darkprune.graph.key import pair_key
from int8_nets import measured
from small_nets import cfg, conv, section
from small_nets import write as write_pair
from stand_ins.loading import stand_in

TEXT = cfg(
    conv(8, stride=2),
    conv(8, 3),
    conv(8, 3),
    conv(16, 1, "linear", None),
    section("yolo", mask="0,1", anchors="4,5, 6,9", classes=3, num=2),
    width=32,
    height=16,
)
SOURCES = {"cfg": "net.cfg", "weights": "net.weights", "ranges": "ranges.json"}


@pytest.fixture
def net(tmp_path, monkeypatch):
    """The net of net.cfg and net.weights in the current folder, with ranges.json."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("DARKPRUNE_TENSORRT", raising=False)
    write_pair(tmp_path, TEXT)
    found = load("net.cfg", "net.weights")
    (tmp_path / "ranges.json").write_bytes(measured(found).to_bytes())
    return found


def rtx():
    need.tensorrt_rtx()
    return tensorrt_api.load("tensorrt_rtx")


def captured(monkeypatch, module):
    """What the builder is handed: a list of (network, config)."""
    found, build = [], module.Builder.build_serialized_network

    def recorded(builder, network, config):
        found.append((network, config))
        return build(builder, network, config)

    monkeypatch.setattr(module.Builder, "build_serialized_network", recorded)
    return found


def flags(module, config):
    names = [name for name in dir(module.BuilderFlag) if name.isupper()]
    return {name for name in names if config.get_flag(getattr(module.BuilderFlag, name))}


@pytest.mark.parametrize(
    "precision, expected",
    [
        ("fp32", set()),
        ("fp16", {"FP16", "PREFER_PRECISION_CONSTRAINTS"}),
        ("int8", {"FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"}),
    ],
)
def test_flags_where_the_network_has_no_types(net, monkeypatch, precision, expected):
    """INT8 comes with FP16: layers without a kernel, or a GPU without units, fall back to it and not to float32."""
    with stand_in("tensorrt82", "tx2") as module:
        seen = captured(monkeypatch, module)
        ranges = measured(net) if precision == "int8" else None
        Build(net, Request(precision, "tx2", workspace=64), ranges).run()
        network, config = seen[0]
        assert flags(module, config) == expected  # and no TF32
        assert config.max_workspace_size == 64 << 20
        assert config.profiling_verbosity == module.ProfilingVerbosity.DETAILED
        assert (config.num_optimization_profiles, network.num_inputs) == (0, 1)


def test_no_flags_where_it_has(net, monkeypatch):
    with stand_in("tensorrt10") as module:
        seen = captured(monkeypatch, module)
        Build(net, Request("int8", workspace=64), measured(net)).run()
        config = seen[0][1]
        assert flags(module, config) == set()
        assert config.get_memory_pool_limit(module.MemoryPoolType.WORKSPACE) == 64 << 20


@pytest.mark.parametrize("release", ["tensorrt82", "tensorrt10"])
def test_a_dynamic_batch_has_a_profile(net, monkeypatch, release):
    with stand_in(release) as module:
        seen = captured(monkeypatch, module)
        built = Build(net, Request(batch=(2, 6))).run()
        network, config = seen[0]
        assert config.num_optimization_profiles == 1
        assert tuple(network.get_input(0).shape) == (-1, 3, 16, 32)
        assert built.report.batch == (2, 6)


def test_what_the_report_says(net, tmp_path):
    """INT8 for a board without units for it: asked for, native, and built are three things."""
    with stand_in("tensorrt82", "tx2"):
        built = Build(net, Request("int8", "tx2"), measured(net)).run()
        files = write("net.engine", built, SOURCES)
    assert files == ["net.engine", "net.engine.json"]
    report = json.loads((tmp_path / "net.engine.json").read_text())
    assert report == json.loads(json.dumps(built.report.fields))
    data = (tmp_path / "net.engine").read_bytes()
    assert report["engine"] == {"file": "net.engine", "bytes": len(data), "sha256": reports.sha256_of("net.engine")}
    assert {kind: (entry["file"], entry["bytes"]) for kind, entry in report["inputs"].items()} == {
        kind: (path, os.path.getsize(path)) for kind, path in SOURCES.items()
    }
    assert report["inputs"]["weights"]["sha256"] == reports.sha256_of("net.weights")
    assert (report["pair"], report["dialect"]) == (pair_key(net), "alexeyab")
    assert report["input"] == {"name": "data", "width": 32, "height": 16, "channels": 3, "values": "RGB, 0..1"}
    assert report["heads"] == [{"layer": 3, "tensor": "L003_convolutional", "shape": [16, 8, 16]}]
    assert report["precision"] == {"requested": "int8", "native": "fp16", "half": True, "keep_float": [0, 3]}
    assert report["target"]["name"] == "tx2" and report["target"]["int8"] is False
    assert report["gpu"] == {"name": "NVIDIA Tegra X2", "capability": [6, 2], "memory": 8192}
    assert report["tensorrt"] == {"name": "tensorrt", "version": "8.2.1.8", "precision_by": "flags and ranges"}
    rows = [(row["layer"], row["requested"], row["native"], row["built"]) for row in report["layers"]]
    assert rows == [
        (0, "fp16", "fp16", "fp16"),
        (1, "int8", "fp16", "fp16"),
        (2, "int8", "fp16", "fp16"),
        (3, "fp16", "fp16", "fp16"),
        (4, None, None, None),
    ]
    assert report["inspected"] is True and report["not_inspected"] is None
    assert report["layers"][4]["tensorrt"] == [] and "L001_convolutional" in report["layers"][1]["tensorrt"]
    ranges = measured(net)
    assert report["int8"] == {"method": ranges.method, "images": 0, "images_sha256": ""}
    assert report["tensors"]["L001_convolutional"]["shape"] == [1, 8, 8, 16]
    assert report["tensors"]["L001_convolutional"]["amax"] == pytest.approx(ranges.tensors["L001_convolutional"].amax)
    assert report["warnings"] == [
        "warning: Jetson TX2 (compute capability 6.2) has no INT8 units: this engine's INT8 layers run in FP16 there, "
        "so that it is no faster than --precision fp16"
    ]
    assert reports.read("net.engine").to_bytes() == (tmp_path / "net.engine.json").read_bytes()


def test_integers_are_built_where_there_are_units(net):
    with stand_in("tensorrt82", "xavier"):
        built = Build(net, Request("int8", "xavier"), measured(net)).run()
    assert [row["built"] for row in built.report.fields["layers"]] == ["fp16", "int8", "int8", "fp16", None]
    assert built.notices == []


def test_other_layers_left_float(net):
    with stand_in("tensorrt82", "xavier"):
        built = Build(net, Request("int8", "xavier", keep_float=[0, 2, 3]), measured(net)).run()
        half = Build(net, Request("fp16", "xavier", keep_float=[3])).run()
    rows = built.report.fields["layers"]
    assert [row["requested"] for row in rows] == ["fp16", "int8", "fp16", "fp16", None]
    assert built.report.fields["precision"]["keep_float"] == [0, 2, 3]
    assert [row["requested"] for row in half.report.fields["layers"]] == ["fp16", "fp16", "fp16", "fp32", None]


def test_strictness_is_tested_before_anything_is_loaded(net, monkeypatch):
    monkeypatch.setattr(tensorrt_api, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(DarkpruneError) as caught:
        Build(net, Request("int8", "tx2", strict=True), measured(net))
    assert str(caught.value) == (
        "error: Jetson TX2 (compute capability 6.2) has no INT8 units: this engine's INT8 layers run in FP16 there, so "
        "that it is no faster than --precision fp16\nhint: use --precision fp16, or leave --strict out"
    )


def test_this_machines_gpu_is_asked_for_its_units(net):
    with stand_in("tensorrt82", "nano"):
        build = Build(net, Request("int8"), measured(net))
        assert [notice.message for notice in build.notices] == [
            "NVIDIA Tegra X1 (compute capability 5.3) has no INT8 units: this engine's INT8 layers run in FP16 there, "
            "so that it is no faster than --precision fp16"
        ]
        with pytest.raises(DarkpruneError) as caught:
            Build(net, Request("int8", strict=True), measured(net))
    assert "has no INT8 units" in str(caught.value)


def test_a_build_that_fails_says_what_tensorrt_said(net, monkeypatch):
    with stand_in("tensorrt82") as module:

        def fails(builder, network, config):
            builder.logger.log(module.ILogger.ERROR, "Could not find any implementation for node L001_convolutional.")

        monkeypatch.setattr(module.Builder, "build_serialized_network", fails)
        with pytest.raises(EngineError) as caught:
            Build(net, Request()).run()
    assert str(caught.value) == (
        "error: TensorRT 8.2.1.8 cannot build the engine: Could not find any implementation for node "
        "L001_convolutional.\nhint: an INT8 layer that it cannot do may work in FP16: --keep-float LAYERS; a larger "
        "--workspace may help too"
    )


@pytest.mark.parametrize("words", ["Error Code 2: OutOfMemory (Requested size was 9 bytes.)", "std::bad_alloc"])
def test_a_build_without_memory_says_so(net, monkeypatch, words):
    """Both are TensorRT-RTX's words where a process may have little."""
    with stand_in("tensorrt82") as module:

        def fails(builder, network, config):
            builder.logger.log(module.ILogger.ERROR, words)

        monkeypatch.setattr(module.Builder, "build_serialized_network", fails)
        with pytest.raises(EngineError) as caught:
            Build(net, Request()).run()
    assert str(caught.value) == (
        "error: TensorRT 8.2.1.8 cannot build the engine: {}\nhint: too little memory is free: close other programs, "
        "add swap space, or build for a smaller batch".format(words)
    )


def test_no_gpu_to_build_on(net):
    with stand_in("tensorrt82", "none"):
        with pytest.raises(EngineError) as caught:
            Build(net, Request())
    assert str(caught.value).startswith("error: TensorRT 8.2.1.8 cannot start: CUDA initialization failure")
    assert str(caught.value).endswith("\nhint: is there an NVIDIA GPU with its driver? see darkprune doctor")


def test_tensorrt_rtx_builds_without_a_gpu(net, tmp_path):
    api = rtx()
    for precision in ("fp32", "fp16", "int8"):
        ranges = measured(net) if precision == "int8" else None
        built = Build(net, Request(precision), ranges, api).run()
        fields = built.report.fields
        assert (fields["target"]["name"], fields["inspected"], fields["not_inspected"]) == ("rtx", False, NO_GPU)
        assert [row["built"] for row in fields["layers"]] == [None] * 5
        assert memoryview(built.plan).nbytes == fields["engine"]["bytes"] > 1000
        assert built.notices[0].message == (
            "there is only TensorRT-RTX {} here: the engine is for GeForce and RTX GPUs (compute capability 8.0 and "
            "newer), and runs in nothing else".format(api.version)
        )
        write(precision + ".engine", built, {"cfg": "net.cfg", "weights": "net.weights"})
        assert reports.read(precision + ".engine").batch == (1, 1)


def test_tensorrt_rtx_takes_a_dynamic_batch(net):
    assert Build(net, Request(batch=(1, 4)), None, rtx()).run().report.batch == (1, 4)


def test_all_is_checked_before_a_target_is_refused(net):
    """On a machine without a board's TensorRT: wrong ranges are told of there too."""
    api = rtx()
    build = Build(net, Request("int8", "tx2"), measured(net), api)
    assert "no INT8 units" in build.notices[0].message
    with pytest.raises(EngineError) as caught:
        build.run()
    assert str(caught.value) == (
        "error: {} builds no engine for a Jetson TX2: an engine runs only on the GPU, and in the TensorRT, that it was "
        "built with\nhint: run the same command on the Jetson TX2, which has JetPack 4.6.x with TensorRT 8.2".format(
            api.title
        )
    )
    ranges = measured(net)
    ranges.pair = "0" * 64
    with pytest.raises(DarkpruneError) as caught:
        Build(net, Request("int8", "tx2"), ranges, api)
    assert "the ranges are those of another pair" in str(caught.value)


def test_nothing_half_written(net, tmp_path, monkeypatch):
    with stand_in("tensorrt82"):
        built = Build(net, Request()).run()
    (tmp_path / "net.engine.json").write_text("mine")
    with pytest.raises(DarkpruneError) as caught:
        write("net.engine", built, SOURCES)
    assert str(caught.value) == "net.engine.json: error: this file exists\nhint: --overwrite replaces it"
    assert not (tmp_path / "net.engine").exists()
    with pytest.raises(DarkpruneError) as caught:
        write("net.weights", built, SOURCES, overwrite=True)
    assert "would replace the input net.weights" in str(caught.value)


# As the developer guide of TensorRT 8.2 shows a layer of an engine that was built with details.
INSPECTED = [
    {
        "Name": "L000_convolutional_before + PWN(L000_convolutional)",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "data", "Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Name": "x", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
        "Weights": {"Type": "Half", "Count": 864},
    },
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to L001_convolutional",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}],
        "Outputs": [],
    },
    {
        "Name": "L001_convolutional + L012_shortcut",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
        "Outputs": [],
    },
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to L013_maxpool",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "x", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
        "Outputs": [{"Name": "y", "Format/Datatype": "Row major linear FP32"}],
    },
    {"Name": "L013_maxpool", "LayerType": "TiledPooling", "Inputs": [], "Outputs": [{"Format/Datatype": "Float"}]},
    {"Name": "L015_route copy", "LayerType": "Reformat", "Outputs": [{"Format/Datatype": "Float"}]},
    {"Name": "L1_foreign", "LayerType": "NoOp", "Inputs": [], "Outputs": []},
    "L014_convolutional",
]


def test_an_inspectors_layers_are_told_apart_by_our_names():
    assert inspect.precisions(INSPECTED) == {0: "fp16", 1: "int8", 12: "int8", 13: "fp32"}


def test_odd_batches_and_targets(net):
    for request, expected in (
        (Request(batch=(0, 0)), "error: a batch of 0 to 0 images makes no sense"),
        (Request(target="tx1"), "error: unknown target tx1\nhint: use tx2, nano, xavier, orin, rtx, current"),
        (Request("int8"), "error: --precision int8 needs the ranges of the net's tensors"),
    ):
        with pytest.raises(DarkpruneError) as caught:
            Build(net, request)
        assert str(caught.value).startswith(expected)


def test_an_inspector_goes_before_its_engine(net, monkeypatch):
    alive = []

    class Inspector(object):
        def __init__(self, engine):
            self.engine = weakref.ref(engine)

        def get_engine_information(self, form):
            return json.dumps({"Layers": INSPECTED})

        def __del__(self):
            alive.append(self.engine() is not None)

    with stand_in("tensorrt82") as module:
        build = Build(net, Request())
        monkeypatch.setattr(module.ICudaEngine, "create_engine_inspector", lambda engine: Inspector(engine))
        assert build.run().report.fields["inspected"] is True
    assert alive == [True]
