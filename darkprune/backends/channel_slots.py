"""Tensors that hold more channels than a net has, and arrays placed to match them."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

_Map = NamedTuple(
    "_Map",
    [
        ("inner", Any),  # the tensor of the inner builder
        ("slots", np.ndarray),  # int [c], ascending from 0: where it holds each channel
    ],
)


class Map(_Map):
    """A tensor [N,C,H,W] of c channels, held as one with as many or more. The shape is that without the added ones."""

    __slots__ = ()
    ndim = 4

    @property
    def shape(self) -> Tuple[Any, ...]:
        """(N, c, h, w)."""
        return (self.inner.shape[0], len(self.slots)) + tuple(self.inner.shape[2:])

    @property
    def width(self) -> int:
        """Channels that are held."""
        return int(self.inner.shape[1])

    @property
    def dense(self) -> bool:
        """Whether there are no others."""
        return self.width == len(self.slots)

    def __len__(self) -> int:
        return len(self.inner)


class Placing(object):
    """Where the filters of a convolution lie among those that are held.

    Attributes: slots: int [n]. groups: of the convolution that is held.
    """

    __slots__ = ("slots", "groups", "_width", "_sources", "_depth")

    def __init__(self, slots: np.ndarray, width: int, sources: Optional[np.ndarray], depth: int, groups: int) -> None:
        self.slots, self.groups = slots, groups
        self._width, self._sources, self._depth = width, sources, depth

    def placed(self, weight: np.ndarray) -> np.ndarray:
        """Weights [n, c, kh, kw] among zeros."""
        if self._sources is not None:
            weight = placed(weight, self._sources, self._depth, 1)
        return self.each(weight)

    def each(self, values: np.ndarray, fill: float = 0) -> np.ndarray:
        """Values of each filter [n, ...] among those that hold `fill`."""
        return placed(values, self.slots, self._width, fill=fill)


def placed(values: np.ndarray, slots: np.ndarray, width: int, axis: int = 0, fill: float = 0) -> np.ndarray:
    """`values` at `slots` of an axis of `width`, which holds `fill` elsewhere."""
    values = np.asarray(values)
    if values.shape[axis] == width:
        return values
    shape: List[int] = list(values.shape)
    shape[axis] = width
    result = np.full(shape, fill, values.dtype)
    result[(slice(None),) * axis + (slots,)] = values
    return result


def joined(xs: Sequence[Map]) -> np.ndarray:
    """Where a concatenation holds the channels of its parts."""
    starts = np.cumsum([0] + [x.width for x in xs])
    return np.concatenate([x.slots + start for x, start in zip(xs, starts)])


def flat(x: Map) -> np.ndarray:
    """Where the values of a flattened tensor lie."""
    area = int(x.shape[2]) * int(x.shape[3])
    return (x.slots[:, None] * area + np.arange(area)).reshape(-1)
