"""Criteria of maps and gradients against computations by hand; evidence: streamed, in any runner, used again."""

import math

import numpy as np
import pytest

import need
import small_nets
from criteria_nets import MIXED, batches_of, images, slopes_of
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import GraphError, UsageError
from darkprune.graph.channels import Channels
from darkprune.prune.blocks import find_blocks
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.criteria.base import GRADIENTS, MAPS
from darkprune.prune.criteria.entropy import BINS, Counts
from darkprune.prune.criteria.reconstruction import SAMPLES, greedy
from darkprune.prune.evidence import measure, moved
from darkprune.prune.pipeline import prune
from darkprune.prune.remove_blocks import remove_blocks
from small_nets import HEAD, cfg, conv, section, shortcut

FLAT = cfg(conv(4, stride=4), section("connected", output=6, activation="relu"),
           section("connected", output=3, activation="linear"))
OF_MAPS = sorted(name for name, criterion in CRITERIA.items() if criterion.needs == MAPS)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("mixed"), MIXED, dead=0.25)


@pytest.fixture(scope="module")
def maps(mixed):
    """(images, the outputs of all layers)"""
    pixels = images(mixed, 5)
    return pixels, NumpyRunner(mixed).infer(pixels)


def values(net, name, pixels, **options):
    return measure(net, [name], batches_of(pixels), **options).values[name]


def test_apoz_is_the_share_of_positive_values(mixed, maps):
    pixels, outputs = maps
    found = values(mixed, "apoz", pixels)
    assert sorted(found) == [0, 1, 3, 4, 6]
    for index, mine in found.items():
        expected = [np.mean([value > 0 for value in outputs[index][:, c].ravel()]) for c in range(len(mine))]
        np.testing.assert_allclose(mine, expected, rtol=1e-12)


def test_apoz_of_connected_neurons(tmp_path):
    net = small_nets.net(tmp_path, FLAT, dead=0)
    pixels = images(net, 9)
    output = NumpyRunner(net).infer(pixels)[1].reshape(9, 6)
    np.testing.assert_allclose(values(net, "apoz", pixels)[1], (output > 0).mean(axis=0), rtol=1e-12)


def test_rank_is_the_mean_rank_of_the_maps(mixed, maps):
    pixels, outputs = maps
    for index, mine in values(mixed, "rank", pixels).items():
        expected = [[np.linalg.matrix_rank(image[c]) for c in range(len(mine))] for image in outputs[index]]
        np.testing.assert_allclose(mine, np.mean(expected, axis=0), rtol=1e-12)


def test_ranks_of_known_matrices(mixed):
    observer = CRITERIA["rank"].score(mixed, Channels(mixed), 0)
    known = np.zeros((1, 8, 4, 4), np.float32)
    for rank in range(5):
        known[0, rank, :rank, :rank] = np.eye(rank)
    known[0, 5] = 7.0
    observer.see({index: known for index in observer.layers})
    np.testing.assert_array_equal(observer.values()[0], [0, 1, 2, 3, 4, 1, 0, 0])


def entropy_by_hand(channel, low, high):
    """Bits of the values of one channel, in the bins of a layer that goes from low to high."""
    exponent = -60
    while math.floor(high / 2.0**exponent) - math.floor(low / 2.0**exponent) >= BINS:
        exponent += 1
    counts = {}
    for value in channel.ravel().tolist():
        place = math.floor(value / 2.0**exponent)
        counts[place] = counts.get(place, 0) + 1
    return -sum(n / float(channel.size) * math.log(n / float(channel.size), 2) for n in counts.values())


def test_entropy_counts_values_in_bins_of_the_layer(mixed, maps):
    pixels, outputs = maps
    found = values(mixed, "entropy", pixels)
    for index in (0, 4):
        y = outputs[index]
        expected = [entropy_by_hand(y[:, c], float(y.min()), float(y.max())) for c in range(y.shape[1])]
        np.testing.assert_allclose(found[index], expected, atol=1e-12)


@pytest.mark.parametrize("scales", [(1, 1000, 0.001), (0, 0, 5), (1e-20, 0, 1e20), (3, 3, 3)])
def test_counts_do_not_depend_on_the_order(scales):
    random = np.random.RandomState(1)
    parts = [(random.randn(2, 40) * scale).astype(np.float32) for scale in scales]
    totals = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        counts = Counts(2)
        for number in order:
            counts.add(parts[number])
        totals.append((counts.exponent, counts.start, counts.counts.tolist()))
    whole = Counts(2)
    whole.add(np.concatenate(parts, axis=1))
    assert totals[0] == totals[1] == totals[2] == (whole.exponent, whole.start, whole.counts.tolist())
    assert whole.counts.sum() == 240


