"""Windows over numpy maps [N,C,H,W], and cells of space taken for channels."""

import numpy as np


def canvas(x, top, left, height, width, fill):
    """`x` placed at (top, left) of a height x width map of `fill`, cut where it sticks out; maybe `x` itself."""
    if top == 0 and left == 0 and height <= x.shape[2] and width <= x.shape[3]:
        return x
    rows, columns = min(x.shape[2], height - top), min(x.shape[3], width - left)
    filled = np.full(x.shape[:2] + (height, width), fill, x.dtype)
    filled[:, :, top : top + rows, left : left + columns] = x[:, :, :rows, :columns]
    return filled


def taps(start, count, stride):
    """The slice that takes `count` cells, `stride` apart, from `start` on."""
    return slice(start, start + (count - 1) * stride + 1, stride)


def space_to_depth(x, s):
    """Darknet's [reorg3d] of s x s cells: channel o * C + c is position o of each cell of channel c."""
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // s, s, w // s, s)
    return cells.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * s * s, h // s, w // s)


def depth_to_space(x, s):
    """The inverse of space_to_depth."""
    n, c, h, w = x.shape
    cells = x.reshape(n, s, s, c // (s * s), h, w)
    return cells.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // (s * s), h * s, w * s)


def fold(combine, x, size, stride, out):
    """Windows of size x size combined by an associative ufunc: along the rows first, then down the columns."""
    (sy, sx), (oh, ow) = stride, out
    rows = x[:, :, :, taps(0, ow, sx)].copy()
    for i in range(1, size):
        combine(rows, x[:, :, :, taps(i, ow, sx)], out=rows)
    result = rows[:, :, taps(0, oh, sy)].copy()
    for i in range(1, size):
        combine(result, rows[:, :, taps(i, oh, sy)], out=result)
    return result
