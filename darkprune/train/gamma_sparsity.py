"""Training that drives whole channel sets to zero: an L1 penalty on batch norm's gammas, per set.

Network slimming (Liu et al., 2017) adds strength x |gamma| of every gamma to the loss. A channel only goes with all
that is tied to it, so here the penalty is that of the group lasso (Yuan and Lin, 2006): the L2 norm of the gammas of a
set, times the square root of their number. For a set of one gamma both are the same. The root makes a trunk of many
layers and a single channel comparable: each reaches zero when the root mean square of its gammas does, however many
they are. Without the root a trunk of eight layers outlived nearly all other channels in a trial, and with the number
of gammas in its place it went first.

    sparsity = Sparsity(net, module, strength=0.1)
    loss.backward(); sparsity.add_gradient(); optimizer.step(); sparsity.shrink(rate)

proximal: after the step the norm of each set is lowered by strength x rate x root, or to exactly 0 (soft threshold).
The optimizer is left alone: its momentum of a gamma at 0 goes on adding up the gradients of the loss, and takes the set
back once the root mean square of that is above the strength. subgradient: the penalty's slope is added to the
gradients, as network slimming does it, and nothing stays at exactly 0. There momentum multiplies the penalty by
1 / (1 - momentum), as it does the loss, so that strength s is comparable to a proximal s / (1 - momentum).

hoyer: the proximal step, after which the gammas of each layer are scaled back to the L2 norm that they had. Batch norm
makes a net blind to the common scale of a layer's gammas, so the other two first shrink all of them alike, at no cost
to the loss, until they drown in the betas. At a constant L2 norm an L1 penalty is a penalty on Hoyer's measure L1 / L2
(Hoyer, 2004; of gradients: Yang, Wen and Li, DeepHoyer, 2020), which holds nothing against a common scale: the weaker
gammas of a layer pay and the stronger ones gain.

A moving average of the weights only comes near zero: `silence` gives it the zeros of the module when it is written.
That is harmless once the sets have been at zero for as long as the average remembers, not right after they died.

Blocks that must keep equally many channels (grouped routes and convolutions) are not tied by the penalty: pruning keeps
as many in each as the fullest needs, and `forecast` counts that.
"""

import math
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from torch import Tensor

from darkprune.backends.torch_module import NetModule, to_net
from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.train.layer_options import layer_options
from darkprune.train.prunable import SHARES, forecast, gammas
from darkprune.train.sparsity_schedule import CHOOSING, CONSTANT, Schedule, require_schedule

METHODS = ("proximal", "subgradient", "hoyer")
MEMORY = 0.98  # of the importance, from step to step
PERCENTILES = (25, 50, 75, 90)
LOGGED = (0.3, 0.6, 0.8)  # shares of the filters whose predicted damage is logged


