"""Runs a pair in the real Darknet: pjreddie's of September 2018, Debian's package `darknet`, on the CPU.

Darknet aborts, exits or dies on bad input, so it runs in a process of its own (darknet_worker). Its functions give
the output of every layer for which it records width, height and channels, and the output of the whole net. What
they do not give: flat layers in the middle (softmax, detection, rnn, ...), and `cost`.
"""

import ctypes.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

import numpy as np

from darkprune.backends import darknet_worker
from darkprune.backends.base import Runner
from darkprune.backends.clock import Clock
from darkprune.darknet.weights import WeightsFile
from darkprune.errors import MissingDependency, Unsupported, VerifyError, place

VARIABLE = "DARKPRUNE_LIBDARKNET"
INSTALL = "apt-get install darknet, or set {} to the path of libdarknet.so".format(VARIABLE)

_DEBIAN = "/usr/lib/darknet/libdarknet.so"  # the package's own folder, where the loader does not look
_NOISE = re.compile(r"Using default '|^Unused field: |^layer +filters +size|^Loading weights from [^!]*Done!$")
_ROW = re.compile(r"^ *(\d+) ")
_UNKNOWN = re.compile(r"^ *\d+ Type not recognized: .*$", re.MULTILINE)
_COST = re.compile(r"^(?: *\d+ )?cost  +\d+", re.MULTILINE)

_Ended = NamedTuple("_Ended", [("status", int), ("log", str), ("done", Any)])


def find_library() -> str:
    """The path, or the loader's name, of libdarknet. Raises MissingDependency where there is none."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if os.path.isfile(chosen):
            return os.path.abspath(chosen)
        raise MissingDependency("{} names no file: {}".format(VARIABLE, chosen), hint=INSTALL)
    found = ctypes.util.find_library("darknet") or (_DEBIAN if os.path.isfile(_DEBIAN) else None)
    if not found:
        raise MissingDependency("the real Darknet (libdarknet.so) is not installed", hint=INSTALL)
    return found


def layer_table(cfg: str, weights: Optional[str] = None, timeout: float = 60) -> str:
    """What Darknet prints on stderr while it loads a net: one line per layer, defaults taken, fields not used.

    Raises:
        MissingDependency: no libdarknet.
        VerifyError: Darknet refuses the net, or takes longer than `timeout` seconds.
    """
    library = find_library()
    with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
        return _work("table", library, cfg, weights, folder, timeout).log


class DarknetRunner(Runner):
    """A cfg and weights pair in the real Darknet.

    Args:
        cfg: path of the `.cfg`; this Darknet needs LF line ends and no byte order mark.
        weights: path of the `.weights`.
        timeout: seconds for one load or one batch.
    """

    name = "darknet"
    dialect = "pjreddie"

    def __init__(self, cfg: str, weights: str, timeout: float = 600) -> None:
        self.cfg = str(cfg)
        self.weights = str(weights)
        self.timeout = timeout
        self._library: Optional[str] = None

    def open(self) -> None:
        """Loads the pair once, to learn whether Darknet takes it.

        Raises:
            MissingDependency: no libdarknet.
            VerifyError: Darknet refuses the pair, or would read behind the end of the weights.
        """
        library = find_library()
        stored = WeightsFile(self.weights).floats
        with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
            self._require(stored, _work("check", library, self.cfg, self.weights, folder, self.timeout))
        self._library = library

    def _require(self, stored: int, ended: _Ended) -> None:
        if ended.done["floats"] > stored:  # Darknet would not say so: what is missing keeps its random initial values
            raise VerifyError(
                "the real Darknet reads {} floats for this cfg, the file holds {}".format(ended.done["floats"], stored),
                place(self.weights),
                "these weights belong to another cfg, or the file was cut",
            )

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """The outputs of `layers` for a batch; a runner that was not opened learns here whether Darknet takes the pair.

        Args:
            batch: float32 [N, C, H, W] of the cfg's size.
            layers: layer indices; by default all that Darknet gives. Of a detection head it is the activated
                tensor in pjreddie's order, not the raw one.

        Returns:
            float32 arrays [N, C, H, W] by layer index (H = W = 1 for flat layers).

        Raises:
            Unsupported: Darknet gives no output of such a layer.
            MissingDependency, VerifyError: as `open`; Darknet fails on this batch.
        """
        library, stored = self._library or find_library(), WeightsFile(self.weights).floats
        wanted = None if layers is None else [int(layer) for layer in layers]
        with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
            np.save(os.path.join(folder, "batch.npy"), np.ascontiguousarray(batch, np.float32), allow_pickle=False)
            with open(os.path.join(folder, "layers.json"), "w") as stream:
                json.dump(wanted, stream)
            ended = _work("run", library, self.cfg, self.weights, folder, self.timeout)
            self._require(stored, ended)
            names = {layer: "output_{}.npy".format(layer) for layer in ended.done["written"]}
            last = _output_layer(ended.log)
            if last is not None and (wanted is None or last in wanted) and ended.done["final"]:
                names.setdefault(last, "final.npy")
            for layer in wanted or ():
                if layer not in names:
                    raise Unsupported("the real Darknet gives no output of layer {}".format(layer), place(self.cfg))
            return {
                layer: np.load(os.path.join(folder, name), allow_pickle=False) for layer, name in sorted(names.items())
            }

    def seconds(self, batch: np.ndarray, layers: Iterable[int], clock: Clock) -> List[float]:
        """Seconds of Darknet's `network_predict` on `batch`, one image, whatever the `layers`. Raises as `open`."""
        library, stored = self._library or find_library(), WeightsFile(self.weights).floats
        with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
            np.save(os.path.join(folder, "batch.npy"), np.ascontiguousarray(batch, np.float32), allow_pickle=False)
            with open(os.path.join(folder, "clock.json"), "w") as stream:
                json.dump(clock.as_dict(), stream)
            timeout = self.timeout * (clock.warm + clock.least)
            ended = _work("time", library, self.cfg, self.weights, folder, timeout)
        self._require(stored, ended)
        clock.cpu, clock.joules = ended.done["cpu"], ended.done["joules"]
        return [float(value) for value in ended.done["seconds"]]

    def close(self) -> None:
        """Nothing outlives a call but the path of the library."""
        self._library = None


