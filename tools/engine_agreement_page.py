"""The tables of tools/engine_agreement.py: of all cfgs in docs/coverage.md, of the main nets in docs/results.md."""

import os

import results

RELEASES = (("8.2", "tensorrt82"), ("10.3", "tensorrt10"))
PART, TOOL = "engine-agreement", "engine_agreement.py"
PAGE = os.path.join(results.ROOT, "docs", "coverage.md")
MARK = "<!-- engines: written by tools/engine_agreement.py -->\n", "<!-- end of engines -->\n"
HEAD = "| net | size | layers | fp32, 8.2 | fp32, 10.3 | int8, 8.2 | int8, 10.3 |"


def cells(row):
    """Of one net: fp32 and int8 of both releases."""
    found = []
    for release, _ in RELEASES:
        count = row["fp32"].get(release)
        found.append("{}/{}, {:.1e}".format(*count) if count else "-")
    for release, _ in RELEASES:
        entry = row["int8"].get(release)
        found.append("{0[tensors]}: {1}, {0[steps]}".format(entry, share(entry["share"])) if entry else "-")
    return found


def share(equal):
    """How many integers are equal."""
    if equal == 1:
        return "all"
    return "> 99.999 %" if equal > 0.99999 else "{:.3f} %".format(100 * equal)


def line(row, last):
    """A row of a table that ends in the cells `last`."""
    start = [row["net"], row.get("size", "-"), str(row.get("layers", "-"))]
    return "| {} |\n".format(" | ".join(start + cells(row) + last))


def remarks(row):
    """What is to be said of a net."""
    return "; ".join(["**FAILED** " + text for text in row["failures"]] + row["remarks"]).replace("|", "/")


def table(rows):
    """Of all cfgs, with sums above."""
    ran = [row for row in rows if row["fp32"] or row["failures"]]
    text = "- nets that lower, without a failure: {} of {}\n".format(sum(not r["failures"] for r in ran), len(ran))
    for release, _ in RELEASES:
        counts = [row["fp32"][release] for row in ran if release in row["fp32"]]
        entries = [row["int8"][release] for row in ran if release in row["int8"]]
        sums = [sum(c[0] for c in counts), sum(c[1] for c in counts), sum(e["tensors"] for e in entries)]
        sums.append(max([e["steps"] for e in entries] or [0]))
        what = "- {}: layers equal in fp32 {:,} of {:,}; tensors of integers {:,}, at most {} steps away\n"
        text += what.format(release, *sums)
    text += "\n{} remarks |\n{}|\n".format(HEAD, "|---" * 8)
    return text + "".join(line(row, [remarks(row)]) for row in rows)


def main_table(rows):
    """Of the main nets: also the errors of the heads that are only shown."""
    head = HEAD + " fp16, 8.2 | fp16, 10.3 | int8 from the picture, 8.2 | 10.3 |"
    head += " leaky apart, 8.2 | nothing fused, 8.2 | remarks |"
    text = "{}\n{}|\n".format(head, "|---" * 14)
    for row in rows:
        old, new = [row["int8"].get(release, {}) for release, _ in RELEASES]
        errors = [row["fp16"].get(release) for release, _ in RELEASES]
        errors += [old.get("free"), new.get("free"), old.get("leaky apart"), old.get("nothing fused")]
        shown = ["-" if error is None else "{:.1e}".format(error) for error in errors]
        text += line(row, shown + [remarks(row)])
    return text


def write(text, main):
    """Puts a table into its page."""
    if main:
        results.write(PART, TOOL, text)
        return
    with open(PAGE, encoding="utf-8") as stream:
        before, rest = stream.read().split(MARK[0])
    with open(PAGE, "w", encoding="utf-8") as stream:
        stream.write(before + MARK[0] + text + MARK[1] + rest.split(MARK[1])[1])
