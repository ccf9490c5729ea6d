"""What the optimizer changes: the rate of each layer, which layers are frozen and for how long, what decays."""

import math

import numpy as np
import pytest

import need

torch = need.torch()

from darkprune.backends.torch_module import NetModule  # noqa: E402
from darkprune.darknet import cfg as cfg_text  # noqa: E402
from darkprune.errors import CfgError  # noqa: E402
from darkprune.graph.build import build  # noqa: E402
from darkprune.train.gamma_sparsity import Sparsity  # noqa: E402
from darkprune.train.layer_options import ignored, layer_options  # noqa: E402
from darkprune.train.loader import Batch  # noqa: E402
from darkprune.train.losses import losses_of  # noqa: E402
from darkprune.train.optimizer import moments, restore_moments  # noqa: E402
from darkprune.train.random_weights import start  # noqa: E402
from darkprune.train.settings import Settings  # noqa: E402
from darkprune.train.step import Stepper  # noqa: E402
from small_nets import cfg, conv, section  # noqa: E402

KINDS = 3
LAST = conv(KINDS, size=1, bn=None, activation="linear") + section("avgpool") + section("softmax")


def net(*parts):
    text = cfg(*(list(parts) + [LAST]), width=8, height=8)
    return start(build(cfg_text.parse(text.encode("ascii"), "small.cfg")), 3)


def stepper(made, **given):
    options = dict({"max_batches": 100, "batch": 4, "decay": 0.1, "momentum": 0.5}, **given)
    return Stepper(NetModule(made), losses_of(made), Settings.of(made, **options))


def run(one, steps, rate=0.1, first=0):
    """Trains; returns what changed: names of parameters by step."""
    random, changed = np.random.RandomState(first), []
    for step in range(first, first + steps):
        before = arrays(one)
        images = random.randint(0, 256, (4, 8, 8, 3)).astype(np.uint8)
        one.freeze(step)
        one.step([Batch(images, random.randint(0, KINDS, 4))], rate, str)
        changed.append({name for name, values in arrays(one).items() if not np.array_equal(values, before[name])})
    return changed


def arrays(one):
    return {name: values.detach().numpy().copy() for name, values in one.module.named_parameters()}


def layers(names):
    return {int(name.split(".")[1]) for name in names}


@pytest.mark.parametrize(
    "key, learning",
    [
        ({}, [{0, 1, 2, 3}] * 4),
        ({"stopbackward": 1}, [{2, 3}] * 4),
        ({"stopbackward": 2}, [{2, 3}] * 2 + [{0, 1, 2, 3}] * 2),
        ({"dont_update": 3}, [{0, 2, 3}] * 3 + [{0, 1, 2, 3}]),
        ({"burnin_update": 2}, [{0, 2, 3}] * 3 + [{0, 1, 2, 3}]),  # the update of step s counts as s + 1, as in Darknet
        ({"train_only_bn": 1}, [{2, 3}] * 4),
        ({"learning_rate": 0}, [{0, 2, 3}] * 4),
    ],
)
def test_which_layers_learn_at_which_step(key, learning):
    one = stepper(net(conv(4), conv(4, **key), conv(4)), burn_in=2)
    buffers = {name: values.clone() for name, values in one.module.named_buffers()}
    assert [layers(names) for names in run(one, 4)] == learning
    for name, values in one.module.named_buffers():  # the statistics move, as in Darknet
        assert not torch.equal(values, buffers[name])


@pytest.mark.parametrize("adam", [0, 1])
def test_a_frozen_layer_costs_no_gradient_and_gathers_no_moment(adam):
    one = stepper(net(conv(4), conv(4, stopbackward=1), conv(4)), adam=adam)
    run(one, 1)
    parameters = dict(one.module.named_parameters())
    assert {int(name.split(".")[1]) for name, values in parameters.items() if values.grad is not None} == {2, 3}
    assert layers(key.rpartition("/")[0] for key in moments(one.module, one.optimizer)) == {2, 3}


def test_a_layers_rate_multiplies_that_of_the_schedule():
    moved = {}
    for factor in (1, 0.25):
        one = stepper(net(conv(4), conv(4, learning_rate=factor)))
        before = arrays(one)["layers.1.weights"]
        run(one, 1, rate=0.08)
        moved[factor] = arrays(one)["layers.1.weights"] - before
    assert np.abs(moved[1]).max() > 1e-3
    np.testing.assert_allclose(moved[0.25], 0.25 * moved[1], rtol=1e-3, atol=1e-7)


