"""Sparsity training: sets die together and exactly, and what died can go without any change."""

import numpy as np
import pytest

import need
from darkprune.data.labels import Truth
from darkprune.errors import UsageError
from darkprune.graph.build import build
from darkprune.graph.channels import Channels
from darkprune.prune.pipeline import prune
from darkprune.train.random_weights import start
from small_nets import HEAD, cfg, conv, distance, parse, section, shortcut

torch = need.torch()

from darkprune.backends.torch_module import NetModule, to_net  # noqa: E402
from darkprune.train.examples import Batch  # noqa: E402
from darkprune.train.gamma_sparsity import Sparsity  # noqa: E402
from darkprune.train.loop import Run  # noqa: E402
from darkprune.train.losses import losses_of  # noqa: E402
from darkprune.train.settings import Settings  # noqa: E402
from darkprune.train.sparsity_schedule import Schedule, parse_schedule  # noqa: E402
from darkprune.train.step import Stepper  # noqa: E402

TRUNK = cfg(
    conv(16, stride=2),
    conv(8, 1),
    conv(16),
    shortcut(-3),
    conv(16, 3, groups=16),
    conv(12, 1),
    conv(16, 1),
    shortcut(-4),
    HEAD,
)


def made(text=TRUNK, strength=0.1, **options):
    net = start(build(parse(text)), 3)
    module = NetModule(net).train()
    return net, module, Sparsity(net, module, strength, **options)


def learn(net, module, sparsity, steps=120, rate=0.05, momentum=0.9):
    """Trains the module towards a map that depends on the images; gives the losses."""
    torch.manual_seed(1)
    images = torch.rand(16, 3, 16, 16)
    wanted = torch.nn.functional.avg_pool2d(images, 2).mean(1, keepdim=True) * torch.linspace(-4, 4, 5).view(1, 5, 1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum)
    losses = []
    for step in range(steps):
        sparsity.progress(step / steps)
        optimizer.zero_grad()
        (found,) = module(images).values()
        loss = (found - wanted).square().mean()
        loss.backward()
        sparsity.add_gradient()
        optimizer.step()
        sparsity.shrink(rate)
        losses.append(loss.item())
    return losses


def test_sets_die_whole_and_pruning_them_changes_nothing():
    net, module, sparsity = made(strength=0.2)
    losses = learn(net, module, sparsity)
    assert losses[-1] < 0.01 < losses[0]
    trained, channels = to_net(module.eval()), Channels(net)
    zero = {la.index: la.array("scales") == 0 for la in trained.layers if la.has("scales")}
    for number in sparsity.sets.tolist():  # whole sets: of the trunk with depthwise layer four gammas each
        assert len({bool(zero[index][place]) for index, place in channels.members(number)}) == 1
    assert [len(channels.members(n)) for n in sparsity.sets[[0, 16, 24]].tolist()] == [4, 1, 1]
    dead = sparsity.scores() == 0
    assert 0.5 < dead.mean() < 1 and dead[:16].any() and dead[16:].any()
    removed = np.zeros(channels.size, bool)
    removed[sparsity.sets[dead]] = True
    pruned = prune(trained, channels=0.8)
    assert pruned.reached > 0.75 and pruned.preflight["damage"] == 0
    assert distance(trained, pruned.net) < 1e-5
    assert sparsity.forecast([0.8]) == [{"channels": 0.8, "reached": pruned.reached, "damage": 0.0}]


DETECTOR = cfg(
    conv(12, stride=2),
    conv(12, stride=2),
    conv(8, 1),
    conv(12),
    shortcut(-3),
    conv(12, 3, groups=12),
    conv(7, 1, "linear", bn=None),
    section("yolo", mask=0, anchors="10,10", classes=2, num=1),
    width=32,
    height=32,
)


