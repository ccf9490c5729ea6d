"""Editing a net: options, arrays, edges, removal; and the invariants that are checked afterwards."""

import numpy as np
import pytest

import darkprune
import small_nets
from darkprune.errors import CfgError, GraphError
from darkprune.graph.write import cfg_bytes
from small_nets import HEAD, cfg, conv, route, section, shortcut

NET = cfg(conv(8), conv(4, 1), conv(8), shortcut(-3), route(-1, 0), HEAD)
POINTERS = cfg(conv(8), conv(8), conv(8, share_index=1), HEAD)


@pytest.fixture
def net(tmp_path):
    return small_nets.net(tmp_path, NET)


def reloaded(net, tmp_path):
    darkprune.save(net, str(tmp_path / "out"))
    return darkprune.load(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights"))


def test_an_option_is_set_and_written(net, tmp_path):
    net.layers[1].set("activation", "mish")
    net.layers[0].set("batch_normalize", 1)
    net.config.set("width", 24)
    net.check()
    assert net.layers[-1].shape[:3] == (24, 16, 5)
    again = reloaded(net, tmp_path)
    assert again.layers[1]["activation"] == "mish" and again.input.shape[:3] == (24, 16, 3)
    changed = NET.replace("width=16", "width=24").replace("leaky", "mish", 2).replace("mish", "leaky", 1)
    assert cfg_bytes(net) == changed.encode()


def test_an_option_is_dropped_and_lists_are_joined(net):
    net.layers[1].set("pad", None)
    assert net.layers[1]["pad"] == 0 and b"pad=1\n[convolutional]\nactivation=leaky\nbatch" in cfg_bytes(net)
    net.layers[0].set("note", [1, 2, 3])  # an option nobody declares is kept as it is
    assert net.layers[0].text("note") == "1,2,3" and b"note=1,2,3\n" in cfg_bytes(net)


def test_an_illegal_value_is_refused_and_changes_nothing(net):
    with pytest.raises(CfgError) as caught:
        net.layers[0].set("filters", 0)
    assert caught.value.message == "[convolutional] filters=0 must be at least 1"
    assert net.layers[0]["filters"] == 8 and cfg_bytes(net) == NET.encode()


def test_an_edit_that_breaks_shapes_is_found_by_check(net):
    net.layers[2].set("stride", 3)
    with pytest.raises(GraphError) as caught:
        net.check()
    assert caught.value.message == "[shortcut] adds 16 x 16 x 8 of layer 0 to 6 x 6 x 8"
    net.layers[2].set("stride", 1)
    net.check()


def test_options_and_arrays_must_change_together(net):
    net.layers[1].set("filters", 6)
    with pytest.raises(GraphError) as caught:
        net.check()
    assert caught.value.message == "biases of layer <1 convolutional> has shape (4,), its options ask for (6,)"
    assert caught.value.where.line == 12 and caught.value.hint == "change the arrays and the options together"
    with pytest.raises(GraphError):
        darkprune.save(net, "never")


def test_a_parameter_is_set_and_written(net, tmp_path):
    values = np.arange(4, dtype=np.float64) + 0.5
    net.layers[1].set_param("biases", values)
    values[:] = 9  # a copy was taken, in float32
    assert net.layers[1].array("biases").dtype == np.float32
    again = reloaded(net, tmp_path)
    np.testing.assert_array_equal(again.layers[1].array("biases"), [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(again.layers[2].array("weights"), net.layers[2].array("weights"))


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("biases", np.zeros(5), "biases of layer <1 convolutional> has shape (4,), not (5,)"),
        ("biases", [0, 0, np.nan, 0], "biases of layer <1 convolutional> would hold a nan or infinity"),
        ("rolling", np.zeros(4), "layer <1 convolutional> has no parameter 'rolling'"),
    ],
)
def test_a_wrong_parameter_is_refused(name, values, message, net):
    before = net.layers[1].array("biases").copy()
    with pytest.raises(GraphError) as caught:
        net.layers[1].set_param(name, values)
    assert caught.value.message == message
    np.testing.assert_array_equal(net.layers[1].array("biases"), before)


def test_without_weights_there_are_no_values(tmp_path):
    small_nets.write(tmp_path, NET)
    net = darkprune.load(str(tmp_path / "net.cfg"))
    with pytest.raises(GraphError) as caught:
        net.layers[0].array("weights")
    assert caught.value.hint == "load the weights too"


# ---- edges


def test_remove_with_a_replacement_renumbers_references(net, tmp_path):
    expected = small_nets.raw_heads(net)[0]
    net.remove(net.layers[1:4], replace=net.layers[0])  # the block: the sum becomes its trunk
    net.check()
    assert [layer.type for layer in net.layers] == ["convolutional", "route", "convolutional"]
    assert net.layers[1].inputs == [net.layers[0], net.layers[0]] and net.loaded == 3
    again = reloaded(net, tmp_path)
    assert again.layers[1].text("layers") == "-1,0"  # each in the style it had
    found = small_nets.raw_heads(again)[0]
    assert found.shape == expected.shape and np.abs(found - expected).max() > 1e-3
    np.testing.assert_array_equal(found, small_nets.raw_heads(net)[0])


def test_remove_of_what_is_still_read_is_refused(net):
    with pytest.raises(GraphError) as caught:
        net.remove([net.layers[3]])
    assert caught.value.message == "layers [<3 shortcut>] are still used by [<4 route>]"
    assert caught.value.hint == "rewire or remove those first, or give a replacement"
    assert len(net.layers) == 6


def test_remove_that_would_need_a_route_is_refused(net):
    with pytest.raises(GraphError) as caught:
        net.remove([net.layers[2]], replace=net.layers[0])  # the shortcut's first input is the layer before it
    assert caught.value.hint == "keep a [route] between them"
    assert len(net.layers) == 6
    net.check()


def test_remove_of_a_pointers_target_is_refused(tmp_path):
    small_nets.write(tmp_path, POINTERS)
    net = darkprune.load(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"))
    with pytest.raises(GraphError) as caught:
        net.remove([net.layers[1]], replace=net.layers[0])
    assert caught.value.message == "layers [<1 convolutional>] are still used by [<2 convolutional>]"


def test_remove_the_last_layer(net):
    net.remove([net.layers[5]])
    net.check()
    assert len(net.layers) == 5 and b"filters=5" not in cfg_bytes(net)


def test_rewire(net, tmp_path):
    net.rewire(net.layers[4], 1, net.layers[2])
    net.check()
    assert reloaded(net, tmp_path).layers[4].text("layers") == "-1,2"
    assert net.readers(net.layers[2]) == [(net.layers[3], 0), (net.layers[4], 1)]


@pytest.mark.parametrize(
    "layer, position, source, message",
    [
        (5, 0, 0, "layer <5 convolutional> reads the layer before it, which no option names"),
        (3, 0, 0, "layer <3 shortcut> reads the layer before it, which no option names"),
        (4, 0, 4, "layer <4 route> cannot read <4 route>"),
        (4, 0, 5, "layer <4 route> cannot read <5 convolutional>"),
    ],
)
def test_rewire_refuses(layer, position, source, message, net):
    before = list(net.layers[layer].inputs)
    with pytest.raises(GraphError) as caught:
        net.rewire(net.layers[layer], position, net.layers[source])
    assert caught.value.message == message and net.layers[layer].inputs == before


def test_rewire_to_the_image_is_refused(net):
    with pytest.raises(GraphError):
        net.rewire(net.layers[4], 0, net.input)


# ---- check


def test_check_finds_a_wrong_number(net):
    net.layers[2].index = 7
    with pytest.raises(GraphError) as caught:
        net.check()
    assert caught.value.message == "layer <7 convolutional> stands at place 2"


def test_check_finds_an_edge_to_a_later_layer(net):
    net.layers[3].inputs[1] = net.layers[5]
    with pytest.raises(GraphError) as caught:
        net.check()
    assert caught.value.message == "layer <3 shortcut> reads <5 convolutional>, which does not come before it"


def test_check_finds_a_first_input_that_is_not_the_layer_before(net):
    net.layers[5].inputs[0] = net.layers[0]
    with pytest.raises(GraphError) as caught:
        net.check()
    message = "layer <5 convolutional> can only read the layer before it, <4 route>, not <0 convolutional>"
    assert caught.value.message == message and caught.value.hint == "put a [route] between them"


def test_check_finds_missing_arrays(net):
    del net.layers[0].params["mean"]
    with pytest.raises(GraphError) as caught:
        net.check()
    assert caught.value.message.startswith("layer <0 convolutional> has the arrays ['biases', 'scales', 'variance'")


def test_a_copy_is_independent(net):
    twin = net.copy()
    twin.layers[0].set("activation", "relu")
    twin.layers[1].set_param("biases", np.ones(4))
    twin.remove(twin.layers[1:4], replace=twin.layers[0])
    twin.check()
    net.check()
    assert net.layers[0]["activation"] == "leaky" and len(net.layers) == 6 and cfg_bytes(net) == NET.encode()
    assert not np.array_equal(net.layers[1].array("biases"), np.ones(4))
    assert all(source is net.input or source in net.layers for layer in net.layers for source in layer.inputs)


def test_comments_of_what_stays_stay(tmp_path):
    text = NET.replace("[shortcut]", "# the sum\n[shortcut]").replace("[route]", "# the join ; of two\n[route]")
    net = small_nets.net(tmp_path, text)
    net.remove(net.layers[1:4], replace=net.layers[0])
    net.check()
    assert b"# the join ; of two\n[route]\nlayers=-1,0\n" in cfg_bytes(net) and b"# the sum" not in cfg_bytes(net)


def test_the_facade(tmp_path):
    small_nets.write(tmp_path, NET)
    net = darkprune.load(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"))
    pruned = darkprune.prune(net, channels=0.3)
    darkprune.save(pruned.net, str(tmp_path / "out"), plan=pruned.plan)
    again = darkprune.apply_plan(net, pruned.plan)
    assert again.count_parameters() == pruned.net.count_parameters() < net.count_parameters()
    assert section("net", width=1) == "[net]\nwidth=1\n"
