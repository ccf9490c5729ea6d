"""What varies images in training: the cfg's keys, boxes that follow pixels, and Darknet's own functions as judges."""

import colorsys
import ctypes

import numpy as np
import pytest

import need
from small_nets import cfg, conv, parse, section

cv2 = need.opencv()
need.torch()  # numpy.random.Generator: training is for machines with torch

from darkprune.data.labels import Truth  # noqa: E402
from darkprune.detect.preprocess import prepare  # noqa: E402
from darkprune.errors import CfgError, UsageError  # noqa: E402
from darkprune.graph.build import build  # noqa: E402
from darkprune.train import pixels  # noqa: E402
from darkprune.train.augment import Augmentation, Colour, Crop, Margins, letterbox, unused  # noqa: E402
from darkprune.train.pixels import Picture, Region  # noqa: E402


def net(*heads, **keys):
    return build(parse(cfg(*([conv(24, 1)] + list(heads or [yolo()])), **keys)))


def yolo(**more):
    return section("yolo", classes=3, num=3, mask="0,1,2", anchors="4,4,8,8,12,12", **more)


def generator(seed=0):
    return np.random.default_rng(seed)


def smooth(rows, columns, channels=3, seed=0):
    noise = generator(seed).integers(0, 256, (rows // 8 + 1, columns // 8 + 1, channels), np.uint8)
    return cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_CUBIC).reshape(rows, columns, channels)


def test_defaults_are_darknets():
    expected = Augmentation(0.2, 1.0, 0.0, False, 0.0, 0.5, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 2.0)
    assert Augmentation.of(net()) == expected
    plain = parse(cfg(conv(4), section("avgpool"), section("softmax")))
    assert Augmentation.of(build(plain)).jitter == 0


def test_keys_are_read_from_net_and_from_the_last_head():
    heads = [yolo(jitter=0.1), conv(24, 1), yolo(jitter=0.3, resize=1.5)]
    keys = dict(mosaic=1, letter_box=1, flip=0, hue=0.1, saturation=0.75, exposure=1.5, angle=7, aspect=0.75)
    found = Augmentation.of(net(*heads, min_crop=8, max_crop=24, **keys))
    assert found == Augmentation(0.3, 1.5, 0.5, True, 0.0, 0.0, 0.1, 0.75, 1.5, 7.0, 0.75, 0.5, 1.5)
    assert Augmentation.of(net(*heads), jitter=0, visible=0.2)[:5] == (0, 1.5, 0.0, False, 0.2)


@pytest.mark.parametrize(
    "head, keys, said",
    [
        (
            {"jitter": 1.5},
            {},
            "{}:17: error: jitter=1.5 means nothing\n   17 | jitter=1.5\n{}\nhint: jitter is a share of "
            "the image, 0 or more and below 1",
        ),
        (
            {},
            {"saturation": 0},
            "{}:5: error: saturation=0 means nothing\n    5 | saturation=0\n{}\nhint: saturation is a factor above 0",
        ),
        ({}, {"hue": "nan"}, "{}:5: error: hue=nan means nothing\n    5 | hue=nan\n{}\nhint: hue is 0 to 360"),
        (
            {},
            {"min_crop": 64},
            "{}:5: error: min_crop=64 means nothing\n    5 | min_crop=64\n{}\nhint: min_crop is at most max_crop",
        ),
    ],
)
def test_values_that_mean_nothing(head, keys, said):
    with pytest.raises(CfgError) as caught:
        Augmentation.of(net(yolo(**head), **keys))
    lines = str(caught.value).split("\n")
    marks = next(line for line in lines if "^" in line)
    assert lines == said.format(lines[0].split(":")[0], marks).split("\n")


def test_overrides_that_mean_nothing():
    with pytest.raises(UsageError) as caught:
        Augmentation.of(net(), exposure=0)
    assert str(caught.value) == "error: augmentation exposure=0\nhint: exposure is a factor above 0"
    with pytest.raises(UsageError) as caught:
        Augmentation.of(net(), sharpen=1)
    names = ", ".join(Augmentation._fields)
    assert str(caught.value) == "error: sharpen is no augmentation\nhint: there are " + names


def test_what_has_no_effect_is_told():
    told = [n.message for n in unused(net(mixup=1, angle=7, mosaic=1, aspect=1, blur=0), detector=True)]
    assert told == [
        "angle=7 has no effect: Darknet varies no detector by it",
        "mixup=1 has no effect: it is not built in",
    ]
    assert [n.message for n in unused(net(cutmix=1), detector=False)] == [
        "cutmix=1 has no effect: images of several classes are not built in"
    ]


def test_margins_have_darknets_range():
    drawn = np.array(
        [Augmentation.none()._replace(jitter=0.1, resize=1.5).margins(generator(n))[:4] for n in range(800)]
    )
    assert -0.35 <= drawn.min() < -0.31 and 0.22 < drawn.max() <= 1 / 6 + 0.1
    smaller = [Augmentation.none()._replace(resize=0.5).margins(generator(n))[:4] for n in range(400)]
    assert -0.5 <= np.min(smaller) < -0.48 and -0.02 < np.max(smaller) <= 0
    wild = [Augmentation.none()._replace(jitter=0.99).margins(generator(n)) for n in range(400)]
    assert all(m.left + m.right < 1 and m.top + m.bottom < 1 for m in wild)
    assert any(m[:4] == (0, 0, 0, 0) for m in wild)


@pytest.mark.parametrize("most", [1.5, 0.5])
def test_colours_have_darknets_range(most):
    varied = Augmentation.none()._replace(hue=0.1, saturation=most, exposure=most)
    drawn = np.array([varied.colour(generator(n)) for n in range(600)])
    widest = max(most, 1 / most)
    for factors in drawn[:, 1:].T:
        assert 1 / widest <= factors.min() < 1.05 / widest and 0.95 * widest < factors.max() <= widest
        assert 0.4 < (factors > 1).mean() < 0.6
    assert abs(drawn[:, 0]).max() <= 0.1 and abs(drawn[:, 0].mean()) < 0.01
    assert Augmentation.none().colour(generator()) == (0, 1, 1)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "left, top, right, bottom", [(0, 0, 0, 0), (16, 8, -32, 24), (-16, -24, -8, -40), (64, 0, 32, 40)]
)
def test_pixels_are_those_of_crop_and_resize(left, top, right, bottom, flip):
    """AlexeyAB's image_data_augmentation, in the same operations of OpenCV: cut or fill up, resize, mirror."""
    image, fill = smooth(160, 192), (10, 200, 90)
    grown = cv2.copyMakeBorder(image, 100, 100, 100, 100, cv2.BORDER_CONSTANT, value=fill)
    cut = grown[100 + top : 260 - bottom, 100 + left : 292 - right]
    expected = cv2.resize(cut, (64, 96))
    margins = Margins(left / 192, top / 160, right / 192, bottom / 160, flip)
    if flip:
        expected, margins = expected[:, ::-1], margins._replace(left=right / 192, right=left / 192)
    placement = pixels.stretched(margins, 64, 96)
    found = pixels.draw(Picture(image, fill, None), placement, Region(0, 0, 64, 96))
    difference = np.abs(found.astype(int) - expected)
    assert difference[2:-2, 2:-2].max() <= 6 and difference.mean() < 0.7  # OpenCV's warp has 32 steps between pixels
    part = pixels.draw(Picture(image, fill, None), placement, Region(5, 30, 40, 90))
    assert np.abs(part.astype(int) - found[30:90, 5:40]).max() <= 4


