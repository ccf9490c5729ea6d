"""An ONNX graph in the making: nodes, constants and their names.

Imports onnx: only what needs it imports this module. Opset 13 and IR version 7, of 2020, since ONNX Runtime from 1.6,
OpenCV 4 and 5 and TensorRT 8 all read them.
"""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from darkprune.errors import Unsupported

OPSET = 13
IR_VERSION = 7
MOST_BYTES = 2**31 - 2**24  # protobuf's limit, less what is no weights
BATCH = "N"  # the name of a first axis that may have any length

Length = Union[int, str]


class OnnxTensor(object):
    """A tensor of the graph: its node is made when its name is asked for first.

    Attributes:
        shape: (N, c, h, w); N is a number, or BATCH.
        flat: for constants, the name of the same values as [1, c, h, w]; else None.
        with_bias: for sums of products, what makes the tensor anew with a bias of each filter in the same node.
        dtype: a number of onnx.TensorProto.
    """

    __slots__ = ("shape", "flat", "with_bias", "dtype", "_name", "_make")

    ndim = 4

    def __init__(
        self,
        shape: Sequence[Length],
        name: Optional[str] = None,
        make: Optional[Callable[[], str]] = None,
        flat: Optional[str] = None,
        with_bias: Optional[Callable[[np.ndarray], "OnnxTensor"]] = None,
        dtype: int = TensorProto.FLOAT,
    ) -> None:
        self.shape: Tuple[Any, ...] = tuple(shape)
        self.flat = flat
        self.with_bias = with_bias
        self.dtype = dtype
        self._name = name
        self._make = make

    def __len__(self) -> int:
        """Images; 1 where there may be any number."""
        return self.shape[0] if isinstance(self.shape[0], int) else 1

    @property
    def name(self) -> str:
        """What the graph calls it."""
        if self._name is None:
            assert self._make is not None
            self._name = self._make()
        return self._name

    def renamed(self, name: str) -> None:
        """Called by the graph when it gave the tensor another name."""
        self._name = name


class OnnxGraph(object):
    """Nodes in the order of computation, and constants.

    Attributes: inputs, outputs (the tensors), nodes, constants (arrays by name), properties (of the model: texts by
    key), bytes (of the constants).
    """

    def __init__(self) -> None:
        self.inputs: List[OnnxTensor] = []
        self.outputs: List[OnnxTensor] = []
        self.nodes: List[Any] = []
        self.constants: Dict[str, np.ndarray] = {}
        self.properties: Dict[str, str] = {}
        self.bytes = 0
        self._names: Dict[str, int] = {}

    def unique(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        self._names[name] = count = self._names.get(name, 0) + 1
        return name if count == 1 else self.unique("{}_{}".format(name, count))

    def input(self, name: str, shape: Sequence[Length]) -> OnnxTensor:
        """A new input of the model, float32."""
        tensor = OnnxTensor(shape, self.unique(name))
        self.inputs.append(tensor)
        return tensor

    def constant(self, values: Any, name: str, dtype: Any = np.float32) -> str:
        """The name of a new constant of those values."""
        array = np.array(values, dtype, order="C")
        self.bytes += array.nbytes
        if self.bytes > MOST_BYTES:
            cause = "the ONNX file would hold more than {:.2g} GB of weights, and none can".format(MOST_BYTES / 1e9)
            raise Unsupported(cause, hint="prune the net first")
        name = self.unique(name)
        self.constants[name] = array
        return name

    def node(self, operator: str, inputs: Iterable[str], name: str, **attributes: Any) -> str:
        """Appends a node with one output; node and output get the name, which is returned."""
        name = self.unique(name)
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def rename(self, tensor: OnnxTensor, name: str) -> None:
        """Gives the output of a node another name, there and where it is read."""
        old, new = tensor.name, self.unique(name)
        for node in reversed(self.nodes):
            node.input[:] = [new if x == old else x for x in node.input]
            if old in node.output:
                node.output[:] = [new if x == old else x for x in node.output]
                node.name = new
                break
        tensor.renamed(new)

    def called(self, tensor: OnnxTensor, name: str) -> OnnxTensor:
        """The tensor under the name that an output is to have: itself, or a copy of what another layer makes.

        What had the name before, such as the same with more channels, gets another.
        """
        if tensor.name == name:
            return tensor
        if any(name in node.output for node in self.nodes):
            self.rename(OnnxTensor(tensor.shape, name), name + "_inside")
            self._names[name] = 0
        return OnnxTensor(tensor.shape, self.node("Identity", [tensor.name], name))

    def makes(self, tensor: OnnxTensor, since: int) -> bool:
        """Whether one of the nodes from number `since` on makes it."""
        return any(tensor.name in node.output for node in self.nodes[since:])

    def model(self, producer: str, version: str) -> Any:
        """The ModelProto of what the outputs need."""
        nodes, needed = self._live()
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info(x.name, TensorProto.FLOAT, x.shape) for x in self.inputs],
            [helper.make_tensor_value_info(x.name, x.dtype, x.shape) for x in self.outputs],
        )
        for name, array in self.constants.items():
            if name in needed:
                graph.initializer.add().CopyFrom(numpy_helper.from_array(array, name))
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer,
            producer_version=version,
        )
        helper.set_model_props(model, dict(sorted(self.properties.items())))
        return model

    def _live(self) -> Tuple[List[Any], set]:
        """The nodes that the outputs depend on, and all names that they read."""
        needed, nodes = {x.name for x in self.outputs}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        return nodes[::-1], needed
