"""The totals of 112 real cfgs, as the real readers print and save them (shared/cfgs/expectations.tsv)."""

import csv

import pytest

import need
from darkprune.graph.build import load

CFGS = need.shared() / "cfgs"


def rows():
    with (CFGS / "expectations.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


ROWS = rows()


def dialect_of(row):
    return "pjreddie" if row["source"].startswith("pjreddie-debian") else "alexeyab"


def name_of(row):
    return "{}-{}".format(row["cfg"], dialect_of(row))


def test_the_table_is_whole():
    assert len(ROWS) == 112
    assert {row["source"] for row in ROWS} == {"pjreddie-debian-20180914", "AlexeyAB-59596d78"}


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_totals(row):
    dialect = dialect_of(row)
    folder = need.debian_cfgs() if dialect == "pjreddie" else CFGS / "alexeyab"
    net = load(str(folder / row["cfg"]), dialect_name=dialect)
    assert len(net.layers) == int(row["layers"])
    assert sum(layer.op.convolution for layer in net.layers) == int(row["conv_layers"])
    assert net.count_parameters() == int(row["parameters"])
    assert net.weights_bytes() == int(row["weights_bytes"])
    assert "{:.3f}".format(net.bflops()) == row["bflops"]
