"""Options set one by one: what changes, and everything that is refused."""

import pytest

from darkprune.edit import set_options
from darkprune.errors import DarkpruneError
from edit_checks import DETECTOR, changes, pair, same_weights, written
from small_nets import cfg, conv, section


def refusal(net, *setting):
    with pytest.raises(DarkpruneError) as caught:
        set_options(net, [setting])
    return str(caught.value).replace(net.document.path, "net.cfg")


@pytest.mark.parametrize(
    "setting, before, after",
    [
        (("net", "batch", "1"), "batch=8", "batch=1"),
        ((12, "anchors", "1,3, 3,5, 5,6,7,8,9,10,11,12"),)
        + ("anchors=1,2, 3,4,  5,6, 7,8, 9,10, 11,12", "anchors=1,3,3,5,5,6,7,8,9,10,11,12"),
        (("0", "activation", " relu "), "activation=leaky", "activation=relu"),
        ((6, "mask", "0,1,2"), "mask=3,4,5", "mask=0,1,2"),
    ],
)
def test_one_line_changes(tmp_path, setting, before, after):
    net = pair(tmp_path)
    again = written(set_options(net, [setting]), tmp_path)
    assert changes(tmp_path) == [(before, after)] and same_weights(tmp_path)
    target = again.config if setting[0] == "net" else again.layers[int(setting[0])]
    assert target.text(setting[1]) == after.split("=")[1]
    assert net.config.edits == {} and all(not layer.edits for layer in net.layers)


def test_several_at_once_are_judged_together(tmp_path):
    net = pair(tmp_path)
    settings = [(1, "stride", "1"), (2, "stride", "1"), (9, "stride", "1")]
    for single in settings[1:]:
        with pytest.raises(DarkpruneError, match="layer 10 .route. would join maps"):
            set_options(net, [single])
    written(set_options(net, settings), tmp_path)
    assert len(changes(tmp_path)) == 3


@pytest.mark.parametrize(
    "setting", [("net", "batch", "8"), (12, "num", " 6"), (12, "anchors", "1,2,3,4,5,6,7,8,9,10,11,12")]
)
def test_what_stands_there_is_not_touched(tmp_path, setting):
    written(set_options(pair(tmp_path), [setting]), tmp_path)
    assert changes(tmp_path) == [] and same_weights(tmp_path)


def test_a_known_option_is_added_behind_the_last(tmp_path):
    written(set_options(pair(tmp_path), [("net", "subdivisions", "4"), (12, "ignore_thresh", ".7")]), tmp_path)
    text = DETECTOR.replace("batch=8\n", "batch=8\nsubdivisions=4\n").replace("num=6\n#", "num=6\nignore_thresh=.7\n#")
    assert (tmp_path / "out.cfg").read_text() == text and same_weights(tmp_path)


def test_an_option_that_only_the_file_knows_may_change(tmp_path):
    net = pair(tmp_path, DETECTOR.replace("batch=8\n", "batch=8\nmine=a\n"))
    written(set_options(net, [("net", "mine", "b/c=d.txt")]), tmp_path)
    assert changes(tmp_path) == [("mine=a", "mine=b/c=d.txt")]


