"""Layers in numpy: convolution, pooling, values. Arrays [N,C,H,W] or of any rank; what is computed is float32.

The rules are NvInfer.h's, of releases 8.2.1 and 10.3.0: the class of each layer and its enumerations.
"""

import numpy as np

EXACT = 2**24  # integers below it are exact in float32


def convolution(x, kernel, params, wide=np.float32):
    """Sums of products, no bias: x [N,C,H,W], kernel [K,C/G,R,S]. `wide`: what is added up in.

    IConvolutionLayer is a correlation: the kernel is not flipped. Padding is zeros (setPrePadding: "the input will be
    padded by this number of elements"), the groups are blocks of channels (setNbGroups).
    """
    groups, (sy, sx), (dy, dx) = params["num_groups"], params["stride_nd"], params["dilation_nd"]
    n, _, _, _ = x.shape
    count, each, rows, columns = kernel.shape
    x = padded(x, params["pre_padding"], params["post_padding"], 0)
    height = out_length(x.shape[2], dy * (rows - 1) + 1, sy, params["padding_mode"])
    width = out_length(x.shape[3], dx * (columns - 1) + 1, sx, params["padding_mode"])
    found = np.empty((n, count, height * width), wide)
    share = count // groups
    if each == 1 and share == 1:
        return _each_channel(x, kernel, (height, width), (sy, sx), (dy, dx), wide)
    for group in range(groups):
        filters = kernel[group * share : (group + 1) * share].reshape(share, -1).astype(wide, copy=False)
        for image in range(n):
            maps = x[image, group * each : (group + 1) * each]
            patches = np.empty((each, rows, columns, height, width), wide)
            for r in range(rows):
                for c in range(columns):
                    top, left = r * dy, c * dx
                    patches[:, r, c] = maps[:, top : top + sy * height : sy, left : left + sx * width : sx]
            found[image, group * share : (group + 1) * share] = filters.dot(patches.reshape(filters.shape[1], -1))
    return found.reshape(n, count, height, width)


def _each_channel(x, kernel, size, stride, dilation, wide):
    """A convolution of as many groups as channels."""
    (height, width), (sy, sx), (dy, dx) = size, stride, dilation
    found = np.zeros((x.shape[0], x.shape[1], height, width), wide)
    for r in range(kernel.shape[2]):
        for c in range(kernel.shape[3]):
            window = x[:, :, r * dy : r * dy + sy * height : sy, c * dx : c * dx + sx * width : sx]
            found += window.astype(wide, copy=False) * kernel[:, 0, r, c].astype(wide).reshape(1, -1, 1, 1)
    return found


def exact_sums(x, kernel, params):
    """A convolution of integers, float64, without any rounding."""
    sums = np.abs(kernel.reshape(len(kernel), -1).astype(np.int64)).sum(axis=1)
    wide = np.float32 if 128 * int(sums.max()) < EXACT else np.float64
    return convolution(x, kernel, params, wide).astype(np.float64)


