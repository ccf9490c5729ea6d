"""The cfgs that tools/coverage.py prunes: where they are, which can be pruned, and at what size they are run."""

import os

from darkprune.darknet.dialect_epsilon import DEFAULT
from darkprune.errors import DarkpruneError
from darkprune.graph.build import load
from darkprune.graph.channels import Channels
from darkprune.ops.recurrent import Recurrent

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.path.join(ROOT, os.environ.get("DARKPRUNE_SHARED", os.path.join("..", "shared")))
DEBIAN = "/usr/share/darknet/cfg"
FOLDERS = (  # name in the table, folder, the dialect its cfgs are written in
    ("own", os.path.join(ROOT, "cfg"), DEFAULT),
    ("AlexeyAB", os.path.join(SHARED, "cfgs", "alexeyab"), DEFAULT),
    ("models", os.path.join(SHARED, "models"), DEFAULT),
    ("Debian", DEBIAN, "pjreddie"),
)
SIDES = (8, 12, 16, 19, 24, 28, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)


def sorted_out(chosen):
    """(jobs, the smallest first; the cfgs that are not pruned, as (name, why))."""
    jobs, others = [], []
    for name, path, dialect in chosen:
        net = load(path, None, dialect)
        why = unfit(net)
        if why is None:
            jobs.append((net.count_parameters(), (name, path, dialect)))
        else:
            others.append((name, why))
    return [job for _, job in sorted(jobs, key=lambda j: j[0])], others


def unfit(net):
    """Why nothing of a net is pruned, None where something may be."""
    recurrent = sorted({"[{}]".format(layer.type) for layer in net.layers if isinstance(layer.op, Recurrent)})
    if recurrent:
        return "{} remembers the images before".format(" and ".join(recurrent))
    if not any(layer.op.convolution for layer in net.layers):
        return "no convolution"
    sets = Channels(net)
    if not ((sets.filters > 0) & (sets.pinned < 0)).any():
        return "no filter may go: " + str(sets.pin_reason(sets.sets[sets.outputs[0][0]]))
    return None


def nets():
    """(name, path, dialect) of every cfg, in order."""
    found = []
    for label, top, dialect in FOLDERS:
        for folder, _, files in sorted(os.walk(top)):
            for file in sorted(f for f in files if f.endswith(".cfg")):
                inside = os.path.relpath(os.path.join(folder, file[:-4]), top)
                found.append(("{}/{}".format(label, inside), os.path.join(folder, file), dialect))
    return found


# ---- a smaller image


def shrunk(path, dialect):
    """The net of a cfg at the smallest size at which every layer has a map of the same kind as before."""
    original = load(path, None, dialect)
    for side in SIDES:
        for more in (side // 2, side, 0):
            small = resized(original, side + more, side)
            if small is not None and side <= original.input.shape.h:
                return small
    return original


def resized(original, width, height):
    """The net at another size, with its crop as much smaller; None where a layer does not have what it had."""
    net = original.copy()
    before = {"width": net.config["width"], "height": net.config["height"]}
    for key, size in (("width", width), ("height", height)):
        net.config.set(key, size)
        for layer in net.layers:
            if layer.text("crop_" + key) is not None:
                margin = before[key] - layer["crop_" + key]
                layer.set("crop_" + key, size)
                net.config.set(key, size + margin)
    try:
        net.check()
    except (DarkpruneError, ValueError):
        return None
    return net if all(alike(a, b) for a, b in zip(original.layers, net.layers)) else None


def alike(one, other):
    """Whether a layer has a map of 2 x 2 or more where it had one, and sources of equal size where they were equal."""
    (a, b), height = (one.shape, other.shape), min(one.shape.h, 2)
    return (a.c, a.w > 1) == (b.c, b.w > 1) and b.h >= height and joined(one) == joined(other)


def joined(layer):
    """Which of a layer's sources have maps of the same size."""
    sizes = [(source.shape.w, source.shape.h) for source in layer.inputs]
    return [first == second for first in sizes for second in sizes]
