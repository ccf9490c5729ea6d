"""How long compress goes on pruning: until what a round has left, behind its fine-tuning, has lost too much."""

from typing import Any, Dict, NamedTuple, Optional, Sequence

from darkprune.compress.stages import Stage

Verdict = NamedTuple(
    "Verdict",
    [
        ("kept", int),  # index of the row whose pair is what the run has come to
        ("lost", Optional[float]),  # points of accuracy that the round behind it lost, which were too many; else None
    ],
)


def judge(stages: Sequence[Stage], rows: Sequence[Dict[str, Any]], most: Optional[float]) -> Verdict:
    """What the results so far come to: a function of them alone, so that a resumed run decides alike.

    Args:
        stages: all of the run. rows: the results of the first of them, one or more.
        most: points of accuracy that may be lost against the first stage; None: any number.
    """
    if most is None:
        return Verdict(len(rows) - 1, None)
    baseline, kept = main_accuracy_of(rows[0]), 0
    for index, row in enumerate(rows):
        if stages[index].round and not _ends_round(stages, index):
            continue
        lost = round(100.0 * (baseline - main_accuracy_of(row)), 4)
        if stages[index].round and lost > most:
            return Verdict(kept, lost)
        kept = index
    return Verdict(kept, None)


def main_accuracy_of(row: Dict[str, Any]) -> float:
    """The accuracy by which it is decided how far to prune: map or top1, in 0..1."""
    return float(next(row[key] for key in ("map", "top1") if key in row))


def _ends_round(stages: Sequence[Stage], index: int) -> bool:
    return index + 1 == len(stages) or stages[index + 1].round != stages[index].round
