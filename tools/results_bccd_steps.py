"""The steps by which tools/results_bccd.py trains, sparsifies, prunes and recovers, as darkprune commands."""

import os
from collections import OrderedDict
from typing import List, NamedTuple, Optional

FOLDER = os.path.join("build", "bccd")
DATA = os.path.join(FOLDER, "bccd", "bccd.data")
PRUNING = os.path.join(FOLDER, "bccd", "pruning.data")  # whose valid images are those of training
CFG = os.path.join("cfg", "bccd-yolov3.cfg")

BASELINE, SPARSE, TUNED = "150", "60", "60"  # epochs
LARGER = ("384", "288")  # pixels
SIZE = ("320", "256")  # pixels, of the net that has them from its first epoch
AT_SIZE = " at {} x {}".format(*SIZE)
BEST = "baseline" + AT_SIZE + " trained on"  # the most accurate one
COCO = os.path.join(FOLDER, "yolo-fastest-1.1")  # a copy of the published pair
FASTEST_NET = "Yolo-Fastest"  # the step that trains it; all of its steps begin so
FASTEST = ["--batch", "16", "--subdivisions", "1", "--policy", "sgdr", "--burn-in", "50"]
FASTEST += ["--adam", "1", "--random", "0"]
FASTEST_RATE = ["--learning-rate", "0.001", "--ema-alpha", "0.997"]
LATENCY = "30%"  # of the baseline's time in OpenCV
THREADS = "1"  # where times are taken: with more, what else the machine does decides
HALF = "50%"  # of it, where nothing was trained towards zero
UNSPARSIFIED = HALF + " of the time without sparsity by {}"
WAYS = ("gamma", "taylor", "gamma and taylor", "search")  # to choose what goes
BY_LATENCY = LATENCY + " of the time by {}"
TIMED = ("baseline", "60", "60 + 8 blocks", "70", "80", "80 then 8 blocks")
TIMED += ("83", "85", "87", "90", "95")
TIMED += tuple(map(BY_LATENCY.format, WAYS)) + tuple(map(UNSPARSIFIED.format, WAYS[:2]))
TIMED_TOGETHER = (TIMED, (BEST, "80" + AT_SIZE))  # each a baseline and what it became
HARDER = (0.84, "25")  # share of the filters that are to die, and the strength, where 80 % and more go
STRENGTHS = {"hoyer": "15", "proximal": "8", "subgradient": "0.8"}  # of the loss of an image, a sum over its cells
SPARSIFY = {
    "hoyer": ["--learning-rate", "0.001", "--ema-alpha", "0.99"],
    # Adam's steps are as long as the rate wherever the gradient keeps its sign, so that a threshold of the rate's size
    # would silence everything or nothing: these two are trained with momentum
    "proximal": ["--adam", "0", "--learning-rate", "0.0005", "--ema-alpha", "0.98"],
    "subgradient": ["--adam", "0", "--learning-rate", "0.0005", "--ema-alpha", "0.98"],
}
TUNE = ["--learning-rate", "0.001", "--set", "mosaic=0"]

Step = NamedTuple(
    "Step",
    [
        ("name", str),
        ("cfg", str),  # of the pair that it makes, relative to the repository
        ("weights", str),
        ("commands", List[List[str]]),  # arguments of darkprune
        ("needs", List[str]),  # steps whose files it reads
        ("int8", Optional[str]),  # ranges to evaluate it with
        ("folder", str),  # of its own
    ],
)


class Plan:
    """Steps of one seed, in order."""

    def __init__(self, seed):
        self.seed = str(seed)
        self.folder = os.path.join(FOLDER, self.seed)
        self.steps = OrderedDict()

    def add(self, name, stem, commands, needs=(), final=False, int8=None):
        """A step that makes STEM.cfg and its weights: STEM_final.weights of a training."""
        weights = stem + ("_final" if final else "") + ".weights"
        folder = os.path.dirname(stem)
        self.steps[name] = Step(name, stem + ".cfg", weights, commands, list(needs), int8, folder)
        return self.steps[name]

    def train(self, name, cfg, weights, epochs, options=(), needs=()):
        """A training into a folder of its name."""
        out = os.path.join(self.folder, name.replace(" ", "-"))
        given = [cfg] + ([weights] if weights else [])
        command = ["train"] + given + ["--data", DATA, "-o", out, "--epochs", epochs, "--seed", self.seed]
        command += ["--bfloat16", "--box-gradient", "loss", "--every", "1000", "--workers", "1"] + list(options)
        stem = os.path.join(out, os.path.splitext(os.path.basename(cfg))[0])
        return self.add(name, stem, [command], needs, final=True)

    def prune(self, name, source, options, needs):
        """A pruned pair."""
        stem = os.path.join(self.folder, name.replace(" ", "-"), "pruned")
        command = ["prune", source.cfg, source.weights, "-o", stem, "--force", "--overwrite"] + options
        return self.add(name, stem, [command], needs)

    def recalibrate(self, name, source, needs):
        """A pair with the statistics of the training images."""
        stem = os.path.join(self.folder, name.replace(" ", "-"), "recalibrated")
        images = os.path.join(os.path.dirname(DATA), "trainval.txt")
        command = ["recalibrate", source.cfg, source.weights, "--images", images, "-o", stem, "--runner", "torch"]
        return self.add(name, stem, [command + ["--overwrite"]], needs)


