"""Fashion-MNIST as Darknet's users have their data: PNG files in folders, lists, names and a .data file."""

import gzip
import os
import struct
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from darkprune.darknet.pair import write_file  # noqa: E402
from darkprune.detect.image_file import encode  # noqa: E402
from darkprune.detect.preprocess import centre  # noqa: E402

SOURCE = os.path.join("/usr", "share", "datasets", "fashion-mnist")  # of Debian's package dataset-fashion-mnist
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
LABELS = ["{}-{}".format(number, name.replace(" ", "-")) for number, name in enumerate(NAMES)]  # folders
SPLITS = {"train": "train", "valid": "t10k"}
TRAINING = 10000  # images at most; the choice is the same for every number's own seed
SEED = 5


def read_idx(path):
    """The uint8 array in a gzipped IDX file (http://yann.lecun.com/exdb/mnist). Raises ValueError."""
    with gzip.open(path, "rb") as stream:
        data = stream.read()
    axes = data[3] if data[:3] == b"\0\0\x08" else 0
    if not axes or len(data) < 4 + 4 * axes:
        raise ValueError("{} is no IDX file of bytes".format(path))
    shape = struct.unpack_from(">{}I".format(axes), data, 4)
    if len(data) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError("{} does not hold {} values".format(path, shape))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load(split, source=SOURCE, count=TRAINING):
    """(images uint8 [N, 28, 28], classes [N]) of "train" or "valid"; of "train" only `count`, equally many a class."""
    parts = ["{}-{}-ubyte.gz".format(SPLITS[split], kind) for kind in ("images-idx3", "labels-idx1")]
    images, classes = (read_idx(os.path.join(source, part)) for part in parts)
    if split == "train":
        random = np.random.RandomState(SEED)
        chosen = [random.permutation(np.flatnonzero(classes == k))[: count // len(NAMES)] for k in range(len(NAMES))]
        order = np.sort(np.concatenate(chosen))
        images, classes = images[order], classes[order]
    return images, classes.astype(np.int64)


def prepare(out, source=SOURCE, count=TRAINING):
    """Writes both splits below the folder `out`, and out/fashion.data, whose path it returns."""
    for split in SPLITS:
        images, classes = load(split, source, count)
        for label in LABELS:
            os.makedirs(os.path.join(out, split, label), exist_ok=True)
        paths = []
        for number, (image, kind) in enumerate(zip(images, classes)):
            path = os.path.join(split, LABELS[kind], "{:05d}.png".format(number))
            write_file(os.path.join(out, path), [encode(np.repeat(image[:, :, None], 3, 2), ".png")], overwrite=True)
            paths.append(path)
        _text(os.path.join(out, split + ".txt"), paths)
    _text(os.path.join(out, "fashion.names"), NAMES)
    _text(os.path.join(out, "fashion.labels"), LABELS)
    data = os.path.join(out, "fashion.data")
    parts = ["{}={}".format(key, os.path.join(out, key + ".txt")) for key in SPLITS]
    parts += ["{0}={1}".format(key, os.path.join(out, "fashion." + key)) for key in ("labels", "names")]
    _text(data, ["classes={}".format(len(NAMES))] + parts + ["top=5"])
    return data


def _text(path, lines):
    write_file(path, ["".join(line + "\n" for line in lines).encode("utf-8")], overwrite=True)


def scaling(size, width):
    """Two float32 matrices [width, size]: rows @ image @ columns.T is a grey image of size x size as darkprune's
    classifiers take it, in 0..1 for bytes in 0..255.

    They are taken from `centre` itself, which is linear along rows and along columns; the last row may be dark.
    """
    basis = np.zeros((size, size, size, 3), np.uint8)
    whole = np.full((size, size, 3), 255, np.uint8)
    basis[np.arange(size), np.arange(size)] = 255
    total = centre(whole, width, width)[0]
    down = np.stack([centre(image, width, width)[0] for image in basis], axis=1)  # [width, size, width]
    across = np.stack([centre(image.transpose(1, 0, 2), width, width)[0] for image in basis], axis=2)
    best_row, best_column = np.unravel_index(np.argmax(total), total.shape)
    rows, columns = down[:, :, best_column], across[best_row]
    return rows, columns / total[best_row, best_column]
