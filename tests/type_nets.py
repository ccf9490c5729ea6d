"""One small cfg for each layer type, and random weights for it."""

import numpy as np

from darkprune.darknet.cfg import parse
from darkprune.darknet.weights import WeightsFile
from darkprune.graph.attach_weights import attach
from darkprune.graph.build import build

NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=1\npad=1\nactivation={}\n"
FIRST = NET + CONV.format(8, "leaky")
BOXES = "mask=0,1\nanchors=10,13, 16,30, 33,23\nclasses=3\nnum=3\n"

# A small cfg for each layer type; its last section is of that type.
CFGS = {
    "Gaussian_yolo": FIRST + CONV.format(24, "linear") + "[Gaussian_yolo]\n" + BOXES,
    "activation": FIRST + "[activation]\nactivation=tanh\n",
    "avgpool": FIRST + "[avgpool]\n",
    "batchnorm": FIRST + "[batchnorm]\n",
    "connected": FIRST + "[connected]\noutput=5\nbatch_normalize=1\nactivation=leaky\n",
    "contrastive": FIRST + CONV.format(16, "linear") + "[yolo]\n" + BOXES + "[contrastive]\nyolo_layer=-1\n",
    "conv_lstm": FIRST + "[conv_lstm]\noutput=4\npad=1\npeephole=1\nbatch_normalize=1\n",
    "convolutional": FIRST + "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\ngroups=2\nactivation=tanh\n",
    "cost": FIRST + "[cost]\n",
    "crnn": FIRST + "[crnn]\noutput=4\nhidden=6\noutput_filters=4\nhidden_filters=6\npad=1\nactivation=leaky\n",
    "crop": FIRST + "[crop]\ncrop_width=6\ncrop_height=4\n",
    "deconvolutional": FIRST + "[deconvolutional]\nfilters=4\nsize=4\nstride=2\npadding=1\nbatch_normalize=1\n",
    "detection": FIRST + "[connected]\noutput=52\n[detection]\nclasses=3\ncoords=4\nnum=2\nside=2\n",
    "dropout": FIRST + "[dropout]\nprobability=.5\n",
    "empty": FIRST + "[empty]\n",
    "gru": FIRST + "[gru]\noutput=5\nbatch_normalize=1\n",
    "history": FIRST + "[history]\nhistory_size=3\n",
    "implicit": FIRST + "[implicit]\nfilters=4\natoms=2\n",
    "iseg": FIRST + "[iseg]\nclasses=3\nids=5\n",
    "l2norm": FIRST + "[l2norm]\n",
    "local": FIRST + "[local]\nfilters=2\nsize=3\nstride=2\nactivation=leaky\n",
    "local_avgpool": FIRST + "[local_avgpool]\nsize=3\nstride=2\n",
    "logistic": FIRST + "[logistic]\n",
    "lstm": FIRST + "[lstm]\noutput=5\n",
    "maxpool": FIRST + "[maxpool]\nsize=3\nstride=2\n",
    "normalization": FIRST + "[normalization]\nsize=5\nalpha=.01\n",
    "region": FIRST + CONV.format(16, "linear") + "[region]\nanchors=1,2, 3,4\nclasses=3\nnum=2\nsoftmax=1\n",
    "reorg": FIRST + "[reorg]\nstride=2\n",
    "reorg3d": FIRST + "[reorg3d]\nstride=2\n",
    "rnn": FIRST + "[rnn]\noutput=5\nhidden=5\nbatch_normalize=1\n",
    "route": FIRST + CONV.format(4, "leaky") + "[route]\nlayers=-1,0\n",
    "sam": FIRST + CONV.format(8, "logistic") + "[sam]\nfrom=-2\n",
    "scale_channels": FIRST + "[avgpool]\n[scale_channels]\nfrom=0\n",
    "shortcut": FIRST + CONV.format(8, "leaky") + "[shortcut]\nfrom=-2\nactivation=leaky\n",
    "softmax": FIRST + "[avgpool]\n[softmax]\n",
    "upsample": FIRST + "[upsample]\nstride=2\n",
    "yolo": FIRST + CONV.format(16, "linear") + "[yolo]\n" + BOXES,
}

RECURRENT = {"rnn", "gru", "lstm", "crnn", "conv_lstm", "history"}
NOT_RUN = RECURRENT | {"deconvolutional", "l2norm"}


def load(name, dialect, extra=""):
    return build(parse((CFGS[name] + extra).encode("ascii"), name + ".cfg"), dialect)


def with_weights(net, folder):
    """Gives the net random values; returns the bytes of the file they come from."""
    random, parts = np.random.RandomState(5), [np.array([0, 2, 5, 0, 0], "<i4").tobytes()]
    for _, spec in net.specs():
        values = random.randn(*spec.shape) / max(1.0, np.sqrt(np.prod(spec.shape[1:])))
        values = np.abs(values) + 0.5 if spec.name.endswith("variance") else values
        parts.append(values.astype("<f4").tobytes())
    path = folder / "net.weights"
    path.write_bytes(b"".join(parts))
    attach(net, WeightsFile(str(path)))
    return b"".join(parts)
