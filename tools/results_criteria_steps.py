"""The steps by which tools/results_criteria.py trains nets for Fashion-MNIST, prunes and recovers them."""

import os
from typing import List, NamedTuple

from darkprune.prune.criteria import CRITERIA
from darkprune.prune.criteria.base import WEIGHTS

FOLDER = os.path.join("build", "criteria")
DATA = os.path.join(FOLDER, "fashion", "fashion.data")
NETS = ("vgg", "resnet", "densenet")
SHARES = (50, 30, 70)  # of the parameters that go, in percent
PARALLEL = "similarity+entropy"  # two criteria in one plan: what either removes
EPOCHS, TUNED = "20", "2"  # of training, of fine-tuning
TUNE = ["--learning-rate", "0.02", "--burn-in", "0"]
APOZ_ROUNDS, APOZ_FACTOR = 6, 2.59  # as published: how often it was pruned, and how much smaller the net was then
APOZ = "apoz in {} rounds".format(APOZ_ROUNDS)
SINGLE = "single weights"  # the criterion's name in a row of `sparsify`
BASE = "none"  # and in that of a net as it was trained

Step = NamedTuple(
    "Step",
    [
        ("net", str),
        ("criterion", str),
        ("share", int),
        ("commands", List[List[str]]),  # all but the last make what is measured first, the last recovers it
        ("pruned", str),  # path of the pair before the last command, without suffix; "" where it is not measured
        ("tuned", str),  # and after it
    ],
)


def folder_of(step):
    """What the commands of a step write into; nothing else is there."""
    return os.path.join(*step.tuned.split(os.sep)[:4])


def steps_of(seed):
    """All that is measured with one seed, in order."""
    names = list(CRITERIA) + [PARALLEL]
    found = [_trained(net, seed) for net in NETS]
    found += [_pruned(net, seed, name, share) for share in SHARES for net in NETS for name in names]
    return found + claims(seed)


def claims(seed):
    """What other texts report, by the same method on these data."""
    found = [_pruned("resnet", seed, "entropy", 55), _pruned("densenet", seed, "entropy", 64)]
    found += [_pruned(net, seed, PARALLEL, 65) for net in ("resnet", "densenet")]
    return found + [_rounds(seed), _trained("lenet", seed)] + [_single(seed, share) for share in (80, 90, 95)]


def base(net, seed):
    """Path of a pair as it was trained, without suffix."""
    return os.path.join(FOLDER, str(seed), net, "{}-fashion_final".format(net))


def files(stem):
    """(cfg, weights) of a pair: `train` writes NAME.cfg and NAME_final.weights."""
    return stem.replace("_final", "") + ".cfg", stem + ".weights"


def _trained(net, seed):
    command = ["train", os.path.join("cfg", net + "-fashion.cfg")]
    return Step(net, BASE, 0, [_train(command, seed, os.path.dirname(base(net, seed)), EPOCHS)], "", base(net, seed))


def _pruned(net, seed, criterion, share):
    work = _work(seed, net, criterion, share)
    pruned, tuned = os.path.join(work, "pruned"), os.path.join(work, "tuned", "pruned_final")
    made = _prune(base(net, seed), seed, criterion, "{}%".format(100 - share), pruned)
    return Step(net, criterion, share, [made, _tune(pruned, seed)], pruned, tuned)


def _rounds(seed):
    """Connected layers and convolutions pruned by their zeros, a little each time, and trained in between."""
    net, source, commands = "vgg", base("vgg", seed), []
    share = int(round(100 - 100 / APOZ_FACTOR))
    left = "{:.4f}%".format(100 / APOZ_FACTOR ** (1.0 / APOZ_ROUNDS))  # of what the round before left
    for number in range(1, APOZ_ROUNDS + 1):
        pruned = os.path.join(_work(seed, net, APOZ, share), str(number), "pruned")
        commands += [_prune(source, seed, "apoz", left, pruned), _tune(pruned, seed)]
        source = os.path.join(os.path.dirname(pruned), "tuned", "pruned_final")
    return Step(net, APOZ, share, commands, "", source)


def _single(seed, share):
    work = _work(seed, "lenet", SINGLE, share)
    pruned, tuned = os.path.join(work, "pruned"), os.path.join(work, "tuned", "pruned_final")
    command = ["sparsify"] + list(files(base("lenet", seed))) + ["-o", pruned, "--sparsity", str(share / 100.0)]
    return Step("lenet", SINGLE, share, [command, _tune(pruned, seed) + ["--keep-zeros"]], pruned, tuned)


def _work(seed, *names):
    return os.path.join(FOLDER, str(seed), "-".join(map(str, names)).replace(" ", "-"))


def _prune(source, seed, criterion, left, out):
    names = criterion.split("+")
    command = ["prune"] + list(files(source)) + ["-o", out, "--force", "--overwrite", "--target-parameters", left]
    command += ["--criterion", ",".join(names), "--seed", str(seed)]
    command += ["--combine", "union"] if len(names) > 1 else []
    return command + (["--data", DATA] if any(CRITERIA[name].needs != WEIGHTS for name in names) else [])


def _tune(source, seed):
    out = os.path.join(os.path.dirname(source), "tuned")
    return _train(["train"] + list(files(source)), seed, out, TUNED) + TUNE


def _train(command, seed, out, epochs):
    options = ["--bfloat16", "--workers", "0", "--every", "0", "--save-every", "200"]
    return command + ["--data", DATA, "-o", out, "--epochs", epochs, "--seed", str(seed)] + options