@pytest.mark.parametrize("rows, columns", [(50, 100), (100, 50), (64, 64)])
def test_letterbox_is_that_of_detection(rows, columns):
    image = smooth(rows, columns)
    expected = prepare(image, 48, 48, letterbox=True)[0]
    margins = letterbox(Margins(0, 0, 0, 0, False), columns / rows)
    found = pixels.draw(Picture(image, (127.5,) * 3, None), pixels.stretched(margins, 48, 48), Region(0, 0, 48, 48))
    filled = (expected == 0.5).all(axis=0)
    assert np.abs(found[filled].astype(int) - 127).max(initial=0) <= 1
    difference = np.abs(found.transpose(2, 0, 1) - 255 * expected)
    assert np.median(difference) < 4  # that one lays corners on corners


class Label(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int)] + [(name, ctypes.c_float) for name in "x y w h left right top bottom".split()]


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_are_darknets(flip):
    library = ctypes.CDLL(str(need.libdarknet()))
    call = library.correct_boxes
    call.argtypes = [ctypes.POINTER(Label), ctypes.c_int] + [ctypes.c_float] * 4 + [ctypes.c_int]
    for seed in range(20):
        rng = generator(seed)
        given = np.concatenate([rng.uniform(0.05, 0.95, (12, 2)), rng.uniform(0.01, 0.4, (12, 2))], axis=1)
        left, top, right, bottom = rng.uniform(-0.3, 0.3, 4)
        labels = (Label * 12)()
        for label, number, (x, y, w, h) in zip(labels, range(12), given):
            edges = (x - w / 2, x + w / 2, y - h / 2, y + h / 2)
            for name, value in zip("id x y w h left right top bottom".split(), (number, x, y, w, h) + edges):
                setattr(label, name, value)
        across, down = 1 - left - right, 1 - top - bottom
        call(labels, 12, left / across, top / down, 1 / across, 1 / down, int(flip))
        kept = [b for b in labels if b.w >= 1 / 64 and b.h >= 1 / 64]
        # Darknet cuts first and mirrors then
        margins = Margins(right, top, left, bottom, True) if flip else Margins(left, top, right, bottom, False)
        placement, whole = pixels.stretched(margins, 64, 64), Region(0, 0, 64, 64)
        found = pixels.truth_of([pixels.boxes(Truth(np.arange(12), given), placement, whole)], 64, 64)
        assert found.classes.tolist() == [b.id for b in kept]
        np.testing.assert_allclose(found.boxes, [(b.x, b.y, b.w, b.h) for b in kept], atol=1e-5)


