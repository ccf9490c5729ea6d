"""What changes from step to step: the learning rate, and the input's size."""

import math
from typing import Tuple

import numpy as np

from darkprune.train.settings import Settings

RESIZE_EVERY = 10  # steps, with multi-scale training, as in Darknet
_LARGEST_LAST = 100  # steps at the end that take the largest size


def learning_rate(settings: Settings, step: int, seed: int = 0) -> float:
    """The rate of step `step`, counted from 1, as `get_current_rate` of AlexeyAB's network.c gives it: Darknet counts
    the images of a step before it changes the weights.

    seed: of policy=random alone.
    """
    base, done = settings.learning_rate, float(step)
    if step < settings.burn_in:
        return base * (done / settings.burn_in) ** settings.power
    if settings.policy == "step":
        return base * settings.scale ** (step // settings.step)
    if settings.policy == "steps":
        passed = 0
        while passed < len(settings.steps) and settings.steps[passed] <= step:
            passed += 1
        return base * float(np.prod(settings.scales[:passed]))
    if settings.policy == "exp":
        return base * settings.gamma**done
    if settings.policy == "poly":
        return base * max(0.0, 1 - done / settings.max_batches) ** settings.power
    if settings.policy == "random":
        return base * float(np.random.RandomState([seed, step]).uniform()) ** settings.power
    if settings.policy == "sig":
        return base / (1 + math.exp(min(700.0, settings.gamma * (step - settings.step))))
    if settings.policy == "sgdr":
        start, cycle = 0, settings.sgdr_cycle
        while start + cycle < step:
            start, cycle = start + cycle, cycle * settings.sgdr_mult
        low = settings.learning_rate_min
        return low + 0.5 * (base - low) * (1 + math.cos(math.pi * (step - start) / cycle))
    return base


def input_size(settings: Settings, width: int, height: int, step: int, seed: int) -> Tuple[int, int]:
    """(width, height) of the input at a step: with `random`, another one every 10 steps, as `train_detector` of
    AlexeyAB's detector.c draws it; at the end the largest."""
    if not settings.random:
        return width, height
    most = 1.4 if settings.random == 1 else settings.random
    random = np.random.RandomState([seed, step // RESIZE_EVERY, 1])
    factor = float(random.uniform(1, most))
    factor = 1 / factor if random.randint(2) else factor
    if step > settings.max_batches - _LARGEST_LAST:
        factor = most
    sizes = [_rounded(factor * size, settings.resize_step) for size in (width, height)]
    if factor < 1 and (sizes[0] > width or sizes[1] > height):
        return width, height
    return max(sizes[0], settings.resize_step), max(sizes[1], settings.resize_step)


def _rounded(size: float, step: int) -> int:
    return int(math.floor(size / step + 1 + 0.5)) * step
