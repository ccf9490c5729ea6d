"""Pairs of small files for the tests of writing them, and a step that fails."""

import numpy as np

from darkprune.darknet.pair import PairWriter

PLAN = ".plan.json"
OLD = {"net.cfg": b"old cfg", "net.weights": b"old weights", "net.plan.json": b"old plan"}
NEW = {"net.cfg": b"new cfg", "net.weights": b"new weights", "net.plan.json": b"new plan"}  # of the same sizes
BARE = {name: data for name, data in NEW.items() if not name.endswith(PLAN)}


def fill(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data)


def state(folder):
    """Every file below the folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


def write(prefix, overwrite=True, inputs=(), commit=True, plan=True):
    """Writes the new pair, and a plan with it or, where none is to be, takes an old one away."""
    extras, stale = ([PLAN], []) if plan else ([], [PLAN])
    with PairWriter(prefix, inputs=inputs, overwrite=overwrite, extras=extras, stale=stale) as writer:
        writer.write_weights(data for data in (b"new ", np.frombuffer(b"weights", np.uint8)))
        if plan:
            writer.write_extra(PLAN, b"new plan")
        writer.write_cfg(b"new cfg")
        if commit:
            writer.commit()


def failing(count, error, lasting=True):
    """A step that raises `error` when it is called for the `count`-th time (from 0), and from then on if `lasting`."""
    seen = []

    def step(name):
        seen.append(name)
        if len(seen) == count + 1 or lasting and len(seen) > count:
            raise error

    return step
