"""Measures the accuracy of trained detectors through every runner, and Darknet's map against AlexeyAB's Darknet.

    python tools/accuracy.py [--resume] [--write]

Each number comes from `darkprune eval CFG WEIGHTS --data coco128.data --runner RUNNER --json`, on the first 128 images
of COCO's val2017, at the cfg's size, stretched as Darknet does it.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from trained_models import MODELS, Rows, darkprune, data_file, pair_of, percent, table, write_page  # noqa: E402

RUNNERS = ("numpy", "torch", "opencv", "darknet")
# What `darknet detector map` of AlexeyAB's Darknet printed (commit 59596d7, CPU, without OpenCV), by model, -points and
# -iou_thresh: on the images saved as PNG, so that its pixels are those of OpenCV's JPEG decoder.
RECORDED = {
    ("yolo-fastest-1.1", 0, 0.5): 0.329109,
    ("yolo-fastest-1.1", 11, 0.5): 0.338300,
    ("yolo-fastest-1.1", 101, 0.5): 0.330655,
    ("yolo-fastest-1.1", 0, 0.75): 0.105938,
    ("yolo-fastest-1.1-xl", 0, 0.5): 0.402622,
    ("yolo-fastest-1.1-xl", 11, 0.5): 0.412295,
    ("yolo-fastest-1.1-xl", 101, 0.5): 0.404052,
    ("yolo-fastest-1.1-xl", 0, 0.75): 0.178892,
}
RECORDED_JPEG = {"yolo-fastest-1.1": 0.328778, "yolo-fastest-1.1-xl": 0.402682}  # -points 0, its own JPEG decoder


def measure(rows):
    """Fills the rows: every runner with Darknet's defaults, and numpy with every recorded setting."""
    data = data_file()
    settings = [(model, 0, 0.5, runner) for model in MODELS for runner in RUNNERS]
    settings += [setting + ("numpy",) for setting in RECORDED if setting[1:] != (0, 0.5)]
    for model, points, iou, runner in settings:
        words = ["eval"] + list(pair_of(model)) + ["--data", data, "--runner", runner]
        words += ["--points", str(points), "--iou-thresh", str(iou)]
        key = {"model": model, "points": points, "iou": iou, "runner": runner}

        def found(words=words):
            report = darkprune(*words)
            return {name: report[name] for name in ("ap50", "ap", "map", "tp", "fp", "images")}

        rows.measure(key, found)


def page(rows):
    """The text of docs/accuracy.md."""
    about = " ".join(__doc__.strip().split("\n")[4:])
    text = "# Accuracy through every runner\n\nMade by `python tools/accuracy.py --write`. {}\n\n".format(about)
    mine = [row for row in rows if (row["points"], row["iou"]) == (0, 0.5)]
    text += table(
        ["model", "runner", "AP50", "AP50-95", "Darknet's map", "right / wrong above 0.25"],
        [
            [row["model"], row["runner"]]
            + [percent(row[name]) for name in ("ap50", "ap", "map")]
            + ["{} / {}".format(row["tp"], row["fp"])]
            for row in mine
        ],
    )
    spread = [max(r["ap50"] for r in mine if r["model"] == m) - min(r["ap50"] for r in mine if r["model"] == m)
              for m in sorted({row["model"] for row in mine})]
    text += "\nThe runners' AP50 differ by at most {:.2f} points.\n".format(100 * max(spread))
    text += WHY + "\n## Darknet's map, by us and by Darknet\n\n" + JUDGE + "\n"
    judged = [row for row in rows if row["runner"] == "numpy"]
    body = []
    for row in judged:
        recorded = RECORDED[(row["model"], row["points"], row["iou"])]
        body.append(
            [row["model"], str(row["points"]), str(row["iou"])]
            + ["{:.4f}".format(100 * value) for value in (row["map"], recorded)]
            + ["{:.4f}".format(100 * abs(row["map"] - recorded))]
        )
    text += table(["model", "points", "IoU", "our map (numpy)", "AlexeyAB's, recorded", "apart, points"], body)
    jpeg = ", ".join("{} {:.2f}".format(model, 100 * value) for model, value in sorted(RECORDED_JPEG.items()))
    return text + "\nOn the JPEG files themselves, with its own decoder, AlexeyAB's Darknet has {}.\n".format(jpeg)


WHY = """
AP50 is COCO's: the mean over the classes that occur in these images. Darknet's map is the mean over all 80 classes, of
which those that do not occur count as 0; so it is lower on few images. Both count detections from a score of 0.005,
after Darknet's suppression (`nms_kind` of the cfg, `-nms .45`). The runners differ in the epsilon of their batch norm.
128 images are few: these numbers compare runners, they do not rank models.
"""
JUDGE = """AlexeyAB's numbers were recorded once, on the images saved as PNG, since its JPEG decoder rounds differently.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="keep the rows that an earlier run measured")
    parser.add_argument("--write", action="store_true", help="write docs/accuracy.md")
    arguments = parser.parse_args()
    rows = Rows("accuracy", arguments.resume)
    measure(rows)
    text = page(rows.rows)
    sys.stdout.write(text)
    if arguments.write:
        write_page("accuracy", text)


if __name__ == "__main__":
    main()
