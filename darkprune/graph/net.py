"""The net a pair of files means, open to edits: layers, edges, parameters and totals."""

from typing import Any, Dict, Iterator, List, Optional, Tuple

from darkprune.darknet.cfg import CfgDocument
from darkprune.darknet.dialect_epsilon import Dialect
from darkprune.darknet.weights import NEW_HEADER, Header, WeightsFile
from darkprune.errors import GraphError, Notice
from darkprune.graph.layer import Configured, Layer, NetInput
from darkprune.ops.base import ParamSpec, Shape, flat, image

# People who edit nets: iterate `net.layers`, read options as `layer["filters"]`, write them with
# `layer.set("filters", 16)`, replace arrays with `layer.set_param("weights", array)`, change edges with
# `net.rewire` and `net.remove`, then call `net.check()` and `darkprune.save(net, prefix)`.


class Net:
    """Layers in Darknet's order, their edges and arrays.

    Attributes:
        document: the cfg as read. config: the options of `[net]`. dialect: whose arithmetic it speaks.
        layers: all layers. input: what the first one reads.
        header: of the weights file. source: that file, None for a cfg alone.
        loaded: number of leading layers that have values (all of them unless the weights are partial).
        notices: what the user should know about the files.
    """

    __slots__ = ("document", "config", "dialect", "layers", "input", "header", "source", "loaded", "notices")

    def __init__(self, document: CfgDocument, config: Configured, dialect: Dialect) -> None:
        self.document = document
        self.config = config
        self.dialect = dialect
        self.layers: List[Layer] = []
        self.input = NetInput(input_shape(config))
        self.header: Header = NEW_HEADER
        self.source: Optional[WeightsFile] = None
        self.loaded = 0
        self.notices: List[Notice] = []

    def copy(self) -> "Net":
        """A net that can be edited without touching this one; parameter values are shared until replaced."""
        new = Net(self.document, _copy_configured(self.config), self.dialect)
        twins: Dict[int, Any] = {id(self.input): new.input}
        for layer in self.layers:
            twin = Layer(layer.section, layer.op, layer.dialect_name, layer.index)
            twin.edits.update(layer.edits)
            twin.params.update(layer.params)
            twin.shape, twin.out, twin.number = layer.shape, layer.out, layer.number
            twins[id(layer)] = twin
            new.layers.append(twin)
        for layer, twin in zip(self.layers, new.layers):
            twin.inputs = [twins[id(source)] for source in layer.inputs]
            twin.pointers.update((key, twins[id(target)]) for key, target in layer.pointers.items())
        new.header, new.source, new.loaded = self.header, self.source, self.loaded
        new.notices = list(self.notices)
        return new

    def infer(self) -> None:
        """Derives every shape anew. Raises GraphError at the option that makes a shape impossible."""
        self.input.shape = self.input.out = input_shape(self.config)
        _refuse_large_input(self)
        for layer in self.layers:
            layer.shape = layer.op.infer(layer)
            layer.out = layer.op.chain_shape(layer)
            _refuse_overflow(layer)

    def specs(self, stop: Optional[int] = None) -> Iterator[Tuple[Layer, ParamSpec]]:
        """Every parameter array in file order, of the layers before `stop`."""
        for layer in self.layers[:stop]:
            for spec in layer.op.parameters(layer):
                yield layer, spec

    def count_parameters(self, stop: Optional[int] = None) -> int:
        """The number of floats in the weights file."""
        return sum(size(spec.shape) for _, spec in self.specs(stop))

    def weights_bytes(self) -> int:
        """The size of the weights file with this net's header."""
        return self.header.size + 4 * self.count_parameters(self.loaded if self.partial else None)

    @property
    def partial(self) -> bool:
        """Whether the weights cover only the first `loaded` layers."""
        return 0 < self.loaded < len(self.layers)

    def bflops(self) -> float:
        """Billions of operations per image as the dialect's Darknet counts them."""
        if self.dialect.name == "pjreddie":
            return sum(layer.op.pjreddie_flops(layer) for layer in self.layers) / 1e9
        return sum(layer.op.flops(layer) for layer in self.layers) / 1e9

    def readers(self, source: Any) -> List[Tuple[Layer, int]]:
        """(layer, input position) of all that read `source`."""
        return [(la, i) for la in self.layers for i, x in enumerate(la.inputs) if x is source]

    def outputs(self) -> List[Layer]:
        """Layers nobody reads: heads, and the last layer."""
        read = {id(x) for layer in self.layers for x in layer.inputs}
        return [layer for layer in self.layers if id(layer) not in read]

    def rewire(self, layer: Layer, position: int, source: Any) -> None:
        """Makes input `position` of `layer` read `source` instead.

        Raises GraphError where the input is the layer before it (which has no reference to change) or where
        `source` does not come earlier.
        """
        if layer.op.implicit and position == 0:
            raise GraphError(
                "layer {} reads the layer before it, which no option names".format(layer),
                layer.place(),
                "remove layers between, or reference the tensor from a [route]",
            )
        if source is self.input or source.index >= layer.index:
            raise GraphError("layer {} cannot read {}".format(layer, source), layer.place(), "name an earlier layer")
        layer.inputs[position] = source

    def remove(self, layers: List[Layer], replace: Any = None) -> None:
        """Takes layers out; whoever read them reads `replace` (a layer or the net's input) instead.

        Raises GraphError, and changes nothing, when one is still needed and no replacement is given, when
        the replacement comes too late, or when something points at a removed layer.
        """
        gone = {id(layer) for layer in layers}
        stay = [layer for layer in self.layers if id(layer) not in gone]
        users = [la for la in stay if any(id(x) in gone for x in la.inputs)]
        pointing = [la for la in stay if any(id(x) in gone for x in la.pointers.values())]
        if pointing or (users and replace is None):
            raise GraphError(
                "layers {} are still used by {}".format(layers, pointing or users),
                layers[0].place(),
                "rewire or remove those first, or give a replacement",
            )
        for position, layer in enumerate(stay):
            before = stay[position - 1] if position else self.input
            for slot, source in enumerate(layer.inputs):
                source = replace if id(source) in gone else source
                implied = layer.op.implicit and slot == 0
                if implied and source is not before or not implied and source is self.input:
                    raise GraphError(
                        "without {}, layer {} would read {} but stands behind {}".format(layers, layer, source, before),
                        layer.place(),
                        "keep a [route] between them",
                    )
        for layer in users:
            layer.inputs = [replace if id(x) in gone else x for x in layer.inputs]
        self.layers = stay
        for index, layer in enumerate(stay):
            layer.index = index
        self.loaded -= sum(layer.index < self.loaded for layer in layers) if self.loaded else 0

    def check(self) -> None:
        """Derives all shapes and checks every invariant. Raises GraphError."""
        from darkprune.graph.check import check

        check(self)


