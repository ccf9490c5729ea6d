"""The objects that draw_scenes.py draws: outlines, each a list of parts in a square from -1 to 1 (y points down).

A part is (rings, brightness): polygons that are filled by the even-odd rule, and how bright that side is lit.
"""

import numpy as np

STEPS = 40  # corners of a round outline


class Random:
    """Random numbers that are the same on every machine: numpy's frozen generator, uniform numbers alone."""

    def __init__(self, *key):
        self._state = np.random.RandomState(np.array(key, np.uint32))

    def real(self, low=0.0, high=1.0):
        return float(low + (high - low) * self._state.random_sample())

    def reals(self, low, high, size):
        return low + (high - low) * self._state.random_sample(size)

    def noise(self, shape):
        """float32 from -1 to 1, in 256 steps."""
        values = np.frombuffer(self._state.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
        return values.astype(np.float32) / 127.5 - 1

    def whole(self, low, high):
        """From `low` to `high`, both included."""
        return int(self._state.randint(low, high + 1))

    def chance(self, share):
        return self.real() < share

    def pick(self, items):
        return items[self.whole(0, len(items) - 1)]


def arc(radius_x, radius_y, start=0.0, stop=360.0, centre=(0.0, 0.0)):
    """Points of an ellipse from `start` to `stop` degrees."""
    angle = np.radians(np.linspace(start, stop, STEPS))
    return np.stack([centre[0] + radius_x * np.cos(angle), centre[1] + radius_y * np.sin(angle)], axis=1)


def ball(random):
    return [([arc(1, 1)], 1.0)]


def box(random):
    """A cuboid from above: front, top and one side."""
    x, y = random.real(0.25, 0.6), random.real(0.25, 0.6)  # how far the back is moved
    left, right, top, bottom = -1, 1 - x, -1 + y, 1
    front = [(left, top), (right, top), (right, bottom), (left, bottom)]
    lid = [(left, top), (left + x, top - y), (right + x, top - y), (right, top)]
    side = [(right, top), (right + x, top - y), (right + x, bottom - y), (right, bottom)]
    parts = [([front], 0.85), ([lid], 1.2), ([side], random.real(0.5, 0.65))]
    return mirrored(parts) if random.chance(0.5) else parts


def star(random):
    points, inner = random.pick([5, 5, 6]), random.real(0.38, 0.5)
    angle = np.radians(np.arange(2 * points) * 180.0 / points - 90)
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return [([np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)], 1.0)]


def cup(random):
    """A cup with a rim that is seen from above, and a handle."""
    rim, foot, width = random.real(0.14, 0.24), random.real(0.5, 0.72), 0.72
    middle = -0.28
    body = np.concatenate([
        arc(width, rim, 180, 0, (middle, -1 + rim)),
        arc(width * foot, rim * 0.7, 0, 180, (middle, 1 - rim)),
    ])
    outer = arc(0.56, 0.55, -90, 90, (middle + width * 0.78, -0.12))
    inner = arc(0.36, 0.34, 90, -90, (middle + width * 0.78, -0.12))
    inside = arc(width * 0.86, rim * 0.72, centre=(middle, -1 + rim))
    opening = arc(width, rim, centre=(middle, -1 + rim))
    parts = [([np.concatenate([outer, inner])], 0.8), ([body], 1.0), ([opening], 1.15), ([inside], 0.45)]
    return mirrored(parts) if random.chance(0.5) else parts


def ring(random):
    inner = random.real(0.5, 0.74)
    return [([arc(1, 1), arc(inner, inner)], 1.0)]


def arrow(random):
    shaft, head, neck = random.real(0.16, 0.34), random.real(0.6, 0.85), random.real(-0.1, 0.3)
    shape = [(-1, -shaft), (neck, -shaft), (neck, -head), (1, 0), (neck, head), (neck, shaft), (-1, shaft)]
    return [([shape], 1.0)]


def cross(random):
    arm = random.real(0.2, 0.38)
    quarter = [(-arm, -1), (arm, -1), (arm, -arm)]
    return [([[quarter_turns(point, times) for times in range(4) for point in quarter]], 1.0)]


def leaf(random):
    """Two arcs, one lit more than the other, and a stem."""
    width, stem = random.real(0.36, 0.55), 0.06
    across = np.linspace(-0.7, 1, STEPS)
    bulge = width * np.sin(np.pi * (across + 0.7) / 1.7) ** random.real(0.75, 1.1)
    upper, lower = (np.stack([across, sign * bulge], axis=1) for sign in (-1, 1))
    stalk = [(-1, -stem), (-0.5, -stem), (-0.5, stem), (-1, stem)]
    return [([stalk], 0.6), ([upper], 1.12), ([lower], 0.82)]


SHAPES = [("ball", ball), ("box", box), ("star", star), ("cup", cup), ("ring", ring), ("arrow", arrow),
          ("cross", cross), ("leaf", leaf)]
NAMES = [name for name, _ in SHAPES]
# hue in degrees from, to; saturation from, to; brightness from, to: the colour that most objects of a class have
USUAL = {
    "ball": (15, 40, 0.6, 1, 0.6, 1),
    "box": (25, 45, 0.3, 0.6, 0.35, 0.7),
    "star": (48, 60, 0.6, 1, 0.8, 1),
    "cup": (0, 360, 0, 0.25, 0.6, 1),
    "ring": (270, 320, 0.4, 1, 0.5, 1),
    "arrow": (205, 240, 0.5, 1, 0.5, 1),
    "cross": (345, 365, 0.6, 1, 0.5, 1),
    "leaf": (75, 140, 0.4, 1, 0.3, 0.8),
}
UPRIGHT = {"box": 15, "cup": 20}  # degrees that these may lean; all others lie as they like


def blob(random):
    """Something that is none of the classes."""
    kind = random.whole(0, 3)
    if kind == 0:  # a triangle
        return [([random.reals(-1, 1, (3, 2))], 1.0)]
    if kind == 1:  # a bar
        return [([[(-1, -0.12), (1, -0.12), (1, 0.12), (-1, 0.12)]], 1.0)]
    if kind == 2:  # a flat quadrangle
        return [([np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * random.reals(0.4, 1, (4, 2))], 1.0)]
    radius = np.repeat(random.reals(0.3, 1, 9), 4)  # a cloud of corners
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False)
    return [([np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)], 1.0)]


def quarter_turns(point, times):
    x, y = point
    for _ in range(times):
        x, y = -y, x
    return x, y


def mirrored(parts):
    return [([np.asarray(ring_) * (-1, 1) for ring_ in rings], light) for rings, light in parts]
