"""Draws scenes with balls, boxes, stars, cups, rings, arrows, crosses and leaves, as a data set for Darknet.

    python tools/draw_scenes.py build/scenes --train 2500 --valid 200 --test 500 --seed 1

Image i of a list depends on the seed, the list and i alone: a smaller set is the beginning of a larger one. Objects
differ in size (three scales), colour, pattern, turn, light, shadow and blur, and hide each other in part; behind them
lie patterns, lines and shapes that are no objects. A label is the box around the whole object, hidden parts included,
cut at the borders of the image.

The pictures are the same on every machine up to roundings; equal files need the same OpenCV and numpy.
"""

import argparse
import math
import os
import sys

import cv2
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from scene_shapes import NAMES, SHAPES, UPRIGHT, USUAL, Random, blob  # noqa: E402

from darkprune.cli.common import grouped, progress, write  # noqa: E402
from darkprune.data.write_set import SetWriter, relative_box  # noqa: E402
from darkprune.errors import DarkpruneError, UsageError  # noqa: E402

SPLITS = ("train", "valid", "test")
FINE = 4  # a mask is drawn so many times larger, and averaged: smooth edges without OpenCV's own smoothing
SIZES = [(0.1, 0.18, 0.38), (0.18, 0.32, 0.38), (0.32, 0.55, 0.24)]  # from, to (shares of the image), how often
CELLS = 24  # of clouds, across and down
SMALLEST = 0.035  # side of a box, as a share of the image
SEEN = 0.6  # the share of an object that others must leave in sight, and of its box inside the image


class Shape:
    """An outline at its place.

    Attributes: left, top, right, bottom: the box in pixels, before it is cut; mask: float32 share of each pixel of the
    whole image's window `at` (slices) that it covers; light: float32 brightness there; inner: its own x, y (-1 to 1).
    """

    def __init__(self, parts, matrix, size):
        placed = [([np.asarray(ring) @ matrix[:, :2].T + matrix[:, 2] for ring in rings], light)
                  for rings, light in parts]
        points = np.concatenate([ring for rings, _ in placed for ring in rings])
        (self.left, self.top), (self.right, self.bottom) = points.min(axis=0), points.max(axis=0)
        left, top = (max(int(np.floor(edge)) - 1, 0) for edge in (self.left, self.top))
        right, bottom = (min(int(np.ceil(edge)) + 1, size) for edge in (self.right, self.bottom))
        self.at = slice(top, max(bottom, top)), slice(left, max(right, left))
        self.empty = right <= left or bottom <= top
        if self.empty:
            return
        self.mask = np.zeros((bottom - top, right - left), np.float32)
        self.light = np.zeros_like(self.mask)
        for rings, light in placed:
            cover = _cover([ring - (left, top) for ring in rings], self.mask.shape)
            self.light += cover * (light - self.light)
            self.mask = np.maximum(self.mask, cover)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float64) + 0.5
        self.inner = np.linalg.solve(matrix[:, :2], np.stack([x - matrix[0, 2], y - matrix[1, 2]]).reshape(2, -1))
        self.inner = self.inner.reshape((2,) + self.mask.shape).astype(np.float32)


def _cover(rings, shape):
    """float32 [H, W]: the share of each pixel inside the rings (even-odd)."""
    fine = np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)
    cv2.fillPoly(fine, [np.round(ring * FINE - 0.5).astype(np.int32) for ring in rings], 255)
    return cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _matrix(random, size, lean, scale):
    """float64 [2, 3]: turned, stretched, sheared, and somewhere in an image of that many pixels; `scale` is a share."""
    angle = math.radians(random.real(-lean, lean))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    stretch = random.real(0.8, 1.25)
    shape = np.array([[stretch, random.real(-0.2, 0.2)], [0, 1 / stretch]]) * (scale * size / 2)
    return np.concatenate([turn @ shape, random.reals(0, size, (2, 1))], axis=1)


ANY = (0, 360, 0.05, 1, 0.25, 1)
DULL = (0, 360, 0.05, 0.5, 0.25, 1)