def _work(task: str, library: str, cfg: str, weights: Optional[str], folder: str, timeout: float) -> _Ended:
    """Runs one worker in `folder` to its end. Raises MissingDependency or VerifyError when it fails."""
    log_path = os.path.join(folder, "log.txt")
    arguments = [task, library, str(cfg), str(weights or ""), folder]
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [package] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    try:
        with open(log_path, "wb") as log:
            status = subprocess.call(
                [sys.executable, "-m", darknet_worker.__name__] + arguments,
                env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                timeout=timeout,
            )
    except subprocess.TimeoutExpired as error:
        raise VerifyError("the real Darknet did not finish within {} s".format(timeout), place(cfg)) from error
    with open(log_path, "rb") as stream:
        text = stream.read().decode("utf-8", "replace")
    done_path = os.path.join(folder, "done.json")
    if status == 0 and os.path.isfile(done_path):
        with open(done_path) as stream:
            return _Ended(status, text, json.load(stream))
    raise _failure(status, text, cfg)


def _failure(status: int, log: str, cfg: str) -> Exception:
    """The error for a worker that ended with `status` before its work was done."""
    cause = _cause(log)
    if status == darknet_worker.UNUSABLE:
        return MissingDependency("the real Darknet cannot be used: {}".format(cause), hint=INSTALL)
    if status == darknet_worker.REFUSED:
        return VerifyError("the real Darknet cannot run the batch: {}".format(cause), place(cfg))
    ending = _signal_name(-status) if status < 0 else "exit status {}".format(status)
    hint = "this Darknet needs LF line ends and no byte order mark" if _foreign_text(cfg) else None
    return VerifyError("the real Darknet refuses the pair: {} ({})".format(cause, ending), place(cfg), hint)


def _foreign_text(path: str) -> bool:
    """Whether a cfg starts with a byte order mark or holds carriage returns."""
    try:
        with open(path, "rb") as stream:
            text = stream.read()
    except (IOError, OSError):
        return False
    return b"\r" in text or text.startswith(b"\xef\xbb\xbf")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)


def _cause(log: str) -> str:
    """The last line of a log that says something about a failure, without what the C library puts around it."""
    unknown = _UNKNOWN.search(log)  # Darknet goes on with an empty layer, and dies of it anywhere
    for line in [unknown.group()] if unknown else reversed(log.splitlines()):
        line = line.strip()
        if not line or "Assertion `0' failed" in line or _NOISE.search(line):
            continue  # Darknet prints its cause, then runs into assert(0)
        line = re.sub(r"^Loading weights from .*\.\.\.(?=Couldn't open file: )", "", line)
        line = re.sub(r"^\S+: (\S+\.[ch]:\d+: )?(\w+: )?(?=Assertion )", "", line)
        line = re.sub(r"^(\d+) ", r"layer \1: ", line)
        return re.sub(r"\.?: (Success|No such file or directory)$", "", line)  # perror's, from an older call
    return "it says nothing"


def _output_layer(log: str) -> Optional[int]:
    """The layer whose output is the output of the net: the last one in the table that is not `cost`."""
    rows: List[List[str]] = []
    for line in log.splitlines():
        match = _ROW.match(line)
        if match and int(match.group(1)) == len(rows):
            rows.append([line])
        elif rows:
            rows[-1].append(line)
    for index in reversed(range(len(rows))):
        if not _COST.search("\n".join(rows[index])):
            return index
    return None
