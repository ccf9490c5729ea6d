"""`darkprune export --deepstream`: the settings, the table, and the parser compiled and run on what the model gives."""

import configparser
import json
import subprocess

import numpy as np
import pytest

import need
from bad_input import Cases
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.cli.main import main
from darkprune.detect.decode import decode
from darkprune.engine import deepstream
from darkprune.graph.build import load
from darkprune.graph.net import heads
from darkprune.quant import trt_cache
from darkprune.quant.quantization import TENSORRT, qparams
from darkprune.quant.ties import tied
from darkprune.verify import test_batch as picture
from int8_nets import measured
from small_nets import cfg, conv, section, write

NET = cfg(
    conv(8, stride=2),
    conv(8, 3, "mish"),
    conv(16, 1, "linear", None),
    section("yolo", mask="0,1", anchors="4,5, 6,9", classes=3, num=2),
    width=32,
    height=16,
)
EXPORT = ["export", "net.cfg", "net.weights", "--deepstream", "-o", "ds"]
case = Cases()

# The types of DeepStream 5 and later that the parser uses, as its API reference lists them.
HEADER = """
#include <string>
#include <vector>
typedef enum { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3 } NvDsInferDataType;
struct NvDsInferDims { unsigned int numDims; unsigned int d[8]; unsigned int numElements; };
struct NvDsInferLayerInfo {
    NvDsInferDataType dataType;
    union { NvDsInferDims inferDims; };
    int bindingIndex; const char *layerName; void *buffer; int isInput;
};
struct NvDsInferNetworkInfo { unsigned int width, height, channels; };
struct NvDsInferParseDetectionParams {
    unsigned int numClassesConfigured;
    std::vector<float> perClassPreclusterThreshold, perClassPostclusterThreshold;
};
struct NvDsInferObjectDetectionInfo { unsigned int classId; float left, top, width, height, detectionConfidence; };
typedef bool (*NvDsInferParseCustomFunc)(
    std::vector<NvDsInferLayerInfo> const &, NvDsInferNetworkInfo const &, NvDsInferParseDetectionParams const &,
    std::vector<NvDsInferObjectDetectionInfo> &);
#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(f) NvDsInferParseCustomFunc checked_##f = f
"""

