"""Damaged pairs and plans, in CI 10,000 and 1,000: each gives an answer or a DarkpruneError, and soon.

No other exception, no warning (pytest makes them errors), no more than 2 s of processor time, no large memory.
"""

import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest

import need
from darkprune.darknet.cfg import parse
from darkprune.errors import DarkpruneError
from darkprune.graph.build import build, load
from darkprune.ops.registry import OPS
from darkprune.prune.pipeline import prune
from mutations import mutated_cfg, mutated_plan, mutated_weights, pick
from random_layers import Choices
from random_nets import Maker, text_of
from trial import Trial, base_net
from type_nets import CFGS, CONV, FIRST

hypothesis = pytest.importorskip("hypothesis")
strategies = pytest.importorskip("hypothesis.strategies")

PAIRS, PLANS = (10000, 1000) if need.required() else (1000, 300)
PARTS = [("cfg", part) for part in range(9)] + [("weights", 0)]
BATCH = 25  # inputs for each draw, as drawing takes as long as they do
SECONDS = 2.0  # of processor time for one input
MEMORY = 512 << 20  # bytes of address space for all that an input needs
DIALECTS = ("alexeyab", "pjreddie", "opencv")
BLOCKS = "".join(CONV.format(8, "leaky") * 2 + "[shortcut]\nfrom=-3\nactivation=linear\n" for _ in range(2))


def base_nets():
    """(cfg, weights) of small nets: each layer type with layers behind it that can be pruned, and random nets."""
    tails = (CONV.format(6, "leaky") + CONV.format(5, "linear"), "[connected]\noutput=4\n", "")
    nets = [base_net((FIRST + BLOCKS + CONV.format(5, "linear")).encode("ascii"))]
    for name in sorted(CFGS):
        texts = [(CFGS[name] + tail).encode("ascii") for tail in tails]
        nets.append(base_net(next(text for text in texts if fine(text))))
    makers = [Maker(Choices(seed)).grow() for seed in range(30)]
    return nets + [base_net(text_of(maker)) for maker in makers if len(maker.sections) <= 6]


def fine(text):
    try:
        build(parse(text))
    except DarkpruneError:
        return False
    return True


@contextmanager
def little_memory():
    """Asking for much more memory than there is in use now fails."""
    resource = pytest.importorskip("resource")
    with open("/proc/self/statm") as stream:
        used = int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def little_time():
    def late(number, frame):
        raise AssertionError("more than {} s".format(SECONDS))

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(trial, count, part, function):
    """Calls the function with sources of choices, seeded as Hypothesis draws it, until there were `count` inputs.

    They are the same ones on every run.
    """
    quiet = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
    settings = hypothesis.settings(
        max_examples=3 * -(-count // BATCH), deadline=None, derandomize=True, database=None, suppress_health_check=quiet
    )

    @hypothesis.seed(part)
    @settings
    @hypothesis.given(strategies.integers(0, 2**32 - 1))
    def each(start):
        if len(trial.inputs) >= count:
            return  # it draws some numbers twice, so it is asked for more
        for seed in np.random.RandomState(start).randint(2**31 - 1, size=BATCH).tolist():
            hypothesis.note("seed {}".format(seed))
            with little_time():
                function(Choices(seed))

    with little_memory():
        each()


@pytest.fixture(scope="module")
def nets():
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("memory is limited as Linux does it")
    return base_nets()


def test_the_nets_have_every_layer_type(nets):
    types = {section.type for text, _ in nets for section in parse(text).sections[1:]}
    assert {OPS[name].names[0] for name in types} == {op.names[0] for op in OPS.values()}


@pytest.mark.parametrize("kind, part", PARTS)
def test_pairs(kind, part, nets, tmp_path):
    trial = Trial(tmp_path)

    def once(source):
        cfg, weights = pick(source, nets)
        if kind == "cfg":
            cfg = mutated_cfg(source, cfg)
        else:
            weights = mutated_weights(source, weights)
        trial.pair(cfg, weights, pick(source, DIALECTS), [pick(source, ("exact", "none"))])

    count = -(-PAIRS // len(PARTS))
    run(trial, count, PARTS.index((kind, part)), once)
    assert len(trial.inputs) >= count
    for step in ("load", "prune exact", "prune none", "write", "load refused" if kind == "cfg" else "show refused"):
        assert trial.outcomes[step] > count // 20, step


def make(net, blocks, options):
    return prune(net, blocks=blocks, force=True, **options)


def test_plans(nets, tmp_path):
    trial, plans = Trial(tmp_path), []
    for cfg, weights in nets:
        index = len(plans)
        net = load(trial.write("{}.cfg".format(index), cfg), trial.write("{}.weights".format(index), weights))
        blocks = int((FIRST + BLOCKS).encode("ascii") in cfg)
        for options in (dict(channels=0.5), dict(channels=0.5, absorb="none"), dict(channels=0.3, round=4)):
            found = trial.attempt("make", make, net, blocks, options)
            if found is not None:
                plans.append((net, found.plan.to_bytes()))

    def once(source):
        net, plan = pick(source, plans)
        trial.plan(net, mutated_plan(source, plan))

    run(trial, PLANS, len(PARTS), once)
    assert len(trial.inputs) >= PLANS
    for step in ("plan refused", "apply refused", "write"):
        assert trial.outcomes[step] > PLANS // 50, step
