"""What is told about readers that would take a file otherwise: the message and its line, once per case."""

import pytest

from darkprune.darknet.cfg import parse
from darkprune.errors import CfgError
from darkprune.graph.build import build

NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"
CONV = "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=leaky\n"  # lines 5..10
YOLO = "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n[yolo]\nclasses=3\nnum=1\nmask=0\n"


def told(text, dialect="alexeyab"):
    net = build(parse(text.encode("latin-1"), "a.cfg"), dialect)
    return [(notice.reader, notice.where.line, notice.message) for notice in net.notices]


CASES = {
    "a line without a value": (
        NET + CONV + "groups\n",
        ("opencv", 11, "OpenCV DNN refuses a line without '='; Darknet takes the default of groups"),
    ),
    "a lone carriage return": (
        NET + CONV.replace("leaky\n", "leaky\r\n"),
        ("pjreddie", 10, "the original Darknet takes the carriage return for a part of activation"),
    ),
    "two sizes": (
        NET + "width=16\n" + CONV,
        ("opencv", 5, "OpenCV DNN takes the last width of [net], Darknet the first"),
    ),
    "an activation that Darknet ignores": (
        NET + CONV + "[route]\nlayers=-1\nactivation=leaky\n",
        ("opencv", 13, "OpenCV DNN applies the activation here, Darknet ignores it"),
    ),
    "a padded 1x1 convolution": (
        NET + CONV.replace("size=3", "size=1").replace("pad=1", "padding=1"),
        ("alexeyab", 9, "AlexeyAB's Darknet reads a 1x1 convolution with padding as a plain one"),
    ),
    "an activation of the fork outside its convolutions": (
        NET + "[connected]\noutput=2\nactivation=mish\n",
        ("alexeyab", 7, "AlexeyAB's Darknet outputs zeros for mish in [connected]"),
    ),
    "random values": (
        NET + CONV + "dontload=1\n",
        ("alexeyab", 11, "AlexeyAB's Darknet leaves what dontload names at its initial, partly random values"),
    ),
    "anchors beyond num": (
        NET + CONV + YOLO + "anchors=1,2, 3,4\n",
        ("pjreddie", 19, "the original Darknet writes behind the end of its anchors: more than 2 x num numbers"),
    ),
    "a mask beyond num": (
        NET + CONV + YOLO.replace("mask=0", "mask=1") + "anchors=1,2\n",
        ("opencv", 18, "OpenCV DNN refuses anchors that num does not count"),
    ),
    "a division by zero": (
        NET + "subdivisions=0\n" + CONV,
        ("alexeyab", 5, "AlexeyAB's Darknet divides by subdivisions, which is 0"),
    ),
    "less than one image at a time": (
        NET + "batch=1\nsubdivisions=2\n" + CONV,
        ("pjreddie", 5, "the original Darknet crashes unless batch is at least subdivisions, and both at least 1"),
    ),
    "a step without a scale": (
        NET + "policy=steps\nsteps=100,200\nscales=.1\n" + CONV,
        ("alexeyab", 7, "AlexeyAB's Darknet crashes where there are fewer scales than steps"),
    ),
    "an image that is not as long as inputs says": (
        NET + "inputs=64\n" + CONV,
        ("pjreddie", 5, "the original Darknet takes inputs for the length of the image, 192 values"),
    ),
    "a comma in a comment": (
        NET + CONV + YOLO.replace("mask=0", "mask=0 # not 1,2") + "anchors=1,2\n",
        ("pjreddie", 18, "the original Darknet counts the commas of a comment behind mask"),
    ),
    "nothing to drop out": (
        NET + "[dropout]\n" + CONV,
        ("pjreddie", 5, "the original Darknet crashes where the first layer is [dropout]"),
    ),
    "no map anywhere": (
        "[net]\ninputs=6\n[connected]\noutput=2\nactivation=leaky\n",
        ("alexeyab", 1, "AlexeyAB's Darknet divides by zero in a net where no layer reads a map"),
    ),
    "a state of another width": (
        NET + "[rnn]\noutput=4\nactivation=tanh\n",
        ("pjreddie", 5, "the original Darknet takes another width for the state of [rnn]: misread weights"),
    ),
    "alpha of a wider map": (
        NET + CONV.replace("=4", "=2") + CONV + "[shortcut]\nfrom=0\nalpha=.5\n",
        ("opencv", 19, "OpenCV DNN multiplies channels by alpha to which nothing is added"),
    ),
    "a layer without memory of its own": (
        NET + CONV.replace("size=3", "size=1") + "[local]\nfilters=2\nsize=3\nactivation=leaky\n",
        ("pjreddie", 11, "the original Darknet writes behind the end of its memory: no convolution uses as much"),
    ),
    "a depthwise convolution over one row": (
        NET.replace("height=8", "height=1") + CONV + CONV.replace("size=3", "groups=4\nsize=3"),
        (
            "opencv",
            13,
            "OpenCV DNN computes a depthwise 3x3 convolution over a map of one row or one column from memory behind "
            "the map",
        ),
    ),
    "what a head makes of its map": (
        NET + CONV + YOLO + "anchors=1,2\n" + CONV,
        ("alexeyab", 20, "AlexeyAB's Darknet has numbers of its own behind the head, layer 2"),
    ),
    "a softmax with a temperature": (
        NET + CONV + "[avgpool]\n[softmax]\ntemperature=3\n",
        ("opencv", 13, "OpenCV DNN ignores temperature"),
    ),
    "a contrastive loss over nothing": (
        NET + CONV + "[contrastive]\n",
        ("alexeyab", 11, "AlexeyAB's Darknet crashes on [contrastive] without a yolo_layer"),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_notice(name):
    text, wanted = CASES[name]
    assert wanted in told(text)


def test_a_plain_net_has_no_notice():
    assert told(NET + CONV + YOLO + "anchors=1,2\n") == []
    local = told(NET + CONV + "[local]\nfilters=2\nsize=3\nactivation=leaky\n")
    assert local == [("opencv", 11, "OpenCV DNN does not know [local]")]
    assert told(NET + "batch=4\nsubdivisions=2\ninputs=192\npolicy=steps\nsteps=1,2\nscales=.1,.1,.1\n" + CONV) == []
    assert told(NET + "batch=99999999999\nsteps=1,2\nscales=.1\n" + CONV) == []
    assert told(NET + CONV + "stride_x=1\ndilation=1\nshare_index=-1000000000\nflipped=0\n") == []


def test_a_layer_that_shares_the_weights_of_layer_0():
    second = CONV.replace("size=3", "size=3\nshare_index=0")
    found = told(NET.replace("channels=3", "channels=4") + CONV + second)
    message = "the original Darknet does not read share_index: other numbers, or misread weights"
    assert ("pjreddie", 14, message) in found


def test_a_comment_with_a_comma_behind_layers_is_refused():
    with pytest.raises(CfgError) as caught:
        told(NET + CONV + "[route]\nlayers=-1 # 0, maybe\n")
    assert str(caught.value) == (
        "a.cfg:12: error: Darknet counts the commas of a comment behind layers as more layers\n"
        "   12 | layers=-1 # 0, maybe\n"
        "      |        ^^\n"
        "hint: put the comment on a line of its own"
    )
    assert told(NET + CONV + "[route]\nlayers=-1 # the first\n") == []
