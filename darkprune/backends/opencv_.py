"""Runs a pair in OpenCV's DNN module (CPU, fusion off), and gives the output of every layer it can name.

OpenCV turns one Darknet section into one to three of its own layers. The names below were read off
4.1.2, 4.2.0 and 4.14.0; the last one of a section is the output of the Darknet layer:

    convolutional   conv_3 [bn_3] [activation]      route, one source   identity_3, with groups slice_3
    connected       fullyConnected_3 [bn_3] [act.]  route, several      concat_3
    shortcut        shortcut_3 [activation]         maxpool, avgpool    pool_3, avgpool_3
    dropout, cost   identity_3                      yolo, region        permute_3, yolo_3 / detection_out
"""

import contextlib
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Optional

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.clock import Clock
from darkprune.darknet.weights import WeightsFile
from darkprune.errors import MissingDependency, Unsupported, VerifyError, place

INSTALL = 'pip install "opencv-python>=4.1,<5"'

# What follows a section's own layers carries the next section's number (leaky_4 is the activation of layer 3),
# but relu_3 in OpenCV 4.1: whose it is says the order, never the number. `adjust` scales the input of crop.
_FOLLOWERS = ("relu", "leaky", "logistic", "swish", "mish", "tanh", "adjust_crop")

# OpenCV decodes the boxes here: that is not the tensor that Darknet keeps for this layer.
_HEADS = ("permute", "yolo", "detection_out")


def layer_outputs(names: Iterable[str]) -> Dict[int, str]:
    """The OpenCV layer that holds the output of each Darknet layer; detection heads are left out.

    Args:
        names: what `net.getLayerNames()` returns, in its order.
    """
    outputs: Dict[int, str] = {}
    current = None
    for name in names:
        kind, _, number = name.rpartition("_")
        if kind in _FOLLOWERS:
            if current is not None:
                outputs[current] = name
            continue
        current = int(number) if number.isdigit() and kind not in _HEADS else None
        if current is not None:
            outputs[current] = name
    return outputs


def one_line(error: Exception) -> str:
    """What an OpenCV error says, without the place in OpenCV's sources and on one line."""
    text = " ".join(str(error).split())
    text = re.sub(r"^OpenCV\([^)]*\)\s*", "", text)
    text = re.sub(r"^\S+\.[ch]pp:\d+:\s*", "", text)
    text = re.sub(r"^error:\s*", "", text)
    return re.sub(r"^\(-\d+:([^)]*)\)\s*", r"\1: ", text).rstrip(" .")


