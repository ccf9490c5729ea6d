"""What the tests of edits share: a pair with odd spelling, line by line comparison, and the real readers."""

import numpy as np

import small_nets
from darkprune.graph.build import build, load
from darkprune.graph.save import save

# Comments, blanks, spacing and a trailing comment that no edit may touch; the map is 16 x 16, the stride 4.
DETECTOR = """\
# a small detector

[net]
; the image
width = 16
height=16   # as the camera has it
channels=3
batch=8

""" + "".join(
    [
        small_nets.conv(8),
        "# down\n" + small_nets.conv(8, stride=2),
        small_nets.conv(8, stride=2),
        small_nets.conv(8),
        small_nets.shortcut(-2),
        small_nets.conv(24, 1, "linear", None),
        small_nets.section("yolo", mask="3,4,5", anchors="1,2, 3,4, 5,6, 7,8, 9,10, 11,12", classes=3, num=6),
        small_nets.route(-3),
        small_nets.conv(8, 1),
        small_nets.section("upsample", stride=2),
        small_nets.route(-1, 1),
        small_nets.conv(24, 1, "linear", None),
        "[yolo]\nmask = 0,1,2\nanchors=1,2, 3,4,  5,6, 7,8, 9,10, 11,12\n  classes = 3\nnum=6\n# the end\n",
    ]
)


def pair(folder, text=DETECTOR, name="net", dialect="alexeyab", header=None):
    """The net of a written pair; `header`: other bytes in front of its floats."""
    net = small_nets.net(folder, text, name, dialect=dialect)
    if header is None:
        return net
    path = folder / (name + ".weights")
    path.write_bytes(header + path.read_bytes()[20:])
    return load(str(folder / (name + ".cfg")), str(path), dialect)


def random_pair(folder, text, name="net", dialect="alexeyab"):
    """The net of a pair whose arrays are all noise, the batch-norm statistics too; for layers no backend runs."""
    path = folder / (name + ".cfg")
    path.write_bytes(text.encode("ascii"))
    random, parts = np.random.RandomState(11), [np.array([0, 2, 5, 9, 0], "<i4").tobytes()]
    for _, spec in build(small_nets.parse(text), dialect).specs():
        values = random.randn(*spec.shape) / np.sqrt(max(1.0, np.prod(spec.shape[1:])))
        positive = spec.name.endswith(("variance", "scales"))
        parts.append((random.rand(*spec.shape) + 0.1 if positive else values).astype("<f4").tobytes())
    (folder / (name + ".weights")).write_bytes(b"".join(parts))
    return load(str(path), str(folder / (name + ".weights")), dialect)


def written(net, folder, name="out", dialect="alexeyab"):
    """The net that is read back from where `net` was written."""
    prefix = str(folder / name)
    save(net, prefix)
    return load(prefix + ".cfg", prefix + ".weights", dialect)


def changes(folder, before="net.cfg", after="out.cfg"):
    """(old line, new line) of all lines that differ between two cfgs of equally many lines."""
    old, new = [(folder / name).read_bytes().split(b"\n") for name in (before, after)]
    assert len(old) == len(new)
    return [(a.decode("ascii"), b.decode("ascii")) for a, b in zip(old, new) if a != b]


def same_weights(folder, before="net.weights", after="out.weights"):
    return (folder / before).read_bytes() == (folder / after).read_bytes()
