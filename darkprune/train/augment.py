"""What chance does to the images of a training: the keys of the cfg, and the numbers drawn for one image.

The meaning of the keys is that of AlexeyAB's Darknet (`load_data_detection` and `random_augment_image` in data.c and
image.c). Where it moves borders by whole pixels, here they move by shares of the image, so that the same is drawn for
an image of any resolution.
"""

import math
from typing import TYPE_CHECKING, Any, Callable, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.darknet import values
from darkprune.errors import CfgError, Notice, UsageError

if TYPE_CHECKING:
    from darkprune.graph.net import Net

Margins = NamedTuple(
    "Margins",
    [
        ("left", float),  # share of the image's width that is cut off; negative: that is put on
        ("top", float),
        ("right", float),
        ("bottom", float),
        ("flip", bool),  # the image is mirrored first, and then cut
    ],
)

Colour = NamedTuple(
    "Colour",
    [
        ("hue", float),  # added, as a share of the colour circle
        ("saturation", float),  # factor
        ("exposure", float),  # factor of the brightness
    ],
)
SAME_COLOUR = Colour(0.0, 1.0, 1.0)

Crop = NamedTuple(
    "Crop",
    [
        ("scale", float),  # of the image's height, to a square of `size` x `size`; the width's is scale / aspect
        ("aspect", float),
        ("angle", float),  # radians
        ("dx", float),  # how far the crop's middle lies from the image's, in pixels of the square
        ("dy", float),
        ("flip", bool),
    ],
)

_Augmentation = NamedTuple(
    "_Augmentation",
    [
        ("jitter", float),  # detectors: each border moves by up to that share of the image, in or out
        ("resize", float),  # detectors: zoom by up to this factor, in and out; below 1 only out
        ("mosaic", float),  # detectors: share of the images that are put together from four; 0.5 where mosaic=1
        ("letter_box", bool),  # detectors: the image keeps its proportions
        ("visible", float),  # detectors: least share of an object that must be left in the image; Darknet's: 0
        ("flip", float),  # share of the images that are mirrored, left to right: 0.5 where flip=1
        ("hue", float),  # largest shift of the hue, as a share of the colour circle
        ("saturation", float),  # largest factor of the saturation, and 1 / smallest
        ("exposure", float),  # the same of the brightness
        ("angle", float),  # classifiers: largest rotation, degrees
        ("aspect", float),  # classifiers: largest change of the proportions
        ("min_crop", float),  # classifiers: the shorter side is scaled to min_crop...max_crop times the net's input
        ("max_crop", float),  # and a square as large as the input is cut out
    ],
)


class Augmentation(_Augmentation):
    """How images are varied. Each factor stands for itself and its inverse: 1.5 and 0.75 are legal for all."""

    __slots__ = ()

    @classmethod
    def of(cls, net: "Net", **overrides: Any) -> "Augmentation":
        """What [net] and the last head of the cfg ask for, with Darknet's defaults; `overrides` replaces fields.

        Raises CfgError for a value that means nothing, UsageError for such an override or one of no field.
        """
        keys = _Keys(net)
        size = max(net.input.shape.w, net.input.shape.h, 1)
        jitter, resize = 0.0, 1.0
        for layer in net.layers:
            jitter, resize = layer.op.jitter(layer) or (jitter, resize)
        found = cls(
            jitter=jitter,
            resize=resize,
            mosaic=0.5 if keys.whole("mosaic", 0) else 0.0,
            letter_box=bool(keys.whole("letter_box", 0)),
            visible=0.0,
            flip=0.5 if keys.whole("flip", 1) else 0.0,
            hue=keys.number("hue", 0),
            saturation=keys.number("saturation", 1),
            exposure=keys.number("exposure", 1),
            angle=keys.number("angle", 0),
            aspect=keys.number("aspect", 1),
            min_crop=keys.number("min_crop", size) / size,
            max_crop=keys.number("max_crop", 2 * size) / size,
        )
        _refuse(found, net)
        unknown = sorted(set(overrides) - set(cls._fields))
        if unknown:
            raise UsageError("{} is no augmentation".format(unknown[0]), hint="there are " + ", ".join(cls._fields))
        found = found._replace(**overrides)
        _refuse(found)
        return found

    @classmethod
    def none(cls) -> "Augmentation":
        """Images as they are: stretched to the input, or, for classifiers, their middle."""
        return cls(0.0, 1.0, 0.0, False, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)

    def margins(self, rng: "np.random.Generator") -> Margins:
        """How an image of a detector is cut."""
        left, top, right, bottom = rng.uniform(-self.jitter, self.jitter, 4)
        least, most = min(self.resize, 1 / self.resize), max(1.0, self.resize)
        first, last = rng.uniform((1 - 1 / least) / 2, (1 - 1 / most) / 2, 2)
        left, top, right, bottom = left + first, top + first, right + last, bottom + last
        if left + right >= 1 or top + bottom >= 1 or left >= 1 or top >= 1:  # nothing would be left
            left = top = right = bottom = 0.0
        return Margins(left, top, right, bottom, bool(rng.random() < self.flip))

    def colour(self, rng: "np.random.Generator") -> Colour:
        """How an image's colours change."""
        return Colour(rng.uniform(-self.hue, self.hue), _factor(rng, self.saturation), _factor(rng, self.exposure))

    def crop(self, rng: "np.random.Generator", width: int, height: int, size: int) -> Crop:
        """What a classifier sees of an image of width x height pixels: `size` x `size` pixels of it."""
        aspect = _factor(rng, self.aspect)
        scale = rng.uniform(self.min_crop, self.max_crop) * size / min(height, width * aspect)
        angle = math.radians(rng.uniform(-self.angle, self.angle))
        dx, dy = max(0.0, width * scale / aspect - size) / 2, max(0.0, height * scale - size) / 2
        dx, dy = rng.uniform(-dx, dx), rng.uniform(-dy, dy)
        return Crop(scale, aspect, angle, dx, dy, bool(rng.random() < self.flip))


