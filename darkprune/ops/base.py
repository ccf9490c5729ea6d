"""What a layer type declares: section names, options, sources, shape, parameters, channels, lowering."""

import copy
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.darknet import values
from darkprune.errors import CfgError, GraphError, Unsupported
from darkprune.ops.heads import PLAIN, Candidates, Decoding, Jitter, Suppression

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.net import Layer

_Shape = NamedTuple("_Shape", [("w", int), ("h", int), ("c", int), ("outputs", int)])


class Shape(_Shape):
    """The shape of one image's tensor: width, height, channels, and the number of values.

    Flat layers (softmax, detection...) have w = h = c = 0 in Darknet and only a number of values.
    """

    __slots__ = ()

    @property
    def channels(self) -> int:
        """Length of the axis that channel labels run along: c, or all values of a flat tensor."""
        return self.c if self.c else self.outputs

    @property
    def area(self) -> int:
        """Values per channel."""
        return self.w * self.h if self.c else 1


def image(w: int, h: int, c: int) -> Shape:
    """The shape of a feature map."""
    return Shape(w, h, c, w * h * c)


def flat(outputs: int) -> Shape:
    """The shape of a layer that Darknet gives no width, height or channels."""
    return Shape(0, 0, 0, outputs)


Opt = NamedTuple(
    "Opt",
    [
        ("name", str),
        ("kind", str),  # int, float, str, ints, floats
        ("default", Any),
        ("opencv", Any),  # OpenCV's default where it differs, else the same
        ("low", Optional[int]),  # smallest legal value of an int
        ("only", Optional[str]),  # dialects, if not all, that know the option; the others take the default
    ],
)


def opt(
    name: str, kind: str, default: Any, opencv: Any = None, low: Optional[int] = None, only: Optional[str] = None
) -> Opt:
    """One option of a section: its key, kind and default, and OpenCV's default where that differs."""
    return Opt(name, kind, default, default if opencv is None else opencv, low, only)


ParamSpec = NamedTuple(
    "ParamSpec",
    [
        ("name", str),
        ("axes", Tuple[str, ...]),  # 'out' and 'in' carry channel labels, the others do not
        ("shape", Tuple[int, ...]),
        ("groups", int),  # blocks of a grouped convolution: 'in' is then one block's slice of the labels
        ("transposable", bool),  # stored [in][out] in files with a transposed header
    ],
)


def param(
    name: str, axes: Sequence[str], shape: Sequence[int], groups: int = 1, transposable: bool = False
) -> ParamSpec:
    """One parameter array, with named axes, in the order of the file."""
    return ParamSpec(name, tuple(axes), tuple(int(n) for n in shape), groups, transposable)


def weights_among(specs: Sequence[ParamSpec]) -> List[ParamSpec]:
    """Those that are weights: no biases, nothing of batch norm."""
    return [spec for spec in specs if spec.name.endswith("weights")]


_Emission = NamedTuple("_Emission", [("offset", np.ndarray), ("live", np.ndarray)])


class Emission(_Emission):
    """What a net with silenced channels emits on one tensor, per channel.

    offset: float64; for a silenced channel its constant value, for a live one the constant that removed
    layers used to add to it; nan where that is no constant. live: bool.
    """

    __slots__ = ()


Fate = NamedTuple(
    "Fate",
    [
        ("removed", np.ndarray),  # bool per output channel: goes
        ("silenced", np.ndarray),  # bool per output channel: has gamma := 0 in the net we compare with
    ],
)

Absorber = NamedTuple(
    "Absorber",
    [
        ("padded", bool),  # whether some window positions see less than the whole kernel
        ("target", str),  # the parameter that takes the sum over the whole kernel
        ("sign", float),  # +1 for a bias, -1 for a batch-norm mean, which is subtracted
        ("groups", int),  # of the convolution
        ("positions", int),  # values per channel that a weight row meets: h * w of a flattened map, else 1
    ],
)

