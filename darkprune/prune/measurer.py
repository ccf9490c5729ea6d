"""Criteria measured on images from files, for any net of the pair that is pruned: the original, or one pruned in part.

Images are made inputs as in inference (darkprune.quant.calibrate). Gradients are taken in torch, of images with labels.
"""

from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence

import numpy as np

from darkprune.detect.preprocess import require_image_input
from darkprune.graph.net import Net
from darkprune.prune.block_scores import by_damage
from darkprune.prune.evidence import Evidence, measure
from darkprune.quant.calibrate import prepared, preprocessing_of

COUNT = 256  # images that criteria are measured on where nobody asks for more
Progress = Callable[[Iterable[Any]], Iterable[Any]]


class Measurer(object):
    """Called with a net, gives the Evidence of it.

    Args:
        criteria: names. images: paths, for maps; data_set: a DetectionSet or ClassificationSet, for gradients.
        runner: a name of RUNNERS, for maps. seed: of what is left to chance.
        progress: wraps batches as they are run.
    """

    def __init__(
        self,
        criteria: Sequence[str],
        images: Sequence[str] = (),
        data_set: Any = None,
        runner: str = "numpy",
        seed: int = 0,
        progress: Progress = iter,
    ) -> None:
        self.criteria, self.images, self.data_set = list(criteria), list(images), data_set
        self.runner, self.seed, self._progress = runner, seed, progress

    def __call__(self, net: Net) -> Evidence:
        """Raises UsageError where images are missing or unreadable, and what `measure` raises."""
        batches = self._batches(net) if self.images else None
        gradients = self._gradients if self.data_set is not None else None
        return measure(net, self.criteria, batches, gradients, self.runner, self.seed)

    def with_blocks(self, net: Net, absorb: str = "exact", force: bool = False) -> Evidence:
        """The same, with the measured damage of removing each shortcut block alone; without images it has none."""
        found = self(net)
        if not self.images:
            return found
        blocks = by_damage(net, self._batches(net), self.runner, absorb, force)
        return found._replace(blocks=blocks, images=max(found.images, len(self.images)))

    def _batches(self, net: Net) -> Callable[[int], Iterable[np.ndarray]]:
        require_image_input(net)
        preprocessing = preprocessing_of(net)

        def batches(size: int) -> Iterator[np.ndarray]:
            for start in self._progress(range(0, len(self.images), size)):
                yield np.stack([prepared(path, net, preprocessing) for path in self.images[start : start + size]])

        return batches

    def _gradients(self, net: Net, layers: Sequence[int]) -> Iterator[Any]:
        from darkprune.train.map_gradients import map_gradients

        return map_gradients(net, self.data_set, layers)


def part(data_set: Any, count: Optional[int], seed: int) -> Any:
    """A DetectionSet or ClassificationSet of no more than `count` of its images, drawn by the seed."""
    numbers = drawn(len(data_set.images), count, seed)
    labels = "truths" if hasattr(data_set, "truths") else "classes"
    return data_set._replace(**{key: [getattr(data_set, key)[n] for n in numbers] for key in ("images", labels)})


def drawn(total: int, count: Optional[int], seed: int) -> List[int]:
    """The numbers of `count` of `total` images, drawn by the seed, in order; all of them where there are no more."""
    if count is None or count >= total:
        return list(range(total))
    return sorted(np.random.RandomState(seed).permutation(total)[:count].tolist())
