"""What a training leaves for people to look at: a table, a chart, and TensorBoard's records where it is installed.

    PREFIX_log.csv      a row for each logged step, appended
    PREFIX_chart.png    loss and mAP over the steps, as Darknet's chart.png; needs matplotlib
    PREFIX_tensorboard  a folder; needs torch and tensorboard

Matplotlib and TensorBoard are imported when they are first needed.
"""

import csv
import importlib
import importlib.util
import io
import math
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from darkprune.darknet import journal
from darkprune.darknet.pair import require_writable, write_file
from darkprune.errors import Notice, OutputError, place

TABLE, CHART, TENSORBOARD = "_log.csv", "_chart.png", "_tensorboard"
FIRST = ("step", "epoch", "images", "learning_rate", "loss", "map")  # the columns in front
LAST = ("seconds",)  # and behind
POINTS = 4000  # of a curve that are drawn at most


class Log:
    """Writes the log of a training.

    Args:
        prefix: path without a suffix, as that of the pair.
        resume_at_step: the step of the checkpoint that the training goes on from. Later rows, which a killed run left,
            are cut off, so that the rows of a resumed run are those of an unbroken one (but for the seconds).
            None starts anew.
        overwrite: whether an earlier log may be replaced by a new one.
        inputs: files that must not be overwritten.
        tensorboard: whether TensorBoard's records are written where it is installed.

    Attributes: notices (what could not be drawn, and why).

    Raises OutputError where a file cannot be written, or is no log of ours.
    """

    def __init__(
        self,
        prefix: str,
        resume_at_step: Optional[int] = None,
        overwrite: bool = False,
        inputs: Sequence[str] = (),
        tensorboard: bool = True,
    ) -> None:
        self.table, self.chart_path = prefix + TABLE, prefix + CHART
        self.notices: List[Notice] = []
        self._inputs = list(inputs)
        self._columns: List[str] = []
        self._curves: Dict[str, List[Tuple[int, float]]] = {"loss": [], "map": []}
        resumed = resume_at_step is not None
        for path in (self.table, self.chart_path):
            require_writable(path, self._inputs, overwrite or resumed)
        if resume_at_step is not None and os.path.lexists(self.table):
            self._cut(resume_at_step)
        else:
            write_file(self.table, b"", self._inputs, True)
        with journal.translated(self.table):
            self._stream = open(self.table, "a", encoding="utf-8", newline="")
        self._tensorboard = _summary_writer(prefix + TENSORBOARD, resume_at_step) if tensorboard else None

    def row(self, step: int, **values: Any) -> None:
        """Appends a row: numbers by column (FIRST, LAST and any others); None for one that was not measured."""
        if not set(values) <= set(self._columns):
            self._widen([name for name in values if name not in self._columns])
        values["step"] = step
        with journal.translated(self.table):
            self._stream.write(_line(_text(values.get(name)) for name in self._columns))
            self._stream.flush()
        for name, curve in self._curves.items():
            if values.get(name) is not None:
                curve.append((step, float(values[name])))
        if self._tensorboard is not None:
            for name, value in values.items():
                if name not in ("step", "seconds") and isinstance(value, (int, float)):
                    self._tensorboard.add_scalar(name, value, step)

    def chart(self, title: str = "") -> None:
        """Draws the chart anew; without matplotlib there is none, and a notice says so once."""
        if importlib.util.find_spec("matplotlib") is None:
            if not self.notices:
                cause = "matplotlib is not installed: the losses are in {} only".format(self.table)
                self.notices.append(Notice(cause, None, "pip install 'darkprune[train]'"))
            return
        write_file(self.chart_path, _drawn(self._curves["loss"], self._curves["map"], title), self._inputs, True)

    def close(self) -> None:
        """Ends the log."""
        self._stream.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self, step: int) -> None:
        """Drops the rows behind the step, and a last one that is not whole."""
        rows = self._read()
        self._columns = rows[0] if rows else []
        kept = [row for row in rows[1:] if int(row[0]) <= step]
        write_file(self.table, "".join(map(_line, rows[:1] + kept)).encode("utf-8"), self._inputs, True)
        for name, curve in self._curves.items():
            if name in self._columns:
                place_ = self._columns.index(name)
                curve += [(int(row[0]), float(row[place_])) for row in kept if row[place_]]

    def _read(self) -> List[List[str]]:
        with journal.translated(self.table), open(self.table, "rb") as stream:
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            rows = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
            good = all(len(row) == len(rows[0]) and int(row[0]) >= 0 for row in rows[1:])
            [float(cell) for row in rows[1:] for cell in row if cell]
        except (ValueError, csv.Error):
            good = False
        if not good or rows and rows[0][:1] != ["step"]:
            raise OutputError("this is no log of a training", place(self.table), "move it away")
        return rows

    def _widen(self, new: List[str]) -> None:
        """Adds columns, those of earlier rows empty."""
        old = self._columns
        others = [name for name in old + new if name not in FIRST + LAST]
        self._columns = list(FIRST) + others + list(LAST)
        rows = [dict(zip(old, row)) for row in self._read()[1:]]
        lines = [_line(self._columns)] + [_line(row.get(name, "") for name in self._columns) for row in rows]
        self._stream.close()
        write_file(self.table, "".join(lines).encode("utf-8"), self._inputs, True)
        with journal.translated(self.table):
            self._stream = open(self.table, "a", encoding="utf-8", newline="")


