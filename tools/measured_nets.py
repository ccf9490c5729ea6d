"""The nets that tools/exactness.py and tools/constants.py measure, each with synthetic weights."""

import os
import sys
from typing import NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))

from make_weights import make  # noqa: E402

from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.write import cfg_bytes  # noqa: E402

SHARED = os.path.join(ROOT, os.environ.get("DARKPRUNE_SHARED", os.path.join("..", "shared")))
DEBIAN = "/usr/share/darknet/cfg"  # of Debian's package darknet
BUILD = os.path.join(ROOT, "build", "exactness")

Source = NamedTuple("Source", [("path", str), ("size", Optional[int]), ("what", str)])  # size: a smaller input


def _own(name: str) -> Source:
    return Source(os.path.join(ROOT, "cfg", name + ".cfg"), None, "")


def _shared(path: str, size: Optional[int] = None, what: str = "") -> Source:
    return Source(os.path.join(SHARED, path), size, what)


NETS = {
    "yolov3": _own("yolov3"),
    "yolov3-spp": _own("yolov3-spp"),
    "yolov3-tiny": _own("yolov3-tiny"),
    "yolov4": _shared("cfgs/alexeyab/yolov4.cfg"),
    "yolov4-tiny": _own("yolov4-tiny"),
    "yolo-fastest-1.1": _shared("models/yolo-fastest-1.1/yolo-fastest-1.1.cfg"),
    "yolo-fastest-1.1-xl": _shared("models/yolo-fastest-1.1/yolo-fastest-1.1-xl.cfg"),
}
SPECIAL = {
    "efficientnet_b0": _shared("cfgs/alexeyab/efficientnet_b0.cfg", 96, "squeeze and excitation, depthwise, swish"),
    "resnext50": Source(os.path.join(DEBIAN, "resnext50.cfg"), 96, "grouped convolutions, leaky sums"),
    "yolov7-tiny": _shared("cfgs/alexeyab/yolov7-tiny.cfg", 160, "routes of many layers"),
    "uneven": Source(os.path.join(ROOT, "tests", "data", "cfg", "uneven.cfg"), None, "sums of uneven maps; our own"),
    "weighted": Source(os.path.join(ROOT, "tests", "data", "cfg", "weighted.cfg"), None, "weighted sums; our own"),
}


def short(name):
    """The name of a net that may be given as a path."""
    return os.path.splitext(os.path.basename(name))[0] if name.endswith(".cfg") else name


def pair_of(name, seed=7, dead=0.75):
    """(cfg, weights) of a net by name, or of a path to a cfg; the weights are made when missing.

    Ends the program where the cfg is not at hand.
    """
    source = NETS.get(name) or SPECIAL.get(name) or Source(name, None, "")
    if not os.path.exists(source.path):
        sys.exit("error: the cfg of {} is not at hand ({}); leave it out with --nets".format(name, source.path))
    os.makedirs(BUILD, exist_ok=True)
    stem = os.path.join(BUILD, short(name))
    cfg, weights = source.path, stem + ".weights"
    if source.size:
        net = load(cfg)
        net.config.set("width", source.size)
        net.config.set("height", source.size)
        net.infer()
        cfg = stem + ".cfg"
        with open(cfg, "wb") as stream:
            stream.write(cfg_bytes(net))
    if not os.path.exists(weights):
        make(cfg, weights, seed=seed, dead=dead)
    return cfg, weights
