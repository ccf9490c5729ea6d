"""What has to come of damaged files, step by step: an answer or a DarkpruneError."""

import json
import os
from collections import Counter

import numpy as np

from darkprune.cli.inspect import as_dict, as_text
from darkprune.darknet.cfg import parse
from darkprune.darknet.weights import NEW_HEADER
from darkprune.errors import DarkpruneError
from darkprune.graph.build import build, load, totals
from darkprune.graph.key import require_finite
from darkprune.graph.save import weights_chunks
from darkprune.graph.write import cfg_bytes
from darkprune.prune import plan as plans
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.pipeline import prune

LARGEST = 300000  # floats of a net that is given weights that fit it


class Trial:
    """Puts files through the library in `folder`. Attributes: inputs (hashes), outcomes (by what came of each step)."""

    def __init__(self, folder):
        self.folder, self.inputs, self.outcomes = str(folder), set(), Counter()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as stream:
            stream.write(data)
        return self.path(name)

    def attempt(self, step, function, *arguments):
        """The function's value, None for a DarkpruneError; anything else that it raises is a bug."""
        try:
            value = function(*arguments)
        except DarkpruneError as error:
            assert error.message and str(error)
            self.outcomes[step + " refused"] += 1
            return None
        self.outcomes[step] += 1
        return value

    def pair(self, cfg, weights, dialect="alexeyab", written=("exact", "none")):
        """Loads, shows, prunes and writes a pair, with weights that fit the cfg where the given ones do not."""
        self.inputs.add(hash((cfg, weights, dialect)))
        paths = [self.write("a.cfg", cfg), self.write("a.weights", weights)]
        net = self.attempt("load", load, paths[0], paths[1], dialect)
        if net is None:
            net = self.attempt("load cfg", load, paths[0], None, dialect)
            if net is None:
                return
            self.attempt("show cfg", shown, net)
            if net.count_parameters() > LARGEST:
                return
            self.write("a.weights", fitting(net, weights))
            net = self.attempt("load again", load, paths[0], paths[1], dialect)
        if net is not None:
            self.attempt("show", shown, net)
            for absorb in ("exact", "none"):
                found = self.attempt("prune " + absorb, pruned, net, absorb)
                if found is not None and absorb in written:
                    self.attempt("apply", apply_plan, net, found.plan)
                    self.attempt("write", self.written, found.net, found.plan, dialect)

    def written(self, net, plan, dialect):
        """The bytes of a pruned net; what is written can be read."""
        self.write("b.cfg", cfg_bytes(net, [plan.comment()]))
        self.write("b.weights", b"".join(weights_chunks(net)))
        self.write("b.plan.json", plan.to_bytes())
        json.loads(plan.to_bytes().decode("ascii"), parse_constant=refuse_constant)
        again = load(self.path("b.cfg"), self.path("b.weights"), dialect)
        assert totals(again) == totals(net)
        assert plans.read(self.path("b.plan.json")).to_bytes() == plan.to_bytes()

    def plan(self, net, data):
        """Reads a plan and carries it out."""
        self.inputs.add(hash((net, data)))
        plan = self.attempt("plan", plans.read, self.write("c.plan.json", data))
        if plan is not None:
            net = self.attempt("apply", apply_plan, net, plan)
            if net is not None:
                self.attempt("write", self.written, net, plan, net.dialect.name)


def refuse_constant(name):
    raise AssertionError("{} is no JSON".format(name))


def shown(net):
    require_finite(net)
    as_dict(net)
    return as_text(net)


def pruned(net, absorb):
    result = prune(net, channels=0.5, absorb=absorb, force=True)
    result.net.check()
    return result


def fitting(net, weights):
    """A weights file of the net's size, filled with the floats of another one."""
    random = np.random.RandomState(len(weights))
    source = np.frombuffer(weights[20 : len(weights) - len(weights) % 4], "<f4")
    source = source if source.size else np.ones(1, "<f4")
    parts = [NEW_HEADER.to_bytes()]
    for _, spec in net.specs():
        count = int(np.prod(spec.shape))
        values = np.resize(source[random.randint(source.size) :], count)
        parts.append((np.abs(values) if spec.name.endswith("variance") else values).tobytes())
    return b"".join(parts)


def base_net(data):
    """(cfg, weights) as bytes, the weights with seeded values such that batch norm has sound statistics."""
    net = build(parse(data))
    random, parts = np.random.RandomState(len(data)), [NEW_HEADER.to_bytes()]
    for _, spec in net.specs():
        values = random.randn(*spec.shape) / max(1.0, float(np.prod(spec.shape[1:])) ** 0.5)
        values = np.abs(values) + 0.5 if spec.name.endswith("variance") else values
        parts.append(values.astype("<f4").tobytes())
    return data, b"".join(parts)