def letterbox(margins: Margins, proportion: float) -> Margins:
    """The margins with what an image gets put on to keep its proportions.

    Args:
        proportion: width / height of the image over that of the net's input.
    """
    left, top, right, bottom, flip = margins
    if proportion > 1:
        more = (proportion - 1) / 2
        return Margins(left, top - more, right, bottom - more, flip)
    more = (1 / proportion - 1) / 2
    return Margins(left - more, top, right - more, bottom, flip)


def _factor(rng: "np.random.Generator", most: float) -> float:
    """Darknet's rand_scale."""
    factor = float(rng.uniform(min(1, most), max(1, most)))
    return factor if rng.random() < 0.5 else 1 / factor


_CHECKS: List[Tuple[Tuple[str, ...], Callable[[float], bool], str]] = [
    (("jitter",), lambda x: 0 <= x < 1, "a share of the image, 0 or more and below 1"),
    (("resize", "saturation", "exposure", "aspect", "min_crop", "max_crop"), lambda x: 0 < x < 1e3, "a factor above 0"),
    (("hue", "angle"), lambda x: 0 <= x <= 360, "0 to 360"),
    (("mosaic", "flip", "visible"), lambda x: 0 <= x <= 1, "a share, 0 to 1"),
]


def _refuse(augmentation: Augmentation, net: Optional["Net"] = None) -> None:
    for names, legal, means in _CHECKS:
        for name in names:
            if not legal(getattr(augmentation, name)):
                _raise(name, getattr(augmentation, name), means, net)
    if augmentation.min_crop > augmentation.max_crop:
        _raise("min_crop", augmentation.min_crop, "at most max_crop", net)


def _raise(name: str, value: float, means: str, net: Optional["Net"]) -> None:
    hint = "{} is {}".format(name, means)
    if net is None:
        raise UsageError("augmentation {}={:g}".format(name, value), hint=hint)
    places = [layer.place(name) for layer in net.layers if layer.op.jitter(layer) and layer.text(name) is not None]
    text = net.config.text(name) or next((t for t in (layer.text(name) for layer in net.layers) if t), "")
    raise CfgError("{}={} means nothing".format(name, text), (places or [net.config.place(name)])[-1], hint)


class _Keys:
    """Numbers of [net]."""

    def __init__(self, net: "Net") -> None:
        self._config = net.config

    def number(self, key: str, default: float) -> float:
        text = self._config.text(key)
        return default if text is None else values.atof(text)

    def whole(self, key: str, default: int) -> int:
        text = self._config.text(key)
        return default if text is None else int(values.atof(text))


_UNUSED = (
    ("detector", ("angle", "aspect", "cutmix"), "Darknet varies no detector by it"),
    ("any", ("mixup", "blur", "gaussian_noise", "contrastive", "track"), "it is not built in"),
    ("classifier", ("mosaic", "cutmix", "letter_box"), "images of several classes are not built in"),
)


def unused(net: "Net", detector: bool) -> List[Notice]:
    """A notice for each key of [net] that asks for something that is not done to the images."""
    notices, neutral = [], {"aspect": 1.0}
    for kind, keys, why in _UNUSED:
        if kind in ("any", "detector" if detector else "classifier"):
            for key in keys:
                text = net.config.text(key)
                if text is not None and values.atof(text) != neutral.get(key, 0.0):
                    cause = "{}={} has no effect: {}".format(key, text, why)
                    notices.append(Notice(cause, net.config.place(key), "take the line out"))
    return notices
