"""The process in which the real Darknet runs: started by `darknet_`, not meant to be called by users.

    python -m darkprune.backends.darknet_worker TASK LIBRARY CFG WEIGHTS FOLDER

TASK is `table` (load only), `check` (load, and count the floats the net takes), `run` (the same, and FOLDER/batch.npy
through the net) or `time` (again and again, as FOLDER/clock.json says). WEIGHTS may be empty for `table`. What it finds
lies in FOLDER: output_LAYER.npy, final.npy, and last of all done.json - Darknet ends with status 0 on a file it cannot
open, so that the status alone proves nothing.
"""

import ctypes
import json
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from darkprune.backends.clock import Clock

REFUSED = 64  # the last line on stderr is a message for the user
UNUSABLE = 65  # the same, and the library itself is to blame

_HEADER = 20  # bytes in front of the floats in a file that Darknet writes
_SYMBOLS = ("load_network", "set_batch_network", "network_predict", "get_network_image_layer", "save_weights")


class Refusal(Exception):
    """Something the user should read, and the status that goes with it."""

    def __init__(self, message: str, status: int = REFUSED) -> None:
        super(Refusal, self).__init__(message)
        self.status = status


class Image(ctypes.Structure):
    """Darknet's `image`: planar floats that still belong to the layer."""

    _fields_ = [
        ("w", ctypes.c_int),
        ("h", ctypes.c_int),
        ("c", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_float)),
    ]


def load_library(path: str) -> Any:
    """The library with its functions declared. Raises Refusal for one that is not pjreddie's."""
    # Darknet has a function `error` of its own. Without DEEPBIND its calls end in that of the C library, which
    # takes other arguments, and the cause is lost.
    mode = os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0)
    try:
        library = ctypes.CDLL(path, mode=mode)
    except OSError as error:
        raise Refusal("the library cannot be loaded: {}".format(error), UNUSABLE) from error
    missing = [symbol for symbol in _SYMBOLS if not hasattr(library, symbol)]
    if missing:
        raise Refusal("{} has no function {}".format(path, missing[0]), UNUSABLE)
    if hasattr(library, "load_network_custom"):  # its structs differ, and its arithmetic is not pjreddie's
        raise Refusal("{} is AlexeyAB's Darknet, not pjreddie's".format(path), UNUSABLE)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    declare(library.load_network, pointer, [text, text, number])
    declare(library.set_batch_network, None, [pointer, number])
    declare(library.network_predict, ctypes.POINTER(ctypes.c_float), [pointer, pointer])
    declare(library.get_network_image_layer, Image, [pointer, number])
    declare(library.save_weights, None, [pointer, text])
    for name in ("network_inputs", "network_outputs", "network_width", "network_height"):
        declare(getattr(library, name), number, [pointer])
    return library


def declare(function: Any, result: Any, arguments: List[Any]) -> None:
    """Sets the C signature of `function`."""
    function.restype = result
    function.argtypes = arguments


def layer_count(net: int) -> int:
    """The number of layers: the first member of Darknet's `network`, the only one that is read by its place."""
    return ctypes.c_int.from_address(net).value


def layer_image(library: Any, net: int, index: int) -> Optional[Image]:
    """The output of layer `index`, or None where Darknet records no width, height and channels for it."""
    image = library.get_network_image_layer(net, index)
    return image if image.w > 0 and image.h > 0 and image.c > 0 and image.data else None


def count_floats(library: Any, net: int, folder: str) -> int:
    """The number of floats the net takes from a weights file, found by letting Darknet write one."""
    path = os.path.join(folder, "written.weights")
    library.save_weights(net, os.fsencode(path))
    size = os.path.getsize(path)
    os.remove(path)
    return (size - _HEADER) // 4


def check_shape(library: Any, net: int, batch: np.ndarray) -> None:
    """Raises Refusal when the images of `batch` are not what the net takes."""
    inputs, width, height = library.network_inputs(net), library.network_width(net), library.network_height(net)
    if batch.ndim == 4 and batch[0].size == inputs and (not width or batch.shape[2:] == (height, width)):
        return
    takes = "{}x{}x{}".format(inputs // (width * height), height, width) if width and height else str(inputs)
    given = "x".join(str(length) for length in batch.shape[1:])
    raise Refusal("the net takes images of {} (channels, height, width), the batch has {}".format(takes, given))


def predict(library: Any, net: int, batch: np.ndarray, layers: Optional[List[int]], folder: str) -> List[int]:
    """Writes the outputs of `layers` (None: all) and of the net for each image; returns the layers written."""
    check_shape(library, net, batch)
    indices = range(layer_count(net)) if layers is None else [i for i in layers if 0 <= i < layer_count(net)]
    files: Dict[int, Tuple[np.ndarray, Image]] = {}
    for index in indices:
        image = layer_image(library, net, index)
        if image is not None:
            shape = (len(batch), image.c, image.h, image.w)
            files[index] = (new_array(folder, "output_{}.npy".format(index), shape), image)
    outputs = library.network_outputs(net)
    final = new_array(folder, "final.npy", (len(batch), outputs, 1, 1)) if outputs > 0 else None
    for number in range(len(batch)):
        result = library.network_predict(net, batch[number].ctypes.data)
        for array, image in files.values():  # the buffers of all layers hold this image until the next pass
            array[number] = np.ctypeslib.as_array(image.data, array.shape[1:])
        if final is not None and result:
            final[number] = np.ctypeslib.as_array(result, final.shape[1:])
    return sorted(files)


def new_array(folder: str, name: str, shape: Tuple[int, ...]) -> np.ndarray:
    """A float32 array that lives in a file, so that the outputs of a whole net need not fit into memory."""
    return np.lib.format.open_memmap(os.path.join(folder, name), mode="w+", dtype=np.float32, shape=shape)


def work(task: str, library_path: str, cfg: str, weights: str, folder: str) -> Dict[str, Any]:
    """Carries out one task and returns what done.json will hold."""
    library = load_library(library_path)
    net = library.load_network(os.fsencode(cfg), os.fsencode(weights) if weights else None, 0)
    if task == "check":
        return {"floats": count_floats(library, net, folder)}
    if task == "run":
        library.set_batch_network(net, 1)
        batch = np.load(os.path.join(folder, "batch.npy"), allow_pickle=False)
        with open(os.path.join(folder, "layers.json")) as stream:
            layers = json.load(stream)
        written = predict(library, net, batch, layers, folder)
        final = os.path.isfile(os.path.join(folder, "final.npy"))
        return {"written": written, "final": final, "floats": count_floats(library, net, folder)}
    if task == "time":
        library.set_batch_network(net, 1)
        batch = np.load(os.path.join(folder, "batch.npy"), allow_pickle=False)
        check_shape(library, net, batch)
        with open(os.path.join(folder, "clock.json")) as stream:
            clock = Clock.from_dict(json.load(stream))
        address = batch.ctypes.data
        seconds = clock.time(lambda: library.network_predict(net, address))
        found = {"seconds": seconds, "cpu": clock.cpu, "joules": clock.joules}
        return dict(found, floats=count_floats(library, net, folder))
    return {}


def no_core_file() -> None:
    """Darknet aborts on bad input; that must not leave a core file in the user's folder."""
    try:
        import resource
    except ImportError:  # only Unix has it
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def main(arguments: List[str]) -> int:
    """Runs the worker and returns its exit status."""
    no_core_file()
    try:
        result = work(*arguments)
    except Refusal as refusal:
        sys.stderr.write("\n{}\n".format(refusal))
        return refusal.status
    with open(os.path.join(arguments[-1], "done.json"), "w") as stream:
        json.dump(result, stream)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
