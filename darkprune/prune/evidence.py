"""What criteria found on a net: measured once, used for as many plans as are asked for.

Criteria of maps see what the layers that make channels put out, image by image, in any runner; memory does not grow
with the number of images. Criteria of gradients need torch and images with labels. Numbers are per filter of the
measured net, so that they serve it with any share, and after shortcut blocks were taken out of it.
"""

import contextlib
import os
import tempfile
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from darkprune.backends.numpy_ import NumpyRunner, held
from darkprune.backends.registry import RUNNERS, open_runner
from darkprune.errors import GraphError, UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.graph.save import save
from darkprune.prune.apply_plan import numbering
from darkprune.prune.criteria.base import GRADIENTS, MAPS, WEIGHTS, Observer, Values
from darkprune.prune.score import criterion_of, values_of

VALUES_AT_ONCE = 1 << 23  # of all maps that are looked at: as many images go through the net together
MOST_AT_ONCE = 16  # images

Evidence = NamedTuple(
    "Evidence",
    [
        ("net", Net),  # what was measured
        ("values", Dict[str, Values]),  # criterion -> layer index -> float64 per filter
        ("images", int),  # that were run; 0 where none were needed
        ("seed", int),  # of what is left to chance
        # shortcut -> noise over signal at the heads without that block; None where that was not measured
        ("blocks", Optional[Dict[int, float]]),
    ],
)
Progress = Callable[[Iterable[Any]], Iterable[Any]]
Gradients = Callable[[Net, Sequence[int]], Iterator[Any]]  # (net, layers) -> (maps, slopes) of some images at a time


def measure(
    net: Net,
    criteria: Sequence[str],
    batches: Optional[Callable[[int], Iterable[np.ndarray]]] = None,
    gradients: Optional[Gradients] = None,
    runner: str = "numpy",
    seed: int = 0,
) -> Evidence:
    """What criteria find on a net with values.

    Args:
        criteria: names. batches: given a number of images, yields all of them as float32 [n,C,H,W] of at most so many.
        gradients: of the loss, as `darkprune.train.map_gradients` gives them. runner: a name of RUNNERS, for maps.

    Raises UsageError where a criterion lacks its images, GraphError for maps that are not finite, and what the runner
    raises.
    """
    channels = Channels(net)
    values: Dict[str, Values] = {}
    images = [0]
    watchers: Dict[str, Dict[str, Observer]] = {MAPS: {}, GRADIENTS: {}}
    for criterion in (criterion_of(name) for name in criteria):
        lacking = {WEIGHTS: False, MAPS: batches is None, GRADIENTS: gradients is None}[criterion.needs]
        if criterion.needs == WEIGHTS or lacking:
            values[criterion.name] = values_of(net, channels, criterion, seed)
        else:
            watchers[criterion.needs][criterion.name] = criterion.score(net, channels, seed)
    if watchers[MAPS]:
        assert batches is not None
        images.append(watch(net, list(watchers[MAPS].values()), batches, runner))
    if watchers[GRADIENTS]:
        assert gradients is not None
        images.append(_watch_gradients(net, list(watchers[GRADIENTS].values()), gradients))
    for watching in watchers.values():
        for name, observer in watching.items():
            values[name] = observer.values()
    _require_finite(net, values)
    return Evidence(net, values, max(images), seed, None)


def watch(
    net: Net, observers: Sequence[Observer], batches: Callable[[int], Iterable[np.ndarray]], runner: str = "numpy"
) -> int:
    """Shows the maps of all images to the observers; returns the number of images. Raises as `measure`."""
    layers = sorted(set(index for observer in observers for index in observer.layers))
    outputs = sum(net.layers[index].shape.outputs for index in layers)
    at_once = int(np.clip(VALUES_AT_ONCE // max(1, outputs), 1, MOST_AT_ONCE))
    images = 0
    with opened(net, runner) as running:
        for batch in batches(at_once):
            with np.errstate(all="ignore"):  # what is not finite is an error of its own
                maps = running.infer(batch, layers)
            _show(net, observers, maps, None)
            images += len(batch)
    if not images:
        raise UsageError("there are no images to measure criteria on", hint="give some that show what the net will see")
    return images


def _watch_gradients(net: Net, observers: Sequence[Observer], gradients: Gradients) -> int:
    layers = sorted(set(index for observer in observers for index in observer.layers))
    images = 0
    for maps, slopes in gradients(net, layers) if layers else ():
        _show(net, observers, maps, slopes)
        images += len(next(iter(maps.values())))
    return images


def _show(net: Net, observers: Sequence[Observer], maps: Dict[int, np.ndarray], slopes: Any) -> None:
    for found in (maps, slopes or {}):
        for index, values in found.items():
            if not np.isfinite(values).all():
                layer = net.layers[index]
                cause = "the maps of layer {} are not finite on these images".format(layer)
                raise GraphError(cause, layer.place(), "the weights are damaged, or those of another cfg")
    for observer in observers:
        if slopes is None:
            observer.see(maps)
        else:
            observer.see(maps, slopes)


def _require_finite(net: Net, values: Dict[str, Values]) -> None:
    for name, found in values.items():
        for index, mine in found.items():
            if np.isinf(mine).any():
                layer = net.layers[index]
                cause = "the criterion {} overflows in layer {}".format(name, layer)
                raise GraphError(cause, layer.place(), "use another criterion")


@contextlib.contextmanager
def opened(net: Net, runner: str = "numpy") -> Iterator[Any]:
    """An open runner of a net in memory; readers of files get it written to a temporary folder."""
    if runner not in RUNNERS:
        raise UsageError("unknown runner {}".format(runner), hint="use " + ", ".join(RUNNERS))
    with contextlib.ExitStack() as stack:
        if runner == "numpy":
            made: Any = NumpyRunner(held(net))
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="darkprune-"))
            prefix = os.path.join(folder, "net")
            save(net, prefix)
            made = open_runner(runner, prefix + ".cfg", prefix + ".weights", net.dialect.name)
        yield stack.enter_context(made)


def moved(evidence: Evidence, shorter: Net) -> Dict[str, Values]:
    """The values of a net whose shortcut blocks were taken out, by its layer indices.

    A channel that was added there to carry a constant is worth 0.
    """
    number = numbering(evidence.net, shorter)
    found: Dict[str, Values] = {}
    for name, values in evidence.values.items():
        found[name] = {}
        for layer in shorter.layers:
            mine = values.get(number[layer.index])
            if mine is not None:
                more = layer.shape.channels - mine.size
                found[name][layer.index] = np.concatenate([mine, np.zeros(more)]) if more else mine
    return found


def placed(values: Mapping[int, np.ndarray], places: Mapping[int, np.ndarray], sizes: Mapping[int, int]) -> Values:
    """The values of a narrower net at the filters of the net it was made from; nan for filters that are gone.

    Args: places: layer index -> where each of its filters stood. sizes: layer index -> filters there were.
    """
    found: Values = {}
    for index, mine in values.items():
        found[index] = np.full(sizes[index], np.nan)
        found[index][places[index]] = mine
    return found