def out_length(length, window, stride, mode):
    """PaddingMode: floor((M - F) / S) + 1, or ceil; `length` is with the padding."""
    room = length - window
    return (-(-room // stride) if mode == "EXPLICIT_ROUND_UP" else room // stride) + 1


def padded(x, before, after, value):
    """The last two axes longer, by `value`; shorter where the padding is negative (IPaddingLayer)."""
    for axis, (low, high) in zip((x.ndim - 2, x.ndim - 1), zip(before, after)):
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(max(0, -low), x.shape[axis] - max(0, -high))
        x = x[tuple(cut)]
    sides = [(0, 0)] * (x.ndim - 2) + [(max(0, low), max(0, high)) for low, high in zip(before, after)]
    if not any(sum(side) for side in sides):
        return x
    return np.pad(x, sides, "constant", constant_values=value)


def pooling(x, params):
    """Maximum of the cells in range, or their mean: average_count_excludes_padding divides by how many there are.

    Padding never wins a maximum (IPoolingLayer: the window is over the input). EXPLICIT_ROUND_UP adds cells that are
    outside too, so that the last window may reach beyond.
    """
    (rows, columns), (sy, sx) = params["window_size_nd"], params["stride_nd"]
    average = params["type"] == "AVERAGE"
    lowest = 0 if average else (np.iinfo(x.dtype).min if x.dtype.kind == "i" else -np.inf)
    before, after = params["pre_padding"], list(params["post_padding"])
    height = out_length(x.shape[2] + before[0] + after[0], rows, sy, params["padding_mode"])
    width = out_length(x.shape[3] + before[1] + after[1], columns, sx, params["padding_mode"])
    after[0] += max(0, (height - 1) * sy + rows - (x.shape[2] + before[0] + after[0]))
    after[1] += max(0, (width - 1) * sx + columns - (x.shape[3] + before[1] + after[1]))
    inside = np.ones((1, 1) + x.shape[2:], np.float32)
    x = padded(x.astype(np.float64) if average else x, before, after, lowest)
    counts = padded(inside, before, after, 0 if params["average_count_excludes_padding"] else 1)
    found = total = None
    for r in range(rows):
        for c in range(columns):
            place = (slice(None), slice(None), slice(r, r + sy * height, sy), slice(c, c + sx * width, sx))
            if average:
                found = x[place] if found is None else found + x[place]
                total = counts[place] if total is None else total + counts[place]
            else:
                found = x[place] if found is None else np.maximum(found, x[place])
    return (found / total).astype(np.float32) if average else found


def resize(x, params, size):
    """Nearest: the cell of each output by coordinate_transformation and nearest_rounding; scales are out over in."""
    if params["resize_mode"] != "NEAREST":
        raise NotImplementedError("resize by " + params["resize_mode"])
    for axis, (length, wanted) in enumerate(zip(x.shape, size)):
        if length == wanted:
            continue
        scale = params["scales"][axis] if params["scales"] else wanted / float(length)
        where = {
            "ASYMMETRIC": np.arange(wanted) / scale,
            "HALF_PIXEL": (np.arange(wanted) + 0.5) / scale - 0.5,
            "ALIGN_CORNERS": np.arange(wanted) * (length - 1.0) / max(1, wanted - 1),
        }[params["coordinate_transformation"]]
        cells = NEAREST[params["nearest_rounding"]](where)
        x = np.take(x, np.clip(cells, 0, length - 1).astype(np.int64), axis=axis)
    return x


NEAREST = {
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "HALF_UP": lambda where: np.floor(where + 0.5),
    "HALF_DOWN": lambda where: np.ceil(where - 0.5),
}


def slices(x, start, size, stride, mode, fill=0):
    """ISliceLayer: output[i] = x[start + i * stride] in each dimension; out of bounds by the mode."""
    outside = np.zeros(tuple(size), bool)
    for axis, (first, count, step) in enumerate(zip(start, size, stride)):
        where = first + step * np.arange(count)
        length = x.shape[axis]
        wrong = (where < 0) | (where >= length)
        if wrong.any() and mode in ("DEFAULT", "STRICT_BOUNDS"):
            raise RuntimeError("out of bounds slice at run time")
        if mode == "FILL":
            shape = [1] * len(size)
            shape[axis] = count
            outside |= wrong.reshape(shape)
        x = np.take(x, np.clip(where, 0, length - 1) if mode in ("CLAMP", "FILL") else where % length, axis=axis)
    return np.where(outside, np.asarray(fill, x.dtype), x) if mode == "FILL" else x


def activation(x, kind, alpha, beta):
    """ActivationType, formulas as NvInfer.h has them beside each value. float32 in and out."""
    alpha, beta = np.float32(alpha), np.float32(beta)
    with np.errstate(over="ignore", under="ignore"):
        if kind == "RELU":
            return np.maximum(x, np.float32(0))
        if kind == "SIGMOID":
            return sigmoid(x)
        if kind == "TANH":
            return np.tanh(x)
        if kind == "LEAKY_RELU":
            return np.where(x >= 0, x, alpha * x)
        if kind == "ELU":
            return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))
        if kind == "SELU":
            return np.where(x > 0, beta * x, beta * (alpha * np.exp(np.minimum(x, 0)) - alpha))
        if kind == "SOFTSIGN":
            return x / (1 + np.abs(x))
        if kind == "SOFTPLUS":
            return alpha * np.logaddexp(beta * x, np.float32(0))
        if kind == "CLIP":
            return np.maximum(alpha, np.minimum(beta, x))
        if kind == "HARD_SIGMOID":
            return np.maximum(np.float32(0), np.minimum(np.float32(1), alpha * x + beta))
        if kind == "SCALED_TANH":
            return alpha * np.tanh(beta * x)
        if kind == "THRESHOLDED_RELU":
            return np.where(x > alpha, x, np.float32(0))
    raise NotImplementedError("activation " + kind)


