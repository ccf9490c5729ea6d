"""Trains a net, and what pruning makes of it, for a few iterations in Debian's Darknet, on pictures of our own.

    python tools/train_further.py NET.cfg [NET.weights] [--channels 0.5] [--blocks 0] [--size 96] [--iterations 20]

It shows that a pruned pair can be trained further and that what Darknet saves is read again; twenty iterations on
coloured rectangles say nothing about accuracy. Without weights it makes synthetic ones (tools/make_weights.py).
"""

import argparse
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))

from make_weights import make  # noqa: E402

from darkprune.backends.darknet_ import DarknetRunner  # noqa: E402
from darkprune.errors import DarkpruneError  # noqa: E402
from darkprune.graph.build import load, totals  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.verify import compare_reader, test_batch  # noqa: E402

CLASSES = 2
ROW = re.compile(r"^(\d+): (\S+), (\S+) avg, (\S+) rate, \S+ seconds, (\d+) images$", re.MULTILINE)


def picture(random, size):
    """uint8 [size, size, 3], red first, and the lines of its label file: 1 to 3 reddish (class 0) or bluish (1)
    rectangles on noise."""
    image = random.randint(0, 120, (size, size, 3))
    lines = []
    for _ in range(random.randint(1, 4)):
        w, h = random.randint(size // 6, size // 2, 2)
        x, y = random.randint(0, size - w), random.randint(0, size - h)
        kind = random.randint(CLASSES)
        image[y : y + h, x : x + w] = random.randint(0, 60, 3)
        image[y : y + h, x : x + w, 2 * kind] = random.randint(180, 256)
        values = [(x + w / 2.0) / size, (y + h / 2.0) / size, float(w) / size, float(h) / size]
        lines.append("{} {:.6f} {:.6f} {:.6f} {:.6f}\n".format(kind, *values))
    return image.astype(np.uint8), "".join(lines)


def png(image):
    """The bytes of a PNG file of uint8 [H, W, 3], red first."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body) & 0xFFFFFFFF)

    height, width = image.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write(path, data):
    """Writes text or bytes."""
    with open(path, "wb") as stream:
        stream.write(data if isinstance(data, bytes) else data.encode("ascii"))


def write_data_set(folder, size, count=8, seed=11):
    """Pictures and labels, train.txt, toy.names, toy.data and the empty folder backup.

    All are named relative to `folder`: Darknet finds labels by replacing words of the picture's path, and the path
    of a folder may hold such a word by chance.
    """
    random = np.random.RandomState(seed)
    for number in range(count):
        image, lines = picture(random, size)
        write(os.path.join(folder, "p{}.png".format(number)), png(image))
        write(os.path.join(folder, "p{}.txt".format(number)), lines)
    write(os.path.join(folder, "train.txt"), "".join("p{}.png\n".format(number) for number in range(count)))
    write(os.path.join(folder, "toy.names"), "reddish\nbluish\n")
    options = "classes = {}\ntrain = train.txt\nnames = toy.names\nbackup = backup\n".format(CLASSES)
    write(os.path.join(folder, "toy.data"), options)
    os.mkdir(os.path.join(folder, "backup"))


def train(darknet, folder, stem):
    """Trains the pair `stem` in a folder that holds the data set, to its end.

    Returns (iteration, loss, average loss, pictures seen) of each iteration, and the path of the weights it saved.
    Raises RuntimeError where Darknet fails.
    """
    # Darknet does not wait for its thread that loads pictures, and often crashes when it has saved the weights. What it
    # printed by then would be lost, were it not for stdbuf, which lets it print line by line.
    command = ["stdbuf", "-oL", str(darknet), "detector", "train", "toy.data"]
    command += [stem + ".cfg", stem + ".weights", "-clear"]
    pipe = subprocess.PIPE  # one each: a line of the one must not be cut in two by the other
    saved = os.path.join(folder, "backup", stem + "_final.weights")
    ended = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, timeout=3600)
    if ended.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT) or not os.path.exists(saved):
        cause = ended.stderr.decode("latin-1")[-2000:]
        raise RuntimeError("Darknet ended with status {}: {}".format(ended.returncode, cause))
    text = ended.stdout.decode("latin-1")
    return [(int(n), float(loss), float(mean), int(seen)) for n, loss, mean, _, seen in ROW.findall(text)], saved


def shorten(net, size, batch, iterations):
    """Makes the cfg one of a short training on small pictures."""
    schedule = dict(
        width=size, height=size, batch=batch, subdivisions=1, max_batches=iterations, burn_in=5, policy="constant",
        learning_rate=0.0005,
    )  # fmt: skip
    for key, value in schedule.items():
        net.config.set(key, value)
    for layer in net.layers:
        if layer.text("random") is not None:
            layer.set("random", 0)  # else the pictures grow to 320 and more
    net.infer()


def report(darknet, folder, stem, label):
    """Trains one pair; returns the row of the table."""
    rows, saved = train(darknet, folder, stem)
    cfg = os.path.join(folder, stem + ".cfg")
    net = load(cfg, saved, "pjreddie")
    losses = [loss for _, loss, _, _ in rows]
    checks = compare_reader(net, DarknetRunner(cfg, saved), test_batch(net))
    cells = [
        label,
        "{:,}".format(totals(net)["parameters"]),
        "{:.1f}".format(losses[0]),
        "{:.1f}".format(float(np.mean(losses[-5:]))),
        "{} of {}".format(int(np.isfinite(losses).sum()), len(losses)),
        "{:.1e}".format(max(check.max_error for check in checks)),
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = """| net | parameters | loss, first iteration | mean of the last five | finite | error of what was saved |
|---|---|---|---|---|---|
"""


def run(arguments, darknet, folder):
    """Writes the pairs, trains each and prints the table."""
    cfg, weights = arguments.cfg, arguments.weights
    if weights is None:
        weights = os.path.join(folder, "made.weights")
        make(cfg, weights)
    net = load(cfg, weights)
    shorten(net, arguments.size, arguments.batch, arguments.iterations)
    write_data_set(folder, arguments.size)
    save(net, os.path.join(folder, "original"))
    options = [("channels", arguments.channels), ("blocks", arguments.blocks)]
    chosen = {key: value for key, value in options if value}
    net = load(os.path.join(folder, "original.cfg"), os.path.join(folder, "original.weights"))
    result = prune(net, force=True, **chosen)
    save(result.net, os.path.join(folder, "pruned"), plan=result.plan)
    sys.stdout.write(HEAD)
    words = ", ".join("{} {}".format(key, value) for key, value in sorted(chosen.items()))
    for stem, label in (("original", "original"), ("pruned", words)):
        sys.stdout.write(report(darknet, folder, stem, label) + "\n")
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfg")
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--channels", type=float, default=0.5)
    parser.add_argument("--blocks", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="width and height of the net and the pictures")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=20)
    arguments = parser.parse_args()
    darknet = shutil.which("darknet")
    if darknet is None:
        parser.exit(2, "error: no program darknet; it is in Debian's package darknet\n")
    folder = tempfile.mkdtemp(prefix="train-further-")
    try:
        run(arguments, darknet, folder)
    except DarkpruneError as error:
        parser.exit(2, "{}\n".format(error))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
