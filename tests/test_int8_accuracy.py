"""The measured accuracy of INT8: the page is what the rows say, and resampled AP50 is COCO's."""

import sys

import numpy as np
import pytest

import need
import tool
from darkprune.evaluate import coco

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def tools(monkeypatch):
    """(int8_accuracy, int8_accuracy_page, int8_bootstrap, int8_pruned, results)"""
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    names = ("int8_accuracy", "int8_accuracy_page", "int8_bootstrap", "int8_pruned", "results")
    return [tool.load(name) for name in names]


def test_the_page_is_made_of_the_rows(tools):
    accuracy, page, _, pruned, results = tools
    assert results.read("int8-accuracy", accuracy.TOOL) == page.page()
    assert results.read("int8-pruned", accuracy.TOOL) == pruned.page()


def test_the_recipe_is_what_keeps_most_of_the_signal_on_training_images(tools):
    for model in tools[0].MODELS:
        found = [row for row in tools[0].rows("choice") if row["model"] == model]
        best = [row for row in found if row["db"] == max(other["db"] for other in found)]
        assert [(row["strength"], row["method"], row["correction"]) for row in best] == [tools[0].recipe(model)]
        validated = [row for row in tools[0].rows("accuracy") if row["model"] == model]
        assert tools[0].recipe(model) in [(r["strength"], r["method"], r["correction"]) for r in validated]
        keys = [(row["strength"], row["method"], row["correction"]) for row in validated]
        assert len(keys) == len(set(keys))  # validated once


class Examples:
    """What `matches` takes of a data set."""

    def __init__(self, images, truths):
        self.images, self.truths = images, truths


def corners(boxes):
    """Left, top, width, height in an image of 200 x 100."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1) * (200, 100, 200, 100)


def test_ap50_of_all_images_is_cocos_and_resamples_weigh_images(tools, monkeypatch):
    need.coco_library()
    bootstrap, random = tools[2], np.random.RandomState(0)
    monkeypatch.setattr(bootstrap, "read_image", lambda path: np.zeros((100, 200, 3), np.uint8))
    truths, found = [], []
    for _ in range(12):
        count = random.randint(1, 6)
        boxes = np.concatenate([random.uniform(0.2, 0.8, (count, 2)), random.uniform(0.05, 0.4, (count, 2))], axis=1)
        truths.append(coco.Boxes(random.randint(0, 4, count), np.ones(count), boxes))
        real = corners(boxes)
        again = np.concatenate([real, real + random.normal(0, 4, real.shape)])
        scores = np.sort(random.uniform(size=2 * count))[::-1]
        order = random.permutation(2 * count)
        found.append(coco.Boxes(np.tile(truths[-1].classes, 2)[order], scores, again[order]))
    pixels = [coco.Boxes(t.classes, t.scores, corners(t.boxes)) for t in truths]
    wanted = coco.evaluate([(200, 100)] * 12, pixels, found, 4).ap50
    matches = bootstrap.matches(Examples(range(12), truths), found)
    weights = np.ones((2, 12))
    weights[1, :6] = 0
    whole, half = bootstrap.precision(matches, weights)
    assert whole == pytest.approx(wanted, abs=1e-6) and 0.1 < wanted < 0.99
    assert half == pytest.approx(coco.evaluate([(200, 100)] * 6, pixels[6:], found[6:], 4).ap50, abs=1e-6)
    assert bootstrap.interval(matches, matches) == (0, 0)
    nothing = dict(matches, hits=np.zeros_like(matches["hits"]))
    low, high = bootstrap.interval(matches, nothing)
    assert low < -wanted < high < 0
