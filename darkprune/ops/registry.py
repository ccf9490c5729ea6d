"""Every layer type by its section names."""

from typing import Dict

from darkprune.ops.avgpool import Avgpool
from darkprune.ops.base import Op
from darkprune.ops.connected import Connected
from darkprune.ops.convolutional import Convolutional
from darkprune.ops.crop import Crop
from darkprune.ops.detection import Detection
from darkprune.ops.gate import Sam, ScaleChannels
from darkprune.ops.identity import Dropout, Empty
from darkprune.ops.local_avgpool import LocalAvgpool
from darkprune.ops.maxpool import Maxpool
from darkprune.ops.region import Region
from darkprune.ops.reorg import Reorg
from darkprune.ops.reorg3d import Reorg3d
from darkprune.ops.route import Route
from darkprune.ops.shortcut import Shortcut
from darkprune.ops.softmax import Cost, Softmax
from darkprune.ops.upsample import Upsample
from darkprune.ops.yolo import GaussianYolo, Yolo

_TYPES = (
    Avgpool, Connected, Convolutional, Cost, Crop, Detection, Dropout, Empty, GaussianYolo, LocalAvgpool, Maxpool,
    Region, Reorg, Reorg3d, Route, Sam, ScaleChannels, Shortcut, Softmax, Upsample, Yolo,
)  # fmt: skip

OPS = {name: kind() for kind in _TYPES for name in kind.names}  # type: Dict[str, Op]

# Training options that Darknet accepts in any section.
EVERY_LAYER = {
    "onlyforward", "stopbackward", "truth", "learning_rate", "smooth", "clip", "dont_update", "burnin_update",
    "train_only_bn", "show_receptive_field", "dontload", "dontloadscales", "dontsave", "numload",
}  # fmt: skip
