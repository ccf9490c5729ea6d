"""Makes synthetic weights for a cfg: sizes and statistics of a trained net, but nothing that was learnt.

A share of the removable channel sets is dead (gamma = 0, as sparsity training leaves them), and the batch-norm
statistics are those of the net's own maps on a few images of gradients, blocks and noise, so that activations
keep their range through a hundred layers.
"""

import argparse
import os

import numpy as np

from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.darknet.dialect_epsilon import DEFAULT, DIALECTS
from darkprune.darknet.weights import FLOAT, NEW_HEADER
from darkprune.errors import CfgError, DarkpruneError, GraphError, Unsupported
from darkprune.graph.build import load
from darkprune.graph.channels import Channels

SMALLEST_IMAGE = 160  # pixels; the deepest maps of a detector are then 5x5
IMAGES = 6  # statistics of one image alone would make every other image look wild to the deep layers
BLOCKS = 8  # coarse blocks along each side of an image
VARIANCE_FLOOR = 1e-2


def make(cfg, out, seed=7, dead=0.75, dialect=DEFAULT, calibrate=True):
    """Writes weights for the file `cfg` to the file `out`.

    Args:
        seed: of every random choice; the same seed makes the same channels dead.
        dead: share of the removable channel sets of each tied width whose gamma is 0; one set always lives.
        dialect: whose defaults and arithmetic apply.
        calibrate: measure the batch-norm statistics; without, they are mean 0 and variance 1.
    """
    net = load(str(cfg), dialect_name=dialect)
    random = np.random.RandomState(seed)
    silent = dead_channels(net, dead, random)
    tensors = Calibration(net, random) if calibrate else None
    kept = {id(target) for layer in net.layers for target in layer.pointers.values()}
    temporary = "{}.{}.tmp".format(out, os.getpid())
    try:
        with open(temporary, "wb") as stream:
            stream.write(NEW_HEADER.to_bytes())
            for layer in net.layers:
                fill(layer, silent.get(layer.index), random)
                if tensors is not None:
                    tensors.advance(layer)
                for param in layer.params.values():
                    stream.write(memoryview(np.ascontiguousarray(param.value, FLOAT)).cast("B"))
                if id(layer) not in kept:
                    layer.params.clear()
        os.replace(temporary, str(out))
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def dead_channels(net, share, random):
    """Layer index -> which output channels are dead: the same share of every tied width, drawn by chance."""
    channels = Channels(net)
    producers = channels.producers()
    if not producers:
        return {}
    sets = np.unique(np.concatenate([numbers for _, numbers in producers]))
    free = sets[(channels.pinned[sets] < 0) & channels.scored[sets]]
    widths = channels.widths()[free]
    dead = np.zeros(channels.size, bool)
    for width in np.unique(widths):
        group = random.permutation(free[widths == width])
        dead[group[: min(int(round(share * group.size)), group.size - 1)]] = True
    return {layer.index: dead[numbers] for layer, numbers in producers}


def fill(layer, silent, random):
    """Gives the layer its parameters; those of its channels that are `silent` get gamma 0."""
    for spec in layer.op.parameters(layer):
        values = draw(spec, random)
        if spec.name == "scales" and silent is not None:
            values[silent] = 0
        layer.set_param(spec.name, values)


def draw(spec, random):
    """Values of one parameter before anything was measured."""
    if spec.name == "scales":
        return random.uniform(0.5, 1.5, spec.shape)
    if spec.name == "biases":
        return random.normal(0, 0.3, spec.shape)
    if spec.name.endswith(("mean", "variance")):
        return np.full(spec.shape, float(spec.name.endswith("variance")))
    if spec.axes[0] == "source":  # the factors of a weighted shortcut
        return random.uniform(0.5, 1.5, spec.shape)
    values = random.standard_normal(spec.shape)
    if spec.name == "weights" and "out" in spec.axes:
        fan_in = values.size // spec.shape[spec.axes.index("out")]
        values *= np.sqrt(2.0 / fan_in)  # He et al., "Delving Deep into Rectifiers", 2015
    else:
        values *= 0.05
    return values


