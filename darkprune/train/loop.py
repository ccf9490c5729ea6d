"""Training from the first step to the last: batches, steps, checkpoints, evaluation, files."""

import functools
import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch

from darkprune.backends.torch_module import NetModule, to_net
from darkprune.darknet.pair import write_file
from darkprune.errors import TrainingError, UsageError, place
from darkprune.graph.net import Net
from darkprune.graph.save import weights_chunks
from darkprune.interrupt import Interrupt
from darkprune.train import checkpoint
from darkprune.train.ema import MovingAverage
from darkprune.train.optimizer import moments, restore_moments
from darkprune.train.schedule import input_size, learning_rate
from darkprune.train.step import DIVERGED, Stepper

MOST_NAMES = 8  # of images in a message

Progress = NamedTuple(
    "Progress",
    [
        ("step", int),  # steps done
        ("rate", float),
        ("values", Dict[str, float]),  # loss and its parts, and after an evaluation `map` or `top1`
        ("seconds", float),  # that the step took
    ],
)


class Run:
    """One training under way.

    Args:
        stepper: holds the module; its settings are the training's.
        net: the net as it was given: header, cfg, input size.
        loader: gives each step's parts (darkprune.train.loader.Loader).
        images: of an epoch.
        prefix: of the files: PREFIX_last.weights, PREFIX_best.weights, PREFIX_final.weights, PREFIX_last.npz.
        seed: of all that is left to chance.
        evaluate: a Net -> {"map": ...} or {"top1": ...}, and what else is to be logged; None: never.
        every: epochs between two evaluations; 0: only after the last step. save_every: steps between two checkpoints.
        about: what tells this training from another one; a checkpoint that says otherwise is refused.
        band: training ends where an evaluation is this much below that of the net as it was given.

    Attributes: done (steps), best (the best evaluation), stopped (why accuracy ended it early, or None), interrupted
        (whether a signal did), asked (whether there was a signal, be it too late).
    """

    def __init__(
        self,
        stepper: Stepper,
        net: Net,
        loader: Any,
        images: int,
        prefix: str,
        seed: int = 0,
        evaluate: Optional[Callable[[Net], Dict[str, float]]] = None,
        every: int = 10,
        save_every: int = 100,
        about: Optional[Dict[str, Any]] = None,
        band: Optional[float] = None,
    ) -> None:
        self.stepper, self.net, self.loader, self.images = stepper, net, loader, images
        self.prefix, self.seed = prefix, seed
        self.settings = stepper.settings
        self.evaluate, self.every, self.save_every = evaluate, every, save_every
        self.about = about or {}
        self.writes = stepper.group is None or stepper.group.rank == 0  # of several processes the first one
        self.band, self.first = band, None  # type: Optional[float], Optional[float]
        self.done, self.best, self.stopped = 0, -1.0, None  # type: int, float, Optional[str]
        self.interrupted = self.asked = False
        self._kept: Optional[Tuple[bytes, checkpoint.Checkpoint]] = None
        alpha = self.settings.ema_alpha
        self.average = MovingAverage(stepper.module, alpha) if alpha else None

    @property
    def path(self) -> str:
        """The checkpoint's."""
        return self.prefix + checkpoint.SUFFIX

    def train(self, report: Callable[[Progress], None] = lambda progress: None) -> Net:
        """All steps that are left; returns the net that was learnt, which PREFIX_final.weights holds.

        Ctrl-C and SIGTERM end it behind the step that is under way, with a checkpoint. Of several processes one that is
        asked to end is enough: all end behind the same step, since none can go on alone.
        """
        settings, shape = self.settings, self.net.input.shape
        if self.band is not None and self.evaluate is not None and self.first is None:
            self.first = self._shared(next(iter(self.evaluate(self.net).values())) if self.writes else 0.0)
        with Interrupt() as interrupt:
            steps = self.loader.steps(self.done, settings.max_batches) if not self.stopped else ()
            for parts in steps:
                report(self._step(parts, shape))
                self.put()  # the last one: the loss of this step has shown that its weights are sound
                ends = bool(self.stopped) or self.done == settings.max_batches
                asked = not ends and self._any(interrupt())
                if ends or asked or self.done % self.save_every == 0:
                    self.keep()
                if ends or asked:
                    self.interrupted = asked
                    break
            self.put()
            self.asked = interrupt()
        learnt = self.learnt()
        if self.writes and not self.interrupted:
            self._write("final", learnt)
        return learnt

    def _step(self, parts: Any, shape: Any) -> Progress:
        """The next step, and the evaluation that follows it."""
        began, step = time.monotonic(), self.done
        torch.manual_seed(self.seed * 1000003 + step)  # dropout: a resumed run drops the same
        self.stepper.resize(*input_size(self.settings, shape.w, shape.h, step, self.seed))
        rate = learning_rate(self.settings, step + 1, self.seed)  # Darknet counts the images before it updates
        self.stepper.freeze(step)
        if self.stepper.sparsity is not None:
            self.stepper.sparsity.progress(step / self.settings.max_batches)
        for loss in self.stepper.losses.values():  # [region] starts otherwise than it goes on
            loss.seen = self.net.header.seen + (step + 1) * self.settings.batch
        values = self.stepper.step(parts, rate, functools.partial(self._where, step))
        self.done = step + 1
        if self.average is not None:
            self.average.update(self.stepper.module, self.done)
        seconds = time.monotonic() - began
        if self._due():
            values = dict(values, **self._evaluated())
        return Progress(self.done, rate, values, seconds)

    def _where(self, step: int, part: int) -> str:
        """Names a part of a step by its images."""
        paths = self.loader.paths(step)[part]
        names = ", ".join(os.path.basename(path) for path in paths[:MOST_NAMES])
        return "step {}, with the images {}{}".format(step + 1, names, "..." if len(paths) > MOST_NAMES else "")

    def _due(self) -> bool:
        """Whether an epoch that is to be evaluated, or the last step, has just ended."""
        if self.evaluate is None:
            return False
        if not self.every or self.done == self.settings.max_batches:
            return self.done == self.settings.max_batches
        per_round = self.images * self.every
        seen = self.done * self.settings.batch
        return seen // per_round > (seen - self.settings.batch) // per_round

    def _evaluated(self) -> Dict[str, float]:
        """What an evaluation finds, in the process that writes; all of them learn whether it ends the training."""
        found: Dict[str, float] = {}
        if self.writes and self.evaluate is not None:
            net = self.learnt()
            found = self.evaluate(net)
            score = next(iter(found.values()))
            if score > self.best:
                self.best = score
                self._write("best", net)
        if self.band is not None and self.first is not None:
            score = self._shared(next(iter(found.values()), 0.0))
            if score < self.first - self.band:
                self.stopped = "the accuracy fell from {:.4f} to {:.4f}, by more than {:g}".format(
                    self.first, score, self.band
                )
        return found

    def _shared(self, value: float) -> float:
        """The number that the first of all processes has."""
        group = self.stepper.group
        return value if group is None else float(group.exchange(value)[0])

    def _any(self, asked: bool) -> bool:
        """Whether any of all processes was asked to end."""
        group = self.stepper.group
        return asked if group is None else any(group.exchange(asked))

    def learnt(self) -> Net:
        """The net as it is now, or its moving average, in the size it was given in."""
        module = self.average.module if self.average is not None else self.stepper.module
        learnt, given = to_net(module), self.net.copy()
        for layer, source in zip(given.layers, learnt.layers):
            for spec in layer.op.parameters(layer):
                layer.set_param(spec.name, source.array(spec.name))
        if self.average is not None and self.stepper.sparsity is not None:
            self.stepper.sparsity.silence(given)
        given.loaded = len(given.layers)
        images = given.header.seen + self.done * self.settings.batch
        given.header = given.header._replace(seen=images)
        return given

    def _write(self, which: str, net: Net) -> None:
        write_file("{}_{}.weights".format(self.prefix, which), weights_chunks(net), overwrite=True)

    def keep(self) -> None:
        """Makes a checkpoint; `put` writes it. Raises TrainingError where a value is not finite."""
        if not self.writes:
            return
        module = self.stepper.module
        arrays = checkpoint.prefixed("net/", _tensors(module))
        wrong = [name for name, values in arrays.items() if not np.isfinite(values).all()]
        if wrong:
            cause = "{} is no longer finite after step {}".format(wrong[0][len("net/") :], self.done)
            raise TrainingError(cause, hint=DIVERGED)
        arrays.update(checkpoint.prefixed("moments/", moments(module, self.stepper.optimizer)))
        if self.average is not None:
            arrays.update(checkpoint.prefixed("average/", self.average.state()))
        for name, part in self._parts():
            arrays.update({name + key: np.array(value) for key, value in part.state().items()})
        about = dict(self.about, step=self.done, best=self.best, first=self.first, stopped=self.stopped)
        self._kept = b"".join(weights_chunks(self.learnt())), checkpoint.Checkpoint(about, arrays)

    def put(self) -> None:
        """Writes PREFIX_last.weights and the checkpoint that `keep` made, after which --resume goes on."""
        if self._kept is not None:
            weights, state = self._kept
            write_file(self.prefix + "_last.weights", weights, overwrite=True)
            checkpoint.write(self.path, state)
            self._kept = None

    def restore(self) -> None:
        """Takes up the training that the checkpoint holds. Raises UsageError for one of another training."""
        state = checkpoint.read(self.path)
        for key, value in self.about.items():
            if state.about.get(key) != value:
                cause = "the checkpoint is of another training: {} was {}, and is {} now".format(
                    key, state.about.get(key), value
                )
                raise UsageError(cause, place(self.path), "give what was given then, or train without --resume")
        module = self.stepper.module
        checkpoint.load_into(_tensors(module), checkpoint.under("net/", state.arrays), self.path)
        restore_moments(module, self.stepper.optimizer, checkpoint.under("moments/", state.arrays))
        if self.average is not None:
            checkpoint.load_into(self.average.state(), checkpoint.under("average/", state.arrays), self.path)
        for name, part in self._parts():
            part.restore(checkpoint.under(name, state.arrays))
        self.done, self.best, self.first = (state.about[key] for key in ("step", "best", "first"))
        self.stopped = state.about["stopped"]

    def _parts(self) -> List[Any]:
        parts = [("sparsity/", self.stepper.sparsity), ("distillation/", self.stepper.distillation)]
        return [(name, part) for name, part in parts if part is not None]


def _tensors(module: NetModule) -> Dict[str, Any]:
    found: Dict[str, Any] = {name: values.data for name, values in module.named_parameters()}
    found.update(module.named_buffers())
    return found
