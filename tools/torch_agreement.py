"""Runs nets in torch and in numpy, compares them behind every layer, and sends the weights through torch and back.

    python tools/torch_agreement.py [--nets NAME,...] [--write]

The nets are those of tools/measured_nets.py, at their own input size and with the trained weights that lie beside the
cfg, or else synthetic ones. An error is relative to the layer's largest value. It may be 1e-4, or four times what the
layer moves in numpy when all tensors move in the last bit, which deep nets with synthetic weights amplify. Exit status
1 where it is more, or where a byte of the weights comes back changed. --write puts the table into docs/torch.md.
"""

import argparse
import gc
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

from measured_nets import NETS, SPECIAL, pair_of  # noqa: E402

from darkprune.backends.numpy_ import NumpyRunner  # noqa: E402
from darkprune.backends.torch_ import TorchRunner  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.save import weights_chunks  # noqa: E402
from darkprune.verify import SURGERY, allow_noise, check, moved, test_batch  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "torch.md")
MARK = "<!-- table: written by tools/torch_agreement.py -->\n", "<!-- end -->\n"
HEAD = "| net | weights | input | layers | largest error | at layer | allowed | weights through torch and back |\n"


def pair(name):
    """(cfg, weights, what the weights are) of a net."""
    cfg, weights = pair_of(name)
    trained = cfg[:-4] + ".weights"
    if trained == weights or not os.path.exists(trained):
        return cfg, weights, "synthetic"
    return cfg, trained, "trained"


def compare(net):
    """(the checks of all layers, seconds in numpy, seconds in torch)."""
    batch, checks, start = test_batch(net), [], time.time()
    last = [len(net.layers) - 1]
    with TorchRunner(net, device="cpu") as runner:
        found = runner.infer(batch)
    middle = time.time()

    def hook(layer, y):
        checks.append(check("torch", "torch", layer.index, y, found.pop(layer.index), SURGERY))
        return y

    NumpyRunner(net, hook).infer(batch, last)
    end = time.time()

    def noise():
        plain = NumpyRunner(net).infer(batch)
        floor = {}

        def compare_moved(layer, y):
            floor[layer.index] = check("noise", "numpy", layer.index, plain.pop(layer.index), y, 0.0).max_error
            return moved(y)

        NumpyRunner(net, compare_moved).infer(moved(batch), last)
        return floor

    return allow_noise(checks, noise), end - middle, middle - start


def comes_back(net, weights):
    """Whether the weights are the same bytes after torch held them."""
    from darkprune.backends.torch_module import NetModule, to_net

    with open(weights, "rb") as stream:
        return all(chunk == stream.read(len(chunk)) for chunk in weights_chunks(to_net(NetModule(net))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(list(NETS) + list(SPECIAL)), help="comma list (default: all)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/torch.md")
    arguments = parser.parse_args()
    rows, fine = [], True
    for name in arguments.nets.split(","):
        cfg, weights, what = pair(name)
        net = load(cfg, weights)
        checks, in_numpy, in_torch = compare(net)
        same = comes_back(net, weights)
        fine = fine and same and all(found.ok for found in checks)
        worst = max(checks, key=lambda found: found.max_error)
        size = "{0.w} x {0.h}".format(net.input.shape)
        cells = [name, what, size, len(net.layers), "{:.1e}".format(worst.max_error), worst.layer]
        cells.append("{:.1e}".format(worst.tolerance) if worst.ok else "**{:.1e}**".format(worst.tolerance))
        rows.append("| {} |\n".format(" | ".join(map(str, cells + ["same bytes" if same else "**changed**"]))))
        print("{} numpy {:.1f} s, torch {:.1f} s".format(rows[-1].strip(), in_numpy, in_torch), flush=True)
        del net
        gc.collect()
    if arguments.write:
        with open(PAGE, encoding="utf-8") as stream:
            before, rest = stream.read().split(MARK[0])
        with open(PAGE, "w", encoding="utf-8") as stream:
            stream.write(before + MARK[0] + HEAD + "|---|---|---|---|---|---|---|---|\n" + "".join(rows) + MARK[1])
            stream.write(rest.split(MARK[1])[1])
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
