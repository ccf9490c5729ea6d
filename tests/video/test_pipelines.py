"""GStreamer pipelines, letter by letter, and which one is opened."""

import pytest

from darkprune.errors import MissingDependency
from darkprune.video import pipelines
from darkprune.video.opening import attempts
from darkprune.video.source import parse

SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


def test_csi():
    assert pipelines.csi(0, 640, 480) == (
        "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1920,height=1080,format=NV12,framerate=30/1 ! "
        "nvvidconv flip-method=0 ! video/x-raw,width=640,height=480,format=BGRx ! " + SINK
    )
    turned = pipelines.csi(1, 1280, 720, fps=15, flip=2)
    assert "sensor-id=1 " in turned and "framerate=15/1" in turned and "flip-method=2 " in turned


def test_usb():
    raw = "v4l2src device=/dev/video1 ! video/x-raw,width=640,height=480 ! " + SINK
    assert pipelines.usb("/dev/video1", 640, 480) == raw
    assert pipelines.usb("/dev/video0", 1280, 720, 30, mjpg=True) == (
        "v4l2src device=/dev/video0 ! image/jpeg,width=1280,height=720,framerate=30/1 ! jpegdec ! " + SINK
    )


def test_rtsp():
    start = 'rtspsrc location="rtsp://host/x y" latency=200 ! rtph264depay ! h264parse ! '
    address = "rtsp://host/x y"
    nvidia = "nvvidconv ! video/x-raw,format=BGRx ! " + SINK
    assert pipelines.rtsp(address, "h264", "nvv4l2decoder") == start + "nvv4l2decoder ! " + nvidia
    assert pipelines.rtsp(address, "h264", "omxh264dec") == start + "omxh264dec ! " + nvidia
    assert pipelines.rtsp(address, "h264", "avdec_h264") == start + "avdec_h264 ! " + SINK
    other = pipelines.rtsp('rtsp://host/"x', "h265", "avdec_h265", latency=50)
    assert other.startswith('rtspsrc location="rtsp://host/\\"x" latency=50 ! rtph265depay ! h265parse ! avdec_h265 ! ')


@pytest.mark.parametrize(
    "there, decoder",
    [
        (("nvv4l2decoder", "omxh264dec", "avdec_h264"), "nvv4l2decoder"),
        (("omxh264dec", "avdec_h264"), "omxh264dec"),
        (("avdec_h264", "omxh265dec"), "avdec_h264"),
        (("avdec_h265",), None),
    ],
)
def test_the_decoder_is_the_platforms(there, decoder):
    assert pipelines.find_decoder("h264", there.__contains__) == decoder


def test_an_appsink_is_added_once():
    assert pipelines.with_sink("videotestsrc") == "videotestsrc ! " + SINK
    assert pipelines.with_sink("videotestsrc ! ") == "videotestsrc ! " + SINK
    assert pipelines.with_sink("videotestsrc ! appsink") == "videotestsrc ! appsink"
    in_order = pipelines.with_sink("filesrc location=a.avi ! decodebin")
    assert in_order.endswith(" ! videoconvert ! video/x-raw,format=BGR ! appsink max-buffers=4 sync=false")


# ---- what is opened, in which order


class Cv2:
    """What `attempts` asks of OpenCV."""

    CAP_GSTREAMER, CAP_V4L2 = 1800, 200
    CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS, CAP_PROP_FOURCC = 3, 4, 5, 6

    def __init__(self, gstreamer):
        self.gstreamer = gstreamer

    def getBuildInformation(self):
        return "  Video I/O:\n    FFMPEG:    YES\n    GStreamer:                   {}\n".format(self.gstreamer)

    @staticmethod
    def VideoWriter_fourcc(*letters):
        return sum(ord(letter) << (8 * place) for place, letter in enumerate(letters))


WITH, WITHOUT = Cv2("YES (1.14.5)"), Cv2("NO")


def tried(cv2, word, there=()):
    return [(one.arguments, one.settings) for one in attempts(cv2, parse(word), there.__contains__)]


def test_a_usb_camera_is_opened_by_gstreamer_and_else_by_its_number():
    size = [(3, 640.0), (4, 480.0)]
    pipeline = pipelines.usb("/dev/video1", 640, 480)
    assert tried(WITH, "usb://1", ("v4l2src",)) == [((pipeline, 1800), []), ((1, 200), size)]
    assert tried(WITH, "usb://1") == [((1, 200), size)]
    assert tried(WITHOUT, "usb://1") == [((1, 200), size)]
    settings = [(6, float(0x47504A4D)), (3, 800.0), (4, 600.0), (5, 15.0)]
    assert tried(WITHOUT, "usb://0?width=800&height=600&fps=15&format=mjpg") == [((0, 200), settings)]


def test_a_network_camera_is_tried_in_both_codecs_and_by_opencv_itself():
    word = "rtsp://host/x"
    found = [arguments[0] for arguments, _ in tried(WITH, word, ("rtspsrc", "avdec_h264", "nvv4l2decoder"))]
    both = [pipelines.rtsp(word, "h264", "nvv4l2decoder"), pipelines.rtsp(word, "h265", "nvv4l2decoder")]
    assert found == both + [word]
    for there in ((), ("rtspsrc",), ("nvv4l2decoder",)):
        assert [arguments for arguments, _ in tried(WITH, word, there)] == [(word,)]
    assert [arguments for arguments, _ in tried(WITHOUT, word, ("avdec_h264",))] == [(word,)]


def test_what_only_gstreamer_opens():
    argus = ("nvarguscamerasrc",)
    assert tried(WITH, "csi://0", argus) == [((pipelines.csi(0, 1280, 720), 1800), [])]
    assert tried(WITH, "csi://1?width=640&height=480&flip=2&fps=60", argus) == [
        ((pipelines.csi(1, 640, 480, 60, 2), 1800), [])
    ]
    assert tried(WITH, "gst://videotestsrc") == [((pipelines.with_sink("videotestsrc"), 1800), [])]
    with pytest.raises(MissingDependency) as caught:
        tried(WITH, "csi://0")
    assert str(caught.value) == (
        "error: GStreamer has no nvarguscamerasrc, which comes with JetPack\n"
        "hint: csi:// is the camera of a Jetson; others are usb://0 or rtsp://HOST/PATH"
    )
    hint = "on a Jetson, pip uninstall opencv-python uncovers the OpenCV that has it; elsewhere take the system's"
    for word, what in (("csi://0", "the camera of a Jetson"), ("gst://videotestsrc", "a pipeline")):
        with pytest.raises(MissingDependency) as caught:
            tried(WITHOUT, word)
        text = "error: {} needs an OpenCV with GStreamer, this one has none\nhint: {}".format(what, hint)
        assert str(caught.value) == text
