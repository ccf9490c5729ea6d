"""Top-k and the middle of images, worked out by hand; the command is tested in cli/test_eval.py."""

import numpy as np
import pytest

from darkprune.backends.model import Model
from darkprune.detect.classifier import class_scores
from darkprune.detect.preprocess import centre
from darkprune.errors import Unsupported, UsageError
from darkprune.evaluate.classification import ranks
from small_nets import cfg, conv, section, write


def image(rows, columns):
    """Every pixel is 10 times its row plus its column."""
    values = 10 * np.arange(rows)[:, None] + np.arange(columns)
    return np.repeat(values[:, :, None], 3, axis=2).astype(np.uint8)


def shown(cut):
    """The pixels of the first channel, as `image` numbers them."""
    return np.rint(cut[0] * 255).astype(int).tolist()


def test_ranks():
    """Of equal scores the earlier class is the higher."""
    scores = np.array([[0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.3, 0.3, 0.3], [0.2, 0.2, 0.6]])
    assert ranks(scores, np.array([1, 1, 2, 0])).tolist() == [0, 2, 2, 1]


def test_the_middle_of_a_wide_and_of_a_high_image():
    assert shown(centre(image(2, 6), 2, 2)) == [[2, 3], [12, 13]]
    assert shown(centre(image(6, 2), 2, 2)) == [[20, 21], [30, 31]]
    assert shown(centre(image(2, 5), 2, 2)) == [[1, 2], [11, 12]]  # 3 / 2 is 1 in C


def test_the_shorter_side_is_scaled_to_the_width():
    """4 x 8 to 2 x 4: of corners that map to corners, columns 0, 7/3, 14/3 and 7; the middle two. Rows 0 and 3: of the
    last, Darknet takes all."""
    wide = centre(image(4, 8), 2, 2)
    assert np.allclose(wide[0, 0] * 255, [7 / 3, 14 / 3], atol=1e-3)


def test_where_the_image_ends_before_the_net():
    """A net that is higher than wide: -2 / 2 = -1, so the first and the last row are there twice."""
    assert shown(centre(image(2, 2), 2, 4)) == [[0, 1], [0, 1], [10, 11], [10, 11]]


def test_channels():
    grey = centre(image(2, 2), 2, 2, 1)
    assert grey.shape == (1, 2, 2) and grey.dtype == np.float32 and shown(grey) == [[0, 1], [10, 11]]
    with pytest.raises(UsageError) as caught:
        centre(image(2, 2), 2, 2, 4)
    assert str(caught.value) == (
        "error: the net takes 4 channels, an image has 1 or 3\nhint: channels in [net] says what the net was made for"
    )


def test_too_narrow():
    with pytest.raises(UsageError) as caught:
        centre(np.zeros((1, 60000, 3), np.uint8), 224, 224)
    assert str(caught.value) == (
        "error: an image of 60000 x 1 pixels is too narrow to cut its middle out\nhint: cut it to a squarer one"
    )


def test_what_gives_the_scores(tmp_path):
    nets = {
        "softmax": cfg(conv(4), section("avgpool"), section("softmax"), section("cost")),
        "bare": cfg(conv(4), section("avgpool")),
    }
    expected = {"softmax": 2, "bare": 1}
    for name, text in nets.items():
        paths = write(tmp_path, text, name)
        assert class_scores(Model(paths[0], paths[1], "numpy").net) == expected[name]


def test_a_tree_of_classes_is_refused(tmp_path):
    (tmp_path / "tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    tree = str(tmp_path / "tree")
    paths = write(tmp_path, cfg(conv(4), section("avgpool"), section("softmax", tree=tree)))
    with pytest.raises(Unsupported) as caught:
        class_scores(Model(paths[0], paths[1], "numpy").net)
    assert caught.value.message == "a tree of classes has no top-1 here"
