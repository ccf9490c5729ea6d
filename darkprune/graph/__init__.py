"""The net: layers as objects, edges as references, parameters with named axes, channel sets, invariants."""
