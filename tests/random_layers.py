"""The growing of random nets: choices and convolutions; random_wiring.py and random_nets.py have the other layers."""

import numpy as np

MOST = 40  # layers
WIDEST = 64  # pixels
VALUES = 40000  # of one map
HEADS = ("yolo", "region", "Gaussian_yolo", "detection", "cost")

COMMON = ["leaky", "linear", "relu", "leaky", "linear", "logistic", "tanh"]
DARKNET = COMMON + ["elu", "selu", "ramp", "relie", "loggy", "plse", "hardtan", "lhtan", "stair"]
OPENCV = COMMON + ["mish", "swish"]
FORK = DARKNET + ["mish", "swish", "mish", "swish", "hard_mish", "gelu", "revleaky", "relu6"]
COUPLING = ["normalize_channels", "normalize_channels_softmax", "normalize_channels_softmax_maxval"]

# What nets are made of; each net uses a part of it, so that rare neighbours meet.
SHARED = (
    "maxpool residual route shortcut uneven upsample avgpool grouped depthwise connected reorg crop dropout yolo "
    "region softmax"
)
DARKNET_ONLY = "normalization activation local flat_route detection"
ORIGINAL_ONLY = "strided flattened logistic logistic"  # in the dialect of the original
OPENCV_ONLY = "se sam grouped_route"
FORK_ONLY = (
    "grouped_route se sam attention local_avgpool local_avgpool reorg3d reorg3d empty empty batchnorm batchnorm "
    "implicit memory weighted Gaussian_yolo activation normalization shared several dilated blur local flat_route deep"
)
FLAVOURS = {
    "darknet": ((SHARED + " " + DARKNET_ONLY).split(), DARKNET, ("pjreddie", "alexeyab", "pjreddie")),
    "opencv": ((SHARED + " " + OPENCV_ONLY).split(), OPENCV, ("opencv", "alexeyab")),
    "fork": ((SHARED + " " + FORK_ONLY).split(), FORK, ("alexeyab",)),
}


class Choices:
    """Seeded choices, or those of `replay` (offsets from the lowest), 0 where it is exhausted; `taken` records them."""

    def __init__(self, seed=0, replay=None):
        self._random = np.random.RandomState(seed)
        self._replay = replay
        self.taken = []

    def integer(self, low, high):
        if self._replay is None:
            offset = int(self._random.randint(0, high - low + 1))
        else:
            offset = self._replay[len(self.taken)] if len(self.taken) < len(self._replay) else 0
            offset = min(offset, high - low)
        self.taken.append(offset)
        return low + offset