Hazard = NamedTuple(
    "Hazard",
    [
        ("reader", str),  # a dialect
        ("key", Optional[str]),  # the option, if one is to blame
        ("message", str),
    ],
)


# What a layer is in a net of 8-bit integers (`Op.int8`).
FLOAT = "float"  # it computes on floats
WEIGHTS = "weights"  # products of 8-bit values and weights
SAME = "same"  # it moves or picks values: its output keeps the scale of its input
OWN = "own"  # integers in and out, each with a scale of its own


class Op:
    """One layer type. Instances hold no state; every method gets the layer it is about.

    Class attributes:
        names: section names, the canonical one first.
        options: options that touch shape, weights or inference.
        passive: other options this type has: they steer training or post-processing, and are kept.
        implicit: whether the first input is the layer before this one.
        references: options that list layers whose outputs are inputs.
        pointers: options that name a layer which is no input.
        readers: dialects whose reader knows this section.
        convolution: whether it is counted as a convolution, whose filters are what pruning removes.
        residual: whether it adds a branch to a trunk.
        joins: whether it lays what it reads one behind the other, along the channels.
        terminal: whether it only interprets the raw output of the layer before it (a head, a loss).
        peculiar: options with an arithmetic or a file layout of their own. transposing: those that turn the weights.
        opencv_sized: whether OpenCV goes by the size that its importer reckons with, to run it.
        opencv_once: whether OpenCV takes only one of its kind.
        classifier: whether each channel that it reads is the score of a class of whole images.
        detector: whether it finds objects; `decode` then says which.
        windowed: whether its outputs, before batch norm and bias, are sums of weights [filter, label, tap] times what
            `seen` gives.
        homogeneous: whether, but for its activation, positive factors on the channels that it reads are the same
            factors on the channels that it puts out.
    """

    names: Tuple[str, ...] = ()
    options: Tuple[Opt, ...] = ()
    passive = ""
    implicit = True
    references: Tuple[str, ...] = ()
    pointers: Tuple[str, ...] = ()
    readers: Tuple[str, ...] = ("alexeyab", "pjreddie", "opencv")
    convolution = False
    residual = False
    joins = False
    terminal = False
    peculiar: Tuple[str, ...] = ()
    transposing: Tuple[str, ...] = ()
    opencv_sized = False
    opencv_once = False
    classifier = False
    detector = False
    homogeneous = False
    windowed = False

    def referenced(self, layer: "Layer", key: str) -> Tuple[int, ...]:
        """The layer numbers an option of `references` lists, as written. Raises CfgError when it is absent."""
        text = layer.text(key)
        if text is None:
            raise CfgError(
                "[{}] has no {}".format(layer.type, key),
                layer.place(),
                "add {}= and the number of an earlier layer, or -2 for two layers up".format(key),
            )
        numbers = values.int_list(text)
        if len(numbers) != text.count(",") + 1:
            raise CfgError(
                "Darknet counts the commas of a comment behind {} as more layers".format(key),
                layer.place(key),
                "put the comment on a line of its own",
            )
        return numbers

    def points(self, layer: "Layer", key: str) -> bool:
        """Whether an option of `pointers` names a layer, and is not the word for none."""
        return True

    def infer(self, layer: "Layer") -> Shape:
        """The output shape; raises GraphError with the place of the option that makes it impossible."""
        return layer.input_shape()

    def chain_shape(self, layer: "Layer") -> Shape:
        """The shape the next layer in the file sees, where it differs from what references see."""
        return layer.shape

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        """The parameter arrays in file order."""
        return []

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        """The arrays each of whose values weighs one connection: an exact 0 there is a connection that is gone."""
        return []

    def initial(self, layer: "Layer", spec: ParamSpec) -> Tuple[float, float]:
        """(middle, half the width) of the uniform numbers that an array starts from, before any training.

        Those of AlexeyAB's Darknet (make_convolutional_layer and the like), but that running variances start at 1, so
        that an untrained net runs; Darknet has 0 there.
        """
        kind = spec.name.rpartition("_")[2]
        if kind != "weights":
            return (1.0, 0.0) if kind in ("scales", "variance") else (0.0, 0.0)
        inputs = 1
        for axis, length in zip(spec.axes, spec.shape):
            inputs *= 1 if axis in ("out", "filter", "unit", "place") else length
        return 0.0, math.sqrt(2.0 / max(1, inputs))

    def unreadable(self, layer: "Layer") -> Optional[Tuple[str, str]]:
        """(option, cause) where an option makes the layout of this layer's floats one we do not read."""
        return None

    def head_channels(self, layer: "Layer") -> Optional[Tuple[int, int]]:
        """(anchors, classes) of a detection head, None for any other layer."""
        return None

    def decode(self, layer: "Layer", raw: np.ndarray, size: Shape, threshold: float) -> List[Candidates]:
        """The boxes of a detection head, image by image.

        Args:
            raw: float32 [N, c, h, w], what the head reads.
            size: of the net's input.
            threshold: for the objectness, and for objectness x class.

        Raises Unsupported where the options mean boxes that we cannot decode.
        """
        raise Unsupported("boxes of [{}] cannot be decoded".format(layer.type), layer.place(), "use Darknet")

    def decoding(self, layer: "Layer", size: Shape) -> Decoding:
        """`decode` as data, for a net's input of `size`. Raises Unsupported, also where only `decode` can do it."""
        raise Unsupported("boxes of [{}] cannot be decoded".format(layer.type), layer.place(), "use Darknet")

    def training(self, layer: "Layer") -> Any:
        """What the layer trains on: a NamedTuple of options, with Darknet's defaults; None for no head or loss.

        Raises Unsupported, or CfgError, where the options ask for what cannot be trained.
        """
        return None

    def suppression(self, layer: "Layer") -> Suppression:
        """How overlapping boxes of a detection head suppress each other."""
        return PLAIN

    def jitter(self, layer: "Layer") -> Optional[Jitter]:
        """How images vary while this detection head is trained; None for any other layer."""
        return None

    def batch_norm(self, layer: "Layer") -> bool:
        """Whether a batch norm of the layer's own stands between its weights and its activation."""
        return False

    def int8(self, layer: "Layer") -> str:
        """What the layer is in a net of 8-bit integers: FLOAT, WEIGHTS, SAME or OWN."""
        return FLOAT

    def flops(self, layer: "Layer") -> float:
        """Operations per image as AlexeyAB's Darknet counts them."""
        return 0.0

    def pjreddie_flops(self, layer: "Layer") -> float:
        """Operations per image as the original counts them: convolutions only."""
        return 0.0

    def macs(self, layer: "Layer") -> int:
        """Products of a weight and a value that are added up, per image (multiply-accumulate operations)."""
        return 0

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        """Labels of the output channels, given those of the inputs; ties, pins and balances go to `g`.

        By default the layer mixes or fixes its channels: all that meet it are pinned.
        """
        for labels in ins:
            g.pin(labels, "read by layer {} [{}]".format(layer.number, layer.type))
        labels = g.fresh(layer, layer.shape.channels)
        g.pin(labels, "made by layer {} [{}]".format(layer.number, layer.type))
        return labels

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        """What leaves this layer when its inputs emit `ins`: by default only zeros get through."""
        bad = any(np.any(e.offset != 0) for e in ins)
        length = layer.shape.channels
        return Emission(np.full(length, np.nan if bad else 0.0), np.ones(length, bool))

    def absorber(self, layer: "Layer") -> Optional[Absorber]:
        """How this layer takes over constants of its input; None for a layer that cannot."""
        return None

    def narrowed(self, layer: "Layer", labels: Dict[str, int]) -> Dict[str, int]:
        """Options to rewrite when labelled axes ('out', 'in') get new lengths."""
        return {}

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        """This layer in primitives; returns the output tensor. Raises Unsupported."""
        raise Unsupported(
            "[{}] cannot be run by the {} backend".format(layer.type, b.backend), layer.place(), "use another runner"
        )

    def seen(self, layer: "Layer", image: np.ndarray, row: int, column: int) -> np.ndarray:
        """What the filters of a `windowed` layer see of their input, float32 [C,h,w], at one position of the output:
        [labels of the 'in' axis, taps]."""
        raise Unsupported("[{}] has no windows".format(layer.type), layer.place())

    def chain_lower(self, layer: "Layer", b: "Builder", x: Any) -> Any:
        """The tensor the next layer in the file sees, from this layer's output."""
        return x

    def opencv_displaces(self, layer: "Layer") -> bool:
        """Whether OpenCV counts one more layer here, so that weights behind it go to the wrong ones."""
        return False

    def hazards(self, layer: Any) -> Iterator[Hazard]:
        """Readers that misread or refuse this layer, or [net], and why."""
        return iter(())

    def original_memory(self, layer: "Layer") -> Tuple[int, int]:
        """(floats that the original Darknet sets aside for this layer, floats it uses) of the memory all share."""
        return 0, 0

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        """The size that OpenCV's importer reckons with behind this layer.

        It keeps one running `size` from layer to layer, whatever is really read, and the channels of each layer
        (`counted`). Raises GraphError where that size does not fit.
        """
        return self.infer(alone(layer, size))

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        """Whether this layer gives a plain list in OpenCV, without height and width, as [connected] does there.

        `sources`: whether each input is one. None where OpenCV refuses the layer for that.
        """
        return None if any(sources) else False

    def describe(self, layer: "Layer") -> str:
        """The columns of Darknet's layer table behind the number."""
        return describe(layer, self.names[0])


