"""The accuracy of nets in memory, on one data set and in one runner: what searches ask again and again."""

import hashlib
import os
import tempfile
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional

import numpy as np

from darkprune.backends.model import Model
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection
from darkprune.data.problems import Problems
from darkprune.evaluate.classification import evaluate_classifier, read_data
from darkprune.evaluate.detector import check_classes, evaluate_detector, find_difficult, read_difficult
from darkprune.evaluate.latency import set_threads
from darkprune.graph.net import Net
from darkprune.graph.save import save

DARKNET_BATCH = 8  # images; it is started for each batch


@contextmanager
def opened(net: Net, runner: str, threads: Optional[int] = None) -> Iterator[Model]:
    """A net in memory as an open Model of a runner, with so many threads. Raises what Model raises."""
    with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
        prefix = os.path.join(folder, "net")
        save(net, prefix)
        model = Model(prefix + ".cfg", prefix + ".weights", runner, dialect=net.dialect.name)
        if threads is not None:
            set_threads(model.runner, threads)
        with model:
            yield model


class NetAccuracy:
    """Measures nets that have the classes of `net`.

    Attributes: metric (map: Darknet's, at IoU 0.5; or top1). images (their paths).

    Raises UsageError for a data set that does not fit the net, or is not sound.
    """

    def __init__(
        self, data: DataFile, net: Net, runner: str, split: str = "valid", threads: Optional[int] = None
    ) -> None:
        self._runner, self._threads = runner, threads
        self._batch = DARKNET_BATCH if runner == "darknet" else 1
        self._difficult: Any = None
        problems = Problems()
        if any(layer.op.detector for layer in net.layers):
            self.metric = "map"
            self._examples: Any = read_detection(data, split, problems)
            check_classes(net, data, self._examples.names)
            paths = find_difficult(data, len(self._examples.images))
            if paths is not None:
                self._difficult = read_difficult(paths, len(self._examples.names))
        else:
            self.metric = "top1"
            self._examples = read_data(data, split, net, problems)
        problems.settle()
        self.images: List[str] = self._examples.images

    def labels_key(self) -> str:
        """A short name for what the images are said to show."""
        digest = hashlib.sha256(repr(self._examples.names).encode("utf-8", "surrogateescape"))
        if self.metric == "top1":
            digest.update(np.array(self._examples.classes, np.int64).tobytes())
        else:
            for truth in self._examples.truths + (self._difficult or []):
                digest.update(np.array([len(truth.classes)], np.int64).tobytes())
                digest.update(np.ascontiguousarray(truth.classes).tobytes())
                digest.update(np.ascontiguousarray(truth.boxes).tobytes())
        return digest.hexdigest()[:12]

    def __call__(self, net: Net) -> float:
        """The accuracy in 0..1."""
        with opened(net, self._runner, self._threads) as model:
            if self.metric == "top1":
                return evaluate_classifier(model, self._examples, batch=self._batch).top1
            found = evaluate_detector(model, self._examples, self._difficult, batch=self._batch, with_coco=False)
            return float(found.map.map)