CLASSES = "hint: use --classes N, for all heads"
FIT = "hint: --set keeps the arrays; --classes, --fuse-bn and prune change them"
LINE = "use plain letters, digits and signs"
REFUSED = [
    ((13, "filters", "8"), "error: there is no layer 13\nhint: use 0..12, or net"),
    (("-1", "filters", "8"), "error: there is no layer -1\nhint: use 0..12, or net"),
    (("Net", "batch", "8"), "error: there is no layer Net\nhint: use 0..12, or net"),
    (("net", "batch", " "), "error: batch of net gets no value; readers would take their defaults\nhint: give a value"),
    (
        (0, "activation", "relu#x"),
        "error: activation of 0 would hold '#', which starts a comment, ends the line or is no ASCII\nhint: " + LINE,
    ),
    (
        (0, "activation", "relu\n"),
        "error: activation of 0 would hold '\\n', which starts a comment, ends the line or is no ASCII\nhint: " + LINE,
    ),
    (
        ("net", "policy", "st\u00e9ps"),
        "error: policy of net would hold '\\xe9', which starts a comment, ends the line or is no ASCII\nhint: " + LINE,
    ),
    (
        (0, "activaton", "relu"),
        "net.cfg:10: error: [convolutional] has no option 'activaton'\n"
        "   10 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n"
        "hint: did you mean activation?",
    ),
    (
        ("net", "zzz", "1"),
        "net.cfg:3: error: [net] has no option 'zzz'\n"
        "    3 | [net]\n"
        "      | ^^^^^\n"
        "hint: see the cfg for the options of this section",
    ),
    (
        (4, "from", "-3"),
        "net.cfg:40: error: from of [shortcut] is an edge of the net\n"
        "   40 | from=-2\n"
        "      |      ^^\n"
        "hint: change it in the cfg itself; inspect then checks the net",
    ),
    (
        (10, "layers", "-1"),
        "net.cfg:65: error: layers of [route] is an edge of the net\n"
        "   65 | layers=-1,1\n"
        "      |        ^^^^\n"
        "hint: change it in the cfg itself; inspect then checks the net",
    ),
    (
        (0, "share_index", "0"),
        "net.cfg:10: error: share_index of [convolutional] is an edge of the net\n"
        "   10 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n"
        "hint: change it in the cfg itself; inspect then checks the net",
    ),
    (
        ("net", "width", "32"),
        "net.cfg:5: error: width of [net] is an input size\n"
        "    5 | width = 16\n"
        "      |         ^^\n"
        "hint: use --width N",
    ),
    (
        (12, "classes", "4"),
        "net.cfg:75: error: classes of [yolo] takes other filters in the layer before\n"
        "   75 |   classes = 3\n"
        "      |             ^\n" + CLASSES,
    ),
    (
        (0, "stride", "two"),
        "net.cfg:15: error: stride of [convolutional] takes a whole number, not 'two'\n"
        "   15 | stride=1\n"
        "      |        ^\n"
        "hint: Darknet would not refuse it, but read another number",
    ),
    (
        (0, "stride", "1.5"),
        "net.cfg:15: error: stride of [convolutional] takes a whole number, not '1.5'\n"
        "   15 | stride=1\n"
        "      |        ^\n"
        "hint: Darknet would not refuse it, but read another number",
    ),
    (
        (12, "anchors", "1,2,,3"),
        "net.cfg:74: error: anchors of [yolo] takes numbers, not '1,2,,3'\n"
        "   74 | anchors=1,2, 3,4,  5,6, 7,8, 9,10, 11,12\n"
        "      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "hint: Darknet would not refuse it, but read another number",
    ),
    (
        ("net", "batch", "many"),
        "net.cfg:8: error: batch of [net] takes numbers, not 'many'\n"
        "    8 | batch=8\n"
        "      |       ^\n"
        "hint: Darknet would not refuse it, but read another number",
    ),
    (
        (0, "stride", "0"),
        "net.cfg:15: error: [convolutional] stride=0 must be at least 1\n"
        "   15 | stride=1\n"
        "      |        ^\n"
        "hint: set stride=1 or more",
    ),
    (
        (0, "activation", "leeky"),
        "net.cfg:11: error: unknown activation 'leeky'; Darknet would compute ReLU\n"
        "   11 | activation=leaky\n"
        "      |            ^^^^^\n"
        "hint: did you mean leaky?",
    ),
]


def test_refusals(tmp_path):
    net = pair(tmp_path)
    for setting, text in REFUSED:
        assert refusal(net, *setting) == text, setting


SHAPES = [
    (
        (0, "filters", "9"),
        "net.cfg:10: error: layer 0 [convolutional] would need biases of 9, the file has 8\n"
        "   10 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n" + FIT,
    ),
    (
        (0, "batch_normalize", "0"),
        "net.cfg:10: error: layer 0 [convolutional] would have the arrays biases, weights, the file has biases, "
        "scales, mean, variance, weights\n"
        "   10 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n" + FIT,
    ),
    (
        (1, "groups", "2"),
        "net.cfg:18: error: layer 1 [convolutional] would need weights of 8 x 4 x 3 x 3, the file has 8 x 8 x 3 x 3\n"
        "   18 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n" + FIT,
    ),
    (
        (0, "dontload", "1"),
        "net.cfg:10: error: layer 0 [convolutional] would have the arrays none, the file has biases, scales, mean, "
        "variance, weights\n"
        "   10 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n" + FIT,
    ),
    (
        ("net", "channels", "4"),
        "net.cfg:10: error: layer 0 [convolutional] would need weights of 8 x 4 x 3 x 3, the file has 8 x 3 x 3 x 3\n"
        "   10 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n" + FIT,
    ),
    (
        (9, "stride", "4"),
        "net.cfg:65: error: layer 10 [route] would join maps of 16 x 16 and 8 x 8\n"
        "   65 | layers=-1,1\n"
        "      |        ^^^^\n"
        "hint: such an option can only change together with others; leave it as it is",
    ),
    (
        (6, "mask", "0,1"),
        "net.cfg:51: error: [yolo] needs 2 anchors x (3 classes + 5) = 16 channels, the layer before has 24\n"
        "   51 | classes=3\n"
        "      |         ^\n"
        "hint: set filters=16 in the convolution before, or correct classes and mask",
    ),
]