def test_a_constant_channel_has_no_entropy():
    counts = Counts(3)
    counts.add(np.array([[5.0] * 8, list(range(8)), [0.0, 7.0] * 4], np.float32))
    np.testing.assert_allclose(counts.entropy(), [0, 3, 1], atol=1e-12)


def test_taylor_squares_the_change_of_each_image(mixed, maps):
    pixels, outputs = maps
    random, slopes = np.random.RandomState(5), []
    layers = [0, 1, 3, 4, 6]
    for _ in pixels:
        slopes.append({i: random.randn(*outputs[i][:1].shape).astype(np.float32) for i in layers})
    found = measure(mixed, ["taylor"], None, slopes_of(mixed, pixels)).values["taylor"]
    assert sorted(found) == layers
    for index, mine in found.items():
        changes = [(outputs[index][n] * slopes[n][index][0]).sum(axis=(1, 2)) for n in range(len(pixels))]
        np.testing.assert_allclose(mine, np.mean(np.array(changes) ** 2, axis=0), rtol=1e-4)


def greedy_by_hand(adds):
    """The greedy errors of what each channel adds to each output, [samples, channels]."""
    gone, found, least = [], {}, 0.0
    while len(gone) < adds.shape[1]:
        left = [c for c in range(adds.shape[1]) if c not in gone]
        tried = [(float((adds[:, gone + [c]].sum(axis=1) ** 2).sum()), c) for c in left]
        error, chosen = min(tried)
        least = max(least, error)
        gone.append(chosen)
        found[chosen] = least
    return [found[c] for c in range(adds.shape[1])], gone


def test_greedy_goes_by_the_error_that_is_left():
    adds = np.random.RandomState(2).randn(30, 7)
    expected, order = greedy_by_hand(adds)
    found = greedy(adds.T.dot(adds))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.argsort(found, kind="mergesort").tolist() == order


def test_channels_that_cancel_go_together():
    adds = np.array([[3.0, -3.0, 1.0, 2.0], [5.0, -5.0, -1.0, 2.0]])
    found = greedy(adds.T.dot(adds))
    assert np.argsort(found, kind="mergesort").tolist() == [2, 3, 1, 0]  # without 1 the error is 16, without 0 too 10
    np.testing.assert_allclose(found, [16, 16, 2, 10])
    assert (np.diff(np.sort(found)) > 0).all()


