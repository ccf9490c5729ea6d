"""A written ONNX file in ONNX Runtime, against numpy: does it compute what the net does?"""

from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.onnxruntime_ import import_onnxruntime, quiet, session
from darkprune.graph.net import Net
from darkprune.verify import SURGERY, allow_noise, check, moved, test_batch

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


def run_file(path: str, batch: np.ndarray) -> Tuple[str, Dict[str, np.ndarray]]:
    """(the version of ONNX Runtime, all outputs by name) of the model at `path`, for float32 [N,C,H,W].

    Raises MissingDependency where ONNX Runtime cannot be imported, VerifyError where it refuses the model.
    """
    runtime = import_onnxruntime()
    opened: Any = session(runtime, path, quiet(runtime))
    names = [output.name for output in opened.get_outputs()]
    return str(runtime.__version__), dict(zip(names, opened.run(names, {opened.get_inputs()[0].name: batch})))


def compare(net: Net, path: str, layers: Dict[str, int], images: Optional[int] = None) -> Agreement:
    """How near the model at `path` comes to the net in numpy, with synthetic pictures.

    Args:
        layers: outputs by name, the net's layers whose they are.
        images: how many it takes at once; None for any number.

    An error may be 1e-4, or four times what the output moves when the net's tensors move in the last bit. Errors as
    `run_file`.
    """
    count = MOST_IMAGES if images is None else min(images, MOST_IMAGES)
    batch = np.concatenate([test_batch(net, seed=seed) for seed in range(count)])
    repeated = np.arange(count if images is None else images) % count
    version, found = run_file(path, batch[repeated])
    indices = sorted(layers.values())
    expected = NumpyRunner(net).infer(batch, indices)

    def noise() -> Dict[int, float]:
        other = NumpyRunner(net, lambda layer, y: moved(y)).infer(moved(batch), indices)
        return {i: check("noise", "numpy", i, y, other[i], 0.0).max_error for i, y in expected.items()}

    checks = [
        check("onnx", "onnxruntime", index, expected[index], found[name][:count], SURGERY)
        for name, index in layers.items()
    ]
    checks = allow_noise(checks, noise)
    worst = max(checks, key=lambda c: c.max_error / c.tolerance)
    return Agreement(version, worst.max_error, worst.tolerance, all(c.ok for c in checks))
