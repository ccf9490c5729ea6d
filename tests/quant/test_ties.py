"""Which tensors share a range."""

import small_nets
from darkprune.quant.ranges import Range
from darkprune.quant.ties import follows, tied
from small_nets import HEAD, conv, route, section, shortcut

POOL = section("maxpool", size=2, stride=2)
UP = section("upsample", stride=2)


def ranges(net, **own):
    """Each layer's own number as its range, but for those of `own`."""
    names = ["data"] + ["L{:03d}_{}".format(layer.index, layer.type) for layer in net.layers]
    return {name: one(own.get(name[:4], number)) for number, name in enumerate(names)}


def one(number):
    return Range(-float(number), float(number), float(number))


def numbers(found):
    return {name[:4]: int(value.amax) for name, value in found.items()}


def test_what_picks_values_has_the_range_of_what_it_reads(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(POOL, conv(4), POOL, UP, route(1, groups=2), HEAD))
    assert [follows(layer) for layer in net.layers] == [True, False, True, True, True, False]
    measured = {name: value for name, value in ranges(net).items() if name[:4] in ("data", "L001", "L005")}
    for concatenations in (False, True):
        found = numbers(tied(net, measured, concatenations))
        assert found == {"data": 0, "L000": 0, "L001": 2, "L002": 2, "L003": 2, "L004": 2, "L005": 6}


def test_addends_keep_their_own(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), conv(4), shortcut(-2), HEAD))
    assert tied(net, ranges(net), True) == ranges(net)


def test_a_concatenation_and_its_sources_in_tensorrt(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), POOL, conv(4), UP, route(-1, 0), conv(4), HEAD))
    own = ranges(net, L004=9)
    assert numbers(tied(net, own))["L004"] == 9
    found = numbers(tied(net, own, True))  # also what is pooled from one, and upsampled to the other
    assert found == {"data": 0, "L000": 9, "L001": 9, "L002": 9, "L003": 9, "L004": 9, "L005": 6, "L006": 7}


def test_concatenations_that_share_a_source_take_the_widest(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), conv(4), route(0, 1), conv(4), route(-1, 0), HEAD))
    own = ranges(net, L002=20, L004=30)
    found = numbers(tied(net, own, True))
    assert found == {"data": 0, "L000": 30, "L001": 30, "L002": 30, "L003": 30, "L004": 30, "L005": 6}


def test_the_order_of_the_ranges_stays(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), POOL, HEAD))
    assert list(tied(net, ranges(net))) == ["data", "L000_convolutional", "L001_maxpool", "L002_convolutional"]
