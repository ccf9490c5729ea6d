"""How the strength of the penalty on gammas changes while a net is trained, and whom it lets off."""

from typing import NamedTuple

from darkprune.errors import UsageError

KINDS = ("constant", "global", "local", "taylor")
CHOOSING = ("local", "taylor")  # those that relax some sets only

Schedule = NamedTuple(
    "Schedule",
    [
        # constant; global: all sets are relaxed; local: those with the largest gammas, as pruning would keep them;
        # taylor: those that the loss would miss most, and before that all of them
        ("kind", str),
        ("since", float),  # share of the training after which sets are relaxed; with taylor, the others penalised
        ("relaxed", float),  # what is left of the strength then; with global at the end, reached in a straight line
        ("channels", float),  # with local and taylor: share of the filters that pruning is to remove
    ],
)
CONSTANT = Schedule("constant", 1.0, 1.0, 0.0)


def parse_schedule(text: str) -> Schedule:
    """A schedule from `kind`, `kind:since:relaxed` or `kind:since:relaxed:channels`. Raises UsageError."""
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = [-1.0]
    wanted = {"constant": 0, "global": 2, "local": 3, "taylor": 3}.get(kind)
    if wanted != len(values):
        hint = "use constant, global:SINCE:RELAXED, (local or taylor):SINCE:RELAXED:CHANNELS, as in local:0.5:0.01:0.6"
        raise UsageError("{!r} is no schedule of the strength".format(text), hint=hint)
    return Schedule(kind, *(values + [1.0, 1.0, 0.0][len(values) :])) if values else CONSTANT


def require_schedule(schedule: Schedule) -> None:
    """Raises UsageError for values out of range."""
    if schedule.kind not in KINDS:
        raise UsageError("unknown sparsity schedule {!r}".format(schedule.kind), hint="use one of " + ", ".join(KINDS))
    shares = (schedule.since, schedule.relaxed, schedule.channels)
    late = schedule.kind in ("global", "taylor") and schedule.since == 1
    none = schedule.kind in CHOOSING and schedule.channels == 0
    if not all(0 <= share <= 1 for share in shares) or late or none:
        cause = "a sparsity schedule is made of shares, not {}, {} and {}".format(*shares)
        raise UsageError(cause, hint="use numbers from 0 to 1, a start before the end, and some channels")
