"""How each kind of stage makes its pair. Imports torch through what it imports."""

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.compress.budget import options_of, share_of
from darkprune.compress.config import Config, Section
from darkprune.compress.config_keys import TRAINING
from darkprune.compress.measure import Data, main_accuracy
from darkprune.compress.stages import Pair, Stage
from darkprune.darknet.pair import write_file
from darkprune.detect.preprocess import batches
from darkprune.edit.recalibrate import recalibrate
from darkprune.errors import Notice, Place
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.graph.save import save
from darkprune.graph.write import cfg_bytes
from darkprune.prune.combine import parse
from darkprune.prune.criteria.base import WEIGHTS
from darkprune.prune.evidence import Evidence
from darkprune.prune.measurer import COUNT, Measurer, part
from darkprune.prune.pipeline import prune
from darkprune.prune.score import criterion_of
from darkprune.train.assemble import Options, make_run
from darkprune.train.gamma_sparsity import Sparsity
from darkprune.train.logs import Log
from darkprune.train.random_weights import OBJECTNESS, start
from darkprune.train.reporter import Reporter
from darkprune.train.settings import Settings
from darkprune.train.sparsity_schedule import parse_schedule

AT_ONCE = 8  # images
IMAGES = "images.txt"  # what statistics were taken of

# What a stage made: its pair, and the words that make it again behind "darkprune".
Made = NamedTuple("Made", [("pair", Pair), ("command", List[str])])

# What a stage starts from: the pair before it (None at first), the first stage's, and the first one's accuracy.
Start = NamedTuple("Start", [("pair", Optional[Pair]), ("first", Optional[Pair]), ("baseline", float)])


