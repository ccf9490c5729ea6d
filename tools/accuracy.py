"""Measures the accuracy of trained detectors through every runner, and Darknet's map against AlexeyAB's Darknet.

    python tools/accuracy.py [--resume] [--write]

Each row is what `darkprune eval CFG WEIGHTS --data coco128.data --runner RUNNER` measures, on the first 128 images of
COCO's val2017, at the cfg's size, stretched as Darknet does it.
"""

import argparse
import functools
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from trained_models import (  # noqa: E402
    MODELS,
    POINTS,
    Rows,
    data_file,
    evaluated,
    pair_of,
    percent,
    table,
    write_page,
)

RUNNERS = ("numpy", "torch", "opencv", "darknet")
# What `darknet detector map` of AlexeyAB's Darknet printed (commit 59596d7, CPU, without OpenCV), by model and -points:
# on the images saved as PNG, so that its pixels are those of OpenCV's JPEG decoder.
RECORDED = {
    "yolo-fastest-1.1": {0: 0.329109, 11: 0.338300, 101: 0.330655},
    "yolo-fastest-1.1-xl": {0: 0.402622, 11: 0.412295, 101: 0.404052},
}
RECORDED_JPEG = {"yolo-fastest-1.1": 0.328778, "yolo-fastest-1.1-xl": 0.402682}  # -points 0, its own JPEG decoder


def page(rows):
    """The text of docs/accuracy.md."""
    about = " ".join(__doc__.strip().split("\n")[4:])
    text = "# Accuracy through every runner\n\nMade by `python tools/accuracy.py --write`. {}\n\n".format(about)
    titles = ["model", "runner", "AP50", "AP50-95", "Darknet's map", "right / wrong above 0.25"]
    text += table(titles, [_row(row) for row in rows])
    spreads = []
    for model in sorted({row["model"] for row in rows}):
        found = [row["ap50"] for row in rows if row["model"] == model]
        spreads.append("{:.2f} ({}, {} runners)".format(100 * (max(found) - min(found)), model, len(found)))
    text += "\nThe runners' AP50 lie within so many points: {}.\n".format(", ".join(spreads))
    text += WHY + "\n## Darknet's map, by us and by Darknet\n\n" + JUDGE + "\n"
    body = []
    for row in rows:
        for points in POINTS if row["runner"] == "numpy" else ():
            ours, theirs = row["map{}".format(points)], RECORDED[row["model"]][points]
            numbers = (ours, theirs, abs(ours - theirs))
            body.append([row["model"], str(points)] + ["{:.4f}".format(100 * number) for number in numbers])
    text += table(["model", "points", "our map (numpy)", "AlexeyAB's, recorded", "apart, points"], body)
    jpeg = ", ".join("{} ({})".format(percent(value), model) for model, value in sorted(RECORDED_JPEG.items()))
    return text + "\nOn the JPEG files themselves, with its own decoder, AlexeyAB's Darknet printed {}.\n".format(jpeg)


def _row(row):
    accuracies = [percent(row[name]) for name in ("ap50", "ap", "map0")]
    return [row["model"], row["runner"]] + accuracies + ["{} / {}".format(row["tp"], row["fp"])]


WHY = """
Accuracies are in percent. AP50 is COCO's: the mean over the classes that occur in these images. Darknet's map is the
mean over all 80 classes, of which those that do not occur count as 0; so it is lower on few images. Both count
detections from a score of 0.005, after Darknet's suppression (`nms_kind` of the cfg, `-nms .45`). The runners differ in
the epsilon of their batch norm. 128 images are few: these numbers compare runners, they do not rank models.
"""
JUDGE = """AlexeyAB's numbers were recorded once, on the images saved as PNG, since its JPEG decoder rounds differently.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="keep the rows that an earlier run measured")
    parser.add_argument("--write", action="store_true", help="write docs/accuracy.md after each row")
    arguments = parser.parse_args()
    data, rows = data_file(), Rows("accuracy", arguments.resume)
    for runner in RUNNERS:
        for model in MODELS:
            function = functools.partial(evaluated, *(pair_of(model) + (data, runner)))
            rows.measure({"model": model, "runner": runner}, function)
            if arguments.write:
                write_page("accuracy", page(sorted(rows.rows, key=_order)))
    sys.stdout.write(page(sorted(rows.rows, key=_order)))


def _order(row):
    return MODELS.index(row["model"]), RUNNERS.index(row["runner"])


if __name__ == "__main__":
    main()