def test_objects_of_which_little_is_left_go_on_demand():
    truth = Truth(np.arange(2), np.array([[0.0, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]]))
    placement, whole = pixels.stretched(Margins(0, 0, 0, 0, False), 100, 100), Region(0, 0, 100, 100)
    assert pixels.boxes(truth, placement, whole, 0.49)[0].tolist() == [0, 1]
    assert pixels.boxes(truth, placement, whole, 0.51)[0].tolist() == [1]


def test_images_without_objects():
    nothing = Truth(np.zeros(0, np.int64), np.zeros((0, 4)))
    placement = pixels.stretched(Margins(0, 0, 0, 0, True), 8, 8)
    found = pixels.truth_of([pixels.boxes(nothing, placement, Region(0, 0, 8, 8), 0.5)], 8, 8)
    assert found.classes.shape == (0,) and found.boxes.shape == (0, 4)


class Image(ctypes.Structure):
    _fields_ = [("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int), ("data", ctypes.c_void_p)]


def as_image(array):
    """(Image, its planes, which must be kept) of uint8 pixels."""
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), np.float32) / np.float32(255)
    return Image(array.shape[1], array.shape[0], array.shape[2], planes.ctypes.data), planes


@pytest.mark.parametrize("angle, aspect, scale", [(0, 1, 1), (0.3, 1, 0.7), (-0.2, 1.4, 1.2), (0.1, 0.7, 0.5)])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_of_classifiers_are_darknets(angle, aspect, scale, flip):
    library = ctypes.CDLL(str(need.libdarknet()))
    call = library.rotate_crop_image
    numbers = [ctypes.c_float] * 2, [ctypes.c_int] * 2, [ctypes.c_float] * 3
    call.argtypes, call.restype = [Image] + sum(numbers, []), Image
    image, dx, dy = smooth(70, 90), 3.0, -5.0
    source, _planes = as_image(image)
    # Darknet counts from pixels' corners, and OpenCV from their middles: half a pixel of both images
    turn = np.array([[np.cos(angle) * aspect, -np.sin(angle)], [np.sin(angle) * aspect, np.cos(angle)]]) / scale
    more = 0.5 - np.linalg.solve(turn, [0.5, 0.5])
    result = call(source, angle, scale, 32, 32, dx + more[0], dy + more[1], aspect)
    expected = np.ctypeslib.as_array(ctypes.cast(result.data, ctypes.POINTER(ctypes.c_float)), (3, 32, 32)).copy()
    crop = Crop(scale, aspect, angle, dx, dy, flip)
    found = pixels.draw_crop(image, crop, 32, 32, 32)
    found = found[:, ::-1] if flip else found
    difference = np.abs(found.transpose(2, 0, 1) - 255 * expected)
    assert difference.mean() < 1 and np.percentile(difference, 99) < 6
    if scale >= 0.7:  # rows of the result lie between two of the square
        wide = pixels.draw_crop(image, crop._replace(flip=False), 32, 32, 16)
        halved = expected.reshape(3, 16, 2, 32).mean(axis=2) * 255
        assert np.abs(wide.transpose(2, 0, 1) - halved).mean() < 2


