"""A picture of a sensitivity table: curves and a map of the parts. Matplotlib is imported when it is drawn."""

import importlib
import io
from typing import Any, List, Sequence

import numpy as np

from darkprune.errors import MissingDependency
from darkprune.prune.sensitivity import BLOCK, Ranked

HIGHLIGHTED = 6


def name_of(one: Ranked, most: int = 3) -> str:
    """A part by its layer numbers."""
    layers = one.part.layers
    if one.part.kind == BLOCK:
        return "block {}-{}".format(layers[0], layers[-1])
    shown = ", ".join(map(str, layers[:most]))
    return shown + ("..{} ({})".format(layers[-1], len(layers)) if len(layers) > most else "")


def drawn(parts: Sequence[Ranked], what: str, title: str) -> bytes:
    """The picture as PNG.

    Args: parts: the most sensitive first. what: the metric, in words.

    Raises MissingDependency without matplotlib.
    """
    try:
        figures = importlib.import_module("matplotlib.figure")
        canvas = importlib.import_module("matplotlib.backends.backend_agg")
    except ImportError as error:
        cause = "the picture needs matplotlib, which does not import: {}".format(error)
        raise MissingDependency(cause, hint="pip install 'darkprune[train]', or leave out --plot") from error
    widths = [one for one in parts if one.part.kind != BLOCK]
    figure = figures.Figure(figsize=(14, max(6.0, 0.17 * len(widths) + 1.5)), dpi=100)
    canvas.FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _curves(left, widths, [one for one in parts if one.part.kind == BLOCK], what)
    if widths:
        _map(figure, right, sorted(widths, key=lambda one: one.part.layers))
    figure.suptitle(title)
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _curves(axes: Any, widths: Sequence[Ranked], blocks: Sequence[Ranked], what: str) -> None:
    for one in reversed(widths[HIGHLIGHTED:]):
        axes.plot(*zip(*one.losses), color="0.75", linewidth=0.8)
    for number, one in enumerate(widths[:HIGHLIGHTED]):
        axes.plot(*zip(*one.losses), marker=".", color="C{}".format(number), label="layer " + name_of(one))
    for number, one in enumerate(blocks):
        axes.plot(1.0, one.loss, "x", color="black", label="a whole block" if not number else None)
    axes.set_xlabel("share of the width's filters removed")
    axes.set_ylabel(what)
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.3)
    if widths or blocks:
        axes.legend(title="most sensitive", fontsize=8)


def _map(figure: Any, axes: Any, widths: List[Ranked]) -> None:
    shares = sorted({share for one in widths for share, _ in one.losses})
    values = np.full((len(widths), len(shares)), np.nan)
    for row, one in enumerate(widths):
        for share, loss in one.losses:
            values[row, shares.index(share)] = loss
    image = axes.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set_xticks(range(len(shares)))
    axes.set_xticklabels(["{:.0%}".format(share) for share in shares])
    axes.set_yticks(range(len(widths)))
    axes.set_yticklabels([name_of(one) for one in widths], fontsize=6)
    axes.set_xlabel("removed")
    axes.set_ylabel("layers that make the width")
    figure.colorbar(image, ax=axes)
