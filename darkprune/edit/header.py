"""The header's counter, and a file of the first layers only."""

from darkprune.errors import GraphError, UsageError
from darkprune.graph.net import Net


def set_seen(net: Net, count: int) -> Net:
    """A net whose header says that `count` images were seen in training; the header's form stays.

    Raises UsageError where the number does not fit the header.
    """
    most = 2**64 - 1 if net.header.wide else 2**31 - 1  # Darknet reads the 4 bytes as a signed number
    if not 0 <= count <= most:
        size = 8 if net.header.wide else 4
        raise UsageError(
            "seen={} does not fit the {} bytes that this header has for it".format(count, size),
            hint="use 0..{}".format(most),
        )
    new = net.copy()
    new.header = net.header._replace(seen=count)
    return new


def cut(net: Net, count: int) -> Net:
    """A net with values for its first `count` layers only, and 0 images seen: what Darknet's `partial` makes.

    `darkprune.graph.save.save_part` writes it. Raises UsageError for a number of layers that the net does not have,
    GraphError where layers have no values.
    """
    if not 1 <= count <= len(net.layers):
        raise UsageError(
            "cannot cut behind layer {}: the net has {} layers".format(count, len(net.layers)),
            hint="use 1..{}".format(len(net.layers)),
        )
    if net.loaded < count:
        raise GraphError(
            "the net has values for {} layers only".format(net.loaded), net.config.place(), "load the full weights"
        )
    new = set_seen(net, 0)
    new.loaded = count
    for layer in new.layers[count:]:
        layer.params.clear()
    return new
