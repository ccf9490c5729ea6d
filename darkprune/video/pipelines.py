"""GStreamer pipelines that end in frames for OpenCV: BGR at an appsink. Pure functions of what is asked for.

A Jetson's camera and decoders leave frames in NVMM, the memory of its video engines, as NV12; nvvidconv brings them to
the processor as BGRx, and videoconvert to the BGR that OpenCV takes. (NVIDIA Accelerated GStreamer User Guide.)
"""

from typing import Callable, Dict, Optional, Tuple

# One buffer, the old one dropped: the newest frame, however slow the reader is. sync=false: now, not by its time stamp.
SINK = "appsink drop=true max-buffers=1 sync=false"
_SENSOR = (1920, 1080)
_TO_BGR = "videoconvert ! video/x-raw,format=BGR"
_FROM_NVMM = "nvvidconv ! video/x-raw,format=BGRx"

# Decoders by codec, the best first, each with what follows it: a Jetson's (two generations), then the processor's.
_DECODERS: Dict[str, Tuple[Tuple[str, str], ...]] = {
    codec: (
        ("nvv4l2decoder", _FROM_NVMM + " ! "),
        ("omx{}dec".format(codec), _FROM_NVMM + " ! "),
        ("avdec_" + codec, ""),
    )
    for codec in ("h264", "h265")
}
CODECS = tuple(sorted(_DECODERS))


def csi(sensor: int, width: int, height: int, fps: int = 30, flip: int = 0) -> str:
    """A camera on a Jetson's CSI connector, whose sensor delivers 1920 x 1080 at that rate.

    Args:
        width, height: of the frames. flip: nvvidconv's flip-method.
    """
    caps = "video/x-raw(memory:NVMM),width={},height={},format=NV12,framerate={}/1".format(*_SENSOR + (fps,))
    scaled = "video/x-raw,width={},height={},format=BGRx".format(width, height)
    parts = ["nvarguscamerasrc sensor-id={}".format(sensor), caps, "nvvidconv flip-method={}".format(flip), scaled]
    return " ! ".join(parts + [_TO_BGR, SINK])


def usb(device: str, width: int, height: int, fps: Optional[int] = None, mjpg: bool = False) -> str:
    """A camera of Video4Linux; `mjpg`: it compresses, which USB 2 needs for large frames at full rate."""
    caps = "width={},height={}".format(width, height) + (",framerate={}/1".format(fps) if fps else "")
    source = ["v4l2src device=" + device, ("image/jpeg," if mjpg else "video/x-raw,") + caps]
    return " ! ".join(source + (["jpegdec"] if mjpg else []) + [_TO_BGR, SINK])


def rtsp(address: str, codec: str, decoder: str, latency: int = 200) -> str:
    """A network camera.

    Args:
        codec: h264 or h265. decoder: of `find_decoder`. latency: milliseconds of its buffer.
    """
    after = dict(_DECODERS[codec])[decoder]
    quoted = address.replace("\\", "\\\\").replace('"', '\\"')
    source = 'rtspsrc location="{}" latency={} ! rtp{}depay ! {}parse'.format(quoted, latency, codec, codec)
    return "{} ! {} ! {}{} ! {}".format(source, decoder, after, _TO_BGR, SINK)


def find_decoder(codec: str, has: Callable[[str], bool]) -> Optional[str]:
    """The best decoder that GStreamer has, or None.

    Args: has: whether GStreamer has an element.
    """
    return next((name for name, _ in _DECODERS[codec] if has(name)), None)


def with_sink(pipeline: str) -> str:
    """The user's own pipeline; without an appsink, one that takes BGR is put behind it."""
    return pipeline if "appsink" in pipeline else "{} ! {} ! {}".format(pipeline.rstrip(" !"), _TO_BGR, _sink(pipeline))


def _sink(pipeline: str) -> str:
    return "appsink max-buffers=4 sync=false" if "filesrc" in pipeline else SINK  # of a file, every frame counts