class OpenCVRunner(Runner):
    """A cfg and weights pair in OpenCV.

    Args:
        cfg: path of the `.cfg`.
        weights: path of the `.weights`.

    `fast`, set before it is opened, leaves fusion and Winograd's algorithm on, as OpenCV's users have them; `infer`
    then lacks the outputs of fused layers.
    """

    name = "opencv"
    dialect = "opencv"

    def __init__(self, cfg: str, weights: str) -> None:
        self.cfg = str(cfg)
        self.weights = str(weights)
        self._net: Any = None
        self._cv2: Any = None
        self._outputs: Dict[int, str] = {}

    def open(self) -> None:
        """Loads the pair.

        Raises:
            MissingDependency: no OpenCV, or one without the Darknet importer.
            VerifyError: OpenCV refuses the pair, or would read behind the end of the weights.
        """
        self._cv2 = cv2 = import_cv2()
        stored = WeightsFile(self.weights).floats
        try:
            with _silent(cv2):
                net = cv2.dnn.readNetFromDarknet(*_sources(self.cfg, self.weights))
                names = list(net.getLayerNames())
                needed = _floats_read(net, names)
        except cv2.error as error:
            raise VerifyError("OpenCV refuses the pair: " + one_line(error), place(self.cfg)) from error
        if needed > stored:  # OpenCV would not say so: what lies behind the end of the file stays uninitialised
            raise VerifyError(
                "OpenCV {} reads {} floats for this cfg, the file holds {}".format(cv2.__version__, needed, stored),
                place(self.weights),
                "these weights belong to another cfg, the file was cut, or this OpenCV is too old for the cfg "
                "(4.2 and older misread grouped convolutions)",
            )
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        net.enableFusion(self.fast)  # with it the layers between a convolution and its activation never exist
        if hasattr(net, "enableWinograd"):
            net.enableWinograd(self.fast)  # another algorithm with another rounding; 4.1 has none
        self._net = net
        self._outputs = layer_outputs(names)

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """The outputs of `layers` for a batch.

        Args:
            batch: float32 [N, C, H, W]. OpenCV takes another H and W than the cfg's without a word.
            layers: Darknet layer indices; by default all that OpenCV has (not the detection heads).

        Returns:
            float32 arrays [N, C, H, W] by layer index (H = W = 1 for flat layers).

        Raises:
            Unsupported: OpenCV has no such tensor.
            VerifyError: OpenCV fails on this batch.
        """
        if self._net is None:
            self.open()
        wanted = sorted(self._outputs) if layers is None else [int(layer) for layer in layers]
        for layer in wanted:
            if layer not in self._outputs:
                raise Unsupported(
                    "OpenCV has no tensor that is the output of layer {}".format(layer),
                    place(self.cfg),
                    "compare the layer before a detection head instead of the head",
                )
        if not wanted:
            return {}
        batch = np.ascontiguousarray(batch, np.float32)
        try:
            with _silent(self._cv2):
                self._net.setInput(batch)
                results = self._net.forward([self._outputs[layer] for layer in wanted])
        except self._cv2.error as error:
            raise VerifyError("OpenCV cannot run the net: " + one_line(error), place(self.cfg)) from error
        return {layer: _four_axes(result, len(batch)) for layer, result in zip(wanted, results)}

    def seconds(self, batch: np.ndarray, layers: Iterable[int], clock: Clock) -> List[float]:
        """Seconds of forward passes of `batch` to the ends of the net, as OpenCV's users run it: with the decoding of
        boxes that OpenCV does in its heads, whatever the `layers`.

        Raises VerifyError when OpenCV fails.
        """
        if self._net is None:
            self.open()
        net, ends = self._net, self._net.getUnconnectedOutLayersNames()
        net.setInput(np.ascontiguousarray(batch, np.float32))
        try:
            with _silent(self._cv2):
                return clock.time(lambda: net.forward(ends))
        except self._cv2.error as error:
            raise VerifyError("OpenCV cannot run the net: " + one_line(error), place(self.cfg)) from error

    def close(self) -> None:
        """Frees the net."""
        self._net = None
        self._outputs = {}


def import_cv2() -> Any:
    """The module cv2. Raises MissingDependency without it, or where it cannot read Darknet files."""
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency("OpenCV cannot be imported: {}".format(error), hint=INSTALL) from error
    dnn = getattr(cv2, "dnn", None)
    if not hasattr(dnn, "readNetFromDarknet"):
        version = getattr(cv2, "__version__", "of unknown version")
        raise MissingDependency(
            "OpenCV {} cannot read Darknet files: OpenCV 5 removed the Darknet importer".format(version),
            hint=INSTALL,
        )
    return cv2


def _sources(cfg: str, weights: str) -> List[Any]:
    """What OpenCV is to read: the paths; the files' bytes where it would take a path for another one. It encodes paths
    in UTF-8 whatever the locale, and 4.14 crashes where that is not possible. Raises VerifyError."""
    paths = [cfg, weights]
    if all(os.fsencode(path) == path.encode("utf-8", "replace") for path in paths):
        return paths
    return [_bytes(path) for path in paths]


def _bytes(path: str) -> np.ndarray:
    try:
        with open(path, "rb") as stream:
            return np.fromfile(stream, np.uint8)
    except OSError as error:
        raise VerifyError("cannot read the file: {}".format(error.strerror), place(path), "check the path") from error


@contextlib.contextmanager
def _silent(cv2: Any) -> Iterator[None]:
    """Keeps OpenCV from printing what its exception says anyway; 4.1 has no such setting."""
    logging = getattr(getattr(cv2, "utils", None), "logging", None)
    if logging is None:
        yield
        return
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _floats_read(net: Any, names: List[str]) -> int:
    """How many floats OpenCV took from the weights file for the net it built."""
    count = 0
    for name in names:
        if name in _HEADS or name.rpartition("_")[0] in _HEADS + _FOLLOWERS:
            continue  # their blobs are anchors, which stand in the cfg, and the factors of crop
        blobs = net.getLayer(net.getLayerId(name)).blobs
        count += sum(int(blob.size) for blob in blobs)
    return count


def _four_axes(result: np.ndarray, images: int) -> np.ndarray:
    """`result` as [N, C, H, W] in memory of its own: the next forward pass may reuse OpenCV's."""
    array = np.array(result, np.float32)
    return array if array.ndim == 4 else array.reshape(images, -1, 1, 1)
