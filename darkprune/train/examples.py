"""The images of a batch with what is to be seen in them: drawn by chance, varied, put together from four.

Source of the mosaic: AlexeyAB's load_data_detection. Each of its images fills a quarter around the point where they
meet, and ends there: what lies around an image is moved out of sight, exactly, so that no object reaches into another
quarter (Darknet is off by some pixels there, which mosaic_bound=1 cuts).
"""

from typing import Callable, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from darkprune.data.data_set import ClassificationSet, DetectionSet
from darkprune.data.labels import Truth
from darkprune.train import pixels
from darkprune.train.augment import Augmentation, Margins, letterbox
from darkprune.train.image_cache import ImageCache
from darkprune.train.pixels import Objects, Picture, Placement, Region

NEAREST, FARTHEST = 0.2, 0.8  # where the four images of a mosaic meet, as shares of its sides

Batch = NamedTuple(
    "Batch",
    [
        ("images", np.ndarray),  # uint8 [N, H, W, C]: RGB or grey
        ("targets", Union[List[Truth], np.ndarray]),  # of a detector, as shares of the image; else int64 classes [N]
    ],
)

_Size = Tuple[int, int]  # width and height
Spot = NamedTuple("Spot", [("step", int), ("position", int), ("width", int), ("height", int)])


def _bytes(shape: Tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.uint8)


class Examples:
    """Batches, made for a list of spots. What is drawn depends on the seed, the step and the position alone."""

    def __init__(
        self,
        images: ImageCache,
        data_set: Union[DetectionSet, ClassificationSet],
        augmentation: Augmentation,
        batch: int,
        seed: int,
    ) -> None:
        self._images = images
        self._truths = data_set.truths if isinstance(data_set, DetectionSet) else []
        self._classes = data_set.classes if isinstance(data_set, ClassificationSet) else []
        self._augmentation, self._batch, self._seed = augmentation, batch, seed
        self._order: Tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __call__(self, spots: Sequence[Spot], allocate: Callable[[Tuple[int, ...]], np.ndarray] = _bytes) -> Batch:
        """The batch of those spots, in an array that `allocate` makes. Raises UsageError for an unreadable image."""
        drawn = allocate((len(spots), spots[0].height, spots[0].width, self._images.channels))
        if self._classes:
            classes = [self._crop(spot, image) for spot, image in zip(spots, drawn)]
            return Batch(drawn, np.array(classes, np.int64))
        return Batch(drawn, [self._scene(spot, image) for spot, image in zip(spots, drawn)])

    def path(self, spot: Spot) -> str:
        """The file of the image at that spot; of a mosaic, of its first corner."""
        return str(self._images.paths[self._number(spot)])

    def _number(self, spot: Spot) -> int:
        """Of the image at that spot."""
        epoch, place = divmod(spot.step * self._batch + spot.position, len(self._images))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self._images))
        return int(self._order[1][place])

    def _rng(self, spot: Spot) -> np.random.Generator:
        return np.random.default_rng([self._seed, spot.step, spot.position])

    def _crop(self, spot: Spot, drawn: np.ndarray) -> int:
        """Draws what a classifier sees; returns the class."""
        number, rng, size = self._number(spot), self._rng(spot), max(spot.width, spot.height)
        image, _ = self._images[number]
        crop = self._augmentation.crop(rng, image.shape[1], image.shape[0], size)
        seen = pixels.draw_crop(image, crop, size, spot.width, spot.height)
        drawn[:] = pixels.recolour(seen, self._augmentation.colour(rng))
        return self._classes[number]

    def _scene(self, spot: Spot, drawn: np.ndarray) -> Truth:
        """Draws what a detector sees; returns what is in it."""
        number, rng, size = self._number(spot), self._rng(spot), (spot.width, spot.height)
        if rng.random() < self._augmentation.mosaic:
            return self._mosaic(rng, [number] + rng.integers(len(self._images), size=3).tolist(), size, drawn)
        picture = self._picture(number)
        placement = pixels.stretched(self._margins(rng, picture, size), *size)
        return pixels.truth_of([self._draw(rng, picture, placement, Region(0, 0, *size), drawn)], *size)

    def _mosaic(self, rng: "np.random.Generator", numbers: List[int], size: _Size, drawn: np.ndarray) -> Truth:
        middle = (int(size[0] * rng.uniform(NEAREST, FARTHEST)), int(size[1] * rng.uniform(NEAREST, FARTHEST)))
        found = []
        for corner, number in enumerate(numbers):
            right, bottom = bool(corner % 2), bool(corner // 2)
            across = (middle[0], size[0]) if right else (0, middle[0])
            down = (middle[1], size[1]) if bottom else (0, middle[1])
            picture = self._picture(number)
            margins = self._margins(rng, picture, size)
            if rng.random() < 0.5:
                margins = outwards(margins, right, bottom)
            placement = meeting(pixels.stretched(margins, *size), size, middle, right, bottom)
            found.append(self._draw(rng, picture, placement, Region(across[0], down[0], across[1], down[1]), drawn))
        return pixels.truth_of(found, *size)

    def _draw(
        self, rng: "np.random.Generator", picture: Picture, placement: Placement, region: Region, drawn: np.ndarray
    ) -> Objects:
        seen = pixels.recolour(pixels.draw(picture, placement, region), self._augmentation.colour(rng))
        drawn[region.top : region.bottom, region.left : region.right] = seen
        return pixels.boxes(picture.truth, placement, region, self._augmentation.visible)

    def _picture(self, number: int) -> Picture:
        image, mean = self._images[number]
        return Picture(image, mean, self._truths[number])

    def _margins(self, rng: "np.random.Generator", picture: Picture, size: _Size) -> Margins:
        margins = self._augmentation.margins(rng)
        rows, columns = picture.pixels.shape[:2]
        return letterbox(margins, columns * size[1] / (rows * size[0])) if self._augmentation.letter_box else margins


def outwards(margins: Margins, right: bool, bottom: bool) -> Margins:
    """The margins of an image in a corner, moved so that it reaches to the outer borders: more of it can be seen."""
    across, down = margins.left + margins.right, margins.top + margins.bottom
    left, top = across if right else 0.0, down if bottom else 0.0
    return Margins(left, top, across - left, down - top, margins.flip)


def meeting(placement: Placement, size: _Size, middle: _Size, right: bool, bottom: bool) -> Placement:
    """The placement moved so that the image, or what is left of it, begins or ends in the middle of the mosaic."""
    if right:
        left = placement.left + middle[0] - max(0.0, placement.left)
    else:
        left = placement.left + middle[0] - min(size[0], placement.left + placement.width)
    if bottom:
        top = placement.top + middle[1] - max(0.0, placement.top)
    else:
        top = placement.top + middle[1] - min(size[1], placement.top + placement.height)
    return placement._replace(left=left, top=top)