def test_crops_stay_in_the_image_where_it_is_large_enough():
    varied = Augmentation.none()._replace(min_crop=1.0, max_crop=2.0)
    image = np.full((60, 90, 3), 255, np.uint8)
    for seed in range(50):
        crop = varied.crop(generator(seed), 90, 60, 32)
        assert 32 <= crop.scale * 60 <= 64
        assert pixels.draw_crop(image, crop, 32, 32, 32).min() == 255


def test_colours_change_as_in_hsv():
    image = smooth(32, 32, seed=4)
    found = pixels.recolour(image, Colour(0.2, 1.3, 0.8)) / 255.0
    expected = np.empty(image.shape)
    for spot in np.ndindex(32, 32):
        h, s, v = colorsys.rgb_to_hsv(*(image[spot] / 255.0))
        expected[spot] = colorsys.hsv_to_rgb((h + 0.2) % 1, min(1, s * 1.3), min(1, v * 0.8))
    assert np.abs(found - expected).max() < 0.03 and np.abs(found - expected).mean() < 0.006
    assert pixels.recolour(image, Colour(0.0, 1.0, 1.0)) is image
    assert (pixels.recolour(image[:, :, :1], Colour(0.3, 2.0, 0.5)) == np.rint(image[:, :, :1] * 0.5)).all()


def test_colours_are_darknets():
    library = ctypes.CDLL(str(need.libdarknet()))
    call = library.distort_image
    call.argtypes = [Image, ctypes.c_float, ctypes.c_float, ctypes.c_float]
    for colour in (Colour(-0.1, 0.7, 1.4), Colour(0.08, 1.5, 0.7)):
        image = smooth(24, 24, seed=7)
        source, planes = as_image(image)
        call(source, *colour)
        found = pixels.recolour(image, colour).transpose(2, 0, 1) / 255.0
        brightest = image.max(axis=2) / 255.0
        saturation = 1 - image.min(axis=2) / 255.0 / brightest
        within = (brightest * colour.exposure < 1) & (
            saturation * colour.saturation < 1
        )  # that one cuts the RGB instead
        difference = np.abs(found - planes)[:, within]
        assert within.mean() > 0.2 and difference.mean() < 0.008 and difference.max() < 0.04
