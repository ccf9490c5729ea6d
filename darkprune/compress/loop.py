"""The stages one after the other, each once; what a killed run left is gone on with."""

import glob
import hashlib
import os
import shlex
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from darkprune.compress import report
from darkprune.compress.config import Config
from darkprune.compress.measure import Data, difficult_of, row
from darkprune.compress.preflight import check_device, check_trainings
from darkprune.compress.rounds import judge, main_accuracy_of
from darkprune.compress.stage_work import Made, Start, Work, settings_of
from darkprune.compress.stages import RECORD, Pair, Record, Stage, digest, stages_of, sweep
from darkprune.darknet import journal
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import DetectionSet
from darkprune.data.problems import Problems
from darkprune.errors import Notice, UsageError, place
from darkprune.graph.build import load
from darkprune.train import checkpoint
from darkprune.train.assemble import read_set


class Loop:
    """A run of all stages.

    Args:
        config: what to do.
        resume: go on with what stands in the output folder, and make what is missing. Without it, that is an error.
        ignore_problems: go on without what is wrong with the data set.

    Attributes: folder; stages; rows (the results by stage, as far as it has come); kept (index of the row whose pair is
    the result, where the run is done); notices (for the user).

    Raises UsageError where the config has changed since a stage was made, and what reading the data raises.
    """

    def __init__(self, config: Config, resume: bool = False, ignore_problems: bool = False) -> None:
        self.config, self.folder = config, config["output"]["folder"]
        self.stages = stages_of(config)
        self.rows: List[Dict[str, Any]] = []
        self.kept = 0
        check_device(config)
        data, problems = DataFile.read(config["model"]["data"]), Problems()
        net = load(config["model"]["cfg"], config["model"]["weights"])
        train, valid = (read_set(data, split, net, problems) for split in ("train", "valid"))
        check_trainings(config, net, len(train.images))
        self.notices = list(data.notices) + net.notices + problems.settle(ignore_problems)
        self.data = Data(train, valid, difficult_of(data, valid))
        self._data_key = _key_of(train, valid)
        self._require_free(resume)

    def run(self, say: Callable[[str], None] = lambda line: None) -> List[Dict[str, Any]]:
        """Makes all stages that are not made yet, and the report; returns the results by stage. Ends behind a round of
        pruning that has lost more than max_drop, where the config says how far to go otherwise too.

        say: takes lines of text that tell how far it is.
        """
        report.sweep(self.folder)
        work = Work(self.config, self.data, say)
        pair: Optional[Pair] = None
        first: Optional[Pair] = None
        for stage in self.stages:
            baseline = main_accuracy_of(self.rows[0]) if self.rows else 0.0
            pair = self._stage(stage, work, Start(pair, first, baseline))
            first = first or pair
            verdict = judge(self.stages, self.rows, self.config.most_lost)
            self.kept = verdict.kept
            if verdict.lost is not None:
                self.notices.append(self._ended(stage, verdict.lost))
                break
        report.write(self.folder, self.rows, self.kept)
        self.notices += work.notices
        return self.rows

    def _ended(self, stage: Stage, lost: float) -> Notice:
        kept = self.rows[self.kept]["stage"]
        cause = "{} has lost {:.2f} points, which is more than max_drop: {} is kept".format(stage.folder, lost, kept)
        hint = "for more, prune less in a round, by more steps, or train longer in [finetune]"
        return Notice(cause, self.config["prune"].place("max_drop"), hint)

    def _stage(self, stage: Stage, work: Work, given: Start) -> Pair:
        """The pair of a stage, and its row."""
        folder = os.path.join(self.folder, stage.folder)
        asked, where = settings_of(self.config, stage)
        asked.update(self._inputs(given), data=self._data_key)
        record = Record.read(folder)
        begun = os.path.lexists(os.path.join(folder, self.config.prefix + checkpoint.SUFFIX))
        if record is not None and (record.done or begun):  # else there is nothing that another setting would spoil
            record.require_same(asked, folder, where)
        made_before = record is not None and record.done
        if record is None or not made_before:
            began = time.time()
            with journal.translated(folder):
                os.makedirs(folder, exist_ok=True)
            sweep(folder, self.config.prefix)
            record = Record(asked)
            record.write(folder)
            made = work.make(stage, folder, given)
            self._settle(record, stage, made, time.time() - began)
            record.write(folder)
        record.require_files(folder)
        pair = Pair(*(os.path.join(folder, os.path.basename(record.row[name])) for name in Pair._fields))
        self.rows.append(dict(record.row, **pair._asdict()))  # it may have been moved since
        if not made_before:
            report.write(self.folder, self.rows)
        return pair

    def _settle(self, record: Record, stage: Stage, made: Made, seconds: float) -> None:
        found = row(load(*made.pair), self.data, self.config["run"]["device"])
        record.row = dict(found, stage=stage.folder, seconds=round(seconds, 1), **made.pair._asdict())
        words = ["darkprune"] + made.command if made.command else []
        record.row["command"] = " ".join(shlex.quote(word) for word in words)
        record.files = {os.path.basename(path): digest(path) for path in made.pair}

    def _inputs(self, given: Start) -> Dict[str, str]:
        """The files that a stage starts from, as name -> digest."""
        model = self.config["model"]
        pair: Sequence[Optional[str]] = given.pair or (model["cfg"], model["weights"])
        found = {}
        for name, path in zip(("the cfg before it", "the weights before it"), pair):
            found[name] = digest(path) if path else "nothing"
        if given.first is not None:
            found["the first stage"] = digest(given.first.weights)
        return found

    def _require_free(self, resume: bool) -> None:
        if resume:
            return
        paths = sorted(glob.glob(os.path.join(glob.escape(self.folder), "*", RECORD)))
        paths += [os.path.join(self.folder, name) for name in report.FILES]
        for path in paths:
            if os.path.lexists(path):
                cure = "go on with it by --resume, or write to another folder"
                raise UsageError("an earlier run stands here", place(path), cure)


def _key_of(*sets: Any) -> str:
    """Tells two data sets apart: names of images and labels, wherever they lie."""
    found = hashlib.sha256()
    for examples in sets:
        truths = examples.truths if isinstance(examples, DetectionSet) else examples.classes
        for image, truth in zip(examples.images, truths):
            label = [values.tolist() for values in truth] if isinstance(examples, DetectionSet) else truth
            found.update("{}\n{!r}\n".format(os.path.basename(image), label).encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:32]
