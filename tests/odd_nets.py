"""Nets of options that few cfgs use: (dialect, cfg) by name; every parameter of each is read."""

from small_nets import cfg, conv, route, section, shortcut

CONNECTED = section("connected", output=4, batch_normalize=1, activation="leaky")

NETS = {
    "weighted sums": (
        "alexeyab",
        conv(8)
        + conv(8, 1)
        + shortcut("-2", "leaky", weights_type="per_feature", weights_normalization="relu")
        + conv(8, 3, "mish")
        + shortcut("-2,-4,0", "swish", weights_type="per_channel", weights_normalization="softmax"),
    ),
    "narrow and wide sums": ("alexeyab", conv(8) + conv(4) + shortcut(0) + conv(6, 1) + shortcut(-2) + conv(3)),
    "sums of maps of other sizes": (
        "pjreddie",
        conv(8) + conv(8, stride=2) + shortcut(0, alpha=0.5, beta=2) + route(0) + shortcut(1, "leaky", alpha=0.5),
    ),
    "convolutions": (
        "alexeyab",
        conv(8, stride=2, antialiasing=1)
        + conv(8, groups=4)
        + conv(6, stride_x=2, stride_y=1, stride=None)
        + conv(8, dilation=2, padding=1, pad=0)
        + conv(8, 5, "hard_mish", groups=8)
        + conv(8, 3, "tanh", bn=None, flipped=1),
    ),
    "pointwise convolutions that stride": ("pjreddie", conv(8) + conv(6, 1, stride=2) + conv(4, 1, padding=0)),
    "shared weights": ("alexeyab", conv(8, 3, "leaky") + conv(8) + conv(8, share_index=1) + conv(4, 1)),
    "binary convolutions": ("pjreddie", conv(8) + conv(6, xnor=1) + conv(4, bn=None, xnor=1, groups=2)),
    "kernels of each place": ("pjreddie", conv(4, stride=2) + section("local", filters=3, size=3, stride=2, pad=0)),
    "flat tensors": ("pjreddie", conv(4) + conv(6, stride=2) + route(-1, 0, -1) + CONNECTED + section("softmax")),
    "gates": (
        "alexeyab",
        conv(8)
        + section("avgpool")
        + conv(8, 1, "logistic")
        + section("scale_channels", from_=0, activation="leaky")
        + conv(8, 3, "logistic")
        + section("sam", from_=-2)
        + conv(8, 3, "normalize_channels_softmax"),
    ),
}


def text(name):
    """The cfg of a net."""
    return cfg(NETS[name][1], height=8)
