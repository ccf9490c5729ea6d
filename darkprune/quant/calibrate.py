"""The ranges of a net's tensors, from images: one pass through a runner, a histogram of each tensor, a method.

Memory does not grow with the number of images. Counts are exact, so that nothing depends on the images' order, and a
calibration that was interrupted and goes on comes to the same bytes.
"""

import hashlib
import json
import os
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from darkprune.darknet import values
from darkprune.detect.image_file import read_bytes, read_image
from darkprune.detect.preprocess import centre, prepare, require_image_input
from darkprune.errors import CalibrationError, Notice, UsageError
from darkprune.graph.net import Net
from darkprune.quant import checkpoint
from darkprune.quant.activation_input import before_range, invertible
from darkprune.quant.checkpoint import Checkpoint
from darkprune.quant.histogram import Count, Histogram, counter
from darkprune.quant.observe import measured_tensors, observe, require_observable
from darkprune.quant.range_methods import Method, range_of
from darkprune.quant.ranges import Range, Ranges
from darkprune.quant.tensors import Tensor, output_name, ranged_tensors
from darkprune.quant.ties import tied

Progress = Callable[[Iterable[Any]], Iterable[Any]]
STRETCH, LETTERBOX, CENTRE = "stretch", "letterbox", "centre"
VALUES_AT_ONCE = 1 << 23  # of all tensors: as many images go through the net together
MOST_AT_ONCE = 16  # images
SECONDS = 20.0  # between two checkpoints

Calibrated = NamedTuple(
    "Calibrated",
    [
        ("ranges", Ranges),
        ("notices", List[Notice]),
        ("histograms", Dict[str, Histogram]),  # of the tensors that were measured
        ("resumed", int),  # images that an earlier, interrupted calibration had counted
    ],
)


def calibrate(
    runner: Any,
    net: Net,
    images: Sequence[str],
    method: Method,
    preprocessing: Optional[str] = None,
    resume: Optional[str] = None,
    progress: Progress = iter,
) -> Calibrated:
    """The ranges of a net's tensors for images, without adjustments, and no layer kept float.

    Args:
        runner: opened, of the net. net: with values, at the input size that counts.
        images: paths. preprocessing: by default that of inference (`preprocessing_of`).
        resume: path of the checkpoint that an interrupted calibration left, and that this one may leave.
        progress: wraps the images as they are measured, to show how far it is.

    Raises UsageError for no images and for one that cannot be read, CalibrationError for tensors that are not finite,
    Unsupported where the runner does not show what must be measured, OutputError where no checkpoint can be written.
    """
    preprocessing = preprocessing or preprocessing_of(net)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(Ranges, net)  # hashes the weights meanwhile
        digests = file_digests(images)
        measure = Measure(runner, net, images, preprocessing)
        if resume is not None:
            measure.keep(resume, lambda: _digest([job.result().pair, job.result().dialect, digests]))
        resumed = len(images) - len(measure)
        for _ in progress(measure):
            pass
        ranges = job.result()
    ranges.preprocessing, ranges.method = preprocessing, method.to_dict()
    ranges.images, ranges.images_sha256 = len(images), _digest(sorted(digests))
    ranges.tensors = ranges_of(net, measure.histograms, method)
    return Calibrated(ranges, _dead(net, measure.histograms), measure.histograms, resumed)


