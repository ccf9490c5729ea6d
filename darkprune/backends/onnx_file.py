"""A written ONNX file in ONNX Runtime, against numpy: does it compute what the net does?"""

from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import numpy as np

from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.forward import Hook
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.onnxruntime_ import import_onnxruntime, quiet, session
from darkprune.detect.decode import decode, detection_heads
from darkprune.graph.net import Net
from darkprune.quant.quantization import ONNXRUNTIME, Scheme
from darkprune.quant.ranges import Ranges
from darkprune.verify import SURGERY, allow_noise, check, moved, test_batch

BOXES, SCORES = "boxes", "scores"  # the outputs with decoded heads
LARGEST = 60.0  # of what is exponentiated there: no box is infinite
STEPS = 0.01  # of the largest value: a few steps of 8 bits, as where a float layer before them rounds in another way
MOST_IMAGES = 2  # that numpy runs, however many the model takes at once

Agreement = NamedTuple(
    "Agreement",
    [
        ("version", str),  # of ONNX Runtime
        ("error", float),  # relative to the largest value of the output where it is largest
        ("allowed", float),  # there
        ("ok", bool),
    ],
)


def run_file(path: Union[str, bytes], batch: np.ndarray) -> Tuple[str, Dict[str, np.ndarray]]:
    """(the version of ONNX Runtime, all outputs by name) of the model at `path`, or itself, for float32 [N,C,H,W].

    Raises MissingDependency where ONNX Runtime cannot be imported, VerifyError where it refuses the model.
    """
    runtime = import_onnxruntime()
    opened: Any = session(runtime, path, quiet(runtime))
    names = [output.name for output in opened.get_outputs()]
    return str(runtime.__version__), dict(zip(names, opened.run(names, {opened.get_inputs()[0].name: batch})))


def compare(
    net: Net,
    path: str,
    layers: Dict[str, int],
    images: Optional[int] = None,
    decoded: bool = False,
    before_nms: Optional[bytes] = None,
    ranges: Optional[Ranges] = None,
    scheme: Scheme = ONNXRUNTIME,
) -> Agreement:
    """How near the model at `path` comes to the net in numpy, with synthetic pictures.

    Args:
        layers: raw heads by name, the net's layers whose they are.
        images: how many it takes at once; None for any number.
        decoded: whether its outputs are boxes and scores in place of raw heads.
        before_nms: the same model with these outputs, where it goes on to suppress boxes.
        ranges, scheme: of an INT8 model, which is compared with the runner fakequant instead.

    An error may be 1e-4, in INT8 0.01, or four times what the output moves when the net's tensors (in INT8: the image)
    move in the last bit. Errors as `run_file`.
    """
    count = MOST_IMAGES if images is None else min(images, MOST_IMAGES)
    batch = np.concatenate([test_batch(net, seed=seed) for seed in range(count)])
    repeated = np.arange(count if images is None else images) % count
    version, found = run_file(path, batch[repeated])
    if before_nms is not None:
        found = run_file(before_nms, batch[repeated])[1]
    indices = sorted(layers.values())

    def outputs(raw: Dict[int, np.ndarray]) -> Dict[int, np.ndarray]:
        return dict(enumerate(all_decoded(net, raw))) if decoded else raw

    def run(images: np.ndarray, hook: Optional[Hook] = None) -> Dict[int, np.ndarray]:
        runner: Any = NumpyRunner(net, hook) if ranges is None else FakequantRunner(net, ranges, scheme)
        return outputs(runner.infer(images, indices))

    names = {BOXES: 0, SCORES: 1} if decoded else layers
    expected, tolerance = run(batch), SURGERY if ranges is None else STEPS

    def noise() -> Dict[int, float]:
        other = run(moved(batch), lambda layer, y: moved(y))
        return {i: check("noise", "numpy", i, y, other[i], 0.0).max_error for i, y in expected.items()}

    checks = [
        check("onnx", "onnxruntime", index, expected[index], found[name][:count], tolerance)
        for name, index in names.items()
    ]
    checks = allow_noise(checks, noise)
    worst = max(checks, key=lambda c: c.max_error / c.tolerance)
    return Agreement(version, worst.max_error, worst.tolerance, all(c.ok for c in checks))


def all_decoded(net: Net, raw: Dict[int, np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """(boxes [N, n, 4], scores [N, n, classes]) of all that the heads predict, likely or not, as a graph gives them.

    Raises as darkprune.detect.decode.decode.
    """
    limited = dict(raw)
    for layer in detection_heads(net):
        form, source = layer.op.decoding(layer, net.input.shape), layer.inputs[0].index
        if form.sizes == "exp":
            values = raw[source].copy()
            sizes = np.arange(values.shape[1]).reshape(len(form.anchors), -1)[:, form.coordinates[2:]].reshape(-1)
            values[:, sizes] = np.clip(values[:, sizes], -LARGEST, LARGEST)
            limited[source] = values
    found = decode(net, limited, -np.inf)
    return np.stack([x.boxes for x in found]), np.stack([x.scores for x in found])