def baseline_of(name):
    """The step that another is compared with: its net before anything was taken away; of the larger baselines, the
    smaller one."""
    if name.startswith(FASTEST_NET):
        return FASTEST_NET
    return BEST if AT_SIZE in name and not name.startswith("baseline") else "baseline"


def steps_of(seed):
    """OrderedDict of all steps by name."""
    plan = Plan(seed)
    base = plan.train("baseline", CFG, None, BASELINE)
    _larger(plan, base)
    sparse = _sparse(plan, base, "sparse", "hoyer", 0.82)
    fewer = ("fine-tuned", "distilled") + (("reinit",) if seed == 0 else ())
    _recovered(plan, base, sparse, "60", ["--channels", "0.6"], fewer)
    _recovered(plan, base, sparse, "60 + 8 blocks", ["--channels", "0.6", "--blocks", "8"], fewer)
    _recovered(plan, base, sparse, "70", ["--channels", "0.7"], ("distilled",))
    harder = _sparse(plan, base, "sparse harder", "hoyer", *HARDER)
    _recovered(plan, base, harder, "80", ["--channels", "0.8"])
    eighty = plan.steps["80"]
    images = ["--images", os.path.join(os.path.dirname(DATA), "trainval.txt"), "--count", "32"]
    _recovered(plan, base, eighty, "80 then 8 blocks", ["--blocks", "8", "--block-rank", "damage"] + images, fewer)
    for method in ("entropy", "max"):
        _int8(plan, "70 distilled", method)
    if seed == 0:
        _once(plan, base, sparse, harder)
    return plan.steps


def _larger(plan, base):
    """The net for larger images: what their size is worth; and the one that began with them, pruned and recovered."""
    _at_size(plan, base, LARGER, "75")
    first = _at_size(plan, base, SIZE, BASELINE, ["--reinit"])
    first = plan.train(BEST, first.cfg, first.weights, TUNED, TUNE, [first.name])
    sparse = _sparse(plan, first, "sparse" + AT_SIZE, "hoyer", *HARDER)
    pruned = plan.prune("80" + AT_SIZE, sparse, ["--channels", "0.8"], [sparse.name])
    _tuned(plan, first, pruned, pruned.name, ("fine-tuned",))


def _at_size(plan, base, size, epochs, options=()):
    """The baseline trained for images of another size."""
    stem = os.path.join(plan.folder, "bccd-yolov3-{}".format(size[0]))
    edit = ["edit", base.cfg, base.weights, "-o", stem, "--width", size[0], "--height", size[1], "--overwrite"]
    name, cfg, weights = "baseline at {} x {}".format(*size), stem + ".cfg", stem + ".weights"
    step = plan.train(name, cfg, weights, epochs, options, [base.name])
    step = plan.steps[step.name] = step._replace(commands=[edit] + step.commands)
    return step


def _once(plan, base, sparse, harder):
    """What is measured with the first seed alone: other ways, other shares, another net."""
    more = str(int(SPARSE) + int(TUNED))  # as long as a net that was sparsified and fine-tuned
    plan.train("baseline trained on", base.cfg, base.weights, more, TUNE, [base.name])
    # 80 % of the filters that the blocks leave is more than 80 % of all: the emptiest layers are in those blocks
    options = ["--channels", "0.8", "--blocks", "8"]
    _recovered(plan, base, harder, "80 + 8 blocks", options, ("fine-tuned", "distilled"))
    for mode in ("bias", "none"):
        for share, source in (("60", sparse), ("80", harder)):
            options = ["--channels", "0." + share[0], "--absorb", mode]
            plan.prune("{} absorb {}".format(share, mode), source, options, [source.name])
    for method in ("proximal", "subgradient"):
        _sparse(plan, base, "sparse by " + method, method)
    _sparse(plan, base, "sparse by gamma", "hoyer", HARDER[0], HARDER[1], "local:0.3")
    for share in ("0.83", "0.85", "0.87", "0.9", "0.95"):
        name = "{:g}".format(100 * float(share))
        pruned = plan.prune(name, harder, ["--channels", share], [harder.name])
        _tuned(plan, base, pruned, name, ("fine-tuned",))
    chosen = ([], _by("taylor"), _by("gamma,taylor"), ["--search", "20", "--data", PRUNING])
    for way, options in zip(WAYS, chosen):
        _timely(plan, base, harder, BY_LATENCY.format(way), LATENCY, options)
    for way, options in zip(WAYS[:2], chosen):
        _timely(plan, base, base, UNSPARSIFIED.format(way), HALF, options)
    _yolo_fastest(plan)