class Sparsity:
    """The penalty on a module's gammas.

    A set is penalised if pruning may remove it by its gammas: none of its channels is pinned, and each layer that makes
    some of them has gammas. All others are left alone; so are those behind a squeeze-and-excitation gate without batch
    norm, since a constant times a gate is none, and pruning would keep it; and sets with a gamma that the cfg freezes.

    Args:
        net: the net of `module`, for its channel sets. module: whose gammas shrink, in place.
        strength: of the penalty, relative to the loss of one image.
        method: one of METHODS. schedule: how the strength changes; a set at exactly 0 is always held by all of it.

    Raises UsageError for values out of range, and for a net none of whose gammas may shrink.
    """

    def __init__(
        self,
        net: Net,
        module: NetModule,
        strength: float,
        method: str = "proximal",
        schedule: Schedule = CONSTANT,
    ) -> None:
        require_sound(strength, method, schedule)
        self.strength, self.method, self.schedule = strength, method, schedule
        self.channels = Channels(net)
        self.module = module
        self._layers = [(layer, sets) for layer, sets in self.channels.producers() if layer.has("scales")]
        self.sets = np.flatnonzero(penalised(self.channels) & ~_frozen(net, self._layers, self.channels.size))
        if not self.sets.size:
            cure = "use a net with batch_normalize=1 and filters that may go (darkprune prune --explain)"
            raise UsageError("no gamma of this net can be trained towards zero", net.config.place(), cure)
        owner = np.concatenate([sets for _, sets in self._layers])  # set of each gamma
        position = np.full(self.channels.size, self.sets.size)
        position[self.sets] = np.arange(self.sets.size)
        self._rows = torch.from_numpy(position[owner])  # gamma -> row of its set; one row more for all others
        self._members = torch.from_numpy(_members(position[owner], self.sets.size))
        counts = (self._members < len(owner)).sum(1)
        self._roots = counts.to(torch.float32).sqrt()
        self._relief = torch.ones(self.sets.size)
        self._importance = torch.zeros(self.sets.size)
        self._zero = self._norms(self._flat()) == 0

    # ---- in each step

    def add_gradient(self) -> None:
        """Adds the penalty's slope to the gradients of the gammas, where the method is subgradient; with a schedule
        that chooses by Taylor, counts what the gradients say."""
        if self.schedule.kind == "taylor":
            self._count_importance()
        if self.method != "subgradient":
            return
        with torch.no_grad():
            flat = self._flat()
            norms = self._norms(flat)
            self._zero = norms == 0
            slopes = self._push() / torch.where(norms > 0, norms, torch.ones_like(norms))
            for gamma, slope in zip(self._gammas(), self._split(flat * self._spread(slopes, 0.0))):
                if gamma.requires_grad:  # not frozen
                    gamma.grad = slope if gamma.grad is None else gamma.grad + slope

    def shrink(self, rate: float) -> None:
        """The proximal step behind an optimizer's step of that learning rate; nothing with a subgradient."""
        if self.method == "subgradient":
            return
        with torch.no_grad():
            flat = self._flat()
            norms = self._norms(flat)
            threshold = self._push() * rate
            kept = torch.where(norms <= threshold, torch.zeros_like(norms), 1 - threshold / norms)  # nan stays nan
            self._zero = kept == 0
            factors = self._spread(kept, 1.0)
            shrunk = torch.where(factors == 0, torch.zeros_like(flat), flat * factors)
            if self.method == "hoyer":
                shrunk = self._rescaled(flat, shrunk)
            for gamma, values in zip(self._gammas(), self._split(shrunk)):
                if gamma.requires_grad:
                    gamma.copy_(values)

    def progress(self, done: float) -> None:
        """Sets the strength of each set by how much of the training is `done`, 0..1."""
        kind, since, relaxed, share = self.schedule
        relief = np.ones(self.sets.size, np.float32)
        if kind == "global" and done > since:
            relief[:] = 1 - (1 - relaxed) * min(1.0, (done - since) / (1 - since))
        if kind in CHOOSING and done >= since:
            relief[~self._lowest(share)] = relaxed
        elif kind == "taylor":
            relief[:] = relaxed
        self._relief = torch.from_numpy(relief).to(self._roots.device)

    # ---- what it found

    def scores(self) -> np.ndarray:
        """float32 by penalised set, as `sets` numbers them: its largest |gamma|, by which pruning ranks it."""
        flat = self._flat().abs()
        largest: np.ndarray = torch.cat([flat, flat.new_zeros(1)])[self._members].amax(1).cpu().numpy()
        return largest

    def report(self) -> Dict[str, Any]:
        """The distribution of the gammas: see `prunable.gammas`. Takes milliseconds."""
        return gammas(to_net(self.module), self.channels, self.sets, self.scores())

    def forecast(self, shares: Sequence[float] = SHARES) -> List[Dict[str, float]]:
        """What could be pruned now at which predicted damage: see `prunable.forecast`."""
        return forecast(to_net(self.module), shares)

    def columns(self) -> Dict[str, float]:
        """The columns of a log: shares of gammas, sets and filters at exactly 0, percentiles of the sets' largest
        |gamma|, and what pruning a share of the filters is predicted to damage now."""
        found = self.report()
        columns = {key: float(found[key]) for key in ("zero_gammas", "zero_sets", "zero_filters", "near_zero")}
        for percent, gamma in zip(PERCENTILES, np.percentile(self.scores(), PERCENTILES)):
            columns["gamma_p{}".format(percent)] = float(gamma)
        for row in self.forecast(LOGGED):
            columns["damage_{:g}".format(100 * row["channels"])] = row["damage"]
        return columns

    def state(self) -> Dict[str, np.ndarray]:
        """What a checkpoint must hold beside the module."""
        state = {"relief": self._relief.cpu().numpy()}
        if self.schedule.kind == "taylor":
            state["importance"] = self._importance.cpu().numpy()
        return state

    def restore(self, state: Dict[str, np.ndarray]) -> None:
        """Goes on from a state; the module must have its arrays already. Raises UsageError for another net's."""
        for name, values in self.state().items():
            saved = np.asarray(state.get(name, ()), np.float32)
            if saved.shape != values.shape:
                cause = "the checkpoint's sparsity has {} channel sets, the net {}".format(saved.size, values.size)
                raise UsageError(cause, hint="resume with the cfg that the checkpoint was written for")
            setattr(self, "_" + name, torch.from_numpy(saved.copy()).to(self._roots.device))
        self._zero = self._norms(self._flat()) == 0

    def silence(self, net: Net) -> None:
        """Sets to 0 in a net what is exactly 0 in the module: of a moving average, which only comes near it, so that
        the sets that may go are the same in both."""
        for (layer, _), gamma in zip(self._layers, self._gammas()):
            zero, twin = (gamma == 0).cpu().numpy(), net.layers[layer.index]
            if zero.any():
                twin.set_param("scales", np.where(zero, np.float32(0), twin.array("scales")))

    # ---- parts

    def _gammas(self) -> List[Tensor]:
        arrays: Any = self.module.layers
        return [arrays[layer.index].scales for layer, _ in self._layers]

    def _flat(self) -> Tensor:
        flat = torch.cat([gamma.detach() for gamma in self._gammas()])
        if flat.device != self._rows.device:
            self._rows, self._members = self._rows.to(flat.device), self._members.to(flat.device)
            self._roots, self._relief = self._roots.to(flat.device), self._relief.to(flat.device)
        return flat

    def _split(self, flat: Tensor) -> Sequence[Tensor]:
        return flat.split([gamma.numel() for gamma in self._gammas()])

    def _rescaled(self, flat: Tensor, shrunk: Tensor) -> Tensor:
        """`shrunk`, with the L2 norm that each layer's penalised gammas have in `flat`, where any is left."""
        mine, parts = self._rows < self.sets.size, []
        for before, after, own in zip(self._split(flat), self._split(shrunk), self._split(mine)):
            sums = [torch.where(own, values, torch.zeros_like(values)).square().sum() for values in (before, after)]
            ratio = torch.where(sums[1] > 0, sums[0] / sums[1], torch.ones_like(sums[1])).sqrt()
            parts.append(torch.where(own, after * ratio, after))
        return torch.cat(parts)

    def _norms(self, flat: Tensor) -> Tensor:
        return torch.cat([flat, flat.new_zeros(1)])[self._members].square().sum(1).sqrt()

    def _push(self) -> Tensor:
        """The penalty's slope per set."""
        held = self._zero.to(self._relief.device)
        return self.strength * self._roots * torch.where(held, torch.ones_like(self._relief), self._relief)

    def _spread(self, values: Tensor, others: float) -> Tensor:
        """Values per set as values per gamma; `others` for gammas that are left alone."""
        return torch.cat([values, values.new_full((1,), others)])[self._rows]

    def _count_importance(self) -> None:
        """Moves the importance of each set towards what this step's gradients say of it: the mean over its filters of
        (gamma x gradient) squared, which to first order is the squared change of the loss without the filter."""
        with torch.no_grad():
            flat = self._flat()
            slopes = [torch.zeros_like(gamma) if gamma.grad is None else gamma.grad for gamma in self._gammas()]
            found = self._norms(flat * torch.cat(slopes)).square() / self._roots.square()
            self._importance = MEMORY * self._importance.to(flat.device) + (1 - MEMORY) * found

    def _lowest(self, share: float) -> np.ndarray:
        """bool by penalised set: the lowest-scored ones that together hold `share` of their filters."""
        scores = self._importance.cpu().numpy() if self.schedule.kind == "taylor" else self.scores()
        order = np.argsort(scores, kind="mergesort")
        held = np.cumsum(self.channels.filters[self.sets[order]])
        lowest = np.zeros(self.sets.size, bool)
        lowest[order[held <= share * held[-1]]] = True
        return lowest