def colour(random, within=ANY):
    """float32 RGB from 0 to 255; `within`: hue, saturation and brightness from and to (hue in degrees)."""
    hue, saturation, value = (random.real(within[at], within[at + 1]) for at in (0, 2, 4))
    hsv = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def pattern(random, x, y, first, second):
    """float32 [H, W, 3]: one of several patterns of two colours over coordinates of about -1 to 1."""
    kind = random.pick(["plain", "fade", "stripes", "squares", "dots", "rings"])
    angle, count = random.real(0, 6.28), random.real(1.5, 5)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if kind == "plain":
        share = np.zeros_like(x)
    elif kind == "fade":
        share = np.clip(along * 0.5 + 0.5, 0, 1)
    elif kind == "stripes":
        share = along * count % 1 < random.real(0.3, 0.6)
    elif kind == "squares":
        share = (np.floor(along * count) + np.floor(across * count)) % 2
    elif kind == "dots":
        share = (along * count % 1 - 0.5) ** 2 + (across * count % 1 - 0.5) ** 2 < 0.09
    else:
        share = np.sqrt(x * x + y * y) * count % 1 < 0.5
    return first + (second - first) * np.asarray(share, np.float32)[..., None]


def background(random, size):
    """float32 [size, size, 3]: a pattern, clouds, lines and shapes that are no objects."""
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j].astype(np.float32)
    first = colour(random, DULL)
    second = first + (colour(random, DULL) - first) * random.real(0.05, 0.4)
    image = pattern(random, x * 2, y * 2, first, second)
    clouds = np.zeros((CELLS, CELLS, 3), np.float32)
    for cells in (4, 9, CELLS):
        coarse = random.noise((cells, cells, 3)) * random.real(0, 18)
        clouds += cv2.resize(coarse, (CELLS, CELLS), interpolation=cv2.INTER_CUBIC)
    image += cv2.resize(clouds, (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(random.whole(0, 4)):
        start, stop = random.reals(0, size, 2), random.reals(0, size, 2)
        ink = tuple(float(value) for value in colour(random, DULL))
        cv2.line(image, *(tuple(int(v) for v in end) for end in (start, stop)), ink, random.whole(1, 4))
    for _ in range(random.whole(0, 3)):
        _paint(random, image, DULL, Shape(blob(random), _matrix(random, size, 180, random.real(0.06, 0.4)), size))
    return image


def _paint(random, image, within, shape, round_=False):
    """Puts a shape into the image, with a pattern, light, and often an edge or a shadow."""
    if shape.empty:
        return
    here, (x, y) = image[shape.at], shape.inner
    first = colour(random, within)
    if np.abs(first - here.mean(axis=(0, 1))).max() < 45:  # nothing is as good as invisible
        first = 255 - first
    skin = pattern(random, x, y, first, first + (colour(random) - first) * random.real(0.1, 0.5))
    light = shape.light * random.real(0.8, 1.15)
    angle = random.real(0, 6.28)
    toward = x * math.cos(angle) + y * math.sin(angle)
    if round_:
        light = light * (0.45 + 0.75 * np.sqrt(np.clip(1 - (x + 0.35) ** 2 * 0.6 - (y + 0.4) ** 2 * 0.6, 0, 1)))
        skin = skin + 150 * np.clip(1 - ((x + 0.35) ** 2 + (y + 0.4) ** 2) * 9, 0, 1)[..., None]
    else:
        light = light * (1 + random.real(0, 0.3) * toward)
    if random.chance(0.5):
        _shadow(random, image, shape)
    if random.chance(0.4):  # an edge
        core = cv2.erode(shape.mask, np.ones((3, 3), np.uint8))
        light = light * (1 - 0.6 * (shape.mask - core))
    image[shape.at] = here + (skin * light[..., None] - here) * shape.mask[..., None]


def _shadow(random, image, shape):
    """Darkens what lies below and beside a shape."""
    reach = max(2, min(shape.mask.shape) // 6)
    dark = cv2.blur(np.pad(shape.mask, reach, mode="constant"), (reach | 1, reach | 1))
    top = shape.at[0].start - reach + random.whole(1, reach)
    left = shape.at[1].start - reach + random.whole(-reach, reach)
    height, width = dark.shape
    dark = dark[max(-top, 0):, max(-left, 0):]
    seen = image[max(top, 0):max(top + height, 0), max(left, 0):max(left + width, 0)]
    seen *= 1 - random.real(0.25, 0.6) * dark[:seen.shape[0], :seen.shape[1], None]


def _place(random, size, owners, areas):
    """A class, a box and a shape that hides no other too much, or None.

    owners: int64 [size, size], the object in front at each pixel, from 1; areas: its pixels in sight, and all of them.
    """
    number = random.whole(0, len(SHAPES) - 1)
    name, outline = SHAPES[number]
    scale = int(np.searchsorted(np.cumsum([often for _, _, often in SIZES[:-1]]), random.real()))
    low, high, _ = SIZES[scale]
    shape = Shape(outline(random), _matrix(random, size, UPRIGHT.get(name, 180), random.real(low, high)), size)
    if shape.empty:
        return None
    box = relative_box(shape.left, shape.top, shape.right, shape.bottom, size, size)
    inside = box[2] * box[3] * size * size / ((shape.right - shape.left) * (shape.bottom - shape.top))
    covered = shape.mask > 0.5
    hidden = np.bincount(owners[shape.at][covered], minlength=len(areas) + 1)[1:]
    left = np.array([seen for seen, _ in areas]) - hidden
    if inside < SEEN or min(box[2:]) < SMALLEST or np.any(left < [SEEN * whole for _, whole in areas]):
        return None
    owners[shape.at][covered] = len(areas) + 1
    areas[:] = [(seen, whole) for seen, (_, whole) in zip(left, areas)] + [(covered.sum(),) * 2]
    return number, box, shape


def _camera(random, image):
    """uint8: light that falls off, noise and blur, as of a camera."""
    size = len(image)
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j].astype(np.float32)
    angle, fall = random.real(0, 6.28), random.real(0, 0.35)
    image = image * (random.real(0.7, 1.15) * (1 + fall * (x * math.cos(angle) + y * math.sin(angle))))[..., None]
    if random.chance(0.4):
        image = cv2.GaussianBlur(image, (0, 0), random.real(0.4, 1.0))
    return np.clip(np.round(image + random.noise(image.shape) * random.real(0, 14)), 0, 255).astype(np.uint8)


def scene(seed, split, index, size=200):
    """Draws one scene: (uint8 [size, size, 3] RGB, [(class, centre x, centre y, width, height)]), shares."""
    random = Random(seed, SPLITS.index(split), index)
    image, objects = background(random, size), []
    owners, areas = np.zeros((size, size), np.int64), []
    for _ in range(random.whole(1, 9)):
        found = _place(random, size, owners, areas)
        if found is not None:
            number, box, shape = found
            name = NAMES[number]
            _paint(random, image, USUAL[name] if random.chance(0.75) else ANY, shape, name == "ball")
            objects.append((number,) + tuple(box))
    return _camera(random, image), objects


def draw(out, counts, seed, size=200, quality=85, overwrite=False):
    """Writes the data set; `counts` are the images of train, valid and test. Raises OutputError, UsageError."""
    if not 32 <= size <= 2048 or min(counts) < 0 or not any(counts) or not 0 <= seed < 1 << 32:
        raise UsageError("32 to 2048 pixels, at least one image, and a seed from 0 to 4294967295", hint="see --help")
    lists, boxes = [(split, count) for split, count in zip(SPLITS, counts) if count], [0] * len(NAMES)
    with SetWriter(out, overwrite=overwrite) as writer:
        todo = [(split, index) for split, count in lists for index in range(count)]
        for split, index in progress("scenes", "image")(todo):
            image, objects = scene(seed, split, index, size)
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
            writer.drawn(_key(split, index), data.tobytes(), objects)
            for item in objects:
                boxes[item[0]] += 1
        for split, count in lists:
            writer.list(split, [_key(split, index) for index in range(count)])
        writer.data(NAMES, [(split, split) for split, _ in lists])
        writer.commit()
    return boxes


def _key(split, index):
    return "{}-{:05d}.jpg".format(split, index)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUT", help="folder to make; its last part names the .data file")
    for split, count in zip(SPLITS, (2500, 200, 500)):
        parser.add_argument("--" + split, metavar="N", type=int, default=count, help="images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: %(default)s)")
    parser.add_argument("--size", type=int, default=200, help="pixels, across and down (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT, if it holds no other files")
    arguments = parser.parse_args(argv)
    counts = [getattr(arguments, split) for split in SPLITS]
    try:
        boxes = draw(arguments.output, counts, arguments.seed, arguments.size, overwrite=arguments.overwrite)
    except DarkpruneError as error:
        write(str(error) + "\n", sys.stderr)
        return 2
    except KeyboardInterrupt:
        write("interrupted\n", sys.stderr)
        return 130
    found = ", ".join("{} {}".format(name, grouped(count)) for name, count in zip(NAMES, boxes))
    write("{} images; {}\nwrote {}\n".format(grouped(sum(counts)), found, arguments.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
