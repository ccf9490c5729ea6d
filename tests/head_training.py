"""Heads in training: a net whose head reads chosen raw values, targets for it, and a real Darknet's deltas.

    python head_training.py LIBDARKNET.so darknet.h OUT.json

writes what AlexeyAB's Darknet says of the cases below, as tests/data/alexeyab_deltas.json holds it.
"""

import struct
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np

from darkprune.data.labels import Truth
from darkprune.graph.build import load
from small_nets import conv, section

PROGRAM = Path(__file__).resolve().parent / "darknet_deltas.py"
STRIDE = 8


def cfg(head, channels, images, grid, *more):
    """A cfg whose layer 0 passes every eighth pixel, all channels, to the sections behind it."""
    columns, rows = grid
    net = section("net", width=STRIDE * columns, height=STRIDE * rows, channels=channels, batch=images, subdivisions=1)
    return net + conv(channels, stride=STRIDE, activation="linear", bn=None) + head + "".join(more)


def write(folder, text, channels):
    """Writes net.cfg and net.weights; returns their paths."""
    paths = [str(folder / name) for name in ("net.cfg", "net.weights")]
    Path(paths[0]).write_text(text)
    kernels = np.zeros((channels, channels, 3, 3))  # Debian's Darknet takes a 1x1 kernel for one of stride 1
    kernels[np.arange(channels), np.arange(channels), 1, 1] = 1
    values = np.concatenate([np.zeros(channels), kernels.reshape(-1)]).astype("<f4")
    Path(paths[1]).write_bytes(struct.pack("<iiiQ", 0, 2, 5, 0) + values.tobytes())
    return paths


def net(folder, head, channels, images=2, grid=(4, 3), dialect="pjreddie"):
    """The net of such a cfg, read from files in `folder`."""
    return load(*write(folder, cfg(head, channels, images, grid), channels), dialect)


def truths(seed, counts, classes, crowded=False):
    """Targets of images with so many objects each; crowded: several of them in each place."""
    random = np.random.RandomState(seed)
    found = []
    for count in counts:
        places = random.uniform(0.05, 0.95, (count, 2))
        if crowded:
            places[: count // 2] = places[:1] + random.uniform(0, 0.02, (count // 2, 2))
        sizes = np.exp(random.uniform(np.log(0.05), np.log(0.8), (count, 2)))
        found.append(Truth(random.randint(0, classes, count).astype(np.int64), np.concatenate([places, sizes], axis=1)))
    return found


def darknets(found, boxes, size=5):
    """Targets as Darknet lays them out: `size` numbers for each of at most `boxes` objects, zeros behind them."""
    table = np.zeros((len(found), boxes, size), np.float32)
    for row, truth in zip(table, found):
        row[: len(truth.classes), :4] = truth.boxes
        row[: len(truth.classes), 4] = truth.classes
    return table.reshape(len(found), -1)


def deltas(folder, library, header, raw, truth, seen=-1, own=False):
    """(delta [N, C, h, w], cost of each layer) that Darknet computes for the pair in `folder`.

    own: the head's own deltas, not those that it passes on: the original's [region] passes none on without a GPU.
    """
    batch = raw.repeat(STRIDE, axis=2).repeat(STRIDE, axis=3)
    np.save(str(folder / "batch.npy"), batch.astype(np.float32))
    np.save(str(folder / "truth.npy"), truth.astype(np.float32))
    names = [str(folder / name) for name in ("net.cfg", "net.weights", "batch.npy", "truth.npy", "out.npz")]
    command = [sys.executable, str(PROGRAM), str(library), str(header)] + names[:4] + [str(seen), names[4]]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=str(folder))
    assert run.returncode == 0, str(run.returncode) + run.stdout.decode("utf-8", "replace")[-2000:]
    with np.load(names[4]) as found:
        return found["own" if own else "passed"].reshape(raw.shape), found["cost"]


# ---- cases: head, channels, what the targets are, images seen

ANCHORS = {"anchors": "6,4, 16,13, 20,24, 4,9", "num": 4, "mask": "0,3", "classes": 3}
YOLO = dict(ANCHORS, ignore_thresh=0.3, max=20)
CELLS = {"anchors": ".6,.8, 1.6,1.3", "num": 2, "classes": 3, "coords": 4, "thresh": 0.3}
SCALES = {"object_scale": 5, "coord_scale": 2, "noobject_scale": 0.5, "class_scale": 1.5}
FIRST = dict(SCALES, side=2, num=2, classes=3, coords=4)
SHARES = dict(YOLO, scale_x_y=2, new_coords=1)
COUNTED = dict(YOLO, counters_per_class="10,20,40", cls_normalizer=0.5)
MANY = 20000
Case = namedtuple("Case", "head channels truths boxes seen")  # boxes: None where the head has no map


def _yolo(name="yolo", channels=16, **options):
    return Case(section(name, **dict(YOLO, **options)), channels, 3, 20, MANY)


def _region(seen=MANY, **options):
    return Case(section("region", **dict(CELLS, **options)), 16, 3, 30, seen)


def _first(**options):
    return Case(section("detection", **dict(FIRST, **options)), 52, 3, None, MANY)


def _classes(*sections):
    return Case("".join(sections), 7, 7, None, MANY)