class Measuring(NumpyBuilder):
    """Normalises by what it sees, and sets it as the statistics of the layer that is being run."""

    subject = None

    def batch_norm(self, x, gamma, beta, mean, variance):
        if "mean" in self.subject.params:
            seen = x.mean(axis=(0, 2, 3), dtype=np.float64), x.var(axis=(0, 2, 3), dtype=np.float64)
            if np.isfinite(seen).all():
                mean, variance = seen[0].astype(np.float32), np.maximum(seen[1], VARIANCE_FLOOR).astype(np.float32)
                self.subject.set_param("mean", mean)
                self.subject.set_param("variance", variance)
        return super(Measuring, self).batch_norm(x, gamma, beta, mean, variance)


class Calibration:
    """A few images on their way through the net, layer by layer; holds only the maps that are still read."""

    def __init__(self, net, random):
        shrink(net)
        self.builder = Measuring(net.dialect.name)
        self.last = {x.index: layer.index for layer in net.layers for x in layer.inputs}
        shape = net.input.shape
        start = pictures(shape.c, shape.h, shape.w, random) if shape.c else None
        self.maps = {-1: (start, start)}  # index -> (as references see it, as the next layer sees it)

    def advance(self, layer):
        """Runs `layer`, whose parameters are there. A layer that numpy cannot run leaves no map behind it."""
        pairs = [self.maps.get(x.index, (None, None)) for x in layer.inputs]
        inputs = [pair[layer.op.implicit and i == 0] for i, pair in enumerate(pairs)]
        self.builder.subject, self.builder.layer, self.builder.images = layer, layer.index, IMAGES
        if all(x is not None for x in inputs):
            try:
                with np.errstate(all="ignore"):
                    y = layer.op.lower(layer, self.builder, inputs)
                    self.maps[layer.index] = (y, layer.op.chain_lower(layer, self.builder, y))
            except Unsupported:
                pass
        for index in {layer.index} | {x.index for x in layer.inputs}:
            if self.last.get(index, -1) <= layer.index:
                self.maps.pop(index, None)


def shrink(net):
    """Gives the net a smaller image where its parameters do not depend on the image's size: statistics are cheaper."""
    before = [spec.shape for _, spec in net.specs()]
    sizes = {key: net.config[key] for key in ("width", "height")}
    try:
        for key, size in sizes.items():
            net.config.set(key, min(size, max(SMALLEST_IMAGE, int(round(size * 5 / 13 / 32)) * 32)))
        net.infer()
        same = [spec.shape for _, spec in net.specs()] == before
    except (GraphError, CfgError):
        same = False
    if not same:
        for key, size in sizes.items():
            net.config.set(key, size)
        net.infer()


def pictures(channels, height, width, random):
    """[IMAGES,C,H,W] in 0..1: gradients, coarse blocks and noise, each kind alone and then mixed."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    batch = np.empty((IMAGES, channels, height, width), np.float32)
    for number, image in enumerate(batch):
        angles = random.uniform(0, np.pi / 2, (channels, 1, 1))
        ramps = (x * np.cos(angles) + y * np.sin(angles)) / (np.cos(angles) + np.sin(angles))
        coarse = random.uniform(0, 1, (channels, BLOCKS, BLOCKS))
        blocks = coarse[:, (y * (BLOCKS - 1)).round().astype(int), (x * (BLOCKS - 1)).round().astype(int)]
        noise = random.uniform(0, 1, (channels, height, width))
        shares = np.eye(3)[number] if number < 3 else random.dirichlet((1, 1, 1))
        image[:] = shares[0] * ramps + shares[1] * blocks + shares[2] * noise
    return batch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfg")
    parser.add_argument("out", metavar="OUT.weights")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--dead", type=float, default=0.75, help="share of the removable channel sets with gamma 0")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default=DEFAULT)
    parser.add_argument("--no-calibrate", action="store_true", help="leave batch norm at mean 0, variance 1: faster")
    args = parser.parse_args()
    try:
        make(args.cfg, args.out, args.seed, args.dead, args.dialect, not args.no_calibrate)
    except DarkpruneError as error:
        parser.exit(2, "{}\n".format(error))


if __name__ == "__main__":
    main()
