"""Batches: boxes that follow the pixels, the same images however they are made, and what goes wrong on the way."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import need
from small_nets import cfg, conv, parse, section

cv2 = need.opencv()
need.torch()

from darkprune.data.data_set import ClassificationSet, DetectionSet  # noqa: E402
from darkprune.data.labels import Truth  # noqa: E402
from darkprune.errors import DarkpruneError, TrainingError, UsageError  # noqa: E402
from darkprune.graph.build import build  # noqa: E402
from darkprune.train import image_cache  # noqa: E402
from darkprune.train.augment import Augmentation  # noqa: E402
from darkprune.train.examples import meeting, outwards  # noqa: E402
from darkprune.train.image_cache import ImageCache  # noqa: E402
from darkprune.train.loader import Loader  # noqa: E402
from darkprune.train.pixels import stretched  # noqa: E402

PLAIN = Augmentation.none()
VARIED = PLAIN._replace(jitter=0.2, resize=1.3, mosaic=0.5, flip=0.5, hue=0.1, saturation=1.5, exposure=1.5)
COLOURS = [colour for colour in itertools.product((0, 255), repeat=3)][1:7]  # pure: nothing varies their hue here
GREY = 127


def net(**keys):
    head = section("yolo", classes=6, num=3, mask="0,1,2", anchors="4,4,8,8,12,12")
    return build(parse(cfg(conv(33, 1), head, **dict({"width": 96, "height": 64}, **keys))))


def size(step):
    return 96, 64


def write(path, pixels):
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])
    return str(path)


@pytest.fixture(scope="module")
def rectangles(tmp_path_factory):
    """Grey images with 1 to 3 rectangles each in the colour of their class; image n has class n alone."""
    folder, rng = tmp_path_factory.mktemp("rectangles"), np.random.RandomState(1)
    paths, truths = [], []
    for number, colour in enumerate(COLOURS):
        rows, columns = rng.randint(90, 160, 2)
        pixels, found = np.full((rows, columns, 3), GREY, np.uint8), []
        for _ in range(rng.randint(1, 4)):
            w, h = rng.randint(columns // 6, columns // 2), rng.randint(rows // 6, rows // 2)
            x, y = rng.randint(0, columns - w), rng.randint(0, rows - h)
            pixels[y : y + h, x : x + w] = colour
            found.append([(x + w / 2) / columns, (y + h / 2) / rows, w / columns, h / rows])
        paths.append(write(folder / "{}.png".format(number), pixels))
        truths.append(Truth(np.full(len(found), number), np.array(found)))
    return DetectionSet(paths, truths, list("abcdef"))


def loader(data_set, augmentation=VARIED, batch=4, parts=1, workers=0, seed=3, sizes=size, **more):
    given = more.pop("net", None) or net()
    return Loader(given, data_set, augmentation, batch, parts, seed, workers, sizes, **more)


def masks(image, truth, number):
    """Where the image shows the colour of a class, and where the boxes of that class are."""
    far = np.abs(image.astype(int) - COLOURS[number]).max(axis=2)
    expected = np.zeros(image.shape[:2], np.uint8)
    for x, y, w, h in truth.boxes[truth.classes == number] * ([image.shape[1], image.shape[0]] * 2):
        left, top, right, bottom = (int(round(edge)) for edge in (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        expected[top:bottom, left:right] = 1
    return (far < 60).astype(np.uint8), expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flip": 1.0},
        {"jitter": 0.3, "flip": 0.5},
        {"resize": 1.5, "letter_box": True},
        {"mosaic": 1.0},
        {"mosaic": 1.0, "jitter": 0.3, "resize": 1.5, "flip": 0.5},
        {"mosaic": 1.0, "letter_box": True, "flip": 0.5},
    ],
    ids=str,
)
def test_boxes_lie_where_the_objects_are(rectangles, changes):
    square = np.ones((3, 3), np.uint8)
    seen = 0
    for parts in loader(rectangles, PLAIN._replace(**changes), batch=6).steps(0, 8):
        for image, truth in zip(*parts[0]):
            for number in range(len(COLOURS)):
                found, expected = masks(image, truth, number)
                inside = cv2.erode(expected, square, borderValue=1)
                assert not (inside & ~found & 1).any()  # in a box, but for its edge, all is the object
                outside = cv2.dilate(expected, square)
                left_over = cv2.morphologyEx(found & ~outside & 1, cv2.MORPH_OPEN, square)
                assert not left_over.any()  # slivers below a pixel have no box
                seen += int((truth.classes == number).sum())
    assert seen > 40


@pytest.mark.parametrize("right, bottom", list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("seed", range(4))
def test_images_of_a_mosaic_meet_where_they_end(seed, right, bottom):
    """What lies around them is out of sight there; what was cut off stays so."""
    margins = PLAIN._replace(jitter=0.3).margins(np.random.default_rng(seed))
    moved = outwards(margins, right, bottom)
    assert (moved.right if right else moved.left, moved.bottom if bottom else moved.top) == (0, 0)
    assert moved.left + moved.right == pytest.approx(margins.left + margins.right)
    assert moved.top + moved.bottom == pytest.approx(margins.top + margins.bottom)
    for each in (margins, moved):
        placed = meeting(stretched(each, 90, 60), (90, 60), (40, 20), right, bottom)
        assert placed[:2] == stretched(each, 90, 60)[:2]
        across = max(0.0, each.left) if right else 1 - max(0.0, each.right)
        down = max(0.0, each.top) if bottom else 1 - max(0.0, each.bottom)
        assert placed.left + across * placed.width == pytest.approx(40)
        assert placed.top + down * placed.height == pytest.approx(20)


def test_each_image_once_an_epoch_in_another_order(rectangles):
    found = []
    for parts in loader(rectangles, PLAIN, batch=4).steps(0, 6):  # 4 epochs of 6 images
        found += [truth.classes[0] for truth in parts[0].targets]
    epochs = np.reshape(found, (4, 6))
    assert (np.sort(epochs) == np.arange(6)).all()
    assert len(set(map(tuple, epochs.tolist()))) == 4


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x.images, y.images)
            for mine, yours in zip(x.targets, y.targets):
                assert isinstance(mine.boxes, np.ndarray) and mine.boxes.dtype == np.float64
                np.testing.assert_array_equal(mine.classes, yours.classes)
                np.testing.assert_array_equal(mine.boxes, yours.boxes)


def test_batches_are_the_same_however_they_are_made(rectangles):
    def sizes(step):
        return 32 * (1 + step % 3), 64

    alone = list(loader(rectangles, batch=8, parts=2, sizes=sizes).steps(0, 6))
    assert [parts[0].images.shape for parts in alone[:3]] == [(4, 64, 32, 3), (4, 64, 64, 3), (4, 64, 96, 3)]
    assert alone[0][0].images.dtype == np.uint8
    with_workers = loader(rectangles, batch=8, parts=2, sizes=sizes, workers=2)
    try:
        same(list(with_workers.steps(0, 6)), alone)
        next(with_workers.steps(0, 6))  # given up in the middle
        same(list(with_workers.steps(3, 6)), alone[3:])
    finally:
        with_workers.close()
    same(list(loader(rectangles, batch=8, parts=2, sizes=sizes, cache=0).steps(3, 6)), alone[3:])
    other = loader(rectangles, batch=8, parts=2, sizes=sizes, seed=4)
    assert any((a[0].images != b[0].images).any() for a, b in zip(alone, other.steps(0, 6)))


def test_processes_see_together_what_one_sees(rectangles):
    alone = list(loader(rectangles, batch=8, parts=4).steps(2, 5))
    shares = [list(loader(rectangles, batch=8, parts=2, rank=rank, world=2).steps(2, 5)) for rank in (0, 1)]
    same([[a, b, c, d] for (a, c), (b, d) in zip(*shares)], alone)


def test_grey_nets_see_grey(rectangles):
    found = next(loader(rectangles, net=net(channels=1)).steps(0, 1))[0]
    assert found.images.shape == (4, 64, 96, 1) and found.images.std() > 10


def test_classifiers_get_classes(rectangles):
    data_set = ClassificationSet(rectangles.images, [5, 4, 3, 2, 1, 0], list("abcdef"))
    classifier = build(parse(cfg(conv(6), section("avgpool"), section("softmax"), width=24, height=24)))
    chosen = PLAIN._replace(max_crop=1.5, flip=0.5, angle=7.0, aspect=0.75)
    batch = next(loader(data_set, chosen, batch=6, sizes=lambda step: (24, 24), net=classifier).steps(0, 1))[0]
    assert batch.images.shape == (6, 24, 24, 3) and batch.targets.dtype == np.int64
    assert sorted(batch.targets.tolist()) == [0, 1, 2, 3, 4, 5]
    for image, index in zip(batch.images, batch.targets):
        colour = COLOURS[5 - index]
        distances = np.abs(image.reshape(-1, 3).astype(int)[:, None] - np.array(COLOURS)).max(axis=2)
        assert (distances.argmin(axis=1)[distances.min(axis=1) < 20] == COLOURS.index(colour)).all()


def test_images_are_decoded_once_and_no_more_is_kept_than_allowed(rectangles, monkeypatch):
    read = []
    monkeypatch.setattr(image_cache, "read_image", lambda path, f=image_cache.read_image: read.append(path) or f(path))
    shapes = [cv2.imread(path).size for path in rectangles.images]
    cache = ImageCache(rectangles.images, 3, (96, 64), 1 << 20)
    assert cache.bytes == sum(shapes)
    for number in [0, 1, 0, 1, 0]:
        pixels, mean = cache[number]
        np.testing.assert_array_equal(pixels[:, :, ::-1], cv2.imread(rectangles.images[number]))
        np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1)))
    assert read == rectangles.images[:2]
    small = ImageCache(rectangles.images, 3, (96, 64), shapes[0] + 10)
    assert small.bytes == shapes[0]
    assert small[1][0].shape == small[1][0].shape and read == rectangles.images[:2] + [rectangles.images[1]] * 2


def test_what_a_worker_decoded_all_can_use(rectangles):
    made = loader(rectangles, workers=1)
    list(made.steps(0, 3))
    made.close()
    assert made.cache.decoded() == 6


def test_images_much_larger_than_needed_are_halved(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (64 * 12 + 1, 96 * 15, 3)).astype(np.uint8)
    cache = ImageCache([write(tmp_path / "a.png", pixels)], 3, (96, 64), 1 << 24)
    blocks = pixels[:768].reshape(384, 2, 720, 2, 3).mean(axis=(1, 3))
    halved = blocks[:384, :720]
    assert cache[0][0].shape == (384 // 2, 360, 3)  # 6 times as large still: halved again
    twice = halved.reshape(192, 2, 360, 2, 3).mean(axis=(1, 3))
    assert np.abs(cache[0][0] - twice).max() <= 1
    assert ImageCache(cache.paths, 3, (96, 129), 1 << 24)[0][0].shape == pixels.shape


def test_images_too_long_for_a_warp_are_named(tmp_path):
    path = write(tmp_path / "a.png", np.zeros((2, 33000, 3), np.uint8))
    with pytest.raises(UsageError) as caught:
        ImageCache([path], 3, (96, 64), 0)[0]
    assert str(caught.value) == (
        "{}: error: the image has 33000 x 2 pixels, more than 32766 a side\nhint: cut the image, or scale it down"
    ).format(path)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_are_named(rectangles, tmp_path, workers):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    data_set = DetectionSet([str(bad)], rectangles.truths[:1], rectangles.names)
    made = loader(data_set, workers=workers)
    with pytest.raises(UsageError) as caught:
        next(made.steps(0, 1))
    made.close()
    assert str(caught.value) == "{}: error: cannot read the image\nhint: give a JPEG, PNG or BMP file".format(bad)


def test_a_killed_worker_is_told(rectangles):
    before = signal.getsignal(signal.SIGCHLD)
    others = multiprocessing.active_children()
    made = loader(rectangles, workers=1)
    steps = made.steps(0, 10000)
    next(steps)
    assert signal.getsignal(signal.SIGCHLD) == before  # nothing is raised in the middle of a step
    (worker,) = [child for child in multiprocessing.active_children() if child not in others]
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(TrainingError) as caught:
        list(steps)
    text = str(caught.value)
    assert text.startswith("error: a process that prepares images ended: DataLoader worker (pid")
    assert text.endswith(
        "\nhint: it may have run out of memory, or of shared memory (/dev/shm): take fewer workers, or none"
    )
    assert len(next(made.steps(0, 1))[0].images) == 4  # with new workers
    made.close()


CHILD = """
import sys, time
sys.path[:0] = {path!r}
import test_loader
made = test_loader.loader(test_loader.DetectionSet({images!r}, [test_loader.Truth({empty}, {empty}.reshape(-1, 4))] * 6,
    ["a"]), workers=2)