CASES = {
    "yolo": _yolo(),
    "yolo, truth_thresh": _yolo(truth_thresh=0.4),
    "region, softmax": _region(softmax=1, bias_match=1, rescore=1, **SCALES),
    "region": _region(),
    "region, first images": _region(5, softmax=1),
    "detection": _first(),
    "detection, sqrt": _first(sqrt=1, rescore=1),
    "detection, forced": _first(sqrt=1, softmax=1, forced=1),
    "softmax": _classes(section("softmax")),
    "softmax, temperature": _classes(section("softmax", temperature=2)),
    "softmax, cost": _classes(section("softmax"), section("cost", scale=0.3)),
    "softmax, noloss": _classes(section("softmax", noloss=1), section("cost", type="masked")),
    "cost": _classes(section("cost")),
    "cost, L1": _classes(section("cost", type="L1", scale=2)),
}
ORIGINAL = {"logistic, cost": _classes(section("logistic"), section("cost", scale=0.5))}
FORK = {
    "objectness_smooth": _yolo(objectness_smooth=1),
    "objectness_smooth, truth_thresh": _yolo(objectness_smooth=1, truth_thresh=0.4),
    "label_smooth_eps": _yolo(label_smooth_eps=0.1, iou_thresh=0.3),
    "focal_loss": _yolo(focal_loss=1, iou_thresh=0.3),
    "counters_per_class": _yolo(**dict(COUNTED, max_delta=3)),
    "counters_per_class, focal_loss": _yolo(focal_loss=1, truth_thresh=0.4, **COUNTED),
    "iou": _yolo(iou_loss="iou", iou_normalizer=0.07, obj_normalizer=0.4),
    "giou": _yolo(iou_loss="giou", iou_thresh=0.2, iou_thresh_kind="giou"),
    "diou": _yolo(iou_loss="diou", iou_thresh=0.2, iou_thresh_kind="diou", scale_x_y=1.2),
    "ciou": _yolo(iou_loss="ciou", iou_thresh=0.2, iou_thresh_kind="ciou", max_delta=2),
    "new_coords": _yolo(**SHARES),
    "new_coords, ciou": _yolo(**dict(SHARES, iou_loss="ciou", iou_thresh=0.2)),
    "gaussian": _yolo("Gaussian_yolo", 24, uc_normalizer=0.7, scale_x_y=1.1),
    "gaussian, left top": _yolo("Gaussian_yolo", 24, iou_loss="ciou", yolo_point="left_top", max_delta=5),
    "gaussian, right bottom": _yolo("Gaussian_yolo", 24, iou_loss="giou", yolo_point="right_bottom", iou_thresh=0.3),
    "region, focal_loss": _region(softmax=1, focal_loss=1),
    "cost, smooth": _classes(section("cost", type="smooth")),  # the original has the wrong sign there
}
ALL = dict(CASES, **dict(ORIGINAL, **FORK))


def case(name, folder, dialect):
    """Writes a case's pair; gives (net, raw values, targets, targets as that Darknet lays them out)."""
    one = ALL[name]
    grid = (3, 2) if one.boxes else (1, 1)
    found = net(folder, one.head, one.channels, 3, grid, dialect)
    random = np.random.RandomState(sum(map(ord, name)))
    raw = (1.5 * random.randn(3, one.channels, grid[1], grid[0])).astype(np.float32)
    if "new_coords" in one.head:
        raw = 1 / (1 + np.exp(-raw))
    if one.truths == 7:
        return found, raw, np.array([3, 0, 6]), np.eye(7, dtype=np.float32)[[3, 0, 6]]
    objects = truths(len(name), (5, 0, 6), one.truths, crowded=True)
    if one.boxes is None:
        return found, raw, objects, _cells(objects, 2)
    fork = dialect == "alexeyab"
    boxes = 200 if fork else 30
    if "yolo" in one.head:
        boxes = 20 if fork else 90  # Debian's Darknet has room for 90, whatever max says
    return found, raw, objects, darknets(objects, boxes, 6 if fork else 5)


def _cells(found, side, classes=3):
    """Targets of [detection]: for each cell whether there is an object, its class, and its box."""
    table = np.zeros((len(found), side * side, 5 + classes), np.float32)
    for cells, truth in zip(table, found):
        for kind, box in zip(truth.classes, truth.boxes.astype(np.float32)):
            column, row = (box[:2] * side).astype(int)
            cell = cells[row * side + column]
            if not cell[0]:
                cell[[0, 1 + kind]] = 1
                cell[1 + classes :] = list(box[:2] * side - (column, row)) + list(box[2:])
    return table.reshape(len(found), -1)


def darknets_case(name, folder, library, header, dialect):
    """(deltas [N, C, h, w], cost of the head) of a case in a real Darknet."""
    _, raw, _, laid_out = case(name, folder, dialect)
    one = ALL[name]
    delta, cost = deltas(folder, library, header, raw, laid_out, one.seen, own=name.startswith("region"))
    return delta, float(cost[1])


def main(library, header, out):
    """Writes what AlexeyAB's Darknet says of all its cases: tests/data/alexeyab_deltas.json."""
    lines = []
    for name in sorted(set(CASES) - {"cost, L1"}) + sorted(FORK):  # of L1 it knows nothing
        with tempfile.TemporaryDirectory() as folder:
            delta, cost = darknets_case(name, Path(folder), library, header, "alexeyab")
        numbers = ",".join("{:.6g}".format(number) for number in delta.ravel().tolist())
        lines.append('"{}": {{"cost": {:.6g}, "delta": [\n{}]}}'.format(name, cost, numbers))
    Path(out).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