def rectangles(random, count=16):
    """Images of noise, each with a bright rectangle whose colour is its class."""
    images, truths = random.randint(0, 80, (count, 32, 32, 3)).astype(np.uint8), []
    for image in images:
        w, h = random.randint(6, 14, 2)
        x, y, kind = random.randint(0, 32 - w), random.randint(0, 32 - h), random.randint(2)
        image[y : y + h, x : x + w, kind] += 150
        truths.append(Truth(np.array([kind]), np.array([[x + w / 2, y + h / 2, w, h]]) / 32))
    return Batch(images, truths)


def test_a_detector_learns_under_the_penalty():
    net = start(build(parse(DETECTOR)), 1, objectness=0.01)
    module, random = NetModule(net), np.random.RandomState(3)
    sparsity = Sparsity(net, module, strength=1.0)
    settings = Settings.of(net, batch=16, max_batches=100, momentum=0.9)
    stepper = Stepper(module, losses_of(net), settings, sparsity=sparsity)
    batches = [rectangles(random) for _ in range(4)]
    losses = [stepper.step([batches[step % 4]], 0.02, "a step")["loss"] for step in range(100)]
    assert np.mean(losses[-4:]) < 0.25 * losses[0]
    trained, found = to_net(module.eval()), sparsity.report()
    assert found["zero_sets"] > 0.15
    carriers = sum(map(len, prune(trained, channels=found["zero_filters"], force=True).plan.constants.values()))
    filters = sparsity.channels.filters[sparsity.sets].sum()
    pruned = prune(trained, channels=found["zero_filters"] - carriers / filters)  # those that are dead, but stay
    assert pruned.preflight["damage"] == 0 and pruned.reached > 0.1
    assert distance(trained, pruned.net) < 1e-5


def test_a_subgradient_reaches_no_zero():
    net, module, sparsity = made(strength=0.02, method="subgradient")
    losses = learn(net, module, sparsity)
    assert losses[-1] < 0.01 < losses[0]
    assert (sparsity.scores() > 0).all() and np.median(sparsity.scores()) < 0.3


# ---- one step, by hand


def set_gammas(module, **arrays):
    with torch.no_grad():
        for name, values in arrays.items():
            scales = module.layers[int(name[1:])].scales
            scales.copy_(torch.tensor(values, dtype=torch.float32))


TIED = cfg(conv(2), conv(2, groups=2), conv(2, 1), HEAD)  # sets: {0: k, 1: k} for k = 0, 1, and the two of layer 2


def test_a_set_shrinks_by_its_root_mean_square():
    _, module, sparsity = made(TIED, strength=0.5)
    set_gammas(module, _0=[0.3, 0.03], _1=[-0.4, 0.04], _2=[0.04, -0.06])
    sparsity.shrink(0.1)  # threshold 0.05, of a set of two 0.05 * sqrt(2)
    left = 1 - 0.05 * np.sqrt(2) / 0.5
    scales = [module.layers[index].scales.tolist() for index in range(3)]
    assert scales[0] == [pytest.approx(0.3 * left, rel=1e-6), 0.0]
    assert scales[1] == [pytest.approx(-0.4 * left, rel=1e-6), 0.0]
    assert scales[2] == [0.0, pytest.approx(-0.01, rel=1e-4)]
    before = [values.clone() for values in sparsity._gammas()]
    sparsity.add_gradient()  # of the other method
    sparsity.shrink(0.0)  # a rate of 0
    assert all(torch.equal(a, b) for a, b in zip(before, sparsity._gammas()))
    assert all(values.grad is None for values in sparsity._gammas())


def test_hoyer_keeps_the_norm_of_each_layer():
    _, module, sparsity = made(TIED, strength=0.5, method="hoyer")
    set_gammas(module, _0=[0.3, 0.03], _1=[-0.4, 0.04], _2=[0.04, -0.06])
    sparsity.shrink(0.1)  # as above, and then scaled back
    scales = [module.layers[index].scales.tolist() for index in range(3)]
    assert scales[0] == [pytest.approx(np.hypot(0.3, 0.03), rel=1e-6), 0.0]
    assert scales[1] == [pytest.approx(-np.hypot(0.4, 0.04), rel=1e-6), 0.0]
    assert scales[2] == [0.0, pytest.approx(-np.hypot(0.04, 0.06), rel=1e-5)]
    sparsity.shrink(100.0)  # a layer of which nothing would be left cannot be scaled back
    assert all(not values.any() for values in sparsity._gammas())