MAIN = """
#include <cstdio>
#include <fstream>
#include <iterator>
#include "nvdsinfer_custom_impl.h"
extern "C" bool NvDsInferParseDarkprune(
    std::vector<NvDsInferLayerInfo> const &, NvDsInferNetworkInfo const &, NvDsInferParseDetectionParams const &,
    std::vector<NvDsInferObjectDetectionInfo> &);
static std::vector<float> values(const char *path) {
    std::ifstream stream(path, std::ios::binary);
    std::vector<char> bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    return std::vector<float>((float *)bytes.data(), (float *)(bytes.data() + bytes.size()));
}
int main(int, char **arguments) {
    std::vector<float> boxes = values(arguments[1]), scores = values(arguments[2]);
    const unsigned int classes = std::stoi(arguments[3]), count = boxes.size() / 4;
    NvDsInferLayerInfo box = {}, score = {};
    box.layerName = "boxes"; box.buffer = boxes.data(); box.inferDims.numDims = 2;
    box.inferDims.d[0] = count; box.inferDims.d[1] = 4;
    score.layerName = "scores"; score.buffer = scores.data(); score.inferDims.numDims = 2;
    score.inferDims.d[0] = count; score.inferDims.d[1] = scores.size() / count;
    NvDsInferParseDetectionParams parameters;
    parameters.numClassesConfigured = classes;
    parameters.perClassPreclusterThreshold.assign(classes, std::stof(arguments[4]));
    std::vector<NvDsInferObjectDetectionInfo> objects;
    if (!NvDsInferParseDarkprune({score, box}, {32, 16, 3}, parameters, objects)) return 1;
    for (const NvDsInferObjectDetectionInfo &o : objects)
        std::printf("%u %.6f %.4f %.4f %.4f %.4f\\n", o.classId, o.detectionConfidence,
                    o.left, o.top, o.width, o.height);
}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    write(tmp_path, NET)
    return tmp_path


def export(*more):
    need.onnx()
    assert main(EXPORT + list(more)) == 0


def settings(path):
    parser = configparser.ConfigParser()
    parser.read(str(path))
    return {name: dict(parser[name]) for name in parser.sections()}


def test_files_and_settings(folder, capsys):
    (folder / "net.names").write_text("cat\ndog\nred  bird\n")
    export("--batch", "2", "--thresh", "0.3")
    captured = capsys.readouterr()
    assert sorted(path.name for path in (folder / "ds").iterdir()) == sorted(deepstream_files())
    assert (folder / "ds" / "labels.txt").read_text() == "cat\ndog\nred bird\n"
    found = settings(folder / "ds" / "config_infer_primary.txt")
    assert found["property"] == {
        "gpu-id": "0",
        "gie-unique-id": "1",
        "process-mode": "1",
        "network-type": "0",
        "onnx-file": "model.onnx",
        "labelfile-path": "labels.txt",
        "batch-size": "2",
        "network-mode": "2",
        "net-scale-factor": "0.00392156862745098",
        "model-color-format": "0",
        "maintain-aspect-ratio": "0",
        "num-detected-classes": "3",
        "output-blob-names": "boxes;scores",
        "parse-bbox-func-name": "NvDsInferParseDarkprune",
        "custom-lib-path": "libnvds_darkprune.so",
        "cluster-mode": "2",
    }
    assert found["class-attrs-all"] == {"pre-cluster-threshold": "0.3", "nms-iou-threshold": "0.45", "topk": "300"}
    assert "warning: no DeepStream has run these files yet\n" in captured.err
    assert captured.out.endswith("nvinfer needs the parser: compile ds/nvds_darkprune.cpp where DeepStream is\n")


def deepstream_files(int8=False):
    names = ["model.onnx", "labels.txt", "nvds_darkprune.cpp", "config_infer_primary.txt"]
    return names + ["calibration.table"] * int8


def test_a_letterboxed_net_keeps_its_proportions(folder):
    (folder / "net.cfg").write_text(NET.replace("[net]\n", "[net]\nletter_box=1\n"))
    export()
    found = settings(folder / "ds" / "config_infer_primary.txt")["property"]
    assert (found["maintain-aspect-ratio"], found["symmetric-padding"]) == ("1", "1")


def test_int8_brings_the_table_of_the_model_that_lies_beside_it(folder, capsys):
    onnx = need.onnx()
    net = load("net.cfg", "net.weights")
    ranges = measured(net)
    ranges.adjustments.factors[0] = np.linspace(0.5, 2, 8)  # as equalisation leaves them
    (folder / "ranges.json").write_bytes(ranges.to_bytes())
    export("--int8", "ranges.json", "--cache-version", "10.3.0", "--json")
    assert [entry["file"] for entry in json.loads(capsys.readouterr().out)["files"]] == [
        "ds/" + name
        for name in ("model.onnx", "labels.txt", "nvds_darkprune.cpp", "calibration.table", "config_infer_primary.txt")
    ]
    found = settings(folder / "ds" / "config_infer_primary.txt")["property"]
    assert (found["network-mode"], found["int8-calib-file"]) == ("1", "calibration.table")
    cache = trt_cache.read("ds/calibration.table")
    assert (cache.version, cache.algorithm) == ("100300", "EntropyCalibration2")
    expected = {name: qparams(r, TENSORRT).scale for name, r in tied(net, ranges.tensors, True).items()}
    assert dict(cache.scales) == pytest.approx(expected)
    model = onnx.load("ds/model.onnx")
    tensors = {name for node in model.graph.node for name in node.output} | {i.name for i in model.graph.input}
    missing = set(cache.scales) - tensors
    assert not missing, missing
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    equalised = deepstream.adjusted(net, ranges).layers[0].array("weights")
    assert any(w.shape == equalised.shape and np.array_equal(w, equalised) for w in weights.values())


def test_the_parser_finds_the_boxes_that_we_decode(folder):
    onnxruntime, compiler = need.onnxruntime(), need.gpp()
    export()
    net = load("net.cfg", "net.weights")
    batch = picture(net)
    session = onnxruntime.InferenceSession("ds/model.onnx", providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"data": batch})
    boxes.tofile("boxes.bin"), scores.tofile("scores.bin")
    (folder / "nvdsinfer_custom_impl.h").write_text(HEADER)
    (folder / "main.cpp").write_text(MAIN)
    warnings = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-I."]
    subprocess.check_call([compiler] + warnings + ["main.cpp", "ds/nvds_darkprune.cpp", "-o", "parse"])
    threshold = float(np.median(scores))  # about half of them
    out = subprocess.check_output(["./parse", "boxes.bin", "scores.bin", "3", repr(threshold)])
    found = np.array([line.split() for line in out.decode().splitlines()], np.float64)
    candidates = decode(net, NumpyRunner(net).infer(batch, heads(net)), 0.0)[0]
    corners = np.concatenate([candidates.boxes[:, :2] - candidates.boxes[:, 2:] / 2, candidates.boxes[:, 2:]], axis=1)
    rows = []
    for box, score in zip(corners * np.array([32, 16, 32, 16]), candidates.scores):
        rows += [[k, score[k]] + list(box) for k in range(3) if score[k] > threshold]
    expected = np.array(rows)
    assert 10 < len(found) < scores.size and found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3
    wrong = subprocess.Popen(["./parse", "boxes.bin", "scores.bin", "2", "0.5"], stderr=subprocess.PIPE)
    assert wrong.communicate()[1] == b"darkprune: no float output scores of 2 columns\n" and wrong.returncode == 1


@case(
    """\
error: --nms is not for --deepstream, which says itself what the model puts out
hint: leave it out
"""
)
def nms_twice(folder):
    return EXPORT + ["--nms"]


@case(
    """\
error: --deepstream needs a number of images
hint: give --batch N, the number of streams
"""
)
def any_batch(folder):
    return EXPORT + ["--batch", "dynamic"]


@case(
    """\
ds/config_infer_primary.txt: error: this file exists
hint: --overwrite replaces it
"""
)
def a_file_in_the_way(folder):
    (folder / "ds").mkdir()
    (folder / "ds" / "config_infer_primary.txt").write_text("mine")
    return EXPORT


@case(
    """\
net.weights: error: this is no folder
hint: make it first, or write elsewhere
"""
)
def a_file_for_a_folder(folder):
    return EXPORT[:-1] + ["net.weights"]


@case(
    """\
ranges.json: error: the ranges are those of another pair (KEY, this one is KEY)
hint: calibrate this pair; every change of the weights needs new ranges
"""
)
def ranges_of_another_pair(folder):
    write(folder, NET, "other", seed=8)
    (folder / "ranges.json").write_bytes(measured(load("other.cfg", "other.weights")).to_bytes())
    return EXPORT + ["--int8", "ranges.json"]


@pytest.mark.parametrize("name", list(case))
def test_bad_input(name, folder, capsys):
    need.onnx()
    case.check(name, folder, capsys)
