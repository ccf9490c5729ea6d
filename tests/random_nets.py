"""Random valid nets and their files, from one source of choices.

The source is a seeded generator, a recorded list that is being shrunk, or Hypothesis: whatever has
`integer(low, high)`. Every choice is made so that the lowest number is the simplest one.
"""

from collections import OrderedDict

import numpy as np

from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.darknet.cfg import parse
from darkprune.darknet.weights import Header
from darkprune.graph.build import build
from darkprune.graph.write import file_arrays
from random_layers import MOST, VALUES, WIDEST
from random_wiring import Wiring
from small_nets import make_weights

ALIASES = {"convolutional": "conv", "connected": "conn", "maxpool": "max", "avgpool": "avg", "softmax": "soft"}
HEADERS = [(0, 2, 5, 0, True), (0, 2, 5, 12800, True), (0, 1, 0, 64, False), (1001, 0, 0, 0, False)]
LEAST_VARIANCE = 0.25
COMMENTS = ["# {}", "; {}", "#{}", "  # {}", "\t#  [net] {}"]


class Maker(Wiring):
    """Layers with no weights, and the ends; `grow` makes a whole net."""

    def grow(self):
        target = min(self.source.integer(1, MOST), self.source.integer(1, MOST))
        self.conv() if not self.chance(6) else self.maxpool()
        while self.count < target:
            if self.now[0] * self.now[1] <= 2 and self.chance(60):
                self.back()
            if not self.now[0]:
                self.connected()
                continue
            kind = self.pick(["conv"] * (1 + len(self.kinds) // 3) + self.kinds)
            if kind == "connected" and self.flavour == "opencv" and self.count < target - 3:
                kind = "conv"  # OpenCV takes no map behind it
            getattr(self, kind)()
        if self.chance(50) and self.now[0]:
            self.pick([self.conv, self.yolo, self.softmax, self.connected, self.region, self.detection])()
            while self.sections[-1][0] == "route" and self.chance(80):  # the last layer is the head
                del self.sections[-1], self.shapes[-1]
        del self.sections[MOST:], self.shapes[MOST:]
        return self

    # ---- pooling and resampling

    def maxpool(self, kind="maxpool"):
        w, h, c = self.now
        size, stride = self.pick([(2, 2), (2, 1), (3, 2), (5, 1), (13, 1), (3, 1), (9, 1), (4, 3), (1, 2)])
        options = OrderedDict([("size", size), ("stride", stride)])
        padding, (sx, sy) = size - 1, (stride, stride)
        if self.chance(20):
            fits = [n for n in (0, 1, 2, 4) if min(w, h) + n >= size and n - n // 2 < size]  # no window sees nothing
            padding = options["padding"] = self.pick(fits or [size - 1])
        if self.flavour == "fork" and self.chance(15):
            sx = options["stride_x"] = self.pick([1, 2])
            sy = options["stride_y"] = self.pick([2, 1])
        if self.chance(6) and kind == "maxpool" and size == stride:
            del options["size"]
        self.add(kind, ((w + padding - size) // sx + 1, (h + padding - size) // sy + 1, c), list(options.items()))

    def local_avgpool(self):
        self.maxpool("local_avgpool")

    def avgpool(self):
        self.add("avgpool", (1, 1, self.now[2]))

    def upsample(self):
        w, h, c = self.now
        if max(w, h) * 2 > WIDEST or w * h * c * 4 > VALUES:
            return self.maxpool()
        scale = self.pick([None, None, "0.5", "1.5"]) if self.flavour != "opencv" else None
        self.add("upsample", (w * 2, h * 2, c), [("stride", 2), ("scale", scale)])

    def reorg(self, kind="reorg"):
        w, h, c = self.now
        if w % 2 or h % 2:
            return self.conv()
        if c > 16 or (c % 4 and kind == "reorg"):
            self.conv(filters=self.pick([4, 8]), size=1, keep=True)
        w, h, c = self.now
        self.add(kind, (w // 2, h // 2, c * 4), [("stride", 2)])

    def flattened(self):
        """What only the original does to a buffer: [c][h*w] becomes [h*w][c], or gets more values."""
        w, h, c = self.now
        if w * h * c <= 600 and self.chance(40):
            extra = self.pick([1, 5])
            self.add("reorg", (0, 0, w * h * c + extra), [("stride", 1), ("extra", extra)])
            return self.connected()
        stride = self.pick([1, 1, 2 if w % 2 == h % 2 == 0 and c < 16 else 1])
        if stride == 2 and c % 4 == 0 and max(w, h) <= WIDEST // 2 and self.chance(50):
            return self.add("reorg", (w * 2, h * 2, c // 4), [("stride", 2), ("flatten", 1), ("reverse", 1)])
        reverse = self.pick([None, 1]) if stride == 1 else None
        shape = (w // stride, h // stride, c * stride * stride)
        if c < stride * stride:
            return self.conv(filters=8)
        self.add("reorg", shape, [("stride", stride), ("flatten", 1), ("reverse", reverse)])

    def reorg3d(self):
        w, h, c = self.now
        if c % 4 == 0 and max(w, h) <= WIDEST // 2 and self.chance(20):
            return self.add("reorg3d", (w * 2, h * 2, c // 4), [("stride", 2), ("reverse", 1)])
        self.reorg("reorg3d")

    def crop(self):
        w, h, c = self.now
        fewer = [max(1, n - self.pick([2, 1, 3, 0])) for n in (w, h)]
        adjust = 1 if self.flavour == "opencv" else self.pick([1, None])
        options = [("crop_width", fewer[0]), ("crop_height", fewer[1]), ("noadjust", adjust)]
        self.add("crop", (fewer[0], fewer[1], c), options)

    def deep(self):
        """A maximum over channels."""
        n = self.pick([k for k in (4, 2, 6, 1) if k <= self.now[2]])
        options = [("size", 1), ("stride", 1), ("maxpool_depth", 1), ("out_channels", n)]
        self.add("maxpool", self.now[:2] + (n,), options)

    def local(self):
        w, h, c = self.now
        if w * h > 100:
            stride = 2 if w * h < 400 else 5
            w, h = -(-w // stride), -(-h // stride)
            self.add("maxpool", (w, h, c), [("size", stride), ("stride", stride)])
        if c > 8:
            self.conv(filters=4, size=1, keep=True)
        n, size, stride, pad = self.pick([3, 5, 2]), self.pick([3, 1, 2]), self.pick([1, 2]), 0
        if min(self.now[:2]) < size:
            size = 1
        if size == 3 and self.flavour == "fork" and self.chance(30):
            pad = 1
        w, h = [(length - (1 if pad else size)) // stride + 1 for length in self.now[:2]]
        options = [("filters", n), ("size", size), ("stride", stride), ("pad", pad)]
        self.add("local", (w, h, n), options + [("activation", self.pick(self.activations))])

    # ---- one layer, same shape

    def dropout(self):
        self.add("dropout", self.now, [("probability", ".5")])

    def empty(self):
        self.add("empty", self.now)

    def batchnorm(self):
        self.add("batchnorm", self.now)

    def activation(self):
        self.add("activation", self.now, [("activation", self.function())])

    def logistic(self):
        self.add("logistic", self.now)

    def normalization(self):
        if self.now[2] < 3:
            return self.conv()
        size = self.pick([5, 3])
        self.add("normalization", self.now, [("size", size), ("alpha", ".001"), ("beta", "0.75"), ("kappa", 1)])

    # ---- ends

    def connected(self):
        w, h, c = self.now
        if w * h * c > 1500:
            stride = 2 if w * h * c < 6000 else 8
            self.add("maxpool", (-(-w // stride), -(-h // stride), c), [("size", stride), ("stride", stride)])
        for _ in range(self.pick([1, 2, 3])):
            n = self.pick([5, 8, 16, 3])
            options = [("output", n), ("batch_normalize", self.pick([None, None if self.flavour == "opencv" else 1]))]
            self.add("connected", (1, 1, n), options + [("activation", self.pick(self.activations))])

    def softmax(self):
        if self.now[:2] not in ((1, 1), (0, 0)):
            self.pick([self.avgpool, self.connected])()
        n = self.now[2] * max(1, self.now[0] * self.now[1])
        self.add("softmax", (0, 0, n), [("groups", self.pick([1, None]))])
        if self.chance(40):
            self.add("cost", (0, 0, n), [("type", "sse")])
            self.back()
        elif self.chance(60):
            self.back()

    def yolo(self, kind="yolo", entries=5):
        classes, total = self.pick([1, 2, 3]), self.pick([2, 1, 3])
        mask = list(range(total))[self.source.integer(0, total - 1) :]
        n = len(mask) * (classes + entries)
        self.conv(filters=n, size=1, keep=True, activation="linear", bn=self.pick([0, 0, 0, 1]))
        options = [("mask", ",".join(map(str, mask))), ("anchors", self._anchors(total)), ("classes", classes)]
        options += [("num", total), ("scale_x_y", "1.05" if self.flavour == "fork" and self.chance(30) else None)]
        self.add(kind, self.now, options)
        self.back()

    def Gaussian_yolo(self):
        self.yolo("Gaussian_yolo", 9)

    def detection(self):
        """The head of the first YOLO; OpenCV has none."""
        if self.flavour == "opencv":
            return self.conv()
        self.connected()
        classes, side = self.pick([1, 3]), self.pick([1, 2])
        n = side * side * (5 + classes)
        self.add("connected", (1, 1, n), [("output", n), ("activation", "linear")])
        self.add("detection", (0, 0, n), [("classes", classes), ("coords", 4), ("num", 1), ("side", side)])
        self.back()

    def region(self):
        if self.flavour == "opencv" and any(kind == "region" for kind, _ in self.sections):
            return self.yolo()
        classes, total = self.pick([1, 2, 3]), self.pick([2, 1])
        self.conv(filters=total * (classes + 5), size=1, keep=True, activation="linear", bn=0)
        options = [("anchors", self._anchors(total)), ("classes", classes), ("coords", 4), ("num", total)]
        self.add("region", self.now, options + [("softmax", 1), ("bias_match", self.pick([None, 1]))])
        self.back()

    def _anchors(self, total):
        return ",".join("{},{}".format(self.pick([10, 3.5]) + i, 13 + i) for i in range(total))


# ---- files


def text_of(maker):
    """The bytes of a cfg: the maker's sections, spelled as people spell them."""
    pick, chance = maker.pick, maker.chance
    lists = pick([",", ",", ", ", " , "])
    equals = pick(["=", "=", " = ", "= ", "\t="])
    w, h, c = maker.input
    net = [("batch", 1), ("width", w), ("height", h), ("channels", c), ("learning_rate", "0.001"), ("max_batches", 9)]
    lines = ["# a random net"] if chance(20) else []
    for number, (kind, options) in enumerate([("net", net)] + maker.sections):
        if chance(10):
            lines.append(pick(COMMENTS).format(number - 1))
        aliases = maker.flavour != "opencv" and chance(4)
        lines.append("[{}]".format(ALIASES.get(kind, kind) if aliases else kind))
        for key, value in options:
            lines.append("{}{}{}".format(key, equals, str(value).replace(",", lists)))
            if chance(2):
                lines.append(pick(["", "# filters=3", "  ", "stopbackward=0", ";"]))
        lines += [""] * pick([1, 1, 0, 2])
    end = "\r\n" if chance(3) else "\n"
    text = end.join(lines) + ("" if chance(5) else end)
    return (b"\xef\xbb\xbf" if chance(2) else b"") + text.encode("ascii")


def header_of(maker):
    """The header of the weights file: any of the known forms, the usual one more often."""
    return Header(*maker.pick(HEADERS[:1] * 12 + HEADERS))


class Gentle(make_weights.Measuring):
    """Statistics that never blow a map up: a deep random net would amplify the rounding of float32 with it."""

    def batch_norm(self, x, gamma, beta, mean, variance):
        if "mean" in self.subject.params:
            seen = x.mean(axis=(0, 2, 3), dtype=np.float64), x.var(axis=(0, 2, 3), dtype=np.float64)
            mean, variance = seen[0].astype(np.float32), np.maximum(seen[1], LEAST_VARIANCE).astype(np.float32)
            self.subject.set_param("mean", mean)
            self.subject.set_param("variance", variance)
        return NumpyBuilder.batch_norm(self, x, gamma, beta, mean, variance)


def write_weights(data, path, seed, header, dead, dialect):
    """Writes weights for the cfg `data`: batch norm with the statistics of the net's own maps, some gammas dead.

    Args:
        dead: share of the removable channel sets whose gamma is 0.
    """
    net = build(parse(data), dialect)
    net.header = header
    random = np.random.RandomState(seed)
    silent = make_weights.dead_channels(net, dead, random)
    calibration = make_weights.Calibration(net, random)
    calibration.builder = Gentle(net.dialect.name)
    chunks = [header.to_bytes()]
    for layer in net.layers:
        make_weights.fill(layer, silent.get(layer.index), random)
        _vary(layer, random)
        calibration.advance(layer)
        chunks += [np.ascontiguousarray(a, "<f4").tobytes() for a in file_arrays(net, layer)]
    with open(path, "wb") as stream:
        stream.write(b"".join(chunks))


def _vary(layer, random):
    """Some gammas negative, some near 0, some betas exactly 0."""
    if layer.has("scales") and random.randint(2):
        scales = layer.array("scales").copy()
        scales[random.uniform(size=scales.size) < 0.15] *= -1
        scales[random.uniform(size=scales.size) < 0.1] *= np.float32(1e-4)
        layer.set_param("scales", scales)
    if layer.has("biases") and random.randint(3) == 0:
        biases = layer.array("biases").copy()
        biases[random.uniform(size=biases.shape) < 0.4] = 0
        layer.set_param("biases", biases)