def test_hoyer_holds_nothing_against_a_common_scale():
    _, module, sparsity = made(TIED, strength=0.5, method="hoyer")
    set_gammas(module, _0=[0.5, 0.5], _1=[0.5, 0.5], _2=[0.4, 0.6])
    sparsity.shrink(0.1)
    assert [values.tolist() for values in sparsity._gammas()[:2]] == [[pytest.approx(0.5, rel=1e-6)] * 2] * 2
    weak, strong = module.layers[2].scales.tolist()
    assert weak < 0.4 and strong > 0.6


def test_the_slope_is_that_of_the_penalty():
    _, module, sparsity = made(TIED, strength=0.5, method="subgradient")
    set_gammas(module, _0=[0.3, 0.0], _1=[-0.4, 0.0], _2=[0.04, -0.06])
    gammas = sparsity._gammas()
    norms = [torch.stack([gammas[0][0], gammas[1][0]]).norm() * 2**0.5, gammas[2].abs().sum()]
    (0.5 * sum(norms)).backward()
    wanted = [values.grad.clone() for values in gammas]
    for values in gammas:
        values.grad = torch.ones_like(values)  # what the loss wants
    sparsity.add_gradient()
    for values, slope in zip(gammas, wanted):
        torch.testing.assert_close(values.grad, slope + 1)
    before = [values.clone() for values in gammas]
    sparsity.shrink(0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, gammas))


def test_a_gamma_that_is_not_finite_stays_visible():
    _, module, sparsity = made(TIED)
    set_gammas(module, _0=[float("nan"), 1.0], _1=[1.0, 1.0])
    sparsity.shrink(0.1)
    assert np.isnan(module.layers[0].scales[0].item()) and np.isfinite(module.layers[0].scales[1].item())


def test_gammas_that_cannot_go_are_left_alone():
    bare = cfg(conv(4), conv(4, 1, bn=None), shortcut(-2), conv(4), conv(6, 1, bn=None), conv(4, 1), conv(4, 1))
    _, module, sparsity = made(bare, strength=100)
    sparsity.shrink(1.0)
    alive = {
        la.index for la, values in zip(module.net.layers, module.layers) if la.has("scales") and values.scales.any()
    }
    assert alive == {0, 6}  # added to what has no gamma; the output of the net
    report = sparsity.report()
    assert report["left_alone"] == {"may not go": 4, "no gamma": 6, "tied to filters without gamma": 4}
    assert (report["sets"], report["zero_sets"], report["zero_gammas"]) == (8, 1.0, 0.5)
    assert report["quiet_layers"] == [3, 5]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"strength": float("nan")}, "error: no penalty has strength nan\nhint: use 0.1, or less"),
        ({"strength": -1}, "error: no penalty has strength -1\nhint: use 0.1, or less"),
        ({"method": "l1"}, "error: unknown sparsity method 'l1'\nhint: use one of proximal, subgradient, hoyer"),
        (
            {"schedule": Schedule("none", 1, 1, 0)},
            "error: unknown sparsity schedule 'none'\nhint: use one of constant, global, local, taylor",
        ),
        (
            {"schedule": Schedule("local", 0.5, 2, 0.8)},
            "error: a sparsity schedule is made of shares, not 0.5, 2 and 0.8\n"
            "hint: use numbers from 0 to 1, a start before the end, and some channels",
        ),
        (
            {"schedule": Schedule("taylor", 1, 0, 0.8)},
            "error: a sparsity schedule is made of shares, not 1, 0 and 0.8\n"
            "hint: use numbers from 0 to 1, a start before the end, and some channels",
        ),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(UsageError) as caught:
        made(TIED, **options)
    assert str(caught.value) == text