def penalised(channels: Channels) -> np.ndarray:
    """bool by set number: sets that pruning may remove, and all of whose filters have a gamma that silences them."""
    fine: np.ndarray = channels.scored & (channels.pinned < 0)
    for layer, sets in channels.producers():
        if not layer.has("scales"):
            fine[sets] = False
    return fine


def _frozen(net: Net, layers: Sequence[Any], count: int) -> np.ndarray:
    """bool by set number: sets with a gamma that never learns."""
    found, options = np.zeros(count, bool), layer_options(net)
    for layer, sets in layers:
        found[sets] |= math.isinf(options[layer.index].frozen)
    return found


def _members(rows: np.ndarray, count: int) -> np.ndarray:
    """int64 [count, most members]: the gammas of each row's set, filled up with the number of all gammas."""
    order = np.argsort(rows, kind="mergesort")
    order = order[rows[order] < count]
    lengths = np.bincount(rows[order], minlength=count)
    found = np.full((count, int(lengths.max())), rows.size, np.int64)
    place = np.arange(order.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found[rows[order], place] = order
    return found


def require_sound(strength: float, method: str, schedule: Schedule) -> None:
    """Raises UsageError for values out of range."""
    ranges = (
        (math.isfinite(strength) and strength >= 0, "no penalty has strength {}".format(strength), "use 0.1, or less"),
        (method in METHODS, "unknown sparsity method {!r}".format(method), "use one of " + ", ".join(METHODS)),
    )
    for fine, cause, cure in ranges:
        if not fine:
            raise UsageError(cause, hint=cure)
    require_schedule(schedule)
