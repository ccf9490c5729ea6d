"""Images and their boxes moved together, by OpenCV: one warp cuts, mirrors, scales and turns.

OpenCV does every operation on pixels, as in AlexeyAB's Darknet. Cutting, mirroring and scaling 640 x 480 pixels to
320 x 320 and changing their colours in HSV took 2.4 ms of one x86-64 core in OpenCV 4.14, 22 ms in torchvision 0.29
(transforms.v2 on bytes) and 31 ms in kornia 0.9: tried once, when the library was chosen.
"""

import math
from typing import NamedTuple, Sequence, Tuple

import numpy as np

from darkprune.data.labels import Truth
from darkprune.detect.image_file import import_cv2
from darkprune.train.augment import SAME_COLOUR, Colour, Crop, Margins

cv2 = import_cv2()

Picture = NamedTuple(
    "Picture",
    [
        ("pixels", np.ndarray),  # uint8 [H, W, C]: RGB or grey
        ("fill", Tuple[float, ...]),  # colour of what lies around it, C numbers
        ("truth", Truth),
    ],
)

Region = NamedTuple("Region", [("left", int), ("top", int), ("right", int), ("bottom", int)])  # pixels of the result

Placement = NamedTuple(
    "Placement",
    [
        ("width", float),  # of the whole image in the result, pixels
        ("height", float),
        ("left", float),  # where it begins
        ("top", float),
        ("flip", bool),  # it is mirrored
    ],
)

Objects = Tuple[np.ndarray, np.ndarray]  # classes [n], corners [n, 4]: left, top, right, bottom in pixels


def stretched(margins: Margins, width: int, height: int) -> Placement:
    """An image whose rest, without its margins, fills width x height pixels."""
    across, down = width / (1 - margins.left - margins.right), height / (1 - margins.top - margins.bottom)
    return Placement(across, down, -margins.left * across, -margins.top * down, margins.flip)


def draw(picture: Picture, placement: Placement, region: Region) -> np.ndarray:
    """The region's pixels, uint8 [h, w, C], of a result in which the picture is placed."""
    rows, columns = picture.pixels.shape[:2]
    # a position in the result, counted at pixels' middles as OpenCV's resize does -> in the picture
    x, y = columns / placement.width, rows / placement.height
    matrix = np.array(
        [
            [x, 0, (region.left + 0.5 - placement.left) * x - 0.5],
            [0, y, (region.top + 0.5 - placement.top) * y - 0.5],
        ]
    )
    if placement.flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += columns - 1
    return _warp(picture.pixels, matrix, (region.right - region.left, region.bottom - region.top), picture.fill)


def boxes(truth: Truth, placement: Placement, region: Region, visible: float = 0.0) -> Objects:
    """What is to be seen of the objects in the region of the result.

    Boxes are cut at the region's borders; those narrower or lower than a pixel go, as in Darknet, and those of which
    less than the share `visible` is left.
    """
    x, y, w, h = truth.boxes.T
    x = 1 - x if placement.flip else x
    middle = np.stack([x * placement.width + placement.left, y * placement.height + placement.top], axis=1)
    half = np.stack([w * placement.width, h * placement.height], axis=1) / 2
    low = np.maximum(middle - half, (region.left, region.top))
    high = np.minimum(middle + half, (region.right, region.bottom))
    sides = high - low
    kept = (sides >= 1).all(axis=1)
    if visible:
        kept &= sides.prod(axis=1) >= visible * (2 * half).prod(axis=1)
    return truth.classes[kept], np.concatenate([low, high], axis=1)[kept]


def truth_of(found: Sequence[Objects], width: int, height: int) -> Truth:
    """Objects as `boxes` gives them, of a result of width x height pixels."""
    classes = np.concatenate([classes for classes, _ in found])
    low, high = np.split(np.concatenate([corners for _, corners in found]), 2, axis=1)
    return Truth(classes, np.concatenate([(low + high) / 2, high - low], axis=1) / (width, height, width, height))


def draw_crop(image: np.ndarray, crop: Crop, size: int, width: int, height: int) -> np.ndarray:
    """What a classifier sees, uint8 [height, width, C]: Darknet's rotate_crop_image, then its resize; black around."""
    rows, columns, channels = image.shape
    cos, sin = math.cos(crop.angle) / crop.scale, math.sin(crop.angle) / crop.scale
    turn = np.array([[cos * crop.aspect, -sin], [sin * crop.aspect, cos]])
    square = np.array([size / width, size / height])  # pixels of the square per pixel of the result
    start = square / 2 - size / 2 + (crop.dx, crop.dy)
    if crop.flip:
        start[0], square[0] = size / 2 - square[0] / 2 + crop.dx, -square[0]
    offset = turn.dot(start) + (columns / 2 - 0.5, rows / 2 - 0.5)
    matrix = np.concatenate([turn * square, offset[:, None]], axis=1)
    return _warp(image, matrix, (width, height), (0.0,) * channels)


def recolour(pixels: np.ndarray, colour: Colour) -> np.ndarray:
    """Hue, saturation and brightness changed, uint8 as Darknet does it; of grey pixels the brightness alone."""
    if colour == SAME_COLOUR:
        return pixels
    level = np.arange(256)
    brighter = np.minimum(np.rint(level * colour.exposure), 255)
    if pixels.shape[2] == 1:
        return cv2.LUT(pixels, brighter.astype(np.uint8)).reshape(pixels.shape)
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = np.rint(level + 180 * colour.hue) % 180  # OpenCV's hue in bytes is half an angle
    table[0, :, 1] = np.minimum(np.rint(level * colour.saturation), 255)
    table[0, :, 2] = brighter
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), table), cv2.COLOR_HSV2RGB)


def _warp(pixels: np.ndarray, matrix: np.ndarray, size: Tuple[int, int], fill: Tuple[float, ...]) -> np.ndarray:
    """Bilinear; `matrix` leads from the result to `pixels`."""
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_CONSTANT
    result = cv2.warpAffine(pixels, matrix, size, flags=flags, borderMode=border, borderValue=fill)
    return result.reshape(size[1], size[0], pixels.shape[2])
