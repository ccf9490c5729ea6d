"""What is promised about a pruned net, checked on random nets in random plans; used by the tests and tools/fuzz.py."""

import json
import os
import sys
import traceback
from collections import Counter, OrderedDict

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.registry import open_runner
from darkprune.darknet.cfg import parse
from darkprune.darknet.weights import Header
from darkprune.errors import DarkpruneError, UsageError
from darkprune.graph.build import load
from darkprune.graph.key import pair_key
from darkprune.graph.save import save, weights_chunks
from darkprune.graph.write import cfg_bytes
from darkprune.judge import compare_masked
from darkprune.prune import plan as plans
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.blocks import find_blocks
from darkprune.prune.masked import maskable, masked
from darkprune.prune.pipeline import prune
from darkprune.verify import READERS as READERS_AGREE
from darkprune.verify import SURGERY, check, compare_surgery, heads, numbering, test_batch
from random_nets import Maker, header_of, text_of, write_weights

READERS = {"opencv": "opencv", "darknet": "pjreddie"}  # runner -> its dialect


class Failure(Exception):
    """A promise that was not kept."""


def expect(fine, step, message=""):
    if not fine:
        raise Failure("{}: {}".format(step, message))


class Case:
    """One net and what is done to it: `data` (of the cfg), `weights` (how they are made), `options`, `dialect`."""

    def __init__(self, data, weights, options, dialect, shapes=None):
        self.data, self.weights, self.options, self.dialect = data, weights, options, dialect
        self.shapes = shapes  # what the generator counts on, by layer

    def to_json(self):
        fields = [("dialect", self.dialect), ("weights", self.weights), ("options", self.options)]
        return json.dumps(OrderedDict(fields), indent=1) + "\n"


def draw(source):
    """A random case."""
    maker = Maker(source).grow()
    data, pick, chance = text_of(maker), maker.pick, maker.chance
    weights = {"header": list(header_of(maker)), "dead": pick([0.5, 0.3, 0.8, 0.7]), "seed": source.integer(0, 9999)}
    options = OrderedDict(channels=pick([0.5, 0.3, 0.7, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9]))
    options["blocks"] = pick([0, 0, 1, 2, 8]) if "residual" in maker.kinds else pick([0, 0, 0, 1])
    options["absorb"] = pick(["exact", "none", "exact", "none", "exact", "bias"])
    if chance(60):
        options["scope"] = pick(["global", "layer"])
        options["group"] = pick(["max", "sum", "mean"])
        options["score"] = pick(["gamma", "l2"])
        options["min_keep"] = pick([0.01, 0, 0.3, 1, 2, 0.5])
        options["round"] = pick([1, 2, 4, 8])
        options["block_rank"] = pick(["mean", "last"])
    if options["blocks"] and chance(30):
        options["channels"] = None
    return Case(data, weights, options, maker.dialect, maker.shapes)


def pruned_by(net, options):
    """The pruned net; fewer blocks where not so many can go. None where none can and nothing else was asked for."""
    options = dict(options)
    blocks = min(options.pop("blocks"), len(find_blocks(net)))
    while blocks or options["channels"] is not None:
        try:
            return prune(net, blocks=blocks, force=True, **options)
        except UsageError as error:
            if "no filter of this net can be removed" in error.message:
                return None
            if not blocks or "shortcut blocks were asked for" not in error.message:
                raise
            blocks -= 1
    return None


