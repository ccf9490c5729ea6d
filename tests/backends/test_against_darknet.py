"""What only the original Darknet runs, in numpy and in the original: every output, layer by layer."""

import numpy as np
import pytest

import need
from darkprune.backends.darknet_ import DarknetRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.graph.build import load
from darkprune.verify import test_batch as picture
from small_nets import cfg, conv, make_weights, route, section, shortcut

CONNECTED = section("connected", output=4, activation="leaky")

NETS = {
    "shortcuts of other sizes": conv(8)
    + conv(8, stride=2)
    + shortcut(0, alpha=0.5, beta=2)  # a larger source
    + conv(5, stride=2)
    + route(0)
    + shortcut(1)
    + route(0)
    + shortcut(2, "leaky", alpha=0.5, beta=-2)
    + shortcut(3, alpha=0.5)  # narrower, every fourth cell
    + conv(5)
    + shortcut(2, beta=3),  # wider
    "flattened maps": conv(8)
    + section("reorg", flatten=1)
    + section("reorg", flatten=1, stride=2)
    + section("reorg", flatten=1, reverse=1)
    + section("reorg", flatten=1, reverse=1, stride=2),
    "extra values": conv(6) + section("reorg", extra=3, stride=1) + CONNECTED,
    "maps of different sizes": conv(4) + conv(6, stride=2) + route(-1, 0, -1) + CONNECTED,
    "kernels of each place": conv(8)
    + conv(4)
    + section("local", filters=3, size=3, stride=2, pad=0, activation="leaky")
    + section("local", filters=5, size=1, activation="logistic"),
    "binary kernels": conv(8) + conv(6, xnor=1) + conv(4, bn=None, xnor=1, groups=2) + conv(5, 1, xnor=1),
}


@pytest.mark.parametrize("name", sorted(NETS))
def test_every_layer(name, tmp_path):
    need.libdarknet()
    paths = [str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")]
    (tmp_path / "net.cfg").write_text(cfg(NETS[name], height=8), "ascii")
    make_weights.make(*paths, dialect="pjreddie")
    own = load(paths[0], paths[1], "pjreddie")
    batch = np.concatenate([picture(own, seed=seed) for seed in range(2)])
    expected = NumpyRunner(own).infer(batch)
    with DarknetRunner(*paths) as runner:
        found = runner.infer(batch)
    for layer in own.layers:
        if layer.shape.c or layer is own.layers[-1]:
            ours, real = expected[layer.index], found[layer.index]
            if layer.shape.c:
                assert ours.shape == real.shape
            np.testing.assert_allclose(ours.reshape(real.shape), real, atol=1e-4)
    assert np.std(found[own.layers[-1].index]) > 0.01  # agreement on one value would prove little