class Measure(object):
    """One pass: iterated, it gives each image when that was counted.

    Attributes: histograms: by the names of the tensors.
    """

    def __init__(self, runner: Any, net: Net, images: Sequence[str], preprocessing: str) -> None:
        if not images:
            raise UsageError("no images to calibrate with", hint="give some that show what the net will see")
        require_image_input(net)
        require_observable(runner, net)
        self.runner, self.net, self.images, self.preprocessing = runner, net, list(images), preprocessing
        self.tensors = measured_tensors(net)
        self.histograms: Dict[str, Histogram] = OrderedDict((x.name, Histogram()) for x in self.tensors)
        self.at_once = int(np.clip(VALUES_AT_ONCE // _values_per_image(net, self.tensors), 1, MOST_AT_ONCE))
        self._done = 0
        self._path: Optional[str] = None
        self._key: Callable[[], str] = str

    def keep(self, path: str, key: Callable[[], str]) -> None:
        """Goes on from a checkpoint there, and writes one now and then. `key`: of the pair and the images."""
        settings = [self.runner.name, self.preprocessing, self.at_once, list(self.histograms)]
        self._path, self._key = path, lambda: _digest([key(), settings])
        if os.path.lexists(path):
            found = checkpoint.read(path, self._key())
            if found is not None and list(found.histograms) == list(self.histograms):
                self._done, self.histograms = found.done, found.histograms

    def __len__(self) -> int:
        return len(self.images) - self._done

    def __iter__(self) -> Iterator[str]:
        workers, written, count = _threads(), time.monotonic(), counter()
        with ThreadPoolExecutor(workers) as pool:
            coming = self._read(pool, self._done)
            while coming is not None:
                batch, at = coming.result(), self._done
                self._done += len(batch)
                coming = self._read(pool, self._done)
                with np.errstate(all="ignore"):  # what is not finite is an error of its own
                    found = observe(self.runner, batch, self.tensors)
                self._count(found, pool, count, at)
                del found
                if self._path is not None and time.monotonic() - written >= SECONDS:
                    checkpoint.write(self._path, Checkpoint(self._key(), self._done, self.histograms))
                    written = time.monotonic()
                for path in self.images[at : self._done]:
                    yield path
        if self._path is not None:
            checkpoint.remove(self._path)

    def _read(self, pool: ThreadPoolExecutor, start: int) -> "Optional[Future[np.ndarray]]":
        """The next batch, read while the one before it goes through the net; None behind the last one."""
        paths = self.images[start : start + self.at_once]
        if not paths:
            return None
        return pool.submit(lambda: np.stack([prepared(path, self.net, self.preprocessing) for path in paths]))

    def _count(self, found: Dict[str, np.ndarray], pool: ThreadPoolExecutor, count: Count, at: int) -> None:
        """Counts the tensors of a batch, whose first image has the number `at`."""
        largest_first = sorted(found, key=lambda name: -found[name].size)
        list(pool.map(lambda name: self.histograms[name].add(found[name], count), largest_first))
        for tensor in self.tensors:
            if not self.histograms[tensor.name].finite:
                bad = [not np.isfinite(values).all() for values in found[tensor.name]]
                path = self.images[at + (bad.index(True) if any(bad) else 0)]
                layer = self.net.layers[tensor.layer] if tensor.layer >= 0 else None
                raise CalibrationError(
                    "{} has values that are not finite for the image {}".format(tensor.name, path),
                    None if layer is None else layer.place(),
                    "the weights are damaged, or those of another cfg",
                )


def ranges_of(net: Net, histograms: Dict[str, Histogram], method: Method) -> Dict[str, Range]:
    """The range of each tensor that needs one, by name, from the histograms of those that were measured."""
    with ThreadPoolExecutor(_threads()) as pool:
        jobs = [(name, pool.submit(range_of, found, method)) for name, found in histograms.items()]
        chosen = {name: job.result() for name, job in jobs}
        tables = []
        for tensor in ranged_tensors(net):
            if tensor.before:
                layer = net.layers[tensor.layer]
                after = output_name(layer)
                source = histograms[after if invertible(layer) else tensor.name]
                job = pool.submit(before_range, layer, histograms[after], source, chosen[after])
                tables.append((tensor.name, job))
        chosen.update((name, job.result()) for name, job in tables)
    every = tied(net, chosen)
    return OrderedDict((tensor.name, every[tensor.name]) for tensor in ranged_tensors(net))


def preprocessing_of(net: Net, letterbox: bool = False) -> str:
    """How inference makes inputs of images: one of darkprune.quant.ranges.PREPROCESSING."""
    detector = any(layer.op.detector for layer in net.layers)
    if letterbox or detector and values.atoi(net.config.text("letter_box") or "0"):
        return LETTERBOX
    return STRETCH if detector else CENTRE


def prepared(path: str, net: Net, preprocessing: str) -> np.ndarray:
    """The image as the net takes it, float32 [C,H,W]. Raises UsageError where it cannot be read."""
    shape, pixels = net.input.shape, read_image(path)
    if preprocessing == CENTRE:
        return centre(pixels, shape.w, shape.h, shape.c)
    return prepare(pixels, shape.w, shape.h, shape.c, preprocessing == LETTERBOX)[0]


def file_digests(paths: Sequence[str]) -> List[str]:
    """The SHA-256 of each file's contents. Raises UsageError for one that cannot be read."""
    return [hashlib.sha256(read_bytes(path)).hexdigest() for path in paths]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode("ascii")).hexdigest()


def _dead(net: Net, histograms: Dict[str, Histogram]) -> List[Notice]:
    found = []
    for tensor in measured_tensors(net):
        if not histograms[tensor.name].amax:
            where = net.layers[tensor.layer].place() if tensor.layer >= 0 else None
            found.append(Notice("{} is 0 everywhere on these images: it gets scale 1".format(tensor.name), where))
    return found


def _values_per_image(net: Net, tensors: List[Tensor]) -> int:
    return sum((net.layers[x.layer] if x.layer >= 0 else net.input).shape.outputs for x in tensors)


def _threads() -> int:
    """The processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity else os.cpu_count() or 1)
