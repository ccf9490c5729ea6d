"""Several processes that train one net together, each on its share of every step's images.

    torchrun --nproc-per-node 2 -m darkprune train ...

They exchange by gloo on processors and nccl on GPUs. What they compute is what one process does that runs as many
parts: the cfg's `subdivisions` parts are dealt out, process r of W taking the parts r, r + W, r + 2 W... Batch norm
normalises each part by itself either way. Gradients are summed. The running statistics go as they do in one process,
part by part in the order of the whole: with m uses of a layer in a pass, a = 0.9^m and P parts a process,

    r <- a^(P W) r + sum over parts p and processes w of a^(P W - 1 - p W - w) c(p, w)

where c(p, w) is what that part adds. All processes so keep the same weights and the same statistics; the first one
alone evaluates and writes. A checkpoint is read by all of them: on several machines its folder has to be a shared one.
"""

import datetime
import json
import os
from typing import Any, Dict, List, Optional

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from darkprune.backends.torch_module import NetModule
from darkprune.backends.torch_ops import MOMENTUM
from darkprune.errors import DarkpruneError, TrainingError, UsageError

WAIT = datetime.timedelta(hours=3)  # for another process, such as the first one while it evaluates


def own_device(device: str) -> str:
    """The device of this process: of several on one machine each takes a GPU of its own."""
    if device != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    return "cuda:{}".format(int(os.environ["LOCAL_RANK"]) % max(1, torch.cuda.device_count()))


def join(device: str = "cpu") -> Optional["Group"]:
    """The processes that torchrun started, this one among them; None where there is only one.

    Raises UsageError where they do not find each other.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    hint = "start them by torchrun --nproc-per-node N -m darkprune train ..."
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store, rank, world = next(rendezvous("env://", rank, world, timeout=datetime.timedelta(minutes=5)))
        store.set_timeout(WAIT)
        backend = "nccl" if device.startswith("cuda") else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(device)
        shared = dist.PrefixStore("darkprune", store)
        dist.init_process_group(backend, store=shared, rank=rank, world_size=world, timeout=WAIT)
    except (KeyError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines() or [repr(error)]
        raise UsageError("the processes do not find each other: {}".format(lines[0]), hint=hint) from error
    return Group(store, rank, world)


class Group:
    """The processes. Attributes: rank (of this one, from 0), world (how many there are)."""

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self._store, self.rank, self.world = store, rank, world
        self._before: List[Tensor] = []
        self._parts = 0

    def parts(self, subdivisions: int) -> int:
        """Parts of a step that each process runs."""
        return -(-subdivisions // self.world)

    def begin_part(self, module: NetModule) -> None:
        """To be called before each part of a step."""
        statistics, decays = _statistics(module)
        if not self._parts:
            self._before = [values.clone() for values in statistics]
        for values, decay in zip(statistics, decays):
            values.mul_(decay ** (self.world - 1) if self._parts else 0.0)
        self._parts += 1

    def reduce(self, module: NetModule, found: Dict[str, float]) -> None:
        """To be called after the last part: all processes then have the gradients, statistics and `found` (sums over
        their parts) of the whole step. Raises TrainingError where another process has ended."""
        statistics, decays = _statistics(module)
        later = self.world - 1 - self.rank
        for values, decay in zip(statistics, decays):
            values.mul_(decay**later)
        gradients = [values.grad for values in module.parameters() if values.grad is not None]
        self._sum(gradients + statistics)
        for values, decay, before in zip(statistics, decays, self._before):
            values.add_(before, alpha=decay ** (self.world * self._parts))
        self._parts = 0
        every = self.exchange(found)
        for key in sorted({key for each in every for key in each}):
            found[key] = sum(each.get(key, 0.0) for each in every)

    def exchange(self, value: Any) -> List[Any]:
        """What each process has, in their order: something that JSON can hold."""
        data = torch.tensor(list(json.dumps(value).encode("ascii")), dtype=torch.uint8)
        lengths = torch.zeros(self.world, dtype=torch.int64)
        lengths[self.rank] = len(data)
        self._collect(lengths)
        rows = torch.zeros(self.world, int(lengths.max()), dtype=torch.uint8)
        rows[self.rank, : len(data)] = data
        self._collect(rows)
        texts = [bytes(row[:length].tolist()) for row, length in zip(rows, lengths.tolist())]
        return [json.loads(text.decode("ascii")) for text in texts]

    def require_same(self, value: Any, what: str) -> None:
        """Raises TrainingError unless all processes have the same value."""
        every = self.exchange(value)
        other = [rank for rank, each in enumerate(every) if each != every[0]]
        if other:
            cause = "process {} has another {} than process 0".format(other[0], what)
            raise TrainingError(cause, hint="give all processes the same files and options, in a folder all can read")

    def speaks(self, error: BaseException) -> bool:
        """Whether this process is to tell of an error: the first that has one. What a process meets because another
        one has ended is not told of."""
        try:
            if isinstance(error, (DarkpruneError, KeyboardInterrupt)) and not isinstance(error, _OtherEnded):
                return int(self._store.add("failures", 1)) == 1
            return int(self._store.add("failures", 0)) == 0
        except RuntimeError:  # the process that keeps the store has ended: it spoke, or torchrun tells of its end
            return False

    def leave(self) -> None:
        """Ends the exchange."""
        dist.destroy_process_group()

    def _sum(self, tensors: List[Tensor]) -> None:
        if tensors:
            flat = torch.cat([values.reshape(-1).float() for values in tensors])
            self._collect(flat)
            parts = torch.split(flat, [values.numel() for values in tensors])
            for values, part in zip(tensors, parts):
                values.copy_(part.reshape(values.shape))

    def _collect(self, values: Tensor) -> None:
        """Sums over the processes, in place."""
        on_gpu = dist.get_backend() == "nccl" and not values.is_cuda
        sent = values.cuda() if on_gpu else values
        try:
            dist.all_reduce(sent)
        except RuntimeError as error:
            raise _OtherEnded("another process has ended", hint="see what it said, and use --resume") from error
        if on_gpu:
            values.copy_(sent)


class _OtherEnded(TrainingError):
    """What the remaining processes meet."""


def _statistics(module: NetModule) -> Any:
    """The running statistics, and by which factor a pass lets go of what they were."""
    uses = [1] * len(module.net.layers)
    for layer in module.net.layers:
        for owner in layer.pointers.values():
            uses[owner.index] += 1
    found = [(values, uses[n]) for n, arrays in enumerate(module.layers) for values in arrays.buffers()]
    return [values for values, _ in found], [(1.0 - MOMENTUM) ** count for _, count in found]
