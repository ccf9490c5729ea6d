"""Another input size: which lines change, what is refused, and what the real readers make of it."""

import pytest

import need
import small_nets
from darkprune.edit import resize
from darkprune.edit.resize import total_stride
from darkprune.errors import GraphError, UsageError
from darkprune.graph.build import load
from edit_checks import DETECTOR, changes, pair, random_pair, same_weights, written
from small_nets import cfg, conv, route, section, shortcut


def refusal(net, *size):
    with pytest.raises((GraphError, UsageError)) as caught:
        resize(net, *size)
    return str(caught.value).replace(net.document.path, "net.cfg")


def test_two_lines_change_and_every_shape_follows(tmp_path):
    net = pair(tmp_path)
    after = written(resize(net, 32, 24), tmp_path)
    assert changes(tmp_path) == [
        ("width = 16", "width = 32"),
        ("height=16   # as the camera has it", "height=24   # as the camera has it"),
    ]
    assert same_weights(tmp_path)
    assert [la.shape[:2] for la in after.layers] == [(la.shape.w * 2, la.shape.h * 3 // 2) for la in net.layers]
    assert net.config["width"] == 16 and net.layers[0].shape.w == 16  # the net it was made of stays


def test_one_side(tmp_path):
    written(resize(pair(tmp_path), height=20), tmp_path)
    assert [new for _, new in changes(tmp_path)] == ["height=20   # as the camera has it"]


@pytest.mark.parametrize("size", [(16, 16), (16, None), (None, None)])
def test_the_same_size_gives_the_same_bytes(tmp_path, size):
    written(resize(pair(tmp_path), *size), tmp_path)
    assert changes(tmp_path) == [] and same_weights(tmp_path)


def test_back_again_gives_the_same_bytes(tmp_path):
    written(resize(resize(pair(tmp_path), 32, 32), 16, 16), tmp_path)
    assert changes(tmp_path) == [] and same_weights(tmp_path)


def test_line_ends_and_the_mark_go_and_nothing_else(tmp_path):
    net = pair(tmp_path, "\xef\xbb\xbf" + DETECTOR.replace("\n", "\r\n"))
    save = written(resize(net, 32), tmp_path)
    text = (tmp_path / "out.cfg").read_text()
    assert text == DETECTOR.replace("width = 16", "width = 32")
    assert save.layers[0].shape[:2] == (32, 16)


def test_every_line_of_a_repeated_key_changes(tmp_path):
    net = pair(tmp_path, DETECTOR.replace("batch=8\n", "batch=8\nwidth=64\n"))
    written(resize(net, 16), tmp_path)
    assert changes(tmp_path) == [("width=64", "width=16")]


def test_a_gate_may_get_a_larger_map(tmp_path):
    gate = section("avgpool") + conv(8, 1, "logistic") + section("scale_channels", from_=-3)
    net = pair(tmp_path, cfg(conv(8, stride=16), gate, small_nets.HEAD))
    assert written(resize(net, 32, 32), tmp_path).layers[3].shape[:3] == (2, 2, 8)


# ---- refusals


def test_a_connected_layer_over_a_map(tmp_path):
    net = random_pair(tmp_path, cfg(conv(8, stride=4), section("connected", output=10)))
    assert refusal(net, 20, 20) == (
        "net.cfg:12: error: layer 1 [connected] would need weights of 10 x 200, the file has 10 x 128\n"
        "   12 | [connected]\n"
        "      | ^^^^^^^^^^^\n"
        "hint: keep 16 x 16, or train this layer anew"
    )
    resize(net, 13, 16)  # the same map


def test_a_connected_layer_behind_a_global_average(tmp_path):
    net = pair(tmp_path, cfg(conv(8), section("avgpool"), section("connected", output=10)))
    assert written(resize(net, 20, 28), tmp_path).layers[2].shape.c == 10


def test_a_local_layer(tmp_path):
    net = random_pair(tmp_path, cfg(conv(8, stride=4), section("local", filters=2, size=3, activation="leaky")))
    assert refusal(net, 20, 16) == (
        "net.cfg:12: error: layer 1 [local] would need biases of 2 x 2 x 3, the file has 2 x 2 x 2\n"
        "   12 | [local]\n"
        "      | ^^^^^^^\n"
        "hint: keep 16 x 16, or train this layer anew"
    )


def test_a_route_of_maps_that_no_longer_fit(tmp_path):
    assert refusal(pair(tmp_path), 18, 17) == (
        "net.cfg:65: error: layer 10 [route] would join maps of 10 x 10 and 9 x 9\n"
        "   65 | layers=-1,1\n"
        "      |        ^^^^\n"
        "hint: use multiples of 4, such as 20 x 20"
    )


def test_a_shortcut_that_would_bridge_two_sizes(tmp_path):
    """Darknet would add every second cell, where all were added."""
    blocks = conv(8), section("maxpool", size=2, stride=2, padding=0), section("upsample", stride=2), shortcut(-3)
    net = pair(tmp_path, cfg(*(blocks + (small_nets.HEAD,)), width=16, height=16))
    assert refusal(net, 17) == (
        "net.cfg:19: error: layer 3 [shortcut] would join maps of 16 x 16 and 17 x 16\n"
        "   19 | from=-3\n"
        "      |      ^^\n"
        "hint: use multiples of 2, such as 18 x 16"
    )
    small = pair(tmp_path, cfg(conv(8, stride=4), conv(8, stride=2), section("upsample", stride=2), shortcut(-3)), "b")
    with pytest.raises(GraphError, match="layer 3 .shortcut. would join maps of 2 x 4 and 1 x 4"):
        resize(small, 4)


def test_a_map_that_becomes_too_small(tmp_path):
    net = pair(tmp_path, cfg(conv(8, 5, pad=0), conv(8, 5, pad=0)))
    assert refusal(net, 8, 8) == (
        "net.cfg:16: error: a window of 5 does not fit 4 values with 0 of padding\n"
        "   16 | size=5\n"
        "      |      ^\n"
        "hint: make [net] larger or the window smaller"
    )


def test_sizes_that_are_none(tmp_path):
    net = pair(tmp_path)
    assert refusal(net, 0) == "error: width=0 is no size\nhint: use 1 or more"
    assert refusal(net, 16, -32) == "error: height=-32 is no size\nhint: use 1 or more"
    assert refusal(net, 1 << 20, 1 << 20) == (
        "net.cfg:3: error: [net] asks for an input of 3298534883328 values; Darknet counts in 32 bits\n"
        "    3 | [net]\n"
        "      | ^^^^^\n"
        "hint: set a smaller width, height and channels"
    )


def test_a_net_without_images(tmp_path):
    net = random_pair(tmp_path, "[net]\ninputs=12\n[connected]\noutput=4\n[softmax]\n")
    assert refusal(net, 16) == (
        "net.cfg:1: error: [net] has no width that could change\n"
        "    1 | [net]\n"
        "      | ^^^^^\n"
        "hint: write width= into the cfg, if the net reads images"
    )


# ---- the stride


@pytest.mark.parametrize("name, stride", [("yolov3", 32), ("yolov3-tiny", 32), ("yolov3-spp", 32), ("yolov4-tiny", 32)])
def test_stride_of_real_nets(name, stride):
    assert total_stride(load(str(need.ROOT / "cfg" / (name + ".cfg")))) == stride


def test_stride_where_the_size_is_fixed(tmp_path):
    text = cfg(conv(8, stride=2), section("crop", crop_width=8, crop_height=8), conv(8, stride=2))
    assert total_stride(pair(tmp_path, text)) in (4, 512)
    assert total_stride(random_pair(tmp_path, "[net]\ninputs=12\n[connected]\noutput=4\n", "flat")) == 1


def test_an_uneven_size_of_a_detector_is_told(tmp_path):
    text = cfg(conv(8, stride=4), conv(24, 1, "linear", None), section("yolo", mask="0,1,2", classes=3, num=3))
    net = resize(pair(tmp_path, text), 18, 16)
    notice = str(net.notices[-1]).replace(str(tmp_path) + "/", "")
    assert notice == (
        "net.cfg:2: warning: width=18 is no multiple of 4, the stride of this net: its cells do not fit the image\n"
        "    2 | width=16\n"
        "      |       ^^\n"
        "hint: use width=16 or 20"
    )
    assert "use width=4" in str(resize(pair(tmp_path, text), 3, 16).notices[-1])
    for even in (resize(pair(tmp_path, text), 20, 8), resize(pair(tmp_path, cfg(conv(8, stride=4))), 18)):
        assert not any("multiple" in notice.message for notice in even.notices)


def test_a_route_is_not_refused_where_sizes_still_agree(tmp_path):
    net = pair(tmp_path, cfg(conv(8, stride=2), conv(8), route(-1, -2), small_nets.HEAD))
    assert resize(net, 17, 13).layers[2].shape[:3] == (9, 7, 16)