class Work:
    """Makes the pairs of stages.

    Args:
        config: of the run. data: what is trained and measured on.
        say: takes lines of text while a stage trains.

    Attributes: notices (what is to be said to the user).
    """

    def __init__(self, config: Config, data: Data, say: Callable[[str], None]) -> None:
        self.config, self.data, self._say = config, data, say
        self.notices: List[Notice] = []

    def make(self, stage: Stage, folder: str, given: Start) -> Made:
        """Makes the pair of a stage in its folder; goes on with a training that was interrupted there."""
        prefix = os.path.join(folder, self.config.prefix)
        if given.pair is None:
            return self._first(stage, prefix)
        if stage.kind == "prune":
            return self._prune(stage, prefix, given)
        if stage.kind == "recalibrate":
            return self._recalibrate(prefix, folder, given.pair)
        words = [given.pair.cfg, given.pair.weights]
        return self._train(stage, load(*given.pair), prefix, words, given)

    def _first(self, stage: Stage, prefix: str) -> Made:
        model = self.config["model"]
        net = load(model["cfg"], model["weights"])
        words = [model["cfg"]] + ([model["weights"]] if model["weights"] else [])
        if stage.kind == "train":
            net = net if model["weights"] else start(net, self.config["run"]["seed"], OBJECTNESS)
            return self._train(stage, net, prefix, words, Start(None, None, 0.0))
        save(net, prefix, overwrite=True)
        return Made(Pair(prefix + ".cfg", prefix + ".weights"), [])

    def _prune(self, stage: Stage, prefix: str, given: Start) -> Made:
        assert given.pair is not None and given.first is not None
        net, first, options = load(*given.pair), load(*given.first), options_of(self.config, stage.round)
        measure = main_accuracy(self.data, self.config["run"]["device"])
        evidence = self._evidence(net, options["criterion"])

        def accurate(pruned: Net) -> float:
            return measure(self._recalibrated(pruned))

        share = share_of(self.config, stage.round, net, first, accurate, given.baseline, evidence)
        made = prune(net, channels=share, evidence=evidence, **options)
        self.notices += made.notices
        save(made.net, prefix, overwrite=True, plan=made.plan)
        words = ["prune", given.pair.cfg, given.pair.weights, "-o", prefix]
        words += ["--channels", "{:g}".format(share)] if share is not None else []
        for key in ("blocks", "scope", "group", "criterion", "combine", "min_keep", "round", "absorb", "seed"):
            words += ["--" + key.replace("_", "-"), str(options[key])] if options[key] else []
        words += ["--data", self.config["model"]["data"]] if evidence is not None else []
        words += ["--force"] if options["force"] else []
        return Made(Pair(prefix + ".cfg", prefix + ".weights"), words)

    def _evidence(self, net: Net, criterion: str) -> Optional[Evidence]:
        """What criteria find on training images, as `darkprune prune --data` draws them; None where none needs any."""
        names = parse(criterion).names
        if all(criterion_of(name).needs == WEIGHTS for name in names):
            return None
        seed = self.config["run"]["seed"]
        some = part(self.data.train, COUNT, seed)
        return Measurer(names, some.images, some, "torch", seed)(net)

    def _recalibrate(self, prefix: str, folder: str, pair: Pair) -> Made:
        path = os.path.join(folder, IMAGES)
        lines = [os.path.abspath(image) + "\n" for image in self._images()]
        write_file(path, "".join(lines).encode("utf-8", "surrogateescape"), overwrite=True)
        save(self._recalibrated(load(*pair)), prefix, overwrite=True)
        words = ["recalibrate", pair.cfg, pair.weights, "-o", prefix, "--images", path, "--runner", "torch"]
        return Made(Pair(prefix + ".cfg", prefix + ".weights"), words)

    def _recalibrated(self, net: Net) -> Net:
        images = self._images()
        if not images:
            return net
        return recalibrate(net, batches(net, images, AT_ONCE, False), len(images), runner="torch").net

    def _images(self) -> List[str]:
        """The training images that statistics are taken of: as many as the config says, drawn by the seed."""
        every, most = self.data.train.images, self.config["prune"]["recalibrate"]
        order = np.random.RandomState(self.config["run"]["seed"]).permutation(len(every))
        return [every[index] for index in sorted(order[:most])]

    # ---- training

    def _train(self, stage: Stage, net: Net, prefix: str, words: List[str], given: Start) -> Made:
        assert stage.section is not None
        section, run = self.config[stage.section], self.config["run"]
        settings = Settings.of(net, len(self.data.train.images), section["epochs"], **section.net)
        options = Options(run["seed"], run["workers"], run["device"], run["bfloat16"], run["every"], run["save_every"])
        extras = self._extras(stage, section, net, given)
        training = make_run(net, settings, self.data.train, self.data.valid, prefix, options, **extras)
        write_file(prefix + ".cfg", cfg_bytes(net), overwrite=True)
        resumes = os.path.exists(training.path)
        if resumes:
            training.restore()
        with Log(prefix, training.done if resumes else None, overwrite=True) as log:
            training.train(Reporter(log, training, lambda line: self._say("{}: {}".format(stage.folder, line))))
        self.notices += self._new(training.loader.notices + log.notices)
        if training.interrupted or training.asked:
            told = "{}: interrupted after step {}; --resume goes on from there\n"
            self._say(told.format(stage.folder, training.done))
            raise KeyboardInterrupt
        if training.stopped:
            self.notices.append(
                Notice("{} ended after step {}: {}".format(stage.folder, training.done, training.stopped))
            )
        pair = Pair(prefix + ".cfg", prefix + "_final.weights")
        return Made(pair, self._command(stage, section, words, prefix, given))

    def _new(self, notices: List[Notice]) -> List[Notice]:
        """Those that no training before has given."""
        known = {notice.message for notice in self.notices}
        return [notice for notice in notices if notice.message not in known]

    def _extras(self, stage: Stage, section: Section, net: Net, given: Start) -> Dict[str, Any]:
        """What this training has beyond the settings of [net]."""
        extras: Dict[str, Any] = {"box_gradient": section["box_gradient"]}
        if stage.kind == "sparsify":
            schedule = parse_schedule(section["schedule"])

            def penalty(made: Net, module: Any) -> Sparsity:
                return Sparsity(made, module, section["strength"], section["method"], schedule)

            told = {"sparsity": [section["strength"], section["method"], list(schedule)]}
            extras.update(sparsity=penalty, band=section["band"], about=told)
        if stage.kind == "finetune" and section["distill"]:
            from darkprune.train.distill import Distillation

            assert given.first is not None
            teacher = load(*given.first)
            extras.update(teacher=teacher, distillation=Distillation(net, teacher))
        return extras

    def _command(self, stage: Stage, section: Section, words: List[str], prefix: str, given: Start) -> List[str]:
        run = self.config["run"]
        words = ["train"] + words + ["--data", self.config["model"]["data"], "-o", os.path.dirname(prefix)]
        words += ["--epochs", "{:g}".format(section["epochs"]), "--seed", str(run["seed"]), "--device", run["device"]]
        words += ["--every", str(run["every"])]
        words += ["--box-gradient", section["box_gradient"]] + (["--bfloat16"] if run["bfloat16"] else [])
        for key, value in section.net.items():
            text = ",".join("{:g}".format(x) for x in value) if isinstance(value, tuple) else str(value)
            words += ["--set", "{}={}".format(key, text)]
        if stage.kind == "sparsify":
            words += ["--sparsity", "{:g}".format(section["strength"]), "--sparsity-method", section["method"]]
            words += ["--sparsity-schedule", section["schedule"]]
            words += ["--band", "{:g}".format(section["band"])] if section["band"] is not None else []
        if stage.kind == "finetune" and section["distill"]:
            assert given.first is not None
            words += ["--teacher", given.first.cfg, given.first.weights]
        return words


def settings_of(config: Config, stage: Stage) -> Tuple[Dict[str, str], Dict[str, Place]]:
    """What a stage's result depends on in the config, as name -> text, and where each of it stands."""
    asked: Dict[str, str] = {}
    where: Dict[str, Place] = {}
    keys_of = {"run": ["seed", "device"] + (["bfloat16"] if stage.section in TRAINING else [])}
    if stage.kind == "recalibrate":
        keys_of["prune"] = ["recalibrate"]
    elif stage.section is not None:
        ends_rounds = ["max_drop"] if config.most_lost is not None else []  # makes more of them or fewer, no others
        keys_of[stage.section] = [key for key in config[stage.section].said() if key not in ends_rounds]
        if stage.kind == "sparsify" and config["sparsify"]["band"] is not None:
            keys_of["run"].append("every")  # an evaluation may end the stage
    for name, keys in keys_of.items():
        section = config[name]
        for key in keys:
            asked["[{}] {}".format(name, key)] = section.said()[key]
            where["[{}] {}".format(name, key)] = section.place(key)
    return asked, where
