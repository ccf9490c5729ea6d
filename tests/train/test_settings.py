import pytest

from darkprune.darknet import cfg as cfg_text
from darkprune.errors import CfgError, UsageError
from darkprune.graph.build import build
from darkprune.train.schedule import input_size, learning_rate
from darkprune.train.settings import Settings
from small_nets import conv, section


def net(head="", **options):
    text = section("net", width=32, height=32, channels=3, **options) + conv(4) + head
    return build(cfg_text.parse(text.encode("ascii"), "small.cfg"))


def test_defaults_are_those_of_darknet():
    found = Settings.of(net(), max_batches=100)
    assert (found.batch, found.subdivisions, found.learning_rate, found.momentum) == (1, 1, 0.001, 0.9)
    assert (found.decay, found.policy, found.power, found.burn_in) == (0.0001, "constant", 4.0, 0)
    assert (found.sgdr_cycle, found.sgdr_mult, found.learning_rate_min) == (100, 2, 0.00001)


def test_the_cfg_decides_unless_overridden():
    told = net(batch=64, subdivisions=16, learning_rate=0.0013, policy="steps", steps="40,45", scales=".1,.1")
    found = Settings.of(told, max_batches=50)
    assert (found.part, found.learning_rate, found.steps, found.scales) == (4, 0.0013, (40, 45), (0.1, 0.1))
    assert Settings.of(told, max_batches=50, learning_rate=0.5, subdivisions=None).learning_rate == 0.5


def test_epochs_become_steps():
    assert Settings.of(net(batch=16), images=292, epochs=2).max_batches == 37


@pytest.mark.parametrize(
    "options, given, error",
    [
        (dict(batch=0), {}, "small.cfg:5: error: batch is no whole number from 1 on"),
        (dict(batch=6, subdivisions=4), {}, "small.cfg:6: error: subdivisions does not cut a batch of 6 images into"),
        (dict(policy="cosine"), {}, "small.cfg:5: error: policy is none that Darknet knows"),
        (dict(policy="steps", steps="1,2", scales=".1"), {}, "small.cfg:7: error: scales has not as many numbers"),
        (dict(), dict(learning_rate=0.0), "error: learning_rate 0.0: must be above 0"),
        (dict(momentum=1), {}, "small.cfg:5: error: momentum must be below 1"),
        (dict(decay="nan"), {}, "small.cfg:5: error: decay is no number from 0 on"),
        (dict(), dict(max_batches=0), "error: max_batches 0: says that nothing is to be trained"),
    ],
)
def test_what_makes_no_sense_is_said_with_its_place(options, given, error):
    with pytest.raises((CfgError, UsageError)) as caught:
        Settings.of(net(**options), **dict({"max_batches": 10}, **given))
    assert str(caught.value).startswith(error)


def test_epochs_without_images_are_refused():
    with pytest.raises(UsageError, match="0 epochs of 5 images cannot be trained"):
        Settings.of(net(), images=5, epochs=0)
    with pytest.raises(UsageError, match="speed is no setting of training"):
        Settings.of(net(), speed=3)


def rates(at, **options):
    settings = Settings.of(net(), max_batches=100, learning_rate=0.1, **options)
    return [learning_rate(settings, step) for step in at]


def test_the_rate_rises_over_burn_in():
    assert rates([0, 5, 10], burn_in=10, power=2.0) == pytest.approx([0, 0.025, 0.1])


@pytest.mark.parametrize(
    "policy, options, expected",
    [
        ("constant", {}, [0.1, 0.1, 0.1]),
        ("steps", dict(steps=(10, 50), scales=(0.1, 0.5)), [0.1, 0.01, 0.005]),
        ("step", dict(step=20, scale=0.5), [0.1, 0.1, 0.1 * 0.5**4]),
        ("exp", dict(gamma=0.9), [0.1, 0.1 * 0.9**10, 0.1 * 0.9**80]),
        ("poly", dict(power=2.0), [0.1, 0.081, 0.004]),
        ("sig", dict(gamma=1.0, step=10), [0.1 / (1 + 2.718281828**-10), 0.05, 0.0]),
        # step 80 is the tenth of the cycle from 70 to 150
        ("sgdr", dict(sgdr_cycle=10, learning_rate_min=0.02), [0.1, 0.02, 0.02 + 0.04 * (1 + 0.92387953)]),
    ],
)
def test_the_rate_falls_as_the_policy_says(policy, options, expected):
    assert rates([0, 10, 80], policy=policy, **options) == pytest.approx(expected, abs=1e-6)


def test_random_rates_repeat():
    assert rates([3, 4], policy="random") == rates([3, 4], policy="random")
    assert 0 <= rates([3], policy="random")[0] <= 0.1


def test_sizes_change_every_ten_steps_and_are_multiples():
    settings = Settings.of(net(), max_batches=1000, random=1)
    sizes = [input_size(settings, 320, 256, step, 7) for step in range(0, 800)]
    assert all(len(set(sizes[start : start + 10])) == 1 for start in range(0, 800, 10))
    assert len(set(sizes)) > 5 and all(w % 32 == 0 and h % 32 == 0 for w, h in sizes)
    assert max(sizes)[0] <= 320 * 1.4 + 64 and min(sizes)[0] >= 320 / 1.4 - 32
    assert input_size(settings, 320, 256, 950, 7) == (480, 384)
    assert input_size(Settings.of(net(), max_batches=9), 320, 256, 5, 7) == (320, 256)
