"""Every layer type by its section names."""

from typing import Dict

from darkprune.ops.activation import Activation
from darkprune.ops.avgpool import Avgpool
from darkprune.ops.base import Op
from darkprune.ops.batchnorm import Batchnorm
from darkprune.ops.connected import Connected
from darkprune.ops.contrastive import Contrastive
from darkprune.ops.conv_lstm import ConvLstm
from darkprune.ops.convolutional import Convolutional
from darkprune.ops.crnn import Crnn
from darkprune.ops.crop import Crop
from darkprune.ops.deconvolutional import Deconvolutional
from darkprune.ops.detection import Detection
from darkprune.ops.gate import Sam, ScaleChannels
from darkprune.ops.gru import Gru
from darkprune.ops.history import History
from darkprune.ops.identity import Dropout, Empty
from darkprune.ops.implicit import Implicit
from darkprune.ops.iseg import Iseg
from darkprune.ops.l2norm import L2norm
from darkprune.ops.local import Local
from darkprune.ops.local_avgpool import LocalAvgpool
from darkprune.ops.logistic import Logistic
from darkprune.ops.lstm import Lstm
from darkprune.ops.maxpool import Maxpool
from darkprune.ops.normalization import Normalization
from darkprune.ops.region import Region
from darkprune.ops.reorg import Reorg
from darkprune.ops.reorg3d import Reorg3d
from darkprune.ops.rnn import Rnn
from darkprune.ops.route import Route
from darkprune.ops.shortcut import Shortcut
from darkprune.ops.softmax import Cost, Softmax
from darkprune.ops.upsample import Upsample
from darkprune.ops.yolo import GaussianYolo, Yolo

_TYPES = (
    Activation,
    Avgpool,
    Batchnorm,
    Connected,
    Contrastive,
    ConvLstm,
    Convolutional,
    Cost,
    Crnn,
    Crop,
    Deconvolutional,
    Detection,
    Dropout,
    Empty,
    GaussianYolo,
    Gru,
    History,
    Implicit,
    Iseg,
    L2norm,
    Local,
    LocalAvgpool,
    Logistic,
    Lstm,
    Maxpool,
    Normalization,
    Region,
    Reorg,
    Reorg3d,
    Rnn,
    Route,
    Sam,
    ScaleChannels,
    Shortcut,
    Softmax,
    Upsample,
    Yolo,
)

OPS: Dict[str, Op] = {name: kind() for kind in _TYPES for name in kind.names}

# Training options that Darknet accepts in any section.
EVERY_LAYER = {
    "onlyforward",
    "stopbackward",
    "truth",
    "learning_rate",
    "smooth",
    "clip",
    "dont_update",
    "burnin_update",
    "train_only_bn",
    "show_receptive_field",
    "dontload",
    "dontloadscales",
    "dontsave",
    "numload",
}
