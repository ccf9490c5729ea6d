"""Does a pruned net compute what the original computes with the removed channels silenced?

The reference is the original net, silenced as the plan says, run by the numpy backend; the pruned net must
equal it at every surviving channel behind every layer. The written pair is then run by the real readers.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.backends.forward import Progress
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.detect.preprocess import load_image, require_image_input
from darkprune.errors import DarkpruneError, VerifyError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, heads
from darkprune.prune.blocks import ends, is_plain
from darkprune.prune.constant_readers import readers_of, sums_of
from darkprune.prune.emission import walk
from darkprune.prune.plan import Plan

SURGERY = 1e-4  # of a layer's largest value: float32, two orders of summation
NOISE = 4.0  # times the float noise of the reference, where that is more
READERS = 1e-3  # of a head's largest value: another reader's batch norm, convolution and rounding

Check = NamedTuple(
    "Check",
    [
        ("name", str),
        ("runner", str),
        ("layer", int),  # of the pair that was run
        ("max_error", float),  # relative to the layer's largest value
        ("tolerance", float),
        ("ok", bool),
    ],
)


def check(name: str, runner: str, layer: int, expected: np.ndarray, found: np.ndarray, tolerance: float) -> Check:
    """Compares two tensors of one shape; an error that is not finite fails."""
    if expected.shape != found.shape:
        raise VerifyError("layer {} has shape {}, not {}".format(layer, found.shape, expected.shape))
    scale = float(np.abs(expected).max()) if expected.size else 0.0
    error = float(np.abs(expected.astype(np.float64) - found).max()) if expected.size else 0.0
    relative = error / scale if scale > 0 else error
    return Check(name, runner, layer, relative, tolerance, bool(relative <= tolerance))


def compare_reader(net: Net, runner: Any, batch: np.ndarray, tolerance: float = READERS) -> List[Check]:
    """A reader's raw heads against numpy's; `net` must be in that reader's dialect."""
    indices = heads(net)
    expected = NumpyRunner(net).infer(batch, indices)
    try:
        found = runner.infer(batch, indices)
    finally:
        runner.close()
    shaped = {i: found[i].reshape(expected[i].shape) for i in indices}
    return [check("reader", runner.name, i, expected[i], shaped[i], tolerance) for i in indices]


def refused(runner: str, error: DarkpruneError) -> Check:
    """The failed check of a reader that does not take the pair at all."""
    return Check("load ({})".format(error.message), runner, -1, float("inf"), READERS, False)


def test_batch(net: Net, path: Optional[str] = None, seed: int = 0) -> np.ndarray:
    """float32 [1, C, H, W] of 0..1: an image as Darknet sees it, or a synthetic one of gradients and noise."""
    shape = net.input.shape
    if not shape.c:
        raise VerifyError("the net takes {} flat values, not an image".format(shape.outputs), net.config.place())
    if path is not None:
        require_image_input(net)
        return load_image(path, shape.w, shape.h, shape.c)
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0 : shape.h, 0 : shape.w].astype(np.float32)
    waves = [np.sin(x / shape.w * a + y / shape.h * b) for a, b in random.uniform(2, 20, (shape.c, 2))]
    noise = random.uniform(-0.5, 0.5, (shape.c, shape.h, shape.w))
    return np.clip(0.5 + 0.3 * np.stack(waves) + 0.3 * noise, 0, 1).astype(np.float32)[None]


# ---- surgery


