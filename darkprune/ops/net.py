"""The `[net]` section: the image's size, and training options that are kept."""

from darkprune.ops.base import Op, opt


class NetOptions(Op):
    """Options of the net itself; it is no layer."""

    names = ("net", "network")
    options = (
        opt("width", "int", 0, 416, low=0),
        opt("height", "int", 0, 416, low=0),
        opt("channels", "int", 0, 3, low=0),
        opt("inputs", "int", 0, low=0),
        opt("letter_box", "int", 0, only="alexeyab"),  # how an image is fitted; no shape depends on it
    )