def test_a_net_without_gammas_cannot_be_sparsified():
    with pytest.raises(UsageError) as caught:
        made(cfg(conv(4, bn=None), HEAD))
    assert str(caught.value) == (
        "net.cfg:1: error: no gamma of this net can be trained towards zero\n    1 | [net]\n      | ^^^^^\n"
        "hint: use a net with batch_normalize=1 and filters that may go (darkprune prune --explain)"
    )


# ---- schedules, states, what is reported


def test_a_global_schedule_relaxes_what_lives_and_holds_what_died():
    _, module, sparsity = made(TIED, strength=0.5, schedule=Schedule("global", 0.5, 0.2, 0.0))
    set_gammas(module, _0=[1, 0], _1=[1, 0], _2=[1, 1])
    sparsity.shrink(0.0)
    shrunk = []
    for done in (0.5, 0.75, 1.0):
        sparsity.progress(done)
        set_gammas(module, _0=[1, 0.04], _1=[1, 0.04], _2=[1, 1])  # the optimizer moved what was 0
        sparsity.shrink(0.1)
        assert not module.layers[0].scales[1] and not module.layers[1].scales[1]
        shrunk.append(1 - module.layers[2].scales[0].item())
    np.testing.assert_allclose(shrunk, [0.05, 0.03, 0.01], rtol=1e-4)


def test_a_local_schedule_relaxes_what_pruning_would_keep():
    _, module, sparsity = made(TIED, strength=0.5, schedule=Schedule("local", 0.5, 0.0, 0.4))
    for done, lowered in ((0.4, [1, 1]), (0.5, [1, 0])):
        set_gammas(module, _0=[1, 0.5], _1=[1, 0.5], _2=[0.875, 0.75])
        sparsity.progress(done)  # 0.4 of six filters: the set of two with 0.5
        sparsity.shrink(0.1)
        assert [module.layers[0].scales[1].item() < 0.5, module.layers[2].scales[0].item() < 0.875] == lowered


def test_a_taylor_schedule_penalises_what_the_loss_would_miss_least():
    _, module, sparsity = made(TIED, strength=0.5, schedule=Schedule("taylor", 0.5, 0.0, 0.7))
    gammas = {"_0": [1, 0.5], "_1": [1, 0.5], "_2": [0.5, 0.75]}
    slopes = ([0.1, 0.2], [0.1, 0.2], [0.5, -0.2])  # squares of gamma x slope: sets of two 0.01 and 0.01; 0.06, 0.02
    for done, lowered in ((0.4, [False] * 4), (0.5, [True, True, False, False])):
        set_gammas(module, **gammas)
        for values, slope in zip(sparsity._gammas(), slopes):
            values.grad = torch.tensor(slope)
        sparsity.add_gradient()  # counts
        sparsity.progress(done)  # 0.7 of six filters: the two sets of two
        sparsity.shrink(0.1)
        scales = [module.layers[index].scales.tolist() for index in (0, 2)]
        assert [now < then for now, then in zip(sum(scales, []), gammas["_0"] + gammas["_2"])] == lowered
    np.testing.assert_allclose(sparsity._importance, 0.0396 * np.array([0.01, 0.01, 0.0625, 0.0225]), rtol=1e-5)
    assert set(sparsity.state()) == {"relief", "importance"}