def compare_surgery(
    net: Net, pruned: Net, plan: Plan, batch: np.ndarray, progress: Optional[Progress] = None
) -> List[Check]:
    """The pruned net against the silenced original, layer by layer, in the plan's absorb mode.

    With absorb=bias no equality holds and the distance is only reported. Raises VerifyError when the plan does
    not lead from one net to the other.
    """
    silenced = Silenced(net, plan)
    numbers = numbering(net, pruned, plan)
    mode = plan.options.get("absorb", "exact")
    reference, hook = silenced.reference(mode)
    runner = NumpyRunner(reference, hook, progress)
    expected, found = runner.infer(batch), NumpyRunner(pruned, progress=progress).infer(batch)
    after, checks, lefts = Channels(pruned), [], {}
    last = {id(layer) for layer in pruned.outputs()}
    for layer in pruned.layers:
        original = numbers[layer.index]
        keep, offset = silenced.surviving(original, mode)
        if id(layer) in last:
            offset = np.zeros_like(offset)  # nobody reads it who could have taken it over
        new = _is_original(after, layer, numbers, silenced)
        lefts[layer.index] = (original, keep, offset)
        left = _surviving(expected, *lefts[layer.index])
        right = _by_channel(found[layer.index], new.size)[:, new]
        if left.shape != right.shape:
            raise VerifyError("the plan does not lead to layer {} of the second pair".format(layer.index))
        tolerance = float("inf") if mode == "bias" else SURGERY
        checks.append(check("surgery", "numpy", layer.index, left, right, tolerance))

    def noise() -> Dict[int, float]:
        other = NumpyRunner(reference, lambda layer, y: moved(hook(layer, y))).infer(moved(batch))
        sides = [(i, [_surviving(y, *left) for y in (expected, other)]) for i, left in lefts.items()]
        return {i: check("noise", "numpy", i, first, second, 0.0).max_error for i, (first, second) in sides}

    return allow_noise(checks, noise)


