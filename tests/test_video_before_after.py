"""The tool that measures videos before and after pruning, on small nets; and that its page is what it writes."""

import os

import numpy as np
import pytest

import need
import tool
import videos
from darkprune.detect.detector import Times
from small_nets import detector, write

NET = detector(classes=80)


def test_a_row_is_of_medians():
    found = tool.load("video_before_after")

    class Side:
        def __init__(self, *seconds):
            self.seconds = [9.0] * found.WARM + list(seconds)
            self.times = [Times(0.001, value - 0.003, 0.002) for value in self.seconds]

    name = next(iter(found.NETS))
    assert found.row(name, "opencv", [Side(0.1, 0.4, 0.125), Side(0.05, 0.1, 0.025)]) == (
        "| {} | {} | opencv | 8.0 | 20.0 | 4.00 | 1.0 / 122.0 / 2.0 | 1.0 / 47.0 / 2.0 |\n".format(
            name, found.NETS[name][0]
        )
    )


def test_videos_of_both_pairs(tmp_path, monkeypatch):
    need.opencv(), need.debian_images()
    found = tool.load("video_before_after")
    pairs = [write(tmp_path, NET, "a", dead=0.0), write(tmp_path, NET.replace("filters=8", "filters=4"), "b", dead=0.0)]
    monkeypatch.setattr(found, "BUILD", str(tmp_path))
    monkeypatch.setattr(found, "pairs", lambda name: pairs)
    clip = str(tmp_path / "clip.avi")
    found.make_clip(clip, 8)
    frames, fps = videos.read(clip)
    assert len(frames) == 8 and fps == 25.0 and frames[0].shape == (480, 640, 3)
    means = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:])]
    assert all(mean > 3 for mean in means) and means[1] == max(means[:3])  # another picture each second frame
    sides = found.measure("net", "opencv", clip)
    assert all(len(side.seconds) == 8 and min(side.seconds) > 0 for side in sides)
    for side in ("original", "pruned"):
        assert len(videos.read(tmp_path / "net-opencv-{}.mp4".format(side))[0]) == 8
    assert sorted(os.listdir(str(tmp_path)))[-2:] == ["net-opencv-original.mp4", "net-opencv-pruned.mp4"]


def test_the_page_has_the_columns_and_ratios_that_fit():
    found = tool.load("video_before_after")
    lines = tool.load("results").read("video", found.TOOL).splitlines()
    assert lines[:2] == found.table([], 1).splitlines()[:2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:-2]]
    assert {(row[0], row[2]) for row in rows} == {(name, runner) for name in found.NETS for runner in found.RUNNERS}
    for row in rows:
        assert row[1] == found.NETS[row[0]][0]
        assert float(row[5]) == pytest.approx(float(row[4]) / float(row[3]), rel=0.5)  # medians of other things
    assert lines[-1].startswith("Medians over {} frames of 640 x 480, ".format(found.FRAMES))
