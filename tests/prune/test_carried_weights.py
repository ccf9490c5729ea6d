"""No carried weight exceeds its reader's largest other weight, unless the constant is as large as its map allows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import small_nets
from darkprune.ops.activation_functions import inverse
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, route, section, shortcut

ROOT = Path(__file__).resolve().parent.parent.parent
HEAD3 = conv(5, activation="linear", bn=None)  # a padded head
ROUNDED = 1.002  # the inverse of an activation is met to 1e-3, and float32 rounds

NETS = {
    "chain": cfg(conv(16), conv(16), conv(16), HEAD3),
    "one constant for two readers": cfg(conv(16), conv(8), route(0), conv(24), route(-1, 1), HEAD),
    "a sum": cfg(conv(16), conv(8, 1), conv(16), shortcut(-3), conv(16), HEAD3),
    "a sum behind relu": cfg(conv(16, activation="relu"), conv(16, activation="linear"), shortcut(-2, "relu"), HEAD3),
    "a route": cfg(conv(16), conv(8), route(-1, 0), conv(16), HEAD3),
    "groups": cfg(conv(16), conv(16, groups=4), conv(16), HEAD3),
    "scaled down": cfg(conv(16, stride=2), section("upsample", stride=2, scale=0.125), conv(16), HEAD3),
    "scaled up": cfg(conv(16, stride=2), section("upsample", stride=2, scale=8), conv(16), HEAD3),
}
for name in ("relu", "mish", "swish", "linear", "tanh", "elu"):
    NETS[name] = cfg(conv(16, activation=name), conv(16, activation=name), HEAD3)
for name in ("uneven", "weighted"):
    NETS[name] = (ROOT / "tests" / "data" / "cfg" / (name + ".cfg")).read_text()


@pytest.fixture(scope="module")
def tool():
    """tools/constants.py as a module."""
    spec = importlib.util.spec_from_file_location("constants_for_tests", str(ROOT / "tools" / "constants.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def largest_allowed(net, item):
    """The largest value that a constant of this map can have: a power of two."""
    limit = 2.0 ** np.floor(np.log2(item.amax))
    while inverse(net.layers[item.source]["activation"], limit) is None:
        limit /= 2
    return limit


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", sorted(NETS))
def test_no_carried_weight_stands_out(name, seed, tool, tmp_path):
    net = small_nets.net(tmp_path, NETS[name], dead=0.5, seed=seed)
    pruned = prune(net, channels=0.5, force=True)
    found = tool.carried_weights(pruned.net)
    assert {item.constant for item in found} and pruned.plan.constants
    for item in found:
        assert item.ratio <= ROUNDED or item.value >= largest_allowed(pruned.net, item) / ROUNDED, item


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", sorted(NETS))
def test_no_constant_is_larger_than_its_readers_need(name, seed, tool, tmp_path):
    pruned = prune(small_nets.net(tmp_path, NETS[name], dead=0.5, seed=seed), channels=0.5, force=True).net
    largest = {}
    for item in tool.carried_weights(pruned):
        largest[item.constant] = max(item.ratio, largest.get(item.constant, 0.0))
    assert largest and min(largest.values()) > 0.5 / ROUNDED


def test_a_constant_stays_within_its_map(tool, tmp_path):
    """Dead channels emit 100 beside live ones of about 2: larger weights carry that, not a larger range of the map."""
    net = small_nets.net(tmp_path, NETS["chain"], dead=0.5)
    layer = net.layers[0]
    dead = layer.array("scales") == 0
    layer.set_param("biases", np.where(dead, 100, layer.array("biases")))
    pruned = prune(net, channels=0.5).net
    item = tool.carried_weights(pruned)[0]
    amax = np.abs(layer.array("biases")[~dead]) + 3 * layer.array("scales")[~dead]
    assert item.source == 0 and abs(item.amax - amax.max()) < 1e-5
    assert item.ratio > 2 and item.value == 2.0 ** np.floor(np.log2(amax.max()))