def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


ELEMENTWISE = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": np.divide,
    "POW": np.power,
    "FLOOR_DIV": np.floor_divide,
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}
UNARY = {
    "EXP": np.exp,
    "LOG": np.log,
    "SQRT": np.sqrt,
    "RECIP": lambda x: 1 / x,
    "ABS": np.abs,
    "NEG": np.negative,
    "SIN": np.sin,
    "COS": np.cos,
    "TAN": np.tan,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "NOT": np.logical_not,
    "SIGN": np.sign,
    "ROUND": np.rint,
}
REDUCE = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}


def elementwise(a, b, operation):
    """Integers divide towards zero (shape tensors are C's integers)."""
    with np.errstate(all="ignore"):
        if operation == "DIV" and a.dtype.kind == "i":
            return (a / b).astype(a.dtype)
        return ELEMENTWISE[operation](a, b)


def unary(x, operation):
    with np.errstate(all="ignore"):
        return UNARY[operation](x)


def reduce(x, operation, axes, keep):
    """ReduceOperation over the axes of a bit mask; sums are kept in float64."""
    which = tuple(i for i in range(x.ndim) if axes >> i & 1)
    if operation in ("MAX", "MIN"):
        return REDUCE[operation](x, axis=which, keepdims=keep)
    found = REDUCE[operation](x, axis=which, keepdims=keep, dtype=np.float64 if x.dtype.kind == "f" else x.dtype)
    return found.astype(x.dtype)


def softmax(x, axis):
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return (powers / powers.sum(axis=axis, keepdims=True)).astype(np.float32)


def matrix_multiply(a, b, first, second):
    """MatrixOperation of both: NONE, TRANSPOSE of the last two axes, VECTOR."""
    a = np.swapaxes(a, -1, -2) if first == "TRANSPOSE" else a[..., None, :] if first == "VECTOR" else a
    b = np.swapaxes(b, -1, -2) if second == "TRANSPOSE" else b[..., None] if second == "VECTOR" else b
    found = np.matmul(a, b)
    if first == "VECTOR":
        found = found[..., 0, :]
    return found[..., 0] if second == "VECTOR" else found


def scale(x, arrays, params):
    """(x * scale + shift) ^ power, by channel from `channel_axis` on."""
    axis = params["channel_axis"]

    def of(role, default):
        values = arrays.get(role)
        if values is None:
            return np.float32(default)
        after = x.shape[axis:] if params["mode"] == "ELEMENTWISE" else (-1,) + (1,) * (x.ndim - axis - 1)
        return values.astype(np.float32).reshape(after if values.size > 1 else (1,) * x.ndim)

    found = x * of("scale", 1) + of("shift", 0)
    return np.power(found, of("power", 1)) if "power" in arrays else found
