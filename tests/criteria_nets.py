"""A net for criteria, and what they are measured on: images, and stand-ins for gradients."""

import numpy as np

from darkprune.backends.numpy_ import NumpyRunner
from small_nets import HEAD, cfg, conv, route, shortcut

# a sum, a route and a depthwise layer
MIXED = cfg(conv(8), conv(8, 1), shortcut(-2), conv(8, groups=8), conv(6, 1, "relu"), route(-1, 2), conv(6), HEAD)


def images(net, count, seed=3):
    shape = net.input.shape
    return np.random.RandomState(seed).rand(count, shape.c, shape.h, shape.w).astype(np.float32)


def batches_of(pixels, size=None):
    """What `measure` takes, in batches of that size whatever it asks for."""
    return lambda most: (pixels[start : start + (size or most)] for start in range(0, len(pixels), size or most))


def slopes_of(net, pixels, seed=5):
    """A stand-in for gradients: what `measure` takes, with slopes that are random numbers."""

    def gradients(narrower, layers):
        random = np.random.RandomState(seed)
        for image in pixels:
            maps = NumpyRunner(narrower).infer(image[None], layers)
            yield maps, {i: random.randn(*y.shape).astype(np.float32) for i, y in maps.items()}

    return gradients
