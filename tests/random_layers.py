"""The growing of random nets: choices, convolutions and wiring. random_nets.py has the other layers and the files."""

import numpy as np

MOST = 40  # layers
WIDEST = 64  # pixels
VALUES = 40000  # of one map
HEADS = ("yolo", "region", "Gaussian_yolo")

COMMON = ["leaky", "linear", "relu", "leaky", "linear", "logistic", "tanh"]
DARKNET = COMMON + ["elu", "selu", "ramp", "relie", "loggy", "plse", "hardtan", "lhtan", "stair"]
OPENCV = COMMON + ["mish", "swish"]
FORK = DARKNET + ["mish", "swish", "mish", "swish", "hard_mish", "gelu", "revleaky", "relu6"]
COUPLING = ["normalize_channels", "normalize_channels_softmax", "normalize_channels_softmax_maxval"]

# What nets are made of; each net uses a part of it, so that rare neighbours meet.
SHARED = (
    "maxpool residual route shortcut upsample avgpool grouped depthwise connected reorg dropout yolo region softmax"
)
DARKNET_ONLY = "normalization activation"
OPENCV_ONLY = "se sam grouped_route"
FORK_ONLY = (
    "grouped_route se sam attention local_avgpool local_avgpool reorg3d reorg3d empty batchnorm implicit weighted "
    "Gaussian_yolo activation normalization shared several dilated blur"
)
FLAVOURS = {
    "darknet": ((SHARED + " " + DARKNET_ONLY).split(), DARKNET, ("pjreddie", "alexeyab")),
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

    def __init__(self, source, implicit=True):
        self.source = source
        self.flavour = self.pick(["fork", "darknet", "opencv", "fork"])
        kinds, self.activations, dialects = FLAVOURS[self.flavour]
        self.kinds = [k for k in kinds if self.chance(40) and (implicit or k != "implicit")]
        self.dialect = self.pick(dialects)
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

    # ---- wiring

    def shortcut(self, several=False, **more):
        def harmless(i):  # AlexeyAB's fork reads behind a narrower source whose own input has the shape of the sum
            return self.shapes[i][2] >= self.now[2] or self.seen[i] != self.now

        sources = [i for i in self.same_size()[:-1] if harmless(i)]
        equal = [i for i in sources if self.shapes[i] == self.now]
        if not sources or (not equal and self.chance(60)):
            if not self.sections:
                self.conv()
            start = self.count - 1
            if self.shapes[start] != self.now:
                return self.conv()
            self.conv(filters=self.now[2], keep=True)
            sources = equal = [start]
        if equal and not self.chance(25):
            sources = equal
        chosen = [self.pick(sources[::-1]) for _ in range(self.pick([1, 2, 3]) if several else 1)]
        self._sum(chosen, self.pick(["linear", "linear", "linear", "leaky"] + self._sums()), **more)

    def _sums(self):
        return {"darknet": ["relu", "logistic"], "opencv": ["relu", "mish"], "fork": ["swish", "mish", "relu"]}[
            self.flavour
        ]

    def _sum(self, chosen, activation, **more):
        options = [("from", ",".join(str(self.ref(i)) for i in chosen)), ("activation", activation)]
        self.add("shortcut", self.now, options + sorted(more.items()))

    def several(self):
        self.shortcut(several=True)

    def weighted(self):
        kind, norm = self.pick(["per_feature", "per_channel", "per_layer"]), self.pick(["relu", "softmax"])
        self.shortcut(several=self.chance(50), weights_type=kind, weights_normalization=norm)

    def residual(self):
        """A block that can be removed, as real nets have them."""
        if not self.sections or self.shapes[-1] != self.now:
            self.conv()
        trunk, c = self.count - 1, self.now[2]
        inside = [k for k in ("dropout", "depthwise_inside", "se", "grouped_inside") if k in self.kinds + EXTRA]
        self.conv(filters=self.filters(), size=self.pick([1, 3]), keep=True)
        for _ in range(self.pick([0, 0, 1, 2])):
            getattr(self, self.pick(["conv_inside"] + inside))()
        self.conv(filters=c, size=self.pick([3, 1]), keep=True)
        if "dropout" in self.kinds and self.chance(50):
            self.dropout()
        end = self.count - 1
        if self.chance(15):  # the sum written the other way round
            self.add("route", self.shapes[trunk], [("layers", self.ref(trunk))])
            return self._sum([end], "linear")
        self._sum([trunk], self.pick(["linear", "linear", "linear", "leaky"]))

    def conv_inside(self):
        self.conv(filters=self.filters(), keep=True)

    def depthwise_inside(self):
        if self.now[2] > 1:
            self.conv(filters=self.now[2], size=3, keep=True, groups=self.now[2])

    def grouped_inside(self):
        if self.now[2] % 2 == 0:
            self.conv(filters=self.filters(2), keep=True, groups=2)

    def route(self, grouped=False):
        sources = self.same_size()
        if not sources:
            return self.conv()
        if self.chance(25):
            return self.back()
        chosen = [self.pick(sources[::-1]) for _ in range(self.pick([1] if grouped else [2, 1, 3, 4]))]
        if grouped and self.flavour == "fork" and self.chance(25):
            chosen.append(self.pick(sources[::-1]))
        groups = self.pick([g for g in (2, 3, 4) if all(self.shapes[i][2] % g == 0 for i in chosen)] or [1])
        groups = groups if grouped else 1
        c = sum(self.shapes[i][2] for i in chosen) // groups
        if c > 64:
            return self.conv()
        options = [("layers", ",".join(str(self.ref(i)) for i in chosen))]
        if groups > 1:
            options += [("groups", groups), ("group_id", self.source.integer(0, groups - 1))]
        self.add("route", self.now[:2] + (c,), options)

    def grouped_route(self):
        self.route(grouped=True)
        if self.chance(50) and self.now[2] < 20:  # as the CSP blocks of YOLOv4-tiny join what they took apart
            self.conv(keep=True)
            self.route()


EXTRA = ["depthwise_inside", "grouped_inside"]
