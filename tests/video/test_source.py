"""Words of the command line as sources."""

import pytest

from darkprune.cli.sniff import VIDEO, by_content, by_name
from darkprune.errors import UsageError
from darkprune.video.source import CSI, FILE, PIPELINE, RTSP, USB, is_live, parse, shown


@pytest.mark.parametrize(
    "word, kind, target, live",
    [
        ("clip.mp4", FILE, "clip.mp4", False),
        ("a/CLIP.AVI", FILE, "a/CLIP.AVI", False),
        ("usb://0", USB, "0", True),
        ("USB://01", USB, "1", True),
        ("usb:///dev/video2", USB, "2", True),
        ("/dev/video3", USB, "3", True),
        ("csi://1", CSI, "1", True),
        ("rtsp://a:b@host:554/x?y=1", RTSP, "rtsp://a:b@host:554/x?y=1", True),
        ("rtsps://host/x", RTSP, "rtsps://host/x", True),
        ("gst://videotestsrc", PIPELINE, "videotestsrc", True),
        (" videotestsrc ! videoconvert", PIPELINE, "videotestsrc ! videoconvert", True),
        ("filesrc location=a.mp4 ! decodebin", PIPELINE, "filesrc location=a.mp4 ! decodebin", False),
    ],
)
def test_kinds(word, kind, target, live):
    source = parse(word)
    assert (source.kind, source.target, is_live(source)) == (kind, target, live)
    assert (source.width, source.height, source.fps, source.format, source.flip) == (None, None, None, None, 0)
    assert source.word == word and by_name(word) == VIDEO


@pytest.mark.parametrize("word", ["dog.jpg", "list.txt", "folder", "usb", "csi:/0", "a!b", "net.cfg", "http://a/b.jpg"])
def test_what_is_no_video(word):
    assert parse(word) is None and by_name(word) != VIDEO


def test_settings_of_cameras():
    usb = parse("usb://1?width=800&height=600&fps=15&format=mjpg")
    assert (usb.width, usb.height, usb.fps, usb.format) == (800, 600, 15, "mjpg")
    csi = parse("csi://0?width=1280&height=720&flip=2")
    assert (csi.width, csi.height, csi.fps, csi.flip) == (1280, 720, None, 2)


@pytest.mark.parametrize(
    "word, text",
    [
        ("usb://", "usb:// names no source\nhint: use usb://0, csi://0, rtsp://HOST/PATH or gst://PIPELINE"),
        ("gst:// ", "gst://  names no source\nhint: use usb://0, csi://0, rtsp://HOST/PATH or gst://PIPELINE"),
        ("csi://front", "csi://front names no camera by its number\nhint: use csi://0"),
        ("csi:///dev/video0", "csi:///dev/video0 names no camera by its number\nhint: use csi://0"),
        ("usb://0?flip=2", "usb://0?flip=2: unknown setting flip\nhint: it takes width, height, fps, format"),
        ("csi://0?zoom", "csi://0?zoom: unknown setting zoom\nhint: it takes width, height, fps, flip"),
        ("usb://0?width=640", "usb://0?width=640 gives one of width and height\nhint: give both, or neither"),
        ("usb://0?fps=0", "usb://0?fps=0: fps=0 is no number from 1 to 1000\nhint: write fps=N"),
        ("csi://0?flip=8", "csi://0?flip=8: flip=8 is no number from 0 to 7\nhint: write flip=N"),
        ("usb://0?fps=x", "usb://0?fps=x: fps=x is no number from 1 to 1000\nhint: write fps=N"),
        ("usb://0?format=h264", "usb://0?format=h264: no such format: h264\nhint: use raw or mjpg"),
    ],
)
def test_settings_that_make_no_sense(word, text):
    with pytest.raises(UsageError) as caught:
        parse(word)
    assert str(caught.value) == "error: " + text


@pytest.mark.parametrize(
    "start, video",
    [
        (b"RIFF\0\0\0\0AVI LIST", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", False),
        (b"\0\0\0\x20ftypisom", True),
        (b"\0\0\0\x20ftypheic", False),
        (b"\x1aE\xdf\xa3\0\0\0\0\0\0\0\0", True),
        (b"\0\0\1\xba\0\0\0\0\0\0\0\0", True),
        (b"[net]\nwidth=1\n", False),
        (b"", False),
    ],
)
def test_a_file_is_a_video_by_its_content_too(tmp_path, start, video):
    path = tmp_path / "clip"
    path.write_bytes(start)
    found = parse(str(path))
    assert (found is not None and found.kind == FILE) == video
    assert (by_content(str(path)) == VIDEO) == video


def test_a_password_is_not_shown():
    assert shown(parse("rtsp://me:secret@host/x")) == "rtsp://***@host/x"
    pipeline = "rtspsrc location=rtsp://me:secret@host/x ! decodebin"
    assert shown(parse(pipeline)) == "rtspsrc location=rtsp://***@host/x ! decodebin"
    assert shown(parse("rtsp://host/a@b")) == "rtsp://host/a@b"
    for bad in ("rtsp://me:sec@ret@host/x", "rtsp://me:sec/ret@host/x", "rtsp://me:sec@re/t@host/x"):
        assert shown(parse(bad)) == "rtsp://***@host/x"
    for word in ("rtsp://h/user=me&password={}&channel=1", "rtsp://h/x?token={}", "rtsp://h/me_password={}"):
        assert shown(parse(word.format("secret"))) == word.format("***")
    assert shown(parse("rtspsrc user-id=me user-pw=secret ! x")) == "rtspsrc user-id=me user-pw=*** ! x"


def test_a_file_whose_name_looks_like_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("Attention ! 2.mp4").kind == PIPELINE
    (tmp_path / "Attention ! 2.mp4").write_bytes(b"")
    assert parse("Attention ! 2.mp4").kind == FILE
