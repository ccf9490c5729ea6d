"""The original Darknet trains on what the converters write: it ends where it finds no labels beside an image."""

import json
import os
import subprocess

import numpy as np
import pytest

import need
import small_nets
import tool
from darkprune.graph.save import save
from small_nets import conv, section

SIZE, COUNT, NAMES = 64, 4, ["reddish", "bluish"]
NET = (
    section(
        "net", batch=2, subdivisions=1, width=SIZE, height=SIZE, channels=3, momentum=0.9, decay=0.0005,
        learning_rate=0.001, max_batches=3, policy="constant",
    )
    + conv(8, stride=2)
    + conv(8, stride=2)
    + conv(3 * 7, size=1, activation="linear", bn=None)
    + section("yolo", mask="0,1,2", anchors="6,6, 10,14, 16,10", classes=2, num=3, random=0)
)  # fmt: skip


def pictures(train, folder):
    """Writes COUNT pictures; returns [[(class, left, top, right, bottom) in pixels]]."""
    random, found = np.random.RandomState(4), []
    for number in range(COUNT):
        image, lines = train.picture(random, SIZE)
        train.write(os.path.join(folder, "{}.png".format(number)), train.png(image))
        boxes = []
        for line in lines.splitlines():
            kind, x, y, w, h = [float(word) * SIZE for word in line.split()]
            boxes.append((int(kind) // SIZE, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        found.append(boxes)
    return found


def from_voc(train, root):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / "voc" / name).mkdir(parents=True)
    edge = "<bndbox><xmin>{:.0f}</xmin><ymin>{:.0f}</ymin><xmax>{:.0f}</xmax><ymax>{:.0f}</ymax></bndbox>"
    for number, boxes in enumerate(pictures(train, str(root / "voc" / "JPEGImages"))):
        text = "<annotation><size><width>{0}</width><height>{0}</height></size>".format(SIZE)
        for kind, left, top, right, bottom in boxes:
            box = edge.format(left + 1, top + 1, right, bottom)
            text += "<object><name>{}</name>{}</object>".format(NAMES[kind], box)
        (root / "voc" / "Annotations" / "{}.xml".format(number)).write_text(text + "</annotation>")
    (root / "voc" / "ImageSets" / "Main" / "train.txt").write_text("".join("{}\n".format(n) for n in range(COUNT)))
    return tool.load("voc_to_darknet"), [str(root / "voc")]


def from_coco(train, root):
    (root / "photos").mkdir()
    document = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": index + 5, "name": name} for index, name in enumerate(NAMES)]
    for number, boxes in enumerate(pictures(train, str(root / "photos"))):
        name = "{}.png".format(number)
        document["images"].append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        for kind, left, top, right, bottom in boxes:
            entry = {"id": len(document["annotations"]), "image_id": number, "category_id": kind + 5}
            entry["bbox"] = [left, top, right - left, bottom - top]
            document["annotations"].append(entry)
    (root / "train.json").write_text(json.dumps(document))
    return tool.load("coco_to_darknet"), ["--train", str(root / "train.json"), str(root / "photos")]


def train_on(darknet, folder):
    """What Darknet says on stderr, and whether it saved its final weights.

    Its status says nothing: it often crashes after the last iteration, when the next pictures are still being read.
    """
    argv = [str(darknet), "detector", "train", "toy.data", "small.cfg", "small.weights", "-clear"]
    pipe, saved = subprocess.PIPE, folder / "backup" / "small_final.weights"
    run = subprocess.run(argv, cwd=str(folder), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, timeout=600)
    return run.stderr.decode("latin-1"), saved.exists()


@pytest.mark.parametrize("source", [from_voc, from_coco])
def test_darknet_trains_on_it(source, tmp_path, capsys):
    need.libdarknet()
    darknet = need.darknet()
    converter, arguments = source(tool.load("train_further"), tmp_path)
    out = tmp_path / "toy"
    assert converter.main(arguments + ["-o", str(out), "--copy"]) == 0
    assert (out / "toy.names").read_text().split() == sorted(NAMES, key=NAMES.index if source is from_coco else None)
    save(small_nets.net(tmp_path, NET, dialect="pjreddie"), str(out / "small"))
    said, saved = train_on(darknet, out)
    assert saved and "Couldn't open file" not in said
    (out / "backup" / "small_final.weights").unlink()
    for path in out.rglob("obj/**/*.txt"):
        path.unlink()
    said, saved = train_on(darknet, out)
    assert not saved and "Couldn't open file: obj/" in said