def test_reconstruction_samples_what_the_readers_put_out(tmp_path):
    """One reader of one layer, whose samples are drawn here again and computed by its whole convolution."""
    net = small_nets.net(tmp_path, cfg(conv(5), conv(4, 3, bn=None, activation="linear", stride=2)), dead=0)
    pixels = images(net, 3)
    x = NumpyRunner(net).infer(pixels)[0].astype(np.float64)
    weights = net.layers[1].array("weights").astype(np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "constant")
    adds = []
    for number in range(3):
        random = np.random.RandomState([0, 1, number])
        for _ in range(SAMPLES):
            n, row, column = random.randint(4), random.randint(8), random.randint(8)
            window = padded[number, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            adds.append((window * weights[n]).sum(axis=(1, 2)))
    adds = np.array(adds)
    expected, _ = greedy_by_hand(adds)
    found = values(net, "reconstruction", pixels)
    assert sorted(found) == [0]
    np.testing.assert_allclose(found[0], np.array(expected) / (adds.sum(axis=1) ** 2).sum(), rtol=1e-6)


def test_a_window_of_a_dilated_grouped_layer_gives_its_output(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(6, 3, "linear", None, groups=3, dilation=2, stride=2, channels=3), HEAD))
    layer, pixels = net.layers[0], images(net, 1)
    output = NumpyRunner(net).infer(pixels)[0][0]
    weights, biases = layer.array("weights").reshape(6, -1), layer.array("biases")
    for row, column in ((0, 0), (3, 5), (7, 7)):
        seen = layer.op.seen(layer, pixels[0], row, column)
        expected = [(seen[n // 2] * weights[n]).sum() + biases[n] for n in range(6)]
        np.testing.assert_allclose(output[:, row, column], expected, rtol=1e-4, atol=1e-5)


# ---- evidence


@pytest.mark.parametrize("name", OF_MAPS)
def test_streamed_is_all_at_once(name, mixed, maps):
    found = [measure(mixed, [name], batches_of(maps[0], size)).values[name] for size in (1, 2, 5)]
    for other in found[1:]:
        for index, mine in found[0].items():
            np.testing.assert_allclose(other[index], mine, rtol=1e-6)


@pytest.mark.parametrize("runner", ["torch", "opencv"])
def test_other_runners_find_the_same(runner, tmp_path, maps):
    need.runner(runner)
    net = small_nets.net(tmp_path, MIXED, dead=0.25, dialect="opencv")
    expected, found = (measure(net, OF_MAPS, batches_of(maps[0]), runner=name).values for name in ("numpy", runner))
    for name in OF_MAPS:
        tolerance = {"rank": 0.02, "entropy": 0.02, "apoz": 0.01}.get(name, 1e-3)  # what lies on an edge may fall over
        for index, mine in expected[name].items():
            np.testing.assert_allclose(found[name][index], mine, rtol=tolerance, atol=tolerance)


def test_evidence_serves_every_share_without_images(mixed, maps):
    evidence = measure(mixed, ["apoz", "l1"], batches_of(maps[0]))
    counts = [prune(mixed, channels=share, criterion="apoz", evidence=evidence, force=True) for share in (0.2, 0.5)]
    gone = [sum(len(v) for v in pruned.plan.removed_channels.values()) for pruned in counts]
    assert 0 < gone[0] < gone[1] and counts[0].plan.options["images"] == 5
    again = prune(mixed, channels=0.2, criterion="l1", evidence=evidence, force=True)
    assert again.plan.removed_channels == prune(mixed, channels=0.2, criterion="l1", force=True).plan.removed_channels


def test_evidence_moves_with_the_blocks_that_go(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(8), conv(6, 1), conv(8), shortcut(-3), conv(6), HEAD), dead=0.25)
    evidence = measure(net, ["apoz"], batches_of(images(net, 2)))
    shorter = remove_blocks(net, find_blocks(net), "exact")
    found, before = moved(evidence, shorter)["apoz"], evidence.values["apoz"]
    assert [layer.index for layer in shorter.layers] == [0, 1, 2] and sorted(before) == [0, 1, 2, 4]
    added = shorter.layers[0].shape.c - 8  # a channel that carries the constants of the block
    np.testing.assert_array_equal(found[0], np.concatenate([before[0], np.zeros(added)]))
    np.testing.assert_array_equal(found[1], before[4])
    assert added == 1
    pruned = prune(net, channels=0.4, blocks=1, criterion="apoz", evidence=evidence, force=True)
    assert len(pruned.plan.removed_blocks) == 1 and pruned.plan.removed_channels


def test_evidence_of_another_net_is_refused(mixed, maps):
    evidence = measure(mixed, ["apoz"], batches_of(maps[0]))
    with pytest.raises(UsageError) as caught:
        prune(mixed.copy(), channels=0.2, criterion="apoz", evidence=evidence)
    expected = "error: the evidence was measured on another net\nhint: measure the net that is pruned"
    assert str(caught.value) == expected


def test_no_images_are_refused(mixed):
    with pytest.raises(UsageError) as caught:
        measure(mixed, ["apoz"], batches_of(images(mixed, 0)))
    expected = "error: there are no images to measure criteria on\nhint: give some that show what the net will see"
    assert str(caught.value) == expected


def test_maps_that_are_not_finite_are_refused(mixed):
    pixels = images(mixed, 1)
    pixels[0, 0, 0, 0] = np.inf
    with pytest.raises(GraphError) as caught:
        measure(mixed, ["apoz"], batches_of(pixels))
    assert caught.value.message == "the maps of layer <0 convolutional> are not finite on these images"


def test_unknown_runners_are_refused(mixed, maps):
    with pytest.raises(UsageError) as caught:
        measure(mixed, ["apoz"], batches_of(maps[0]), runner="abacus")
    assert str(caught.value).startswith("error: unknown runner abacus\nhint: use numpy, torch")


def test_only_taylor_needs_gradients():
    assert [name for name, criterion in CRITERIA.items() if criterion.needs == GRADIENTS] == ["taylor"]