def alone(layer: "Layer", shape: Shape) -> "Layer":
    """The layer as if it read one map of `shape`, and nothing else."""
    twin = copy.copy(layer)
    twin.inputs = [SimpleNamespace(shape=shape, out=shape)]
    return twin


def elementwise(emission: Emission, function: Callable[[np.ndarray], np.ndarray]) -> Emission:
    """Emission behind `function`, applied to each value: a constant stays one, a shifted live channel does not."""
    offset = np.where(emission.live & (emission.offset != 0), np.nan, 0.0)
    quiet = ~emission.live
    offset[quiet] = function(emission.offset[quiet])
    return Emission(offset, emission.live)


def require_image(layer: "Layer", number: int = 0) -> Shape:
    """The shape of an input that must be a feature map. Raises GraphError."""
    shape = layer.input_shape(number)
    if not (shape.w > 0 and shape.h > 0 and shape.c > 0):
        raise GraphError(
            "[{}] needs a feature map, but its input has no width, height and channels".format(layer.type),
            layer.place(),
            "check the layer before it" + (", or width, height and channels in [net]" if layer.index == 0 else ""),
        )
    return shape


def window(layer: "Layer", length: int, padding: int, size: int, stride: int, key: str) -> int:
    """Positions of a window of `size` over `length` values padded by `padding` in all. Raises GraphError if none."""
    out = (length + padding - size) // stride + 1
    if length + padding < size or out < 1:
        raise GraphError(
            "a window of {} does not fit {} values with {} of padding".format(size, length, padding),
            layer.place(key),
            "make [net] larger or the window smaller",
        )
    return out


def describe(layer: "Layer", word: str, filters: str = "", size: str = "", output: bool = True) -> str:
    """A row of Darknet's layer table (AlexeyAB's columns) without the layer's number."""
    a, z = layer.input_shape(), layer.shape
    text = "{:9}{:>5}{:>15}".format(word, filters, size)
    if a.c:
        text += "   {:4d} x{:4d} x{:4d} ->".format(a.w, a.h, a.c)
    else:
        text += "   {:>17} ->".format(a.outputs)
    if output:
        text += " {:4d} x{:4d} x{:4d}".format(z.w, z.h, z.c) if z.c else " {:>17}".format(z.outputs)
    flops = layer.op.flops(layer)
    return text + (" {:5.3f} BF".format(flops / 1e9) if flops else "")