def _text(value: Any) -> str:
    """A cell: numbers in the fewest digits that a float32 needs."""
    if value is None:
        return ""
    return str(value) if isinstance(value, (int, str)) else "{:.7g}".format(value)


def _line(cells: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(list(cells))
    return stream.getvalue()


def _summary_writer(folder: str, resume_at_step: Optional[int]) -> Any:
    """TensorBoard's writer, None where it is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "tensorboard")):
        return None
    try:
        module = importlib.import_module("torch.utils.tensorboard")
    except ImportError:  # one of TensorBoard's own packages is missing
        return None
    with journal.translated(folder):
        return module.SummaryWriter(folder, purge_step=None if resume_at_step is None else resume_at_step + 1)


def _thin(curve: List[Tuple[int, float]]) -> List[Tuple[int, float]]:
    """At most POINTS of the curve: means over neighbours, nan where one of them is."""
    size = -(-len(curve) // POINTS)
    if size < 2:
        return curve
    parts = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _drawn(losses: List[Tuple[int, float]], maps: List[Tuple[int, float]], title: str) -> bytes:
    """The chart as PNG: loss as dots on a logarithmic axis, mAP in percent as a line."""
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(10, 6), dpi=100)
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    left = figure.add_subplot(1, 1, 1)
    shown = [(step, loss) for step, loss in _thin(losses) if math.isfinite(loss) and loss > 0]
    if shown:
        left.set_yscale("log")
        left.plot(*zip(*shown), ".", color="tab:blue", markersize=3)
    left.set_xlabel("step")
    left.set_ylabel("loss", color="tab:blue")
    left.grid(True, which="both", alpha=0.2)
    if maps:
        right = left.twinx()
        shown = [(step, 100.0 * value) for step, value in _thin(maps)]
        right.plot(*zip(*shown), ".-", color="tab:red")
        right.annotate("{:.1f}".format(shown[-1][1]), shown[-1], color="tab:red", ha="right", va="bottom")
        right.set_ylim(0, 100)
        right.set_ylabel("mAP@0.5 (%)", color="tab:red")
    said = [title] if title else []
    said += ["loss {:.4g} at step {}".format(losses[-1][1], losses[-1][0])] if losses else []
    said += ["best mAP {:.2f} %".format(100.0 * max(value for _, value in maps))] if maps else []
    left.set_title(", ".join(said))
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
