"""A detector's files for DeepStream: the settings of Gst-nvinfer, labels, and the parser of boxes that it needs.

nvinfer knows no head of Darknet's. It gets a model that decodes its boxes itself (`darkprune export --decode`), and a
parser, in C++, that hands these to DeepStream's own suppression of overlaps. The parser has to be compiled where
DeepStream is. Settings: NVIDIA's DeepStream developer guide, "Gst-nvinfer", tables of the [property] and [class-attrs]
groups; the parser's types: nvdsinfer_custom_impl.h and nvdsinfer.h of DeepStream 5 and later.
"""

from typing import List, NamedTuple, Optional

from darkprune.graph.net import Net
from darkprune.quant import trt_cache
from darkprune.quant.quantization import prepared
from darkprune.quant.range_methods import MAX, Method
from darkprune.quant.ranges import Ranges

MODEL, LABELS, CONFIG, TABLE = "model.onnx", "labels.txt", "config_infer_primary.txt", "calibration.table"
PARSER, LIBRARY, FUNCTION = "nvds_darkprune.cpp", "libnvds_darkprune.so", "NvDsInferParseDarkprune"

Settings = NamedTuple(
    "Settings",
    [
        ("classes", int),
        ("batch", int),
        ("letterbox", bool),
        ("threshold", float),  # of a box's score
        ("nms", float),  # overlap (IoU) that suppresses
        ("int8", bool),
    ],
)

_CONFIG = """\
# Settings of Gst-nvinfer for {model}, written by darkprune.
#
# nvinfer finds no boxes without a parser. Compile {parser} once where DeepStream is, beside this file:
{compile}
#
# TensorRT builds its engine from the model at the first start, for this GPU; that takes minutes on a small board.
# network-mode: 0 is FP32, 1 INT8, 2 FP16. A GPU without INT8 units (Jetson TX2 and Nano) runs FP16 in place of INT8.

[property]
gpu-id=0
gie-unique-id=1
process-mode=1
network-type=0
onnx-file={model}
labelfile-path={labels}
batch-size={batch}
network-mode={mode}
{int8}# pixels become 0..1, in the order of red, green, blue
net-scale-factor={scale}
model-color-format=0
{stretch}num-detected-classes={classes}
output-blob-names=boxes;scores
parse-bbox-func-name={function}
custom-lib-path={library}
# 2: overlapping boxes are suppressed class by class (NMS)
cluster-mode=2

[class-attrs-all]
pre-cluster-threshold={threshold:g}
nms-iou-threshold={nms:g}
topk=300
"""

_STRETCHED = "maintain-aspect-ratio=0\n"
_LETTERBOXED = """\
# nvinfer fills up with black where Darknet takes grey: boxes near the edges may differ
maintain-aspect-ratio=1
symmetric-padding=1
"""

_COMPILE = """\
   g++ -std=c++11 -O2 -shared -fPIC -o {library} {parser} \\
       -I/opt/nvidia/deepstream/deepstream/sources/includes -I/usr/local/cuda/include
"""

_PARSER = """\
/* Hands the boxes of {model} to DeepStream; made by darkprune for Gst-nvinfer.

{compile}
boxes:  float [n, 4]        centre x, centre y, width, height as shares of the net's input
scores: float [n, classes]  objectness x class */
#include <cstring>
#include <iostream>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {{

using Layers = std::vector<NvDsInferLayerInfo>;

const NvDsInferLayerInfo *called(const Layers &layers, const char *name, unsigned int columns) {{
    for (const NvDsInferLayerInfo &layer : layers) {{
        const NvDsInferDims &dims = layer.inferDims;
        const bool fits = layer.dataType == FLOAT && dims.numDims == 2 && dims.d[1] == columns;
        if (fits && !std::strcmp(layer.layerName, name)) {{
            return &layer;
        }}
    }}
    std::cerr << "darkprune: no float output " << name << " of " << columns << " columns" << std::endl;
    return nullptr;
}}

}}  // namespace

extern "C" bool {function}(
    std::vector<NvDsInferLayerInfo> const &layers, NvDsInferNetworkInfo const &network,
    NvDsInferParseDetectionParams const &parameters, std::vector<NvDsInferObjectDetectionInfo> &objects) {{
    const unsigned int classes = parameters.numClassesConfigured;
    const NvDsInferLayerInfo *boxes = called(layers, "boxes", 4), *scores = called(layers, "scores", classes);
    if (!boxes || !scores || boxes->inferDims.d[0] != scores->inferDims.d[0]) {{
        return false;
    }}
    const float *box = static_cast<const float *>(boxes->buffer), *score = static_cast<const float *>(scores->buffer);
    for (unsigned int i = 0; i < boxes->inferDims.d[0]; ++i, box += 4, score += classes) {{
        for (unsigned int k = 0; k < classes; ++k) {{
            if (!(score[k] > parameters.perClassPreclusterThreshold[k])) {{
                continue;
            }}
            NvDsInferObjectDetectionInfo object = NvDsInferObjectDetectionInfo();
            object.classId = k;
            object.detectionConfidence = score[k];
            object.left = (box[0] - box[2] / 2) * network.width;
            object.top = (box[1] - box[3] / 2) * network.height;
            object.width = box[2] * network.width;
            object.height = box[3] * network.height;
            objects.push_back(object);
        }}
    }}
    return true;
}}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE({function});
"""


def config(settings: Settings) -> bytes:
    """The text of config_infer_primary.txt. Paths in it are relative to it, as nvinfer takes them."""
    compiled = "\n".join("#" + line for line in _COMPILE.format(library=LIBRARY, parser=PARSER).splitlines())
    text = _CONFIG.format(
        model=MODEL,
        labels=LABELS,
        parser=PARSER,
        library=LIBRARY,
        function=FUNCTION,
        compile=compiled,
        mode=1 if settings.int8 else 2,
        int8="int8-calib-file={}\n".format(TABLE) if settings.int8 else "",
        scale=repr(1 / 255),
        stretch=_LETTERBOXED if settings.letterbox else _STRETCHED,
        classes=settings.classes,
        batch=settings.batch,
        threshold=settings.threshold,
        nms=settings.nms,
    )
    return text.encode("ascii")


def parser() -> bytes:
    """The source of the parser of boxes."""
    compiled = _COMPILE.format(library=LIBRARY, parser=PARSER)
    return _PARSER.format(model=MODEL, function=FUNCTION, compile=compiled).encode("ascii")


def labels(names: List[str]) -> bytes:
    """The names of the classes, one a line."""
    return ("\n".join(" ".join(name.split()) for name in names) + "\n").encode("utf-8")


def table(net: Net, ranges: Ranges, version: str) -> bytes:
    """The calibration table for the float model of `adjusted(net, ranges)`.

    Args: version: of the TensorRT that is to read it; another one may calibrate anew instead.

    Raises CalibrationError where the ranges are not the net's, UsageError for a version that is none.
    """
    ranges.require(net)
    method = Method(MAX) if ranges.method.get("name") == MAX else Method()
    return trt_cache.to_bytes(trt_cache.cache_of(net, ranges.tensors, method, version))


def adjusted(net: Net, ranges: Optional[Ranges]) -> Net:
    """The net whose tensors have the ranges: equalised, and with corrected biases, if they say so. TensorRT rounds the
    weights itself, so that a learned rounding of theirs is lost. Raises CalibrationError."""
    if ranges is None:
        return net
    ranges.require(net)
    return prepared(net, ranges.adjustments)