def test_clip_holds_the_weights_of_its_layer():
    one = stepper(net(conv(4, clip=0.05), conv(4)))
    run(one, 1)
    found = arrays(one)
    assert np.abs(found["layers.0.weights"]).max() == np.float32(0.05)
    assert np.abs(found["layers.1.weights"]).max() > 0.05 and np.abs(found["layers.0.scales"]).max() > 0.05


def test_weights_of_recurrent_layers_decay_and_biases_do_not():
    recurrent = section("rnn", batch_normalize=1, hidden=4, output=4, activation="leaky")
    made = start(build(cfg_text.parse(cfg(conv(2), recurrent).encode("ascii"), "small.cfg")), 1)
    one = Stepper(NetModule(made), {}, Settings.of(made, max_batches=1, decay=0.1))
    names = {values: name for name, values in one.module.named_parameters()}
    decays = {names[p] for group in one.optimizer.param_groups if group["weight_decay"] == 0.1 for p in group["params"]}
    others = {names[p] for group in one.optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert decays == {"layers.0.weights"} | {"layers.1.{}_weights".format(x) for x in ("input", "self", "output")}
    assert decays | others == set(names.values()) and not decays & others


def test_moments_come_back_by_name_whatever_is_frozen():
    parts = conv(4, learning_rate=0.5), conv(4, dont_update=3), conv(4)
    whole, resumed = stepper(net(*parts)), stepper(net(*parts))
    run(whole, 2)
    resumed.module.load_state_dict(whole.module.state_dict())
    kept = moments(whole.module, whole.optimizer)
    restore_moments(resumed.module, resumed.optimizer, {key: values.numpy().copy() for key, values in kept.items()})
    assert 1 not in layers(key.rpartition("/")[0] for key in kept)
    for one in (whole, resumed):
        run(one, 3, first=2)
    for name, values in arrays(whole).items():
        np.testing.assert_array_equal(arrays(resumed)[name], values)


@pytest.mark.parametrize("method", ["proximal", "subgradient", "hoyer"])
def test_sparsity_leaves_frozen_gammas_alone(method):
    made = net(conv(4), conv(4, stopbackward=1), conv(4), conv(4, dont_update=2))
    one = stepper(made)
    one.sparsity = Sparsity(made, one.module, 0.1, method)
    assert one.sparsity.sets.size == 8  # of layers 2 and 3
    assert [layers(names) for names in run(one, 3)] == [{2, 4}, {2, 4}, {2, 3, 4}]


def test_a_net_that_waits_for_its_first_layer_can_be_trained():
    one = stepper(net(conv(4), conv(4)).copy())
    one.options = [option._replace(frozen=2.0) for option in one.options]
    assert [layers(names) for names in run(one, 3)] == [set(), set(), {0, 1, 2}]


@pytest.mark.parametrize("key", ["stopbackward", "train_only_bn"])
def test_a_net_that_could_never_learn_is_refused(key):
    made = net(conv(4))
    made.layers[-1].set(key, 1)
    with pytest.raises(CfgError) as caught:
        layer_options(made)
    said, cure = str(caught.value), "take stopbackward or train_only_bn out of the cfg"
    assert said.startswith("small.cfg:1: error: all layers are frozen\n") and said.endswith("hint: " + cure)


@pytest.mark.parametrize("key, text", [("learning_rate", "nan"), ("dont_update", "-1"), ("clip", "-0.5")])
def test_numbers_out_of_range_are_refused(key, text):
    with pytest.raises(CfgError) as caught:
        layer_options(net(conv(4, **{key: text})))
    said, line = str(caught.value), "{}={}".format(key, text)
    assert said.startswith("small.cfg:12: error: {} is no number from 0 on\n   12 | {}\n".format(line, line))
    assert said.endswith("hint: use 0 or more")


def test_what_has_no_effect_is_said():
    (notice,) = ignored(net(conv(4, onlyforward=1), conv(4, onlyforward=0)))
    assert notice.message == "onlyforward=1 has no effect: the layer is trained as others are"
    assert notice.where.line == 12
    assert [option.frozen for option in layer_options(net(conv(4, onlyforward=1)))][:1] == [0.0]
    assert math.isinf(layer_options(net(conv(4), conv(4, stopbackward=1)))[0].frozen)
