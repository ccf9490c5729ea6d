"""The batches of a training: images that are drawn, decoded, varied and put together, by worker processes.

What stands at position p of step s depends on (seed, s, p) alone: not on the workers, on where a training was
started, or on how many processes share it. Images come in shuffled epochs, each once.
"""

import os
from typing import Callable, Iterator, List, Optional, Tuple, Union

from darkprune.data.data_set import ClassificationSet, DetectionSet
from darkprune.detect.preprocess import require_image_input
from darkprune.errors import UsageError
from darkprune.graph.net import Net
from darkprune.train.augment import Augmentation, unused
from darkprune.train.examples import Batch, Examples, Spot
from darkprune.train.image_cache import ImageCache
from darkprune.train.loader_workers import Workers, can_fork

CACHE = 2 << 30  # bytes, and no more than a quarter of the memory
MOST_WORKERS = 4

__all__ = ["Batch", "Loader"]


def default_workers() -> int:
    """Where there are two processors the training keeps both busy, and workers would only take turns with it."""
    return min(MOST_WORKERS, max(0, (os.cpu_count() or 1) - 2)) if can_fork() else 0


def _default_cache() -> int:
    if not hasattr(os, "sysconf"):
        return CACHE
    return min(CACHE, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)


class Loader:
    """Batches for a net.

    The images of a step are cut into `parts`, and each of those among `world` processes: process `rank` has
    batch / parts / world neighbouring positions of each part. So the parts of all processes, in the order part, rank,
    are those that one process with parts x world of them would see.

    Args:
        net: what the images are for.
        batch: images of a step, over all parts and processes.
        workers: processes that prepare them; 0: this one does; None: as many as there are processors
            beyond the two that train, up to 4.
        sizes: the width and height of the images of a step.
        cache: bytes of decoded images to keep, over all workers of this process; None: 2 GiB, or a quarter of the
            memory where that is less.

    `images` is the number of images of an epoch, `notices` tells of keys in the cfg that have no effect.

    Raises UsageError for an empty data set, a net that takes no images, or a batch that cannot be cut like that.
    """

    def __init__(
        self,
        net: Net,
        data_set: Union[DetectionSet, ClassificationSet],
        augmentation: Augmentation,
        batch: int,
        parts: int,
        seed: int,
        workers: Optional[int],
        sizes: Callable[[int], Tuple[int, int]],
        rank: int = 0,
        world: int = 1,
        cache: Optional[int] = None,
    ) -> None:
        require_image_input(net)
        if not data_set.images:
            raise UsageError("there are no images to train on", hint="check train= in the .data file")
        if batch < 1 or batch % (parts * world):
            cause = "a batch of {} images cannot be cut into {} parts".format(batch, parts * world)
            raise UsageError(cause, hint="batch is a multiple of subdivisions, and of the processes that share it")
        shape = net.input.shape
        workers = default_workers() if workers is None else workers
        if workers < 0 or workers and not can_fork():
            raise UsageError("{} workers".format(workers), hint="give 0 or more; 0 where the system cannot fork")
        self.images = len(data_set.images)
        self.notices = unused(net, isinstance(data_set, DetectionSet))
        self.cache = ImageCache(
            data_set.images, shape.c, (shape.w, shape.h), _default_cache() if cache is None else cache
        )
        self._batch, self._parts, self._rank, self._world = batch, parts, rank, world
        self._sizes = sizes
        self._examples = Examples(self.cache, data_set, augmentation, batch, seed)
        self._workers = Workers(self._examples, workers)

    def steps(self, start: int, stop: int) -> Iterator[List[Batch]]:
        """For each step from `start` to `stop`: its parts, as this process sees them.

        Raises UsageError for an image that cannot be read, TrainingError where a worker died.
        """
        results = self._workers.run(self._spots(start, stop))
        for _ in range(start, stop):
            yield [next(results) for _ in range(self._parts)]

    def paths(self, step: int) -> List[List[str]]:
        """The files of the images in each part of a step, as this process sees them; of a mosaic its first corner's."""
        return [[self._examples.path(spot) for spot in spots] for spots in self._spots(step, step + 1)]

    def close(self) -> None:
        """Ends the workers; the loader can be used again."""
        self._workers.close()

    def _spots(self, start: int, stop: int) -> Iterator[List[Spot]]:
        each = self._batch // self._parts // self._world
        for step in range(start, stop):
            width, height = self._sizes(step)
            for part in range(self._parts):
                first = (part * self._world + self._rank) * each
                yield [Spot(step, first + n, width, height) for n in range(each)]
