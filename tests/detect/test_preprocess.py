"""Images as a net takes them, against the functions of the real Darknet, and files that are no images."""

import ctypes
import struct
import zlib

import numpy as np
import pytest

import need
from darkprune.detect.image_file import MOST_PIXELS, declared_size, read_image
from darkprune.detect.preprocess import grey, load_image, prepare
from darkprune.errors import UsageError

SIZES = [(37, 53, 32, 16), (200, 150, 416, 416), (5, 7, 64, 96), (64, 96, 64, 96), (300, 20, 32, 64), (2, 2, 33, 31)]


class Image(ctypes.Structure):
    _fields_ = [("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int), ("data", ctypes.c_void_p)]


def darknet(function, pixels, width, height):
    """What a function of libdarknet makes of an image: float32 [C, height, width]."""
    library = ctypes.CDLL(str(need.libdarknet()))
    call = getattr(library, function)
    call.argtypes, call.restype = [Image, ctypes.c_int, ctypes.c_int], Image
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / np.float32(255)
    c, h, w = planes.shape
    result = call(Image(w, h, c, planes.ctypes.data), width, height)
    values = ctypes.cast(result.data, ctypes.POINTER(ctypes.c_float))
    found = np.ctypeslib.as_array(values, (c, result.h, result.w)).copy()
    library.free_image.argtypes, library.free_image.restype = [Image], None
    library.free_image(result)
    return found


def picture(width, height, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("columns, rows, width, height", SIZES)
@pytest.mark.parametrize("function", ["resize_image", "letterbox_image"])
def test_values_are_darknets(function, columns, rows, width, height):
    pixels = picture(columns, rows)
    expected = darknet(function, pixels, width, height)
    found, _ = prepare(pixels, width, height, letterbox=function == "letterbox_image")
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("columns, rows, width, height", SIZES)
def test_boxes_come_back_from_a_letterbox(columns, rows, width, height):
    pixels = np.zeros((rows, columns, 3), np.uint8)
    pixels[rows // 2 :, columns // 2 :] = 255  # a white box in the lower right quarter
    values, fit = prepare(pixels, width, height, letterbox=True)
    ys, xs = np.nonzero((values[0] > 0.5) & (values[0] != 0.5))
    low, high = np.array([xs.min(), ys.min()]), np.array([xs.max() + 1, ys.max() + 1])
    box = np.concatenate([(low + high) / 2, high - low]) / (width, height, width, height)
    left, top, w, h = fit.pixels(box[None])[0]
    pixel = max(columns / width, rows / height, 1) * 2
    assert abs(left - columns // 2) <= pixel and abs(top - rows // 2) <= pixel
    assert abs(left + w - columns) <= pixel and abs(top + h - rows) <= pixel


def test_a_stretched_image_needs_no_correction():
    _, fit = prepare(picture(30, 20), 64, 64)
    np.testing.assert_allclose(fit.pixels(np.array([[0.5, 0.5, 1.0, 0.5]])), [[0, 5, 30, 10]])


def test_one_pixel_becomes_a_plain_map():
    values, _ = prepare(np.full((1, 1, 3), 51, np.uint8), 8, 6)
    np.testing.assert_allclose(values, 0.2, rtol=1e-6)
    values, _ = prepare(picture(9, 7), 1, 1)
    assert values.shape == (3, 1, 1) and np.isfinite(values).all()


def test_a_strip_is_still_seen_in_a_letterbox():
    values, fit = prepare(np.full((1, 1000, 3), 255, np.uint8), 32, 32, letterbox=True)
    assert (values[0] == 1).sum() == 32 and fit.down == 1 / 32


def test_grey_is_that_of_stb_image():
    pixels = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [7, 7, 7]]], np.uint8)
    assert grey(pixels)[0, :, 0].tolist() == [255, 76, 149, 28, 7]
    assert prepare(pixels, 5, 1, channels=1)[0].shape == (1, 1, 5)


def test_a_net_of_four_channels_takes_no_image():
    with pytest.raises(UsageError) as caught:
        prepare(picture(4, 4), 8, 8, channels=4)
    assert str(caught.value) == (
        "error: the net takes 4 channels, an image has 1 or 3\nhint: channels in [net] says what the net was made for"
    )


# ---- files


def png(width, height, data=b""):
    """A PNG of black pixels that declares a size; `data` replaces its compressed rows."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) & 0xFFFFFFFF)

    rows = data or zlib.compress((b"\0" + b"\0\0\0" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
@pytest.mark.parametrize("mono", [False, True])
def test_files_are_read_as_rgb_and_their_size_is_known_beforehand(tmp_path, suffix, mono):
    cv2 = need.opencv()
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:, :20] = (250, 250, 250) if mono else (250, 10, 30)
    path = tmp_path / ("a." + suffix)
    cv2.imwrite(str(path), pixels[:, :, 0] if mono else pixels[:, :, ::-1])
    assert declared_size(path.read_bytes()) == (40, 24)
    found = read_image(str(path))
    assert found.dtype == np.uint8 and found.shape == (24, 40, 3) and found.flags.c_contiguous
    assert np.abs(found.astype(int) - pixels).mean() < 5
    assert load_image(str(path), 16, 16, 1).shape == (1, 1, 16, 16)


def test_the_size_in_a_progressive_jpeg_behind_other_segments():
    cv2 = need.opencv()
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    data = cv2.imencode(".jpg", picture(70, 30), flags)[1].tobytes()
    comment = b"\xff\xfe\x00\x06\xff\xc0\x00\x00"  # holds what looks like a frame header
    assert declared_size(data[:2] + comment + data[2:]) == (70, 30)
    for stop in range(len(data)):
        assert declared_size(data[:stop]) in (None, (70, 30))


def test_any_bytes_have_a_size_or_none():
    cv2 = need.opencv()
    random = np.random.RandomState(2)
    files = [cv2.imencode(suffix, picture(9, 7))[1] for suffix in (".jpg", ".png", ".bmp")]
    for number in range(600):
        data = files[number % 3].reshape(-1)[: random.randint(1, 60)].copy()
        data[2 + random.randint(max(1, len(data) - 2)) :][: random.randint(6)] = random.randint(256)
        size = declared_size(data.tobytes())
        assert size is None or len(size) == 2 and min(size) >= 0


def test_orientation_in_exif_turns_nothing(tmp_path):
    cv2 = need.opencv()
    data = cv2.imencode(".jpg", picture(40, 24))[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: a quarter turn
    segment = b"Exif\0\0" + tiff
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    assert read_image(str(tmp_path / "a.jpg")).shape == (24, 40, 3)


HUGE = "a.png: error: the image has 100000 x 100000 pixels, more than {}\nhint: scale the image down"
HUGE = HUGE.format(MOST_PIXELS)
FORMATS = "\nhint: give a JPEG, PNG or BMP file"


@pytest.mark.parametrize(
    "data, text",
    [
        (None, "a.png: error: cannot read the image: No such file or directory\nhint: check the path"),
        (b"", "a.png: error: cannot read the image: the file is empty" + FORMATS),
        (b"[net]\nwidth=416\n", "a.png: error: cannot read the image" + FORMATS),
        (png(4, 4)[:30], "a.png: error: cannot read the image" + FORMATS),
        (png(100000, 100000, b"x"), HUGE),
    ],
)
def test_files_that_are_no_images(tmp_path, monkeypatch, capfd, data, text):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    if data is not None:
        (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_image("a.png")
    assert str(caught.value) == text


def test_a_folder_is_no_image(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError) as caught:
        read_image("a")
    assert str(caught.value) == "a: error: cannot read the image: Is a directory\nhint: check the path"


def test_an_endless_file_is_not_read_to_its_end(monkeypatch):
    need.opencv()
    monkeypatch.setattr("darkprune.detect.image_file.MOST_BYTES", 1000)
    with pytest.raises(UsageError) as caught:
        read_image("/dev/zero")
    assert str(caught.value) == "/dev/zero: error: the image file has more than 1000 bytes\nhint: scale the image down"
