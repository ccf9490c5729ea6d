"""Runs one step of a net in a real Darknet's library and writes the deltas that reach layer 0; a program, as Darknet
may abort.

    python darknet_deltas.py LIBRARY HEADER CFG WEIGHTS BATCH.npy TRUTH.npy SEEN OUT.npz

BATCH is float32 [N, C, H, W] and TRUTH float32 [N, numbers], as Darknet's data threads lay it out. HEADER is darknet.h:
the places of what is read and set in Darknet's structs come from it. With a linear convolution as layer 0, its deltas
are those of what follows with respect to its output. OUT holds them as `passed` [N, outputs], those of layer 1
itself as `own`, and `cost`, that of each layer.
"""

import ctypes
import re
import sys

import numpy as np

WIDE = {"float": ctypes.c_float, "size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64, "double": ctypes.c_double}


def preprocessed(text):
    """The header without comments, as a compiler sees it where nothing is defined."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    lines, shown = [], [True]
    for line in text.split("\n"):
        word = line.strip()
        if re.match(r"#\s*ifndef", word):
            shown.append(True)
        elif re.match(r"#\s*if", word):
            shown.append(False)
        elif re.match(r"#\s*else", word):
            shown[-1] = not shown[-1]
        elif re.match(r"#\s*endif", word):
            shown.pop()
        elif all(shown) and not word.startswith("#"):
            lines.append(line)
    return "\n".join(lines)


def struct(text, name, known):
    """A ctypes structure of that name; `known`: those that it may hold."""
    body = re.search(r"struct {}\s*{{(.*?)}}".format(name), text, flags=re.S).group(1)
    fields = []
    for line in body.split(";"):
        line = " ".join(line.split())
        if "(" in line:
            fields.append((re.search(r"\(\s*\*\s*(\w+)", line).group(1), ctypes.c_void_p))
        elif line:
            kind, names = re.match(r"(?:struct )?(\w+)(.*)", line).groups()
            for one in names.split(","):
                plain = known.get(kind, WIDE.get(kind, ctypes.c_int))  # the rest are int and enums
                fields.append((one.replace("*", "").strip(), ctypes.c_void_p if "*" in one else plain))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def run(library, header, cfg, weights, batch, truth, seen):
    with open(header) as stream:
        text = preprocessed(stream.read())
    layer_type, network_type = struct(text, "layer", {}), struct(text, "network", {})
    library = ctypes.CDLL(library)
    library.load_network.restype = ctypes.c_void_p
    library.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    address = library.load_network(cfg.encode(), weights.encode(), 0)
    net = network_type.from_address(address)
    assert net.batch == len(batch), "the cfg says another batch"
    if seen >= 0:
        ctypes.c_size_t.from_address(net.seen).value = seen
    batch, truth = np.ascontiguousarray(batch, np.float32), np.ascontiguousarray(truth, np.float32)
    if hasattr(library, "load_network_custom"):  # AlexeyAB's
        state_type = struct(text, "network_state", {"network": network_type})
        library.forward_network.argtypes = library.backward_network.argtypes = [network_type, state_type]
        state = state_type(train=1, net=net)
        state.input, state.truth = batch.ctypes.data, truth.ctypes.data
        library.forward_network(net, state)
        library.backward_network(net, state)
    else:
        library.forward_network.argtypes = library.backward_network.argtypes = [ctypes.c_void_p]
        net.train, net.input, net.truth = 1, batch.ctypes.data, truth.ctypes.data
        net.delta = None
        library.forward_network(address)
        library.backward_network(address)
    layers = (layer_type * net.n).from_address(net.layers)
    costs = [ctypes.c_float.from_address(one.cost).value if one.cost else 0.0 for one in layers]
    return [delta(one, len(batch)) for one in layers[:2]] + [np.array(costs)]


def delta(layer, images):
    """The deltas [N, outputs] of a layer."""
    numbers = ctypes.cast(layer.delta, ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(numbers, (images * layer.outputs,)).reshape(images, -1).copy()


if __name__ == "__main__":
    library, header, cfg, weights, batch, truth, seen, out = sys.argv[1:]
    passed, own, cost = run(library, header, cfg, weights, np.load(batch), np.load(truth), int(seen))
    np.savez(out, passed=passed, own=own, cost=cost)
