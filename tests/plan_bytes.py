"""What a plan of TensorRT-RTX holds of a net: its constants lie in it as they are, beside a listing of its program.

Measured on TensorRT-RTX 1.7. Kernels of convolutions stand with the input channels last; those of int8 are padded to a
multiple of 4 channels, those of float16 to one of 8, unless they became matrix products, transposed. A convolution on
integers has with it, as float32, the products of its filters' scales with that of its input, and its biases; what
rounds has the reciprocal of the scale.

That a plan holds int8 weights alone says little: where the scale of a tensor has one axis and not none, TensorRT-RTX
builds a plan that makes floats of the integers when it runs, and convolves those. `convolutions` tells them apart.
"""

import re

import numpy as np

CHUNK = 1 << 24  # bytes
_TENSOR = re.compile(rb'  (?:sub_)?tensor=\{[^\n]* name="([^"\n]*)"[^\n]* type=(\w+) \}\n')
_CONVOLUTION = re.compile(rb'  corrltn=\{ name="([^"\n]*)" output=\{[^}\n]*\} input=\{"([^"\n]*)" "([^"\n]*)"')


def integers(weights):
    """An int8 kernel [out, in, h, w] as it stands in a plan."""
    return channels_last(weights, 4)


def channels_last(weights, multiple=1):
    """[out, in, h, w] -> [out, h, w, in], with channels of zeros up to a multiple of `multiple`."""
    widths = [(0, 0), (0, -weights.shape[1] % multiple), (0, 0), (0, 0)]
    return np.ascontiguousarray(np.moveaxis(np.pad(weights, widths, "constant"), 1, -1))


def held(plan, arrays):
    """Which of the arrays the plan, bytes, holds, their values one behind the other: a list of bool.

    All are looked for in one pass, at even addresses, where all constants lie.
    """
    needles = [np.ascontiguousarray(array).tobytes() for array in arrays]
    found, probes, table = [False] * len(needles), {}, np.zeros(1 << 20, bool)
    for number, needle in enumerate(needles):
        words = np.frombuffer(needle[: len(needle) // 4 * 4], np.uint32)
        telling = words & 0x7FFF7FFF > 0  # a plan has many zeros, and negative ones
        place = int(telling.argmax())
        if not telling.any():
            found[number] = needle in plan
            continue
        probes.setdefault(int(words[place]), []).append((number, 4 * place))
        table[_hashed(words[place : place + 1])] = True
    for shift in (0, 2):
        for start in range(shift, len(plan) - 3, CHUNK):
            words = np.frombuffer(plan, np.uint32, min(CHUNK, len(plan) - start) // 4, start)
            for index in np.flatnonzero(table[_hashed(words)]).tolist():
                for number, before in probes.get(int(words[index]), ()):
                    begin = start + 4 * index - before
                    found[number] |= begin >= 0 and plan.startswith(needles[number], begin)
    return found


def _hashed(words):
    """20 bits of each uint32: floats of one size have the same upper half."""
    return (words * np.uint32(2654435761)) >> np.uint32(12)


def holds(plan, array):
    """Whether it holds this one."""
    return held(plan, [array])[0]


def pieces(weights):
    """Two runs of a float kernel's values [out, in, h, w], of which a plan holds one, however it is padded.

    Of the tap with the largest weight: over the inputs (or, where they are few, that filter's taps), as a convolution
    has them; and over the outputs, as a matrix product has them.
    """
    out, into, tap = np.unravel_index(
        np.abs(weights).argmax() if weights.any() else 0, weights.shape[:2] + (weights.shape[2] * weights.shape[3],)
    )
    taps = weights.reshape(weights.shape[:2] + (-1,))
    return [taps[out, :, tap] if weights.shape[1] > 2 else taps[out].T.reshape(-1), taps[:, into, tap]]


def convolutions(plan):
    """{name of a convolution: (type of its input, type of its kernel)}: "int8", "half" or "float".

    TensorRT-RTX appends _U and a number to the names; convolutions that it fused or made matrix products have none.
    """
    types = dict(_TENSOR.findall(plan))
    found = {}
    for name, source, kernel in _CONVOLUTION.findall(plan):
        found[re.sub(r"_U\d+$", "", name.decode("utf-8"))] = (
            types.get(source, b"").decode(),
            types.get(kernel, b"").decode(),
        )
    return found