def test_options_with_which_the_arrays_or_edges_would_not_fit(tmp_path):
    net = pair(tmp_path)
    for setting, text in SHAPES:
        assert refusal(net, *setting) == text, setting


def test_numload_is_refused_where_a_reader_knows_it(tmp_path):
    net = pair(tmp_path, cfg(conv(8)), dialect="pjreddie")
    assert refusal(net, 0, "numload", "4") == (
        "net.cfg:5: error: numload cuts the arrays of this layer short in a way only one reader knows\n"
        "    5 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n"
        "hint: leave this option as it is"
    )


def test_an_option_is_set_once(tmp_path):
    with pytest.raises(DarkpruneError) as caught:
        set_options(pair(tmp_path), [("net", "batch", "1"), ("net", "batch ", "2")])
    assert str(caught.value) == "error: batch of net is set twice\nhint: set it once"
    with pytest.raises(DarkpruneError, match="pad of 00 is set twice"):
        set_options(pair(tmp_path), [(0, "pad", "1"), ("00", "pad", "1")])


def test_a_trailing_comment_stays(tmp_path):
    text = cfg(section("maxpool", size=2, stride="2 # half"), conv(8))
    written(set_options(pair(tmp_path, text), [(0, "size", "3"), (0, "stride", "1")]), tmp_path)
    assert changes(tmp_path) == [("size=2", "size=3"), ("stride=2 # half", "stride=1 # half")]


@pytest.mark.parametrize(
    "line, after",
    [("batch=", "batch=4"), (" batch =  ", " batch =4  "), ("batch= # 8", "batch=4 # 8"), ("batch", "batch=4")],
)
def test_a_line_without_a_value_gets_one(tmp_path, line, after):
    net = pair(tmp_path, DETECTOR.replace("batch=8", line))
    again = written(set_options(net, [("net", "batch", "4")]), tmp_path)
    assert changes(tmp_path) == [(line, after)]
    assert again.config.text("batch").startswith("4")


def test_what_crashes_darknet_is_refused_unless_it_was_there(tmp_path):
    steps = DETECTOR.replace("batch=8\n", "batch=8\npolicy=steps\nsteps=10,20\nscales=.1,.1\n")
    net = pair(tmp_path, steps)
    assert refusal(net, "net", "steps", "10,20,30") == (
        "net.cfg:11: error: Darknet crashes where there are fewer scales than steps\n"
        "   11 | scales=.1,.1\n"
        "      |        ^^^^^\n"
        "hint: set what belongs together at once"
    )
    assert "divides by subdivisions, which is 0" in refusal(net, "net", "subdivisions", "0")
    written(set_options(net, [("net", "steps", "1,2,3"), ("net", "scales", ".1,.1,.1")]), tmp_path)
    assert changes(tmp_path) == [("steps=10,20", "steps=1,2,3"), ("scales=.1,.1", "scales=.1,.1,.1")]

    there = pair(tmp_path, steps.replace("scales=.1,.1", "scales=.1"), "there")
    assert set_options(there, [("net", "batch", "4")]).config.text("batch") == "4"


@pytest.mark.parametrize("dialect, crashes", [("pjreddie", True), ("alexeyab", False), ("opencv", False)])
def test_only_the_reader_that_is_meant_counts(tmp_path, dialect, crashes):
    net = pair(tmp_path, dialect=dialect)
    if crashes:
        assert "Darknet crashes unless batch is at least subdivisions" in refusal(net, "net", "subdivisions", "16")
    else:
        assert set_options(net, [("net", "subdivisions", "16")]).config.text("subdivisions") == "16"
