"""Another input size: two lines of [net] change, and every shape follows."""

from typing import Optional

from darkprune.edit.rederive import rederive, stands
from darkprune.errors import DarkpruneError, GraphError, Notice, UsageError
from darkprune.graph.net import Net

_PROBE = 2048  # an input that every stride in use divides


def resize(net: Net, width: Optional[int] = None, height: Optional[int] = None) -> Net:
    """A net for images of another size; a side that is None stays.

    Raises UsageError for a size below 1; GraphError where the cfg has no such line, where maps that meet would no
    longer have one size, or where a layer's arrays depend on the map's size.
    """
    new = net.copy()
    for key, value in (("width", width), ("height", height)):
        if value is not None:
            _set(new, key, value)
    stride = total_stride(net)
    w, h = (str(-(-new.config[key] // stride) * stride) for key in ("width", "height"))
    rederive(
        new,
        net,
        "use multiples of {}, such as {} x {}".format(stride, w, h),
        "keep {} x {}, or train this layer anew".format(net.config["width"], net.config["height"]),
    )
    _notice_uneven(new, stride)
    return new


def _set(net: Net, key: str, value: int) -> None:
    if value < 1:
        raise UsageError("{}={} is no size".format(key, value), hint="use 1 or more")
    if net.config.text(key) is None:
        raise GraphError(
            "[net] has no {} that could change".format(key),
            net.config.place(),
            "write {}= into the cfg, if the net reads images".format(key),
        )
    if not stands(net.config, key, str(value)):
        net.config.set(key, value)


def total_stride(net: Net) -> int:
    """The input pixels along one cell of the coarsest map, as a power of two."""
    probe = net.copy()
    try:
        for key in ("width", "height"):
            probe.config.set(key, _PROBE)
        probe.infer()
    except DarkpruneError:  # layers of a fixed size: then the maps as they are
        probe = net
    sides = [layer.shape.w for layer in probe.layers if layer.shape.w > 1 and layer.shape.h > 1]
    ratio = probe.input.shape.w / float(min(sides)) if sides else 1.0
    stride = 1
    while stride * 1.5 < ratio:
        stride *= 2
    return stride


def _notice_uneven(net: Net, stride: int) -> None:
    if not any(layer.op.head_channels(layer) for layer in net.layers):
        return
    for key in ("width", "height"):
        value = net.config[key]
        if value % stride:
            less = value - value % stride
            near = "{}={} or {}".format(key, less, less + stride) if less else "{}={}".format(key, stride)
            net.notices.append(
                Notice(
                    "{}={} is no multiple of {}, the stride of this net: its cells do not fit the image".format(
                        key, value, stride
                    ),
                    net.config.place(key),
                    "use " + near,
                )
            )
