"""What a net costs, counted from its layers: parameters, multiply-accumulates, bytes, and Darknet's BFLOPs."""

from typing import NamedTuple

from darkprune.graph.net import Net

Cost = NamedTuple(
    "Cost",
    [
        ("parameters", int),  # floats in the weights file
        ("macs", int),  # products of weights and values, per image
        ("weights_bytes", int),  # of the weights file
        ("bflops", float),  # as the dialect's Darknet prints them: two operations per product, and some others
    ],
)


def cost(net: Net) -> Cost:
    """The cost of one image through `net`, at its input size."""
    macs = sum(layer.op.macs(layer) for layer in net.layers)
    return Cost(net.count_parameters(), macs, net.weights_bytes(), net.bflops())
