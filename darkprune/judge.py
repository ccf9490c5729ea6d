"""A second judge of a pruned pair: the masked original, written as files, against it - both run by a real reader.

verify's own reference knows channels by the same labels as the surgery, and numpy runs both sides. Here the original
keeps its cfg, the removed filters are zeros in its weights, and the arithmetic is Darknet's or OpenCV's.
"""

import os
import tempfile
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.registry import open_runner
from darkprune.errors import DarkpruneError, MissingDependency
from darkprune.graph.build import load
from darkprune.graph.net import Net, heads
from darkprune.graph.save import save
from darkprune.prune.masked import maskable, masked
from darkprune.prune.plan import Plan
from darkprune.verify import READERS, SURGERY, Check, allow_noise, check, moved, numbering, refused

NAME = "masked"

Judgement = NamedTuple(
    "Judgement",
    [
        ("checks", List[Check]),
        ("not_judged", List[Tuple[str, str]]),  # runner, and why it was not asked
    ],
)


def compare_masked(net: Net, pruned: Net, plan: Plan, runners: Sequence[str], batch: np.ndarray) -> Judgement:
    """Each reader's raw heads of the pruned pair against its raw heads of the masked original.

    Args:
        net, pruned: loaded from files; the readers run those of `pruned`. runners: of Darknet files, by name.
        batch: float32 [1, C, H, W].

    A head may differ by 1e-4 of its largest value, or by four times what the masked original itself moves in this
    reader when its input moves in the last bit: both sides sum in different orders. A reader that the original is not
    for, and a plan without a masked original, are reasons not to judge and no failures.
    """
    why = maskable(net, plan)
    if why is not None:
        return Judgement([], [(runner, why) for runner in runners])
    found = Judgement([], [])
    with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
        prefix = os.path.join(folder, NAME)
        save(masked(net, plan), prefix)
        for runner in runners:
            _judge(runner, prefix, net, pruned, plan, batch, found)
    return found


def _judge(runner: str, prefix: str, net: Net, pruned: Net, plan: Plan, batch: np.ndarray, found: Judgement) -> None:
    assert pruned.source is not None
    numbers, indices = numbering(net, pruned, plan), heads(pruned)
    layers = [numbers[i] for i in indices]
    reader = open_runner(runner, prefix + ".cfg", prefix + ".weights", net.dialect.name)
    other = open_runner(runner, pruned.document.path, pruned.source.path, net.dialect.name)
    why = misread(net, reader.dialect)
    try:
        expected = reader.infer(batch, layers) if why is None else {}
    except MissingDependency:
        raise
    except DarkpruneError as error:
        why = error.message
    if why is not None:
        found.not_judged.append((runner, why))
        return
    try:
        seen = other.infer(batch, indices)
    except DarkpruneError as error:
        found.checks.append(refused(runner, error))
        return
    finally:
        other.close()

    def noise() -> Dict[int, float]:
        again = reader.infer(moved(batch), layers)
        return {i: check("noise", runner, i, expected[n], again[n], 0.0).max_error for i, n in zip(indices, layers)}

    checks = [check(NAME, runner, i, expected[numbers[i]], seen[i], SURGERY) for i in indices]
    checks = allow_noise(checks, noise)
    reader.close()
    why = None if all(c.ok for c in checks) else _other_numbers(net, reader.dialect, batch)
    if why is None:
        found.checks.extend(checks)
    else:
        found.not_judged.append((runner, why))


def _other_numbers(net: Net, dialect: str, batch: np.ndarray) -> Optional[str]:
    """Why a plan made in the net's dialect need not hold in another one, where the original differs in it already."""
    why = misread(net, net.dialect.name)
    if why is None or net.source is None:
        return None
    indices, other = heads(net), load(net.document.path, net.source.path, dialect)
    mine, found = [NumpyRunner(each).infer(batch, indices) for each in (net, other)]
    same = all(check(NAME, "numpy", i, mine[i], found[i], READERS).ok for i in indices)
    return None if same else "the plan was made in another arithmetic: " + why


def misread(net: Net, dialect: str) -> Optional[str]:
    """What a dialect's reader takes for something else in this net; None where it reads what is meant."""
    return next((notice.message for notice in net.notices if notice.reader == dialect), None)
