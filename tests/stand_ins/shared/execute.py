"""A plan, executed in numpy: what an engine of it would compute by NVIDIA's documentation.

Values are float32; those of half tensors are rounded to half wherever a layer puts them out. Integers keep their
scale. An int8 convolution adds up exactly; what comes behind it is float32 (Developer Guide, "Working with INT8").
"""

import numpy as np
from tensorrt import kernels
from tensorrt.precision import inner, precisions, readers
from tensorrt.rounding import Integers, half, quantized, range_scale, weight_integers
from tensorrt.types import FLOATS, NUMPY


class Program(object):
    """A plan that can be run.

    Args:
        plan: of `plan.read`.
        fuse, leaky: see tensorrt.precision.
        seen: called with the name of every tensor that is rounded to 8 bits, and the int8 array; what it returns, if
            not None, replaces it.
        made: called with the name of every other tensor that a layer makes, and the array.

    Attributes:
        precision: the name of the type of each layer.
    """

    def __init__(self, plan, fuse=True, leaky=True, seen=None, made=None):
        self.plan, self.seen, self.made = plan, seen, made
        self.precision = precisions(plan)
        self.inner = inner(plan, self.precision, fuse, leaky)
        self.constants = {layer["output"] for layer in plan["layers"] if layer["kind"] == "constant"}
        self._order = self._sorted()
        self._weights = {}

    def _sorted(self):
        """The layers, each behind those that it reads."""
        made = set(self.plan["inputs"])
        waiting, order = list(range(len(self.plan["layers"]))), []
        while waiting:
            ready = [i for i in waiting if all(t is None or t in made for t in self.plan["layers"][i]["inputs"])]
            if not ready:
                raise ValueError("the network has a cycle")
            for index in ready:
                order.append(index)
                made.add(self.plan["layers"][index]["output"])
            ready = set(ready)
            waiting = [index for index in waiting if index not in ready]
        return order

    def shapes(self, given):
        """The shape of each output, by number, for inputs of these shapes: -1 is a batch."""
        lengths = {shape[0] for shape in given.values()}
        if len(lengths) > 1:
            raise NotImplementedError("inputs of several batch sizes")
        batch = lengths.pop()
        shapes = {number: self.plan["tensors"][number]["shape"] for number in self.plan["outputs"]}
        return {number: [batch if n == -1 else n for n in shape] for number, shape in shapes.items()}

    def run(self, inputs):
        """{number of an output: values} for {number of an input: values}."""
        values, rounded = dict(inputs), {}
        left = {tensor: len(which) for tensor, which in readers(self.plan).items()}
        for number in self.plan["outputs"]:
            left[number] = left.get(number, 0) + 1
        for index in self._order:
            layer = self.plan["layers"][index]
            step = Step(self, index, values, rounded)
            found = values[layer["output"]] = step.output()
            if self.made is not None and not isinstance(found, Integers):
                self.made(self.plan["tensors"][layer["output"]]["name"], found)
            for tensor in layer["inputs"]:
                if tensor is None:
                    continue
                left[tensor] -= 1
                if not left[tensor]:
                    values.pop(tensor, None)
                    rounded.pop(tensor, None)
        return {number: real(values[number]) for number in self.plan["outputs"]}

    def saw(self, number, integers):
        """`integers`, unless somebody replaces them."""
        if self.seen is not None:
            other = self.seen(self.plan["tensors"][number]["name"], integers.values)
            if other is not None:
                integers.values = other
        return integers


def real(value):
    return value.real if isinstance(value, Integers) else value


