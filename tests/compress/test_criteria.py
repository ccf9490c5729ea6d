"""Criteria of images in compress: measured on its training images, for all shares that a budget tries."""

import numpy as np

import need
import small_nets
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.data.data_set import ClassificationSet
from darkprune.evaluate.cost import cost
from darkprune.prune.pipeline import prune

cv2 = need.opencv()
need.torch()

from darkprune.compress.budget import options_of, share_of  # noqa: E402
from darkprune.compress.config import Config  # noqa: E402
from darkprune.compress.measure import Data  # noqa: E402
from darkprune.compress.stage_work import Work  # noqa: E402

NET = small_nets.cfg(small_nets.conv(12), small_nets.conv(16), small_nets.HEAD)
TEXT = "[model]\ncfg = net.cfg\nweights = net.weights\ndata = set.data\n[output]\nfolder = out\n[prune]\n"


def test_a_budget_by_what_training_images_show(tmp_path):
    net = small_nets.net(tmp_path, NET, dead=0)
    images, pixels = [], np.random.RandomState(0).randint(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    for number, picture in enumerate(pixels):
        images.append(str(tmp_path / "{}.png".format(number)))
        assert cv2.imwrite(images[-1], picture[:, :, ::-1])
    (tmp_path / "set.data").write_text("")
    (tmp_path / "run.ini").write_text(TEXT + "parameters = 60 %\ncriterion = apoz\n")
    config = Config.read(str(tmp_path / "run.ini"))
    work = Work(config, Data(ClassificationSet(images, [0, 1, 2], ["a", "b", "c"]), None, None), print)
    assert work._evidence(net, "l1,gamma") is None
    evidence = work._evidence(net, "apoz")
    maps = NumpyRunner(net).infer(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255, [0, 1])
    for index in (0, 1):
        np.testing.assert_allclose(evidence.values["apoz"][index], (maps[index] > 0).mean(axis=(0, 2, 3)), atol=0.01)
    share = share_of(config, 1, net, net, lambda pruned: 0.0, 0.9, evidence)
    pruned = prune(net, channels=share, evidence=evidence, **dict(options_of(config, 1), force=True))
    assert pruned.plan.options["score"] == "apoz" and cost(pruned.net).parameters <= 0.6 * cost(net).parameters