for step, _ in enumerate(made.steps(0, 100000)):
    if step == 3:
        print("ready", flush=True)
    time.sleep(0.002)
"""


def _heed():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_no_tracebacks_of_workers(rectangles):
    empty = "test_loader.np.zeros(0, int)"
    paths = [str(need.ROOT), str(need.ROOT / "tests"), str(need.ROOT / "tests" / "train")]
    code = CHILD.format(path=paths, images=rectangles.images, empty=empty)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # where the tests are a job in the background, Ctrl-C is ignored, and would be there too
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, preexec_fn=_heed, **pipes)
    assert child.stdout.readline() == b"ready\n"
    os.killpg(child.pid, signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert told.count(b"Traceback") == 1 and told.rstrip().endswith(b"KeyboardInterrupt")
    assert b"worker" not in told.lower().replace(b"workers.py", b"")
    with pytest.raises(OSError):  # nobody is left
        os.killpg(child.pid, 0)


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"parts": 3},
            "a batch of 4 images cannot be cut into 3 parts\nhint: batch is a multiple of subdivisions, and of "
            "the processes that share it",
        ),
        (
            {"parts": 2, "world": 4},
            "a batch of 4 images cannot be cut into 8 parts\nhint: batch is a multiple of "
            "subdivisions, and of the processes that share it",
        ),
        (
            {"batch": 0},
            "a batch of 0 images cannot be cut into 1 parts\nhint: batch is a multiple of subdivisions, and of "
            "the processes that share it",
        ),
        ({"workers": -1}, "-1 workers\nhint: give 0 or more; 0 where the system cannot fork"),
    ],
)
def test_what_cannot_be(rectangles, changes, said):
    with pytest.raises(UsageError) as caught:
        loader(rectangles, **changes)
    assert str(caught.value) == "error: " + said


def test_nothing_to_train_on():
    with pytest.raises(UsageError) as caught:
        loader(DetectionSet([], [], ["a"]))
    assert str(caught.value) == "error: there are no images to train on\nhint: check train= in the .data file"
    with pytest.raises(DarkpruneError) as caught:
        loader(DetectionSet(["a.png"], [], ["a"]), net=build(parse(cfg(conv(4), channels=4))))
    assert "the net takes 4 channels, an image has 1 or 3" in str(caught.value)


def test_keys_without_effect_are_noted(rectangles):
    made = loader(rectangles, net=net(mixup=1))
    assert [notice.message for notice in made.notices] == ["mixup=1 has no effect: it is not built in"]
