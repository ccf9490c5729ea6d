"""What is recommended from given times, and how it is said."""

import pytest

from darkprune.evaluate.advice import PLAIN, Advice, Variant, filter_size, options, thin_share, timed, title
from darkprune.graph.build import load
from small_nets import cfg, conv, section, write

PADDED, INT8, INT8_PADDED = Variant(False, 16), Variant(True, 1), Variant(True, 16)


def advice(share=0.0, **rounds):
    names = {"plain": PLAIN, "padded": PADDED, "int8": INT8, "int8_padded": INT8_PADDED}
    return Advice(timed({names[name]: values for name, values in rounds.items()}), share)


def test_ratios_are_medians_of_rounds_and_not_of_times():
    found = timed({PLAIN: [10.0, 20.0, 40.0], INT8: [5.0, 5.0, 30.0]})
    assert found[0] == (PLAIN, 20.0, 10.0, 1.0)
    assert found[1] == (INT8, 5.0, 5.0, 0.5)  # of 0.5, 0.25 and 0.75


def test_a_dense_net_is_advised_to_take_int8():
    made = advice(plain=[150], padded=[149], int8=[48], int8_padded=[49])
    assert made.best.variant == INT8
    assert made.lines() == [
        "INT8 pays for this net on this machine: 48.00 ms in INT8, 149.00 ms in FP32",
        "use export --int8 RANGES: 0.32 of the plain FP32 net's time",
    ]


def test_a_depthwise_net_is_advised_to_stay_in_floats():
    made = advice(0.586, plain=[1.95, 1.96], padded=[1.69, 1.7], int8=[2.88, 2.9], int8_padded=[2.56, 2.6])
    assert made.best.variant == PADDED
    assert made.lines() == [
        "INT8 does not pay for this net on this machine: 2.58 ms in INT8, 1.69 ms in FP32; 59 % of its "
        "multiply-accumulates are in filters of fewer than 64 weights (depthwise, thin 1x1), which gain nothing from "
        "it",
        "use export --pad-channels 16: 0.87 of the plain FP32 net's time",
    ]


def test_what_may_be_chance_is_not_recommended():
    made = advice(plain=[3.08], padded=[2.99], int8=[2.8])  # 0.971 and 0.909
    assert made.best.variant == PLAIN
    assert made.lines() == [
        "INT8 does not pay for this net on this machine: 2.80 ms in INT8, 2.99 ms in FP32; it must save a tenth, as it "
        "costs accuracy",
        "use the FP32 net as it is",
    ]


def test_a_dense_net_that_is_slow_on_integers_blames_the_machine():
    made = advice(0.01, plain=[10], int8=[12])
    assert made.lines()[0] == (
        "INT8 does not pay for this net on this machine: 12.00 ms in INT8, 10.00 ms in FP32; the processor may have no "
        "instructions for sums of 8-bit products, or the net is very small"
    )


def test_padding_must_gain_more_than_chance_in_int8_too():
    assert advice(plain=[10], int8=[5.0], int8_padded=[4.9]).best.variant == INT8
    assert advice(plain=[10], int8=[5.0], int8_padded=[4.5]).best.variant == INT8_PADDED


def test_without_ranges_only_floats_are_spoken_of():
    made = advice(plain=[2.0], padded=[1.5])
    assert made.lines() == ["use export --pad-channels 16: 0.75 of the plain FP32 net's time"]
    assert made.to_dict()["recommended"] == "--pad-channels 16"


def test_json():
    made = advice(0.25, plain=[4.0], int8_padded=[1.0]).to_dict()
    assert list(made) == ["variants", "recommended", "thin_share", "text"]
    assert made["recommended"] == "--int8 RANGES --pad-channels 16" and made["thin_share"] == 0.25
    assert made["variants"][0] == {
        "variant": "FP32", "options": "", "median_ms": 4.0, "min_ms": 4.0, "ratio": 1.0
    }  # fmt: skip
    assert made["variants"][1]["variant"] == "INT8, channels padded to 16" and made["variants"][1]["ratio"] == 0.25


@pytest.mark.parametrize("variant, words", [(PLAIN, ""), (PADDED, "--pad-channels 16"), (INT8, "--int8 RANGES")])
def test_options(variant, words):
    assert options(variant) == words
    assert title(variant).startswith("INT8" if variant.int8 else "FP32")


def test_thin_filters(tmp_path):
    text = cfg(
        conv(8),  # 3 x 9 = 27 weights a filter
        conv(8, groups=8),  # 9
        conv(80, size=1, pad=0),  # 8
        conv(16, size=1, pad=0),  # 80
        section("connected", output=5, activation="linear"),
    )
    net = load(*write(tmp_path, text, "net"))
    assert [filter_size(layer) for layer in net.layers] == [27, 9, 8, 80, 16 * net.layers[3].shape.area]
    macs = [layer.op.macs(layer) for layer in net.layers]
    assert thin_share(net) == pytest.approx(sum(macs[:3]) / sum(macs))