class Checker:
    """Runs cases in `folder`; `readers` are the runners that are there. Attributes: tried, passed (by type, runner)."""

    def __init__(self, folder, readers=()):
        self.folder, self.readers = folder, list(readers)
        self.nets, self.tried, self.passed = Counter(), Counter(), Counter()
        self.removed, self.totals = Counter(), Counter()

    def counts(self):
        """What was counted, for `add` of another checker."""
        return [self.nets, self.tried, self.passed, self.removed, self.totals]

    def add(self, counts):
        for mine, other in zip(self.counts(), counts):
            mine.update(other)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, case, with_readers=False):
        """All checks of a case. Raises Failure, or what the package raises."""
        self._write(case)
        document = parse(case.data)
        expect(document.to_bytes() == case.data, "document", "not written back byte for byte")
        net = load(self.path("net.cfg"), self.path("net.weights"), case.dialect)
        plain = case.data.replace(b"\r\n", b"\n").replace(b"\xef\xbb\xbf", b"")
        expect(cfg_bytes(net) == plain + b"\n" * (not plain.endswith(b"\n")), "text", "a net's cfg is not its own")
        expect(b"".join(weights_chunks(net)) == self._read("net.weights"), "weights", "not written back bit for bit")
        shapes = [tuple(la.shape[:3]) if la.shape.c else (0, 0, la.shape.outputs) for la in net.layers]
        expect(case.shapes is None or shapes == case.shapes, "shapes", "{} are not {}".format(shapes, case.shapes))
        result = pruned_by(net, case.options)
        self._count(net, result)
        if result is None:
            return
        self._surgery(net, result)
        again = self._files(net, result, case.dialect)
        if with_readers:
            self._readers(net, again, result.plan)

    def _write(self, case):
        made = case.weights
        with open(self.path("net.cfg"), "wb") as stream:
            stream.write(case.data)
        header = Header(*made["header"])
        write_weights(case.data, self.path("net.weights"), made["seed"], header, made["dead"], case.dialect)

    def _read(self, name):
        with open(self.path(name), "rb") as stream:
            return stream.read()

    def _surgery(self, net, result):
        batch = test_batch(net)
        for found in compare_surgery(net, result.net, result.plan, batch):
            step = "surgery" if found.max_error > 10 * found.tolerance else "surgery, slightly"
            expect(found.ok, step, "layer {layer}: {max_error:.2e} > {tolerance:.1e}".format(**found._asdict()))
        if maskable(net, result.plan) is None:
            numbers = numbering(net, result.net, result.plan)
            expected = NumpyRunner(masked(net, result.plan)).infer(batch)
            found = NumpyRunner(result.net).infer(batch, heads(result.net))
            for index, value in found.items():
                judged = check("masked", "numpy", index, expected[numbers[index]], value, 10 * SURGERY)
                expect(judged.ok, "masked", "head {}: {:.2e}".format(index, judged.max_error))

    def _files(self, net, result, dialect):
        save(result.net, self.path("pruned"), overwrite=True, plan=result.plan)
        again = load(self.path("pruned.cfg"), self.path("pruned.weights"), dialect)
        expect(pair_key(again) == pair_key(result.net), "reload", "what was saved is another net")
        expect(again.count_parameters() == result.plan.predicted["parameters"], "totals", "not what the plan says")
        plan = plans.read(self.path("pruned.plan.json"))
        expect(plan.to_bytes() == self._read("pruned.plan.json"), "plan", "not written back byte for byte")
        applied = apply_plan(net, plan)
        expect(cfg_bytes(applied, [plan.comment()]) == self._read("pruned.cfg"), "apply", "the plan gives another cfg")
        same = b"".join(weights_chunks(applied)) == self._read("pruned.weights")
        expect(same, "apply", "the plan gives other weights")
        for dialect in ("alexeyab", "pjreddie", "opencv"):
            before, after = warnings_of(net, dialect), warnings_of(again, dialect)
            expect(before or not after, "hazards", "{} gets a reason to refuse: {}".format(dialect, after[:1]))
        return again

    def _readers(self, net, pruned, plan):
        for judged in compare_masked(net, pruned, plan, self.readers, test_batch(net)).checks:
            expect(
                judged.ok,
                "masked, {}".format(judged.runner),
                "head {layer}: {max_error:.2e}".format(**judged._asdict()),
            )
        for runner in self.readers:
            dialect = READERS[runner]
            if warnings_of(net, dialect):
                continue
            types = {layer.type for layer in net.layers}
            for kind in types:
                self.tried[kind, runner] += 1
            self._compare(runner, dialect, "net")
            self._compare(runner, dialect, "pruned")
            for kind in types:
                self.passed[kind, runner] += 1

    def _compare(self, runner, dialect, name):
        """A reader's heads against numpy's in its dialect; Darknet gives no flat tensors but the last."""
        own = load(self.path(name + ".cfg"), self.path(name + ".weights"), dialect)
        batch = test_batch(own)
        layers = [i for i in heads(own) if own.layers[i].shape.c or i == len(own.layers) - 1]
        expected = NumpyRunner(own).infer(batch, layers)
        with open_runner(runner, self.path(name + ".cfg"), self.path(name + ".weights")) as opened:
            found = opened.infer(batch, layers)
        for index, value in expected.items():
            judged = check("reader", runner, index, value, found[index].reshape(value.shape), READERS_AGREE)
            expect(judged.ok, "reader {}, {}".format(runner, name), "head {}: {:.2e}".format(index, judged.max_error))

    def _count(self, net, result):
        plan = result.plan if result is not None else None
        for kind in {layer.type for layer in net.layers}:
            self.nets[kind] += 1
        numbers = numbering(net, result.net, plan) if plan is not None else {}
        for new, old in numbers.items():
            kind = net.layers[old].type
            self.totals[kind] += net.layers[old].shape.channels
            self.removed[kind] += max(0, net.layers[old].shape.channels - result.net.layers[new].shape.channels)


def warnings_of(net, dialect):
    """What concerns one reader in the net's notices; its own reading of another dialect's file included."""
    return [notice.message for notice in net.notices if notice.reader == dialect]


def failure_of(checker, case, with_readers=False):
    """(kind, text) of what fails, None where nothing does."""
    try:
        checker.run(case, with_readers)
    except Failure as error:
        return str(error).split(":")[0], str(error)
    except DarkpruneError as error:
        return type(error).__name__ + error.message[:80], "{}: {}".format(type(error).__name__, error.message)
    except Exception as error:  # a bug of the package: which is what is looked for
        line = traceback.extract_tb(sys.exc_info()[2])[-1]
        where = "{}:{}".format(os.path.basename(line[0]), line[1])
        return type(error).__name__ + where, "{} at {}: {}".format(type(error).__name__, where, error)
    return None


def kept_cases(folder):
    """(name, Case) of each net that `keep` wrote."""
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if file.endswith(".json"):
            with open(os.path.join(folder, file)) as stream:
                fields = json.load(stream)
            with open(os.path.join(folder, file[:-5] + ".cfg"), "rb") as stream:
                data = stream.read()
            yield file[:-5], Case(data, fields["weights"], fields["options"], fields["dialect"])