@pytest.mark.parametrize("kind", ["local", "taylor"])
def test_training_goes_on_from_a_state(kind):
    schedule = Schedule(kind, 0.0, 0.1, 0.4)
    _, module, sparsity = made(TIED, strength=0.5, schedule=schedule)
    set_gammas(module, _0=[1, 0], _1=[1, 0], _2=[0.9, 0.8])
    sparsity.progress(0.5)
    sparsity.shrink(0.1)
    state = {name: np.array(values) for name, values in sparsity.state().items()}
    _, other, again = made(TIED, strength=0.5, schedule=schedule)
    other.load_state_dict(module.state_dict())
    again.restore(state)
    for each in (module, other):
        set_gammas(each, _0=[1, 0.04], _1=[1, 0.04])
    sparsity.shrink(0.1), again.shrink(0.1)
    assert all(torch.equal(a, b) for a, b in zip(sparsity._gammas(), again._gammas()))
    _, _, wrong = made()
    with pytest.raises(UsageError) as caught:
        wrong.restore(state)
    assert str(caught.value) == (
        "error: the checkpoint's sparsity has 4 channel sets, the net 36\n"
        "hint: resume with the cfg that the checkpoint was written for"
    )


def test_the_report_counts_what_is_zero():
    _, module, sparsity = made(TIED)
    set_gammas(module, _0=[1, 0], _1=[0.5, 0], _2=[0.25, 0])
    report = sparsity.report()
    assert (report["zero_gammas"], report["zero_sets"], report["zero_filters"]) == (0.5, 0.5, 0.5)
    counts = report["histogram"]["counts"]
    assert (counts[0], counts[5], counts[-1], sum(counts)) == (2, 1, 1, 4)


def test_the_moving_average_gets_the_same_zeros():
    net, module, sparsity = made(TIED)
    set_gammas(module, _0=[1, 0], _1=[0.5, 0], _2=[0.25, 0])
    average = start(net, 4)
    sparsity.silence(average)
    for index, zeros in ((0, [False, True]), (1, [False, True]), (2, [False, True])):
        assert (average.layers[index].array("scales") == 0).tolist() == zeros


def test_what_a_training_with_a_moving_average_writes_has_the_zeros(tmp_path):
    net, module, sparsity = made(TIED)
    settings = Settings.of(net, batch=1, max_batches=9, ema_alpha=0.9)
    stepper = Stepper(module, {}, settings, sparsity=sparsity)
    run = Run(stepper, net, loader=None, images=1, prefix=str(tmp_path / "net"))
    set_gammas(module, _0=[0.5, 0], _1=[0.5, 0], _2=[0.25, 0])
    assert [run.learnt().layers[index].array("scales").tolist() for index in range(3)] == [[1, 0]] * 3
    assert run.average.module.layers[0].scales.tolist() == [1, 1]  # what it goes on from


def test_schedules_are_written_as_one_word():
    assert parse_schedule("constant") == Schedule("constant", 1.0, 1.0, 0.0)
    assert parse_schedule("global:0.5:0.1") == Schedule("global", 0.5, 0.1, 0.0)
    assert parse_schedule("local:0.5:0.1:0.6") == Schedule("local", 0.5, 0.1, 0.6)
    for wrong in ("", "linear", "constant:1", "global:0.5", "local:0.5:0.1", "local:a:b:c"):
        with pytest.raises(UsageError) as caught:
            parse_schedule(wrong)
        assert str(caught.value) == (
            "error: {!r} is no schedule of the strength\n"
            "hint: use constant, global:SINCE:RELAXED, (local or taylor):SINCE:RELAXED:CHANNELS, "
            "as in local:0.5:0.01:0.6"
        ).format(wrong)


def test_the_log_shows_how_the_gammas_are_spread():
    _, module, sparsity = made(TIED)
    set_gammas(module, _0=[1, 0], _1=[0.5, 0], _2=[0.25, 0])
    found = sparsity.columns()
    spread = [found["gamma_p{}".format(percent)] for percent in (25, 50, 75, 90)]
    assert spread == pytest.approx([0, 0.125, 0.4375, 0.775]) and found["zero_sets"] == 0.5
    rows = sparsity.forecast([0.6, 0.8])
    assert [found["damage_60"], found["damage_80"]] == [row["damage"] for row in rows]
