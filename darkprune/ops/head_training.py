"""What the layer types say about training: options read with Darknet's defaults, and what cannot be trained."""

from typing import TYPE_CHECKING, Any, NamedTuple, Tuple

from darkprune.darknet import values
from darkprune.errors import CfgError, Unsupported

if TYPE_CHECKING:
    from darkprune.graph.layer import Configured, Layer

ClassTraining = NamedTuple(
    "ClassTraining",
    [
        ("kind", str),  # softmax, logistic, sse, smooth, L1 or seg
        ("groups", int),  # of softmax
        ("temperature", float),  # of softmax
        ("weight", float),
        ("others", float),  # weight of the classes that an image does not show
    ],
)


def original(layer: "Configured") -> bool:
    """Whether the layer trains as in the original Darknet; all other readers follow AlexeyAB's."""
    return layer.dialect_name == "pjreddie"


def real(layer: "Configured", key: str, default: float) -> float:
    """The value of an option as C's `atof` reads it, or the default. Raises CfgError where it is a nan."""
    text = layer.text(key)
    value = default if text is None else values.atof(text)
    if value != value:
        raise CfgError("{} is not a number".format(key), layer.place(key), "write a number such as {}".format(default))
    return value


def whole(layer: "Configured", key: str, default: int) -> int:
    """The value of an option as C's `atoi` reads it, or the default. Raises CfgError beyond 32 bits."""
    text = layer.text(key)
    try:
        return default if text is None else values.atoi(text)
    except ValueError as error:
        raise CfgError("{}: {}".format(key, error), layer.place(key), "use a smaller number") from error


def refuse(layer: "Configured", key: str, hint: str) -> None:
    """Raises Unsupported where the option is set and not 0."""
    text = layer.text(key)
    if text is not None and values.atof(text) != 0:
        cause = "[{}] cannot be trained with {}={}".format(layer.type, key, text)
        raise Unsupported(cause, layer.place(key), hint)


def class_map(layer: "Layer", classes: int) -> Tuple[int, ...]:
    """The file of the option `map`, a class of the head for each class of the labels; empty without the option.

    Like Darknet, a relative path starts at the current folder. Raises Unsupported for a file that does not fit.
    """
    path = layer.text("map")
    if not path:
        return ()
    try:
        with open(path, "rb") as stream:
            found = tuple(values.atoi(line.decode("latin-1")) for line in stream.read().splitlines())
    except (IOError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        cause = "the map of classes cannot be read: {}".format(reason)
        raise Unsupported(cause, layer.place("map"), "give its path as Darknet finds it") from error
    wrong = [number for number in found if not 0 <= number < classes]
    if wrong:
        cause = "the map of classes names class {}, the head has 0 to {}".format(wrong[0], classes - 1)
        raise Unsupported(cause, layer.place("map"), "write the number of a class a line")
    return found


def multipliers(layer: "Layer", classes: int, limit: float) -> Tuple[float, ...]:
    """Of `counters_per_class`: how much more each class weighs, at most `limit`; empty without the option.

    AlexeyAB's get_classes_multipliers. Raises CfgError where the numbers are not one a class.
    """
    text = layer.text("counters_per_class")
    if text is None:
        return ()
    try:
        counters = [max(1, number) for number in values.int_list(text)]
    except ValueError as error:
        raise CfgError("counters_per_class: {}".format(error), layer.place("counters_per_class")) from error
    if len(counters) != classes:
        cause = "counters_per_class has {} numbers for {} classes".format(len(counters), classes)
        raise CfgError(cause, layer.place("counters_per_class"), "write how many objects each class has")
    return tuple(min(max(counters) / float(counter), limit) for counter in counters)


def untrainable(layer: "Layer") -> Any:
    """Raises Unsupported: a layer whose loss is not built."""
    raise Unsupported("[{}] cannot be trained".format(layer.type), layer.place(), "train this net in Darknet")