def _surviving(outputs: Dict[int, np.ndarray], index: int, keep: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """[N, channels, values] that survive of a layer of the original, less the constants that moved into its readers."""
    return (_by_channel(outputs[index], keep.size)[:, keep] - offset[keep][:, None]).astype(np.float32)


def allow_noise(checks: List[Check], noise: Callable[[], Dict[int, float]]) -> List[Check]:
    """The checks, where one fails with a tolerance of at least four times the noise of its layer.

    Args:
        noise: layer -> how far the reference itself moves when its tensors move in the last bit of float32; called
            only if a check fails. Deep nets with random weights amplify rounding, and where values cancel only rounding
            is left; nothing can equal them more closely.
    """
    if all(c.ok for c in checks):
        return checks
    floor, result = noise(), []
    for c in checks:
        tolerance = c.tolerance if c.ok else max(c.tolerance, NOISE * floor[c.layer])
        result.append(c._replace(tolerance=tolerance, ok=bool(c.max_error <= tolerance)))
    return result


def moved(batch: np.ndarray) -> np.ndarray:
    """The batch with every value moved in the last bit of float32."""
    signs = np.random.RandomState(1).choice(np.array([-1, 1], np.float32), batch.shape)
    return batch * (1 + signs * np.finfo(np.float32).eps)


class Silenced:
    """The original net with the plan's channels silenced."""

    def __init__(self, net: Net, plan: Plan) -> None:
        blocks = {block["shortcut"]: set(block["layers"][:-1]) for block in plan.removed_blocks}
        self.net, self.plan, self.channels = net, plan, Channels(net, blocks)
        self.removed = np.zeros(self.channels.size, bool)
        self.muted: Set[int] = set()
        self.bypassed: Dict[int, int] = {}
        for index, branch in blocks.items():
            self.muted.update(ends(self.channels, tuple(net.layers[i] for i in sorted(branch))))
            if not is_plain(net.layers[index]):
                trunks = [x.index for x in net.layers[index].inputs if x.index not in branch]
                self.bypassed[index] = trunks[0]
        for layer, sets in self.channels.producers():
            listed = plan.removed_channels.get(layer.index, []) + plan.constants.get(layer.index, [])
            self.removed[sets[[k for k in listed if k < sets.size]]] = True
        self._offsets = walk(net, self.channels, self.removed, self.muted, bypassed=self.bypassed).emissions
        self._trunks: Dict[int, np.ndarray] = {}

    def reference(self, mode: str) -> Tuple[Net, Callable[[Layer, np.ndarray], np.ndarray]]:
        """The net to run, and the hook to run it with."""
        if mode == "none":
            return self.net, lambda layer, y: self._zero(layer, self._bypass(layer, y))
        reference, shifts = self.net.copy(), self._shifts()
        for layer, sets in self.channels.producers():
            silent = np.ones(sets.size, bool) if layer.index in self.muted else self.removed[sets]
            if not silent.any():
                continue
            twin = reference.layers[layer.index]
            if layer.has("scales"):
                twin.set_param("scales", np.where(silent, 0, layer.array("scales")))
            elif layer.index in self.muted or not self.channels.scored[sets[silent]].any():
                weights = layer.array("weights").copy()
                weights[silent] = 0
                twin.set_param("weights", weights)
                if layer.index in shifts and layer.index not in self.muted:
                    biases = layer.array("biases")
                    twin.set_param("biases", biases + np.where(silent, shifts[layer.index], 0).astype(np.float32))
        return reference, self._bypass

    def _shifts(self) -> Dict[int, np.ndarray]:
        """Layer -> what its biases have taken over, by filter, of the constants of removed blocks.

        A filter without batch norm that goes after the blocks keeps it, as only its weights become 0.
        """
        nothing = np.zeros(self.channels.size, bool)
        found = walk(self.net, self.channels, nothing, self.muted, bypassed=self.bypassed).emissions
        shifts = {}
        for reader in readers_of(self.net, self.channels, found, self.muted) if self.muted else []:
            weights = reader.layer.array("weights")
            if not reader.padded and not reader.layer.has("scales"):
                every = np.arange(weights.shape[0])
                shifts[reader.layer.index] = sums_of(weights, (reader, every, nothing)).total.sum(axis=1)
        return shifts

    def _bypass(self, layer: Layer, y: np.ndarray) -> np.ndarray:
        """A sum that is taken out with its activation or weights leaves its trunk, as forced."""
        y = self._trunks[self.bypassed[layer.index]] if layer.index in self.bypassed else y
        if layer.index in self.bypassed.values():
            self._trunks[layer.index] = y
        return y

    def _zero(self, layer: Layer, y: np.ndarray) -> np.ndarray:
        keep = ~self.removed[self.channels.sets[self.channels.outputs[layer.index]]]
        if layer.index in self.muted:
            keep = np.zeros(keep.size, bool)
        flat = _by_channel(y, keep.size) * keep[:, None].astype(np.float32)
        return flat.reshape(y.shape)

    def surviving(self, index: int, mode: str) -> Tuple[np.ndarray, np.ndarray]:
        """(bool, float64) by output channel: whether it survives, and the constant that moved into its readers."""
        sets = self.channels.sets[self.channels.outputs[index]]
        offset = self._offsets[index].offset if mode != "none" else np.zeros(sets.size)
        return ~self.removed[sets], offset


def numbering(net: Net, pruned: Net, plan: Plan) -> Dict[int, int]:
    """Layer number in the pruned net -> in the original."""
    gone = {index for block in plan.removed_blocks for index in block["layers"]}
    left = [layer for layer in net.layers if layer.index not in gone]
    if [x.type for x in left] != [x.type for x in pruned.layers]:
        raise VerifyError("the second pair does not have the layers that the plan leaves")
    return {new.index: old.index for new, old in zip(pruned.layers, left)}


def _is_original(after: Channels, layer: Layer, numbers: Dict[int, int], silenced: Silenced) -> np.ndarray:
    """bool by output channel of a pruned layer: a channel of the original, and no constant."""
    labels = after.outputs[layer.index]
    result = np.ones(labels.size, bool)
    for owner in np.unique(after.owner[labels]):
        mine = after.owner[labels] == owner
        if owner >= 0:
            result[mine] = _originals(numbers[int(owner)], silenced, after.outputs[int(owner)].size)[
                after.place[labels[mine]]
            ]
    return result


def _originals(owner: int, silenced: Silenced, length: int) -> np.ndarray:
    """bool by the `length` channels that a producing layer has after surgery; added ones come last."""
    plan, width = silenced.plan, silenced.net.layers[owner].shape.channels
    constants = set(plan.constants.get(owner, []))
    gone = set(plan.removed_channels.get(owner, []))
    result = [k not in constants for k in range(width) if k not in gone]
    if len(result) > length:
        raise VerifyError("the plan leaves {} channels of layer {}, not {}".format(len(result), owner, length))
    return np.array(result + [False] * (length - len(result)), bool)


def _by_channel(y: np.ndarray, count: int) -> np.ndarray:
    """[N, channels, values] of a tensor whose labels may run along flattened values."""
    return y.reshape(y.shape[0], count, -1)
