"""Small pairs, pruned in several ways: what is written must have the same bytes on every Python, numpy and processor.

    python tests/same_bytes.py --write

writes data/same_bytes.json anew, the SHA-256 of every file, after a change that is meant to change them. Weights are
made from random integers alone: what numpy makes of exp or normal differs in the last bit.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections import OrderedDict

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]

import small_nets  # noqa: E402
from darkprune.darknet.weights import NEW_HEADER  # noqa: E402
from darkprune.errors import DarkpruneError  # noqa: E402
from darkprune.graph.build import build, load  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from random_layers import Choices  # noqa: E402
from random_nets import Maker, text_of  # noqa: E402

TABLE = os.path.join(HERE, "data", "same_bytes.json")
SUFFIXES = (".cfg", ".weights", ".plan.json")
CURVES = ("mish", "swish", "logistic", "tanh", "elu", "gelu", "selu", "loggy")

conv, cfg, route, shortcut = small_nets.conv, small_nets.cfg, small_nets.route, small_nets.shortcut
HALF = route(-1, groups=2, group_id=1)
HEAD = conv(5, size=1, activation="linear", bn=None)


def residual(activation):
    block = conv(12, size=1, activation=activation) + conv(24, activation=activation) + shortcut(-3)
    return cfg(conv(24, activation=activation), block * 3, conv(16, activation=activation), HEAD)


def weighted(norm):
    sum_of = shortcut(-2, weights_type="per_channel", weights_normalization=norm)
    return cfg(conv(16), conv(16), sum_of, small_nets.section("activation", activation="swish"), conv(8), HEAD)


NETS = OrderedDict(
    [
        ("residual", residual("leaky")),
        ("residual-mish", residual("mish")),
        ("curves", cfg(*[conv(20, size=3 - 2 * (i % 2), activation=name) for i, name in enumerate(CURVES)] + [HEAD])),
        (
            "routes",
            cfg(conv(16), conv(12, activation="swish"), route(-1, 0), conv(20), route(-1, groups=2, group_id=1)),
        ),
        ("weighted-softmax", weighted("softmax")),
        ("weighted-relu", weighted("relu")),
        ("wide", cfg(conv(150, activation="mish"), conv(70, size=5), conv(130, size=1, activation="tanh"), HEAD)),
    ]
)
for _seed in (3, 8, 21, 34, 55, 89):
    NETS["random-{}".format(_seed)] = text_of(Maker(Choices(_seed)).grow()).decode("latin-1")

OPTIONS = OrderedDict(
    [
        ("exact", dict(channels=0.5)),
        ("none", dict(channels=0.5, absorb="none")),
        ("bias", dict(channels=0.4, absorb="bias", scope="layer", group="mean")),
        ("l2", dict(channels=0.5, score="l2", group="sum", round=4, min_keep=0.2)),
        ("blocks", dict(channels=0.3, blocks=1)),
        ("only-blocks", dict(blocks=2, round=8, block_rank="last")),
        ("edited", dict(channels=0.5)),
    ]
)


def cases():
    """(net, options) by name; blocks only where there are some."""
    return [(n, o) for n in NETS for o in OPTIONS if "blocks" not in OPTIONS[o] or n.startswith("residual")]


def weights_of(text):
    """The weights of a net as bytes: random 24-bit integers over powers of two, and half of the gammas 0."""
    random, parts = np.random.RandomState(len(text)), [NEW_HEADER.to_bytes()]
    for _, spec in build(small_nets.parse(text)).specs():
        count = int(np.prod(spec.shape))
        values = random.randint(-(2**23), 2**23, count) / 2.0**23
        if spec.name.endswith("variance"):
            values = np.abs(values) + 0.5
        elif spec.name == "scales":
            values = values * random.randint(0, 2, count)
        elif len(spec.shape) > 1 and spec.axes[0] != "source":
            values = values / 8
        parts.append(values.astype("<f4").tobytes())
    return b"".join(parts)


def written(net_name, option_name, folder, cfg_path=None):
    """The bytes of the three files by suffix, or of the error's message.

    They are made in `folder`; `cfg_path` is the input's path without suffix, if it is to be named in another way.
    """
    base = os.path.join(folder, net_name)
    with open(base + ".cfg", "wb") as stream:
        stream.write(NETS[net_name].encode("latin-1"))
    with open(base + ".weights", "wb") as stream:
        stream.write(weights_of(NETS[net_name]))
    source = cfg_path or base
    try:
        result = prune(load(source + ".cfg", source + ".weights"), force=True, **OPTIONS[option_name])
    except DarkpruneError as error:
        return OrderedDict(error=error.message.encode("latin-1"))
    net = result.net
    if option_name == "edited":
        for layer in [layer for layer in net.layers if layer.has("biases")][:2]:
            layer.set("activation", "relu")
            layer.set_param("biases", layer.array("biases") * 2)
    out = os.path.join(folder, "out")
    save(net, out, overwrite=True, plan=result.plan)
    return OrderedDict((suffix, read(out + suffix)) for suffix in SUFFIXES)


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def digests(files):
    return OrderedDict((suffix, hashlib.sha256(data).hexdigest()) for suffix, data in files.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table; without, print what differs from it")
    table = OrderedDict()
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for net, options in cases():
            table["{} {}".format(net, options)] = digests(written(net, options, folder))
    if args.write:
        with open(TABLE, "w") as stream:
            stream.write(json.dumps(table, indent=1) + "\n")
        return
    before = json.loads(read(TABLE).decode("ascii"))
    for name in table:
        for suffix in table[name]:
            if before.get(name, {}).get(suffix) != table[name][suffix]:
                print("{}: other {}".format(name, suffix))


if __name__ == "__main__":
    main()
