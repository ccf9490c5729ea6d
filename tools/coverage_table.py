"""The table of tools/coverage.py: rows as Markdown, and their totals."""

HEAD = """\
| net | size | layers | sets removed: none, exact | none | exact | blocks removed | judge, OpenCV | judge, Darknet \
| OpenCV | Darknet | remarks |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
BELOW = "## As ONNX\n"
NAMES = {"opencv": "OpenCV", "darknet": "Darknet"}


def figures(row):
    """Counts of a row by column: (passed, tried)."""
    found = {}
    for mode in ("none", "exact"):
        runs = [run for run in row["runs"] if run["mode"] == mode]
        found[mode] = sum(run["ok"] for run in runs), sum(run["layers"] for run in runs)
    for key in ("judge", "readers"):
        for reader in NAMES:
            results = [run[key][reader] for run in row["runs"] if reader in run.get(key, {})]
            found[key, reader] = sum(results), len(results)
    return found


def line(row):
    """A row of the table."""
    counts = {key: "{}/{}".format(*pair) if pair[1] else "-" for key, pair in figures(row).items()}
    alone = {run["mode"]: run["sets"] for run in row["runs"] if not run["blocks"]}
    sets = "{}, {} of {}".format(alone.get("none", "-"), alone.get("exact", "-"), row.get("sets", "-"))
    blocks = max([run["blocks"] for run in row["runs"]] or [0])
    cells = [row["net"], row.get("size", "-"), str(row.get("layers", "-")), sets, counts["none"], counts["exact"]]
    cells.append("{} of {}".format(blocks, row["blocks"]) if row.get("blocks") else "-")
    cells += [counts[key, reader] for key in ("judge", "readers") for reader in NAMES]
    return "| " + " | ".join(cells + [remarks(row)]) + " |"


def remarks(row):
    """Failures first, then the faults of readers, then the rest."""
    found = ["**FAILED** " + text for text in row["failures"]]
    for reader, why in sorted(row["faults"].items()):
        told = (
            why
            if why.startswith(("OpenCV", "the original Darknet", "the real Darknet"))
            else NAMES[reader] + ": " + why
        )
        found.append(told)
    return "; ".join(found + sorted(set(row["remarks"]))).replace("|", "/")


def totals(rows):
    """Lines that sum up the rows."""
    sums = {}
    for row in rows:
        for key, (passed, tried) in figures(row).items():
            before = sums.get(key, (0, 0))
            sums[key] = before[0] + passed, before[1] + tried
    fine = sum(not row["failures"] for row in rows)
    words = [
        ("nets without a failure", (fine, len(rows))),
        ("layers equal, `none`", sums["none"]),
        ("layers equal, `exact`", sums["exact"]),
    ]
    for key, what in (("judge", "pruned pairs equal to the masked original in"), ("readers", "pruned pairs read by")):
        words += [("{} {}".format(what, NAMES[reader]), sums[key, reader]) for reader in NAMES]
    return ["- {}: {:,} of {:,}".format(what, *pair) for what, pair in words]


def kept(page):
    """What stands below the table, written by another tool."""
    start = page.find(BELOW)
    return "" if start < 0 else "\n" + page[start:]


def document(rows, others, words):
    """docs/coverage.md."""
    about = "\n".join(line.strip() for line in words.strip().splitlines()[4:])
    text = "# Every cfg at hand, pruned\n\nMade by `python tools/coverage.py --write`.\n\n" + about + "\n\n"
    text += "\n".join(totals(rows)) + "\n\n" + HEAD + "\n".join(map(line, rows)) + "\n"
    if others:
        text += "\nRead and written, but not pruned: "
        text += ", ".join("{} ({})".format(name, why) for name, why in others) + ".\n"
    return text
