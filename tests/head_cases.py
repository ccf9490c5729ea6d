"""Detection heads of every kind, with raw values for them.

The raw values are the image itself: a convolution whose kernels are 1 in the middle of their own channel passes every
second pixel to the head.
"""

import struct

import numpy as np

from small_nets import cfg, conv, section

ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45"
ALL = {"anchors": ANCHORS, "num": 5, "classes": 3}
CELLS = {"anchors": "1.1,1.4, 1.6,3.0, 3.3,2.3", "num": 3, "classes": 3, "coords": 4}
TREE = b"animal -1\nthing -1\ncat 0\ndog 0\ncar 1\n"
YOLO = dict(ALL, mask="0,2,3")

# name -> head, its channels, the spread of the raw values, the threshold; and -nms, AlexeyAB's nms_kind and beta_nms
CASES = {
    "yolo": (section("yolo", **YOLO), 24, 2, 0.6),
    "yolo without mask": (section("yolo", **ALL), 40, 2, 0.7),
    "yolo of one class": (section("yolo", anchors="9,8", num=1, classes=1), 6, 2, 0.15),
    "region": (section("region", softmax=1, **CELLS), 24, 2, 0.6),
    "region, logistic classes": (section("region", **CELLS), 24, 2, 0.7),
    "detection": (section("detection", side=3, num=2, classes=3, coords=4, sqrt=1), 117, 1, 0.6),
    "detection, softmax": (section("detection", side=3, num=2, classes=3, coords=4, softmax=1), 117, 1, 0.3),
    "suppressed": (section("yolo", **YOLO), 24, 2, 0.2, 0.3, 0, 0.6),
}
FORK = {
    "scale_x_y": (section("yolo", scale_x_y=1.2, **YOLO), 24, 2, 0.6),
    "new_coords": (section("yolo", scale_x_y=2, new_coords=1, **YOLO), 24, 1, 0.6),
    "gaussian": (section("Gaussian_yolo", scale_x_y=1.1, **YOLO), 36, 2, 0.35),
    "gaussian, left top": (section("Gaussian_yolo", yolo_point="left_top", **YOLO), 36, 2, 0.35),
    "gaussian, right bottom": (section("Gaussian_yolo", yolo_point="right_bottom", **YOLO), 36, 2, 0.35),
    "region, raw classes": (section("region", **CELLS), 24, 1, 1.0),
    "region, tree": (section("region", tree="five.tree", softmax=1, **dict(CELLS, classes=5)), 30, 3, 0.45),
    "greedynms": (section("yolo", nms_kind="greedynms", **YOLO), 24, 2, 0.2, 0.3, 1, 0.6),
    "diounms": (section("yolo", nms_kind="diounms", beta_nms=0.8, **YOLO), 24, 2, 0.2, 0.3, 2, 0.8),
}
BOTH = sorted(set(CASES) - {"region, logistic classes"})  # that one is another in AlexeyAB's fork


def case(name, folder):
    """Writes a case's pair, tree and image in a folder; gives (raw, threshold, nms, kind, beta)."""
    head, channels, spread, threshold = dict(CASES, **FORK)[name][:4]
    single = "[detection]" in head
    columns, rows = (1, 1) if single else (6, 4)
    random = np.random.RandomState(sum(map(ord, name)))
    positive = single or "new_coords" in head
    raw = (
        random.uniform(0, spread, (channels, rows, columns))
        if positive
        else spread * random.randn(channels, rows, columns)
    )
    raw = raw.astype(np.float32)
    text = cfg(
        conv(channels, size=3, stride=2, activation="linear", bn=None),
        head,
        width=2 * columns,
        height=2 * rows,
        channels=channels,
    )
    (folder / "net.cfg").write_text(text)
    kernels = np.zeros((channels, channels, 3, 3))
    kernels[np.arange(channels), np.arange(channels), 1, 1] = 1
    values = np.concatenate([np.zeros(channels), kernels.reshape(-1)]).astype("<f4")
    (folder / "net.weights").write_bytes(struct.pack("<iiiQ", 0, 2, 5, 0) + values.tobytes())
    (folder / "five.tree").write_bytes(TREE)
    np.save(str(folder / "image.npy"), raw.repeat(2, axis=1).repeat(2, axis=2))
    return raw, threshold, dict(CASES, **FORK)[name][4:] or (0, 0, 0.6)
