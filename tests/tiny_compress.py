"""A net, images and a config that compress goes through in seconds."""

import os

import numpy as np

import need
from small_nets import cfg, conv, section, shortcut

NET = cfg(
    conv(8, stride=2),
    conv(8, stride=2),
    conv(12),
    conv(8),
    shortcut(-3),
    conv(12),
    conv(21, size=1, activation="linear", bn=None),
    section("yolo", mask="0,1,2", anchors="6,6, 10,10, 16,16", classes=2, num=3, ignore_thresh=0.7, iou_loss="ciou"),
    width=32,
    height=32,
    batch=4,
    subdivisions=2,
    learning_rate=0.02,
    burn_in=2,
    momentum=0.9,
    flip=1,
    mosaic=1,
)

CONFIG = """\
[model]
cfg = {folder}/tiny.cfg
data = {folder}/tiny.data

[train]
epochs = 3

[sparsify]
epochs = 3
strength = 0.5

[prune]
channels = 0.5
criterion = l1,gamma_next
combine = union
recalibrate = 6

[finetune]
epochs = 2
distill = {distill}

[run]
seed = 3
workers = 0
every = 10
save_every = 2

[output]
folder = {out}
"""


def write(folder, images=8):
    """Coloured rectangles of two classes on grey, and what names them."""
    cv2 = need.opencv()
    random = np.random.RandomState(5)
    paths = []
    for number in range(images):
        path = os.path.join(str(folder), "{}.png".format(number))
        pixels = np.full((32, 32, 3), 96, np.uint8)
        lines = []
        for label in range(2):
            left, top, width, height = random.randint(0, 16, 2).tolist() + random.randint(6, 16, 2).tolist()
            pixels[top : top + height, left : left + width] = (230, 40, 40) if label else (40, 40, 230)
            centre = (left + width / 2.0) / 32, (top + height / 2.0) / 32
            lines.append("{} {} {} {} {}\n".format(label, centre[0], centre[1], width / 32.0, height / 32.0))
        assert cv2.imwrite(path, pixels)
        with open(path[:-4] + ".txt", "w") as stream:
            stream.writelines(lines)
        paths.append(path)
    texts = {"train.txt": paths[:6], "valid.txt": paths[6:], "tiny.names": ["blue", "red"]}
    texts["tiny.data"] = ["classes = 2", "train = train.txt", "valid = valid.txt", "names = tiny.names"]
    texts["tiny.cfg"] = NET.splitlines()
    for name, lines in texts.items():
        with open(os.path.join(str(folder), name), "w") as stream:
            stream.write("".join(line + "\n" for line in lines))