def _timely(plan, base, source, name, share, options):
    """A pair pruned to a share of its source's time, and fine-tuned."""
    options = ["--target-latency", "opencv:" + share, "--threads", THREADS] + options
    pruned = plan.prune(name, source, options, [source.name])
    _tuned(plan, base, pruned, name, ("fine-tuned",))


def _by(criteria):
    return ["--criterion", criteria, "--data", PRUNING]


def _yolo_fastest(plan):
    """A detector of COCO's 80 classes becomes one of 3, for images as small as the other's, and is pruned."""
    stem = os.path.join(plan.folder, "yolo-fastest-of-3")
    edit = ["edit", COCO + ".cfg", COCO + ".weights", "-o", stem, "--classes", "3"]
    edit += ["--width", "256", "--height", "192", "--overwrite"]
    options = ["--partial", COCO + ".cfg"] + FASTEST + FASTEST_RATE
    base = plan.train(FASTEST_NET, stem + ".cfg", COCO + ".weights", "60", options)
    plan.steps[FASTEST_NET] = base._replace(commands=[edit] + base.commands)
    options = FASTEST + _penalty("hoyer", 0.35)
    sparse = plan.train(FASTEST_NET + " sparse", base.cfg, base.weights, "40", options, [FASTEST_NET])
    pruned = plan.prune(FASTEST_NET + " 30", sparse, ["--channels", "0.3"], [FASTEST_NET + " sparse"])
    plan.recalibrate(FASTEST_NET + " 30 recalibrated", pruned, [FASTEST_NET + " 30"])
    for way, epochs in (("fine-tuned", "40"), ("distilled", "40"), ("reinit", "60")):
        options, needs = FASTEST + FASTEST_RATE, [FASTEST_NET + " 30"]
        if way == "distilled":
            options, needs = options + ["--teacher", base.cfg, base.weights], needs + [FASTEST_NET]
        if way == "reinit":
            options = options + ["--reinit"]
        plan.train(FASTEST_NET + " 30 " + way, pruned.cfg, pruned.weights, epochs, options, needs)


def _sparse(plan, base, name, method, share=None, strength=None, chosen="taylor:0.1"):
    options = _penalty(method, share, strength, chosen)
    return plan.train(name, base.cfg, base.weights, SPARSE, options, [base.name])


def _penalty(method, share=None, strength=None, chosen="taylor:0.1"):
    """share: of the filters that are to die; the others are let off. strength: another than usual. chosen: how and
    since when it is known which."""
    options = ["--sparsity-method", method, "--sparsity", strength or STRENGTHS[method]] + SPARSIFY[method]
    return options + (["--sparsity-schedule", "{}:0:{:g}".format(chosen, share)] if share is not None else [])


def _recovered(plan, base, sparse, name, options, ways=("fine-tuned", "distilled", "reinit")):
    pruned = plan.prune(name, sparse, options, [sparse.name])
    plan.recalibrate(name + " recalibrated", pruned, [name])
    _tuned(plan, base, pruned, name, ways)


def _tuned(plan, base, pruned, name, ways):
    for way in ways:
        epochs, options, needs = TUNED, TUNE, [name]
        if way == "distilled":
            options, needs = options + ["--teacher", base.cfg, base.weights], [name, base.name]
        if way == "reinit":
            epochs, options = BASELINE, ["--reinit"]
        plan.train("{} {}".format(name, way), pruned.cfg, pruned.weights, epochs, options, needs)


def _int8(plan, name, method):
    """Ranges by a method; entropy is the default of calibrate."""
    source, made = plan.steps[name], "{} INT8 {}".format(name, method)
    ranges = os.path.join(plan.folder, made.replace(" ", "-"), "ranges.json")
    images = os.path.join(os.path.dirname(DATA), "trainval.txt")
    command = ["calibrate", source.cfg, source.weights, "--images", images, "-o", ranges, "--overwrite"]
    command += ["--method", method]
    folder = os.path.dirname(ranges)
    plan.steps[made] = Step(made, source.cfg, source.weights, [command], [name], ranges, folder)
