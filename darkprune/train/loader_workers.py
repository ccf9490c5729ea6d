"""Processes that make batches ahead of time: torch's DataLoader, told what to make by keys."""

import multiprocessing
import os
import signal
from functools import partial
from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from darkprune.errors import DarkpruneError, TrainingError
from darkprune.train.examples import Batch, Spot

AHEAD = 2  # parts that each worker makes ahead of time

Make = Callable[..., Batch]  # of a list of spots, and what allocates the array


class Workers:
    """Makes batches in order, in `count` processes forked from this one, or with 0 in this one."""

    def __init__(self, make: Make, count: int) -> None:
        self._make, self._count = make, count
        self._keys = _Keys()
        self._loader: Optional[DataLoader] = None

    def run(self, keys: Iterable[List[Spot]]) -> Iterator[Batch]:
        """make(key) for each key. Raises what `make` raises for the user, and TrainingError where a worker died."""
        if not self._count:
            for key in keys:
                yield self._make(key)
            return
        self._keys.keys = keys
        for made in self._received():
            if isinstance(made, DarkpruneError):
                raise made
            images, targets = made
            yield Batch(images.numpy(), targets)

    def close(self) -> None:
        """Ends the processes."""
        self._loader = None

    def _received(self) -> Iterator[Any]:
        before = signal.getsignal(signal.SIGCHLD)
        try:
            if self._loader is None:
                self._loader = _data_loader(self._make, self._keys, self._count)
            results = iter(self._loader)
            # torch's handler would raise in the middle of other code; without it the next batch tells what happened
            if before is not None and signal.getsignal(signal.SIGCHLD) is not before:
                signal.signal(signal.SIGCHLD, before)
            for made in results:
                yield made
        except RuntimeError as error:
            self._loader = None
            if "DataLoader worker" not in str(error):
                raise
            hint = "it may have run out of memory, or of shared memory (/dev/shm): take fewer workers, or none"
            raise TrainingError("a process that prepares images ended: {}".format(error), hint=hint) from error


def can_fork() -> bool:
    """Whether workers can share the memory of this process."""
    return "fork" in multiprocessing.get_all_start_methods()


def _data_loader(make: Make, keys: "_Keys", count: int) -> DataLoader:
    return DataLoader(
        _Made(make),
        sampler=keys,
        batch_size=None,
        num_workers=count,
        collate_fn=_same,  # torch's own would make a tensor of every array of labels
        prefetch_factor=AHEAD,
        worker_init_fn=partial(_begin, os.getpid()),
        persistent_workers=True,
        multiprocessing_context="fork",  # the workers share the decoded images
    )


class _Keys(Sampler):
    def __init__(self) -> None:
        self.keys: Iterable[List[Spot]] = ()

    def __iter__(self) -> Iterator[List[Spot]]:
        return iter(self.keys)


class _Made(Dataset):
    """Errors come as values: torch would make another error of them."""

    def __init__(self, make: Make) -> None:
        self._make = make

    def __getitem__(self, key: List[Spot]) -> Any:
        held = []

        def allocate(shape: Tuple[int, ...]) -> np.ndarray:
            held.append(torch.empty(shape, dtype=torch.uint8).share_memory_())  # so that nothing is copied on the way
            return held[0].numpy()

        try:
            targets = self._make(key, allocate).targets
        except DarkpruneError as error:
            return error
        return held[0], targets


def _same(made: Any) -> Any:
    return made


def _begin(parent: int, number: int) -> None:
    if os.getppid() != parent:  # it was killed meanwhile; torch watches for that from later on
        os._exit(1)
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends this process through the one that trains
