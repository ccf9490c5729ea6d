"""The slopes of the loss at maps, against finite differences of a loss that numpy computes."""

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.data.data_set import ClassificationSet, DetectionSet
from darkprune.data.labels import Truth
from darkprune.errors import UsageError
from darkprune.prune.evidence import measure
from small_nets import cfg, conv, section

cv2 = need.opencv()
need.torch()

from darkprune.train.map_gradients import map_gradients  # noqa: E402

CLASSIFIER = cfg(conv(4), conv(6, 1), conv(3, 1, "linear", None), section("avgpool"), section("softmax"))


def drawn(folder, count):
    """Paths of images of noise, and what is in them: uint8 [16,16,3], RGB."""
    random, paths, pixels = np.random.RandomState(0), [], []
    for number in range(count):
        pixels.append(random.randint(0, 256, (16, 16, 3)).astype(np.uint8))
        paths.append(str(folder / "{}.png".format(number)))
        assert cv2.imwrite(paths[-1], pixels[-1][:, :, ::-1])
    return paths, pixels


def loss(net, image, kind, layer=None, channel=None, factor=1.0):
    """The cross-entropy of one image when a channel's map is multiplied."""

    def hook(at, y):
        if at.index == layer:
            y = y.copy()
            y[:, channel] *= np.float32(factor)
        return y

    logits = NumpyRunner(net, hook).infer(image, [3])[3].reshape(-1).astype(np.float64)
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[kind])


def test_slopes_are_those_of_the_loss(tmp_path):
    net = small_nets.net(tmp_path, CLASSIFIER, dead=0)
    paths, pixels = drawn(tmp_path, 3)
    data = ClassificationSet(paths, [0, 2, 1], ["a", "b", "c"])
    kinds = {picture.tobytes(): kind for picture, kind in zip(pixels, data.classes)}
    found = list(map_gradients(net, data, [0, 1], at_once=2))
    assert [len(maps[0]) for maps, _ in found] == [2, 1]
    maps, slopes = ({i: np.concatenate([part[side][i] for part in found]) for i in (0, 1)} for side in (0, 1))
    images = [picture.transpose(2, 0, 1)[None].astype(np.float32) / 255 for picture in pixels]
    outputs = [NumpyRunner(net).infer(image, [0, 1]) for image in images]
    seen = set()
    for number in range(3):
        which = min(range(3), key=lambda n: np.abs(outputs[n][0][0] - maps[0][number]).max())
        np.testing.assert_allclose(maps[1][number], outputs[which][1][0], atol=1e-4)
        seen.add(which)
        kind = kinds[pixels[which].tobytes()]
        for layer, channel in ((0, 0), (0, 3), (1, 2), (1, 5)):
            step = 0.01
            sides = [loss(net, images[which], kind, layer, channel, 1 + sign * step) for sign in (1, -1)]
            mine = (maps[layer][number, channel] * slopes[layer][number, channel]).sum()
            assert mine == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=0.02, abs=2e-4)
    assert seen == {0, 1, 2}


def test_taylor_of_a_detector(tmp_path):
    net = small_nets.net(tmp_path, small_nets.detector(), dead=0)
    paths, _ = drawn(tmp_path, 2)
    truths = [Truth(np.array([kind]), np.array([[0.5, 0.5, 0.4, 0.3]], np.float32)) for kind in (0, 2)]
    data = DetectionSet(paths, truths, ["a", "b", "c"])
    gradients = lambda narrower, layers: map_gradients(narrower, data, layers)  # noqa: E731
    found = measure(net, ["taylor"], None, gradients)
    assert found.images == 2 and sorted(found.values["taylor"]) == [0]
    assert (found.values["taylor"][0] > 0).all()


def test_no_images_are_refused(tmp_path):
    net = small_nets.net(tmp_path, CLASSIFIER, dead=0)
    with pytest.raises(UsageError) as caught:
        list(map_gradients(net, ClassificationSet([], [], ["a", "b", "c"]), [0]))
    expected = "error: there are no images to take gradients of\nhint: check train= in the .data file"
    assert str(caught.value) == expected
