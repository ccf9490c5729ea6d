"""All that a training needs to go on where it was: one file beside the weights, put in place whole.

An npz file: arrays by name, and as "about" the bytes of a JSON object. Nothing in it is ever unpickled.
"""

import io
import json
import os
import zipfile
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from darkprune.darknet.pair import write_file
from darkprune.errors import UsageError, place

FORMAT = 1
SUFFIX = "_last.npz"

Checkpoint = NamedTuple(
    "Checkpoint",
    [
        ("about", Dict[str, Any]),  # step, best, settings...
        ("arrays", Dict[str, np.ndarray]),
    ],
)


def write(path: str, state: Checkpoint) -> None:
    """Puts the checkpoint in place of an earlier one. Raises OutputError; then the earlier one stays."""
    about = json.dumps(dict(state.about, format=FORMAT), sort_keys=True).encode("ascii")
    stream = io.BytesIO()
    np.savez(stream, about=np.frombuffer(about, np.uint8), **state.arrays)  # type: ignore[arg-type]
    write_file(path, [stream.getbuffer()], overwrite=True)


def read(path: str) -> Checkpoint:
    """The checkpoint at `path`. Raises UsageError where there is none, or one that is damaged or not ours."""
    hint = "train without --resume, or give the folder in which training was interrupted"
    if not os.path.isfile(path):
        raise UsageError("there is no checkpoint to go on from", place(path), hint)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes().decode("ascii"))
        if about["format"] != FORMAT or not isinstance(about["step"], int):
            raise ValueError("format")
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError("this is no checkpoint of darkprune, or a damaged one", place(path), hint) from error
    return Checkpoint(about, arrays)


def prefixed(prefix: str, tensors: Dict[str, Any]) -> Dict[str, np.ndarray]:
    """Tensors as arrays, under names that begin with `prefix`."""
    return {prefix + name: np.array(tensor.detach().float().cpu().numpy()) for name, tensor in tensors.items()}


def under(prefix: str, arrays: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def load_into(tensors: Dict[str, Any], arrays: Dict[str, np.ndarray], path: str) -> None:
    """Copies arrays into tensors of the same names. Raises UsageError where they are those of another net."""
    import torch

    wrong: List[Tuple[str, ...]] = [(name,) for name in sorted(set(tensors) ^ set(arrays))]
    wrong += [(name,) for name in tensors if name in arrays and tuple(tensors[name].shape) != arrays[name].shape]
    if wrong:
        cause = "this checkpoint is of another net: {} differs".format(wrong[0][0])
        raise UsageError(cause, place(path), "give the cfg that was trained, or train without --resume")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(arrays[name]))