def size(shape: Tuple[int, ...]) -> int:
    """Number of elements of an array, in Python's unbounded integers."""
    count = 1
    for length in shape:
        count *= length
    return count


def input_shape(config: Configured) -> Shape:
    """The shape that `[net]` declares: a feature map, or `inputs` flat values for recurrent nets."""
    w, h, c = config["width"], config["height"], config["channels"]
    if w and h and c:
        return image(w, h, c)
    return flat(config["inputs"] or w * h * c)


def _refuse_large_input(net: Net) -> None:
    if net.input.shape.outputs >= 2**31:
        raise GraphError(
            "[net] asks for an input of {} values; Darknet counts in 32 bits".format(net.input.shape.outputs),
            net.config.place(),
            "set a smaller width, height and channels",
        )


def _refuse_overflow(layer: Layer) -> None:
    counts = [layer.shape.outputs] + [size(spec.shape) for spec in layer.op.parameters(layer)]
    if max(counts) >= 2**31:
        raise GraphError(
            "layer {} [{}] would hold {} values; Darknet counts in 32 bits".format(
                layer.index, layer.type, max(counts)
            ),
            layer.place(next((key for key in ("filters", "output") if layer.text(key) is not None), None)),
            "check filters, output and size, and width and height of [net]",
        )


def _copy_configured(config: Configured) -> Configured:
    twin = Configured(config.section, config.op, config.dialect_name)
    twin.edits.update(config.edits)
    return twin


def heads(net: Net) -> List[int]:
    """The layers whose outputs all readers give alike: the raw inputs of detection heads and losses, or the last
    layers."""
    found = []
    for layer in net.outputs():
        source = layer
        while source.op.terminal and isinstance(source.inputs[0], Layer):
            source = source.inputs[0]
        found.append(source.index)
    return sorted(set(found))