class Layers:
    """A net that grows. `sections` are (type, [(key, value)]); `shapes` are (w, h, c) as references see them."""

    def __init__(self, source):
        self.source = source
        self.flavour = self.pick(["fork", "darknet", "opencv", "fork", "darknet", "opencv", "fork"])
        kinds, self.activations, dialects = FLAVOURS[self.flavour]
        self.dialect = self.pick(dialects)
        if self.dialect == "pjreddie":
            kinds = kinds + ORIGINAL_ONLY.split()
        self.kinds = [k for k in kinds if self.chance(40)]
        w, h = [self.pick([8, 16, 32, 13, 24, 9, 17, 31, 48, 64]) for _ in range(2)]
        self.now = (w, h, self.pick([3, 1, 3, 4, 2]))
        self.input = self.now
        self.sections, self.shapes, self.seen = [], [], []

    # ---- choices

    def pick(self, options):
        return options[self.source.integer(0, len(options) - 1)]

    def chance(self, percent):
        return self.source.integer(0, 99) >= 100 - percent

    # ---- the net so far

    @property
    def count(self):
        return len(self.sections)

    def add(self, kind, shape, options=(), chain=None):
        self.seen.append(self.now)
        self.sections.append((kind, [(k, v) for k, v in options if v is not None]))
        self.shapes.append(shape)
        self.now = chain or shape

    def ref(self, index):
        return index if self.chance(40) else index - self.count

    def earlier(self, fits):
        """Layers whose map `fits` accepts; what reads a head itself gets other values from each reader."""
        return [i for i, s in enumerate(self.shapes) if s[0] and self.sections[i][0] not in HEADS and fits(s)]

    def same_size(self):
        return self.earlier(lambda s: s[:2] == self.now[:2])

    def back(self):
        """Returns to an earlier map."""
        large = self.earlier(lambda s: s[0] > 3 and s[1] > 3) or self.earlier(lambda s: True)
        if large:
            index = self.pick(large[::-1])
            self.add("route", self.shapes[index], [("layers", self.ref(index))])

    # ---- convolutions

    def filters(self, step=1):
        return self.pick([n for n in (8, 4, 6, 12, 16, 5, 3, 10, 2, 24) if n % step == 0] or [step, 2 * step])

    def function(self, coupling=False):
        """The name of an activation."""
        if coupling and self.flavour == "fork" and self.chance(3):
            return self.pick(COUPLING)
        return self.pick(self.activations)

    def conv(self, filters=None, size=None, keep=False, activation=None, groups=None, bn=None, **more):
        w, h, c = self.now
        size = size or self.pick([1, 3, 3, 1, 3, 2, 5])
        stride, pad, padding = 1, 1, None
        if keep:
            size -= size % 2 == 0
        elif self.chance(30):
            stride = 2
        plain = size == 1 and self.flavour != "fork"  # the original reads other 1x1 convolutions as plain ones
        if plain:
            stride, pad = 1, self.pick([1, 0, None])
        elif not keep and self.chance(25):
            pad, padding = self.pick([0, None]), self.pick([0, 1, 2])
        around = size // 2 if pad else padding or 0
        if min(w, h) + 2 * around < size or max(w, h) + 2 * around - size + 1 > WIDEST:
            size, stride, pad, padding, around = 1, 1, None, None, 0
        if groups is None and filters is None and self.chance(8):
            groups = self.pick([g for g in (2, 4, 1) if c % g == 0])
        filters = filters or self.filters(groups or 1)
        shape = ((w + 2 * around - size) // stride + 1, (h + 2 * around - size) // stride + 1, filters)
        if bn is None:
            bn = self.pick([1, 1, 1, 0])
        options = [("batch_normalize", bn or self.pick([None, 0])), ("filters", filters), ("size", size)]
        options += [("stride", stride), ("pad", pad), ("padding", padding), ("groups", groups)]
        options += [("activation", activation or self.function(True))] + sorted(more.items())
        self.add("convolutional", shape, options)

    def grouped(self):
        groups = self.pick([g for g in (2, 4, 1) if self.now[2] % g == 0])
        self.conv(filters=self.filters(groups), groups=groups)

    def depthwise(self):
        c = self.now[2]
        if c == 1:
            self.conv(filters=4)
            c = 4
        self.conv(filters=c * self.pick([1, 1, 1, 2, 3]), size=self.pick([3, 1, 2, 5]), groups=c)
        if self.now[2] > 24:
            self.conv(filters=8, size=1)

    def dilated(self):
        if min(self.now[:2]) >= 5:
            self.conv(size=3, keep=True, dilation=2)

    def blur(self):
        """A convolution with antialiasing: references see its map before the blur that strides."""
        w, h, c = self.now
        if min(w, h) < 4:
            return self.conv()
        n = self.filters()
        options = [("batch_normalize", 1), ("filters", n), ("size", 3), ("stride", 2), ("pad", 1)]
        blurred = ((w + 2 - 3) // 2 + 1, (h + 2 - 3) // 2 + 1, n)
        self.add("convolutional", (w, h, n), options + [("antialiasing", 1), ("activation", "leaky")], blurred)

    def shared(self):
        """Two convolutions with one set of weights."""
        c = self.now[2]
        self.conv(filters=c, size=3, keep=True)
        options = [(k, v) for k, v in self.sections[-1][1] if k != "groups"]
        self.add("convolutional", self.now, options + [("share_index", self.ref(self.count - 1))])
