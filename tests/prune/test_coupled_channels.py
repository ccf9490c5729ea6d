"""An activation that looks at all channels of a position keeps them, whatever layer it stands in."""

import pytest

import small_nets
from darkprune.errors import UsageError
from darkprune.graph.build import build
from darkprune.graph.channels import Channels
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, section, shortcut

WORDS = ["normalize_channels", "normalize_channels_softmax", "normalize_channels_softmax_maxval"]
BODIES = {
    "convolutional": lambda word: [conv(16, activation=word)],
    "activation": lambda word: [conv(16), section("activation", activation=word)],
    "shortcut": lambda word: [conv(16), conv(16), shortcut(-2, word)],
    "sam": lambda word: [conv(16), conv(16), section("sam", from_=-2, activation=word)],
    "scale_channels": lambda word: (
        [conv(16), section("avgpool"), section("scale_channels", from_=-2, activation=word)]
    ),
    "scale_channels by position": lambda word: (
        [conv(16), conv(1, bn=0), section("scale_channels", from_=-2, scale_wh=1, activation=word)]
    ),
    "connected": lambda word: [section("connected", output=16, activation=word)],
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", sorted(BODIES))
def test_coupled_channels_stay(name, word, tmp_path):
    body = BODIES[name](word)
    net = build(small_nets.parse(cfg(*body + [HEAD])))
    sets = Channels(net)
    layer = net.layers[len(body) - 1]
    reasons = {sets.pin_reason(number) for number in sets.sets[sets.outputs[layer.index]]}
    assert reasons == {"{} of layer {} couples channels".format(word, layer.index)}


@pytest.mark.parametrize("name", ["shortcut", "sam"])
def test_nothing_else_may_go(name, tmp_path):
    net = small_nets.net(tmp_path, cfg(*BODIES[name](WORDS[0]) + [HEAD]))
    with pytest.raises(UsageError) as caught:
        prune(net, channels=0.5, force=True)
    assert caught.value.message == "no filter of this net can be removed"
    assert "normalize_channels of layer 2 couples channels" in caught.value.hint
