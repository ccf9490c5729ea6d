"""What tools/int8_accuracy.py writes to docs/results.md: tables of the rows in docs/int8-accuracy.jsonl."""

import int8_accuracy as tool
import int8_bootstrap as bootstrap
import int8_pruned
import results
from trained_models import MODELS, table


def write():
    """Replaces both parts of the page."""
    results.write("int8-accuracy", tool.TOOL, page())
    results.write("int8-pruned", tool.TOOL, int8_pruned.page())


def accuracy_table():
    """The table of docs/results.md."""
    found, lines = tool.rows("accuracy"), []
    for model in MODELS:
        mine = [row for row in found if row["model"] == model]
        real = [row for row in mine if row["method"] == "fp32"]
        if not real:
            continue
        lines.append([model, "FP32", "", "", _percent(real[0]["ap50"]), _percent(real[0]["ap"]), "", ""])
        chosen = tool.recipe(model)
        order = [(0.0, m, c) for m in tool.METHODS for c in tool.CORRECTIONS]
        order += [(s, m, c) for s in tool.STRENGTHS[1:] for m in tool.METHODS for c in tool.CORRECTIONS]
        keyed = {(row["strength"], row["method"], row["correction"]): row for row in mine}
        for key in [key for key in order if key in keyed]:
            row, (strength, method, correction) = keyed[key], key
            lost = 100 * (row["ap50"] - real[0]["ap50"])
            between = "{:+.2f} to {:+.2f}".format(100 * row["low"], 100 * row["high"])
            name = "**{}**, the recipe".format(method) if key == chosen else method
            numbers = [_percent(row["ap50"]), _percent(row["ap"]), "{:+.2f}".format(lost), between]
            lines.append([model, name, str(strength or ""), tool.WORDS[correction].format(row.get("float"))] + numbers)
    titles = ["model", "ranges by", "equalised", "corrected by", "AP50", "AP", "AP50 - FP32's", "95 % of resamples"]
    return table(titles, lines)


def choice_table():
    """The signal at the heads on training images, by which the recipes were chosen."""
    lines, found = [], tool.rows("choice")
    for model in MODELS:
        mine = {(r["strength"], r["method"], r["correction"]): r["db"] for r in found if r["model"] == model}
        for method in tool.METHODS if mine else ():
            cells = [mine.get((strength, method, tool.PLAIN)) for strength in tool.STRENGTHS]
            corrected = [
                [db for (_, m, c), db in mine.items() if (m, c) == (method, word)]
                for word in tool.CORRECTIONS[1:]
            ]
            cells += [found[0] if found else None for found in corrected]
            lines.append([model, method] + ["" if db is None else "{:.1f}".format(db) for db in cells])
    titles = ["model", "ranges by"] + ["equalised {:g}".format(s) if s else "as they are" for s in tool.STRENGTHS]
    corrected = ["best + bias correction", "best + learned rounding", "best + layers float, learned rounding"]
    return table(titles + corrected, lines)


def _percent(share):
    return "{:.2f}".format(100 * share)


def page():
    """The part of docs/results.md about accuracy."""
    text = "AP on the first 128 images of COCO's val2017; 95 % of {} resamples of these images, paired with FP32.\n\n"
    text = text.format(bootstrap.RESAMPLES) + accuracy_table()
    text += "\nSignal at the heads in dB, on 32 images of train2017, which chose the recipes:\n\n" + choice_table()
    return text