class Step(object):
    """One layer of one run."""

    def __init__(self, program, index, values, rounded):
        self.program, self.index, self.values, self.rounded = program, index, values, rounded
        self.layer = program.plan["layers"][index]
        self.params, self.arrays = self.layer["params"], self.layer["arrays"]
        self.precision = program.precision[index]
        self.weak_int8 = self.precision == "INT8" and not program.plan["strong"]
        self.kind = program.plan["tensors"][self.layer["output"]]["dtype"]

    # What it reads.

    def given(self, index):
        """Whether there is an input of that number."""
        return len(self.layer["inputs"]) > index and self.layer["inputs"][index] is not None

    def value(self, index):
        """As it is: integers, or an array."""
        tensor = self.layer["inputs"][index]
        if self.weak_int8 and self.layer["kind"] != "quantize":
            return self._as_integers(tensor)
        return self.values[tensor]

    def _as_integers(self, tensor):
        """A float tensor that an int8 layer reads, rounded with its range; unless it is within the layer."""
        value, entry = self.values[tensor], self.program.plan["tensors"][tensor]
        if isinstance(value, Integers) or tensor in self.program.inner or entry["dtype"] not in FLOATS:
            return value
        if value.size == 1 and tensor in self.program.constants:  # part of a pointwise layer
            return value
        if tensor not in self.rounded:
            integers = quantized(value, range_scale(*entry["range"]))
            self.rounded[tensor] = self.program.saw(tensor, integers)
        return self.rounded[tensor]

    def reals(self, index=0):
        """An input as floats, rounded to half where the layer computes in it."""
        value = real(self.value(index))
        if self.precision == "HALF" and value.dtype == np.float32:
            return half(value)
        return value

    # What it makes.

    def output(self):
        found = getattr(self, "do_" + self.layer["kind"])()
        if isinstance(found, Integers):
            return found
        if self.weak_int8:
            return self._rounded(found)
        if self.kind in FLOATS:
            found = np.asarray(found, np.float32)
            return half(found) if self._is_half() else found
        return np.asarray(found, NUMPY[self.kind])

    def _is_half(self):
        """Weakly typed, the output's own type counts where it is set, else that of the computation."""
        if self.program.plan["strong"]:
            return self.kind == "HALF"
        return (self.layer["wanted"] or self.precision) == "HALF"

    def _rounded(self, found):
        """What an int8 layer makes, with the range of its output; a constant is rounded where it is read."""
        tensor = self.layer["output"]
        entry = self.program.plan["tensors"][tensor]
        if tensor in self.program.inner or entry["dtype"] not in FLOATS or self.layer["kind"] == "constant":
            return found
        return self.program.saw(tensor, quantized(found, range_scale(*entry["range"])))

    # The layers.

    def do_constant(self):
        return self.arrays["weights"].reshape(self.params["shape"])

    def do_convolution(self):
        x, kernel = self.value(0), self._kernel()
        if isinstance(x, Integers) and isinstance(kernel, Integers):
            sums = kernels.exact_sums(x.values, kernel.values, self.params)
            steps = (x.scale.reshape(()) * kernel.scale).reshape(1, -1, 1, 1)
            found = sums.astype(np.float32) * steps
        else:
            found = kernels.convolution(self.reals(0), real(kernel), self.params)
        if self.given(2):
            return found + real(self.value(2)).reshape(1, -1, 1, 1)
        if "bias" in self.arrays:
            found = found + self.arrays["bias"].astype(np.float32).reshape(1, -1, 1, 1)
        return found

    def _kernel(self):
        """As integers in an int8 layer."""
        if self.given(1):
            return self.values[self.layer["inputs"][1]]
        if self.index not in self.program._weights:
            channels = self.program.plan["tensors"][self.layer["inputs"][0]]["shape"][1]
            shape = [self.params["num_output_maps"], channels // self.params["num_groups"]]
            kernel = self.arrays["kernel"].astype(np.float32).reshape(shape + self.params["kernel_size_nd"])
            if self.weak_int8:
                kernel = weight_integers(kernel)
            elif self.precision == "HALF":
                kernel = half(kernel)
            self.program._weights[self.index] = kernel
        return self.program._weights[self.index]

    def do_scale(self):
        return kernels.scale(self.reals(), self.arrays, self.params)

    def _moved(self, move):
        """The same integers in other places, where they are typed so; else floats."""
        value = self.value(0)
        if isinstance(value, Integers) and not self.weak_int8 and self.kind == "INT8":
            return Integers(move(value.values), value.scale, value.axis)
        return move(self.reals(0))

    def do_pooling(self):
        if self.params["type"] == "AVERAGE":
            return kernels.pooling(self.reals(), self.params)
        return self._moved(lambda x: kernels.pooling(x, self.params))

    def do_padding(self):
        before, after = self.params["pre_padding_nd"], self.params["post_padding_nd"]
        return self._moved(lambda x: kernels.padded(x, before, after, 0))

    def do_concatenation(self):
        values = [self.value(i) for i in range(len(self.layer["inputs"]))]
        if self.kind == "INT8" and all(isinstance(value, Integers) for value in values):
            joined = np.concatenate([value.values for value in values], axis=self.params["axis"])
            return Integers(joined, values[0].scale)
        parts = [self.reals(i) for i in range(len(values))]
        return np.concatenate(parts, axis=self.params["axis"])

    def do_slice(self):
        names = ("start", "shape", "stride")
        parts = [self._ints(i + 1) if self.given(i + 1) else self.params[name] for i, name in enumerate(names)]
        fill = self.reals(4) if self.given(4) else 0
        return self._moved(lambda x: kernels.slices(x, parts[0], parts[1], parts[2], self.params["mode"], fill))

    def _ints(self, index):
        return [int(x) for x in np.ravel(real(self.values[self.layer["inputs"][index]]))]

    def do_shuffle(self):
        return self._moved(self._shuffled)

    def _shuffled(self, x):
        first, second, wanted = [self.params[n] for n in ("first_transpose", "second_transpose", "reshape_dims")]
        x = x if first is None else np.transpose(x, first[: x.ndim])
        if self.given(1):
            wanted = self._ints(1)
        if wanted is not None:
            if self.params["zero_is_placeholder"]:
                wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
            x = x.reshape(wanted)
        return np.ascontiguousarray(x if second is None else np.transpose(x, second[: x.ndim]))

    def do_resize(self):
        def resized(x):
            if self.given(1):
                size = self._ints(1)
            elif self.params["shape"]:
                size = self.params["shape"]
            else:
                size = [int(n * s) for n, s in zip(x.shape, self.params["scales"])]
            return kernels.resize(x, self.params, size)

        return self._moved(resized)

    def do_gather(self):
        indices = real(self.value(1)).astype(np.int64)
        return self._moved(lambda x: np.take(x, indices, axis=self.params["axis"]))

    def do_shape(self):
        return np.array(real(self.values[self.layer["inputs"][0]]).shape, np.int64)

    def do_activation(self):
        return kernels.activation(self.reals(), self.params["type"], self.params["alpha"], self.params["beta"])

    def do_unary(self):
        return kernels.unary(self.reals(), self.params["op"])

    def do_elementwise(self):
        return kernels.elementwise(self.reals(0), self.reals(1), self.params["op"])

    def do_reduce(self):
        return kernels.reduce(self.reals(), self.params["op"], self.params["axes"], self.params["keep_dims"])

    def do_softmax(self):
        return kernels.softmax(self.reals(), int(self.params["axes"]).bit_length() - 1)

    def do_matrix_multiply(self):
        a, b = self.value(0), self.value(1)
        operations = self.params["op0"], self.params["op1"]
        if isinstance(a, Integers) and isinstance(b, Integers) and a.scale.size == b.scale.size == 1:
            sums = kernels.matrix_multiply(a.values.astype(np.float64), b.values.astype(np.float64), *operations)
            return sums.astype(np.float32) * (a.scale * b.scale)
        return kernels.matrix_multiply(self.reals(0), self.reals(1), *operations)

    def do_select(self):
        return np.where(self.value(0), self.reals(1), self.reals(2))

    def do_identity(self):
        return self._moved(lambda x: x)

    def do_cast(self):
        with np.errstate(over="ignore"):  # IEEE: what is too large becomes infinite
            return np.asarray(real(self.value(0)), NUMPY[self.params["to_type"]])

    def do_quantize(self):
        scale = self._step()
        return self.program.saw(self.layer["output"], quantized(self.reals(0), scale, self.params["axis"]))

    def do_dequantize(self):
        x = self.value(0)  # a constant of integers is an array
        found = Integers(x.values if isinstance(x, Integers) else x, self._step(), self.params["axis"])
        return found if self.kind == "FLOAT" else found.real

    def _step(self):
        return np.asarray(real(self.values[self.layer["inputs"][1]]), np.float32)

