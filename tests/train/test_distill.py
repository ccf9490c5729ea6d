"""Distillation: what the terms are, that a student learns by them, and teachers that do not match."""

import numpy as np
import pytest

import need
from darkprune.data.labels import Truth
from darkprune.errors import PlanError, UsageError
from darkprune.graph.build import build
from darkprune.prune.pipeline import prune
from darkprune.train.random_weights import start
from small_nets import HEAD, cfg, conv, detector, parse, section, shortcut
from small_nets import net as written

torch = need.torch()

from darkprune.backends.torch_module import NetModule  # noqa: E402
from darkprune.train.distill import DEFAULTS, Distillation  # noqa: E402
from darkprune.train.examples import Batch  # noqa: E402
from darkprune.train.losses import losses_of  # noqa: E402
from darkprune.train.settings import Settings  # noqa: E402
from darkprune.train.step import Stepper  # noqa: E402

YOLO = {"anchors": "4,5, 6,9, 12,8", "mask": "0,1,2", "num": 3, "classes": 2}
CELLS = {"anchors": "1,1, 2,3", "num": 2, "classes": 2, "coords": 4}
HEADS = {
    "yolo": (21, section("yolo", **YOLO)),
    "scaled yolo": (21, section("yolo", scale_x_y=1.2, **YOLO)),
    "new_coords": (21, section("yolo", new_coords=1, **YOLO)),
    "gaussian": (33, section("Gaussian_yolo", **YOLO)),
    "region": (14, section("region", softmax=1, **CELLS)),
    "region, raw classes": (14, section("region", **CELLS)),
    "classifier": (7, section("avgpool") + section("softmax")),
}


def made(text, seed=1):
    return start(build(parse(text)), seed)


def ended(name, **size):
    channels, head = HEADS[name]
    last = conv(channels, 1, "logistic" if name == "new_coords" else "linear", bn=None)
    return cfg(conv(8, stride=2), last, head, **size)


def outputs(nets, distillation, batch):
    layers = distillation.student_layers, distillation.teacher_layers
    return [NetModule(net).eval()(batch, chosen) for net, chosen in zip(nets, layers)]


def images(net, count=3, seed=2):
    torch.manual_seed(seed)
    return torch.rand(count, net.input.shape.c, net.input.shape.h, net.input.shape.w)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_nothing_is_to_be_learnt_from_oneself(name):
    nets = [made(ended(name), seed) for seed in (1, 2)]
    distillation = Distillation(*nets)
    raw, known = outputs(nets, distillation, images(nets[0]))
    apart = distillation(raw, known, [], (16, 16))
    assert all(value > 0 for value in apart.parts.values())
    assert float(apart.total.detach()) == pytest.approx(sum(apart.parts.values()), rel=1e-5)
    own = {index: values.detach().requires_grad_() for index, values in raw.items()}
    found = distillation(own, {index: values.detach() for index, values in raw.items()}, [], (16, 16))
    assert abs(float(found.total.detach())) < 1e-4
    found.total.backward()
    assert all(float(values.grad.abs().max()) < 1e-5 for values in own.values())


def log(x):
    return np.log(np.maximum(x, 1e-300))


def bernoulli(p, q):
    """Divergence of q from p."""
    return p * (log(p) - log(q)) + (1 - p) * (log(1 - p) - log(1 - q))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_terms_of_a_detector_by_their_definition():
    nets = [made(ended("scaled yolo"), seed) for seed in (1, 2)]
    distillation = Distillation(*nets, options=DEFAULTS._replace(temperature=3.0, boxes=0.5, weight=2.0))
    torch.manual_seed(4)
    raw = [torch.randn(2, 21, 3, 4, dtype=torch.float64) * 2 for _ in nets]
    found = distillation({2: raw[0]}, {2: raw[1]}, [], (16, 16)).parts
    mine, theirs = [values.float().double().numpy().reshape(2, 3, 7, 3, 4) for values in raw]
    sure = sigmoid(theirs[:, :, 4])
    boxes = 0.5 * (1.2 * (sigmoid(mine[:, :, :2]) - sigmoid(theirs[:, :, :2]))) ** 2
    boxes = boxes.sum(2) + 0.5 * ((mine[:, :, 2:4] - theirs[:, :, 2:4]) ** 2).sum(2)
    classes = 9 * bernoulli(sigmoid(theirs[:, :, 5:] / 3), sigmoid(mine[:, :, 5:] / 3)).sum(2)
    wanted = {
        "distill_objectness": 2 * bernoulli(sure, sigmoid(mine[:, :, 4])).sum(),
        "distill_boxes": 2 * 0.5 * (sure * boxes).sum(),
        "distill_classes": 2 * (sure * classes).sum(),
    }
    assert found == pytest.approx(wanted, rel=1e-4)


def test_the_classes_of_classifiers_and_regions_are_distributions():
    for name, index in (("classifier", 2), ("region", 2)):
        net = made(ended(name))
        distillation = Distillation(net, net, options=DEFAULTS._replace(temperature=2.0))
        torch.manual_seed(4)
        shape = (2, 7, 1, 1) if name == "classifier" else (2, 14, 2, 2)
        mine, theirs = torch.randn(shape), torch.randn(shape)
        found = distillation({index: mine}, {index: theirs}, [], (16, 16)).parts["distill_classes"]
        a, b = mine.double().numpy(), theirs.double().numpy()
        sure = np.ones(2)
        if name == "region":
            a, b = a.reshape(2, 2, 7, 4), b.reshape(2, 2, 7, 4)
            sure = sigmoid(b[:, :, 4])
            a, b = a[:, :, 5:].transpose(0, 1, 3, 2), b[:, :, 5:].transpose(0, 1, 3, 2)
        else:
            a, b = a.reshape(2, 7), b.reshape(2, 7)
        p, q = [np.exp(x / 2) / np.exp(x / 2).sum(-1, keepdims=True) for x in (b, a)]
        assert found == pytest.approx(4 * (sure * (p * np.log(p / q)).sum(-1)).sum(), rel=1e-4)


def test_a_student_learns_from_its_teacher_alone(tmp_path):
    text = detector(classes=2)
    teacher, student = written(tmp_path, text, dead=0), made(text, 5)
    distillation = Distillation(student, teacher)
    batch = images(teacher, 4)
    with torch.no_grad():
        known = NetModule(teacher).eval()(batch, distillation.teacher_layers)
    module = NetModule(student).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.002, momentum=0.9)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        found = distillation(module(batch, distillation.student_layers), known, [], (32, 32))
        (found.total / len(batch)).backward()
        optimizer.step()
        history.append(found.parts)
    for name, first in history[0].items():
        assert history[-1][name] < 0.2 * first, name


def test_a_step_adds_what_the_teacher_says_of_a_net_with_fewer_layers(tmp_path):
    block = conv(8, 1) + conv(8) + shortcut(-3)
    text = cfg(conv(8, stride=2), block + block, conv(21, 1, "linear", bn=None), HEADS["yolo"][1], width=32, height=32)
    teacher = written(tmp_path, text, dead=0)
    pruned = prune(teacher, channels=0.3, blocks=1, force=True)
    distillation = Distillation(pruned.net, teacher, hints=[0], plan=pruned.plan)
    assert distillation.student_layers == [0, 5] and distillation.teacher_layers == [0, 8]
    settings = Settings.of(teacher, batch=2, max_batches=9)
    random = np.random.RandomState(1)
    truths = [Truth(np.array([1]), np.array([[0.5, 0.4, 0.2, 0.3]])), Truth(np.zeros(0, np.int64), np.zeros((0, 4)))]
    parts = [Batch(random.randint(0, 256, (2, 32, 32, 3)).astype(np.uint8), truths)]
    losses = []
    for known in (None, teacher):
        module, own = NetModule(pruned.net), None if known is None else NetModule(known)
        stepper = Stepper(module, losses_of(pruned.net), settings, teacher=own, distillation=known and distillation)
        losses.append(stepper.step(parts, 0.001, str))
    added = sorted(set(losses[1]) - set(losses[0]))
    assert added == ["distill_boxes", "distill_classes", "distill_hints", "distill_objectness"]
    assert losses[1]["loss"] - losses[0]["loss"] == pytest.approx(sum(losses[1][name] for name in added), rel=1e-4)
    before, after = teacher.layers[0].array("weights"), own.layers[0].weights
    np.testing.assert_array_equal(before, after.numpy())  # a teacher does not learn


# ---- hints

RESIDUAL = cfg(
    conv(8), conv(8), conv(8), shortcut(-3), conv(8), conv(8), shortcut(-3), conv(12, 3, "relu"), conv(8, 1), HEAD
) + section("softmax")


def test_hints_follow_the_channels_that_survived(tmp_path):
    teacher = written(tmp_path, RESIDUAL, dead=0.5)
    pruned = prune(teacher, channels=0.4)
    numbers = [2, 3, 7]
    distillation = Distillation(pruned.net, teacher, hints=numbers, plan=pruned.plan)
    assert distillation.teacher_layers == [2, 3, 7, 9] and distillation.student_layers == [2, 3, 7, 9]
    batch = images(teacher)
    raw, known = outputs([pruned.net, teacher], distillation, batch)
    assert any(raw[index].shape[1] < known[index].shape[1] for index in numbers)
    found = distillation(raw, known, [], (16, 16))
    assert found.parts["distill_hints"] < 1e-8  # exact: what survived computes what it did
    shuffled = {index: raw[7].flip(1) if index == 7 else values for index, values in raw.items()}
    assert distillation(shuffled, known, [], (16, 16)).parts["distill_hints"] > 0.1


def test_hints_across_removed_blocks(tmp_path):
    teacher = written(tmp_path, RESIDUAL, dead=0)
    pruned = prune(teacher, blocks=1, force=True)
    (entry,) = pruned.plan.removed_blocks
    later = 7
    distillation = Distillation(pruned.net, teacher, hints=[0, later], plan=pruned.plan)
    assert distillation.student_layers == [0, 4, 6] and distillation.teacher_layers == [0, 7, 9]
    raw, known = outputs([pruned.net, teacher], distillation, images(teacher))
    assert distillation(raw, known, [], (16, 16)).parts["distill_hints"] > 0
    with pytest.raises(UsageError) as caught:
        Distillation(pruned.net, teacher, hints=[entry["shortcut"]], plan=pruned.plan)
    assert "error: layer {} of the teacher is not in the student".format(entry["shortcut"]) in str(caught.value)
    assert caught.value.hint == "choose a layer that both have, with maps of the same size"


def test_a_plan_for_another_net_gives_no_hints(tmp_path):
    teacher = written(tmp_path, RESIDUAL, dead=0.5)
    pruned = prune(teacher, channels=0.4)
    with pytest.raises(PlanError) as caught:
        Distillation(pruned.net, start(teacher, 3), hints=[3], plan=pruned.plan)
    assert "the plan was made for another pair" in str(caught.value)
    Distillation(pruned.net, start(teacher, 3), plan=pruned.plan)  # nobody asks it


def test_hints_without_a_plan_compare_where_maps_are_active():
    wide, narrow = made(RESIDUAL, 1), made(RESIDUAL.replace("filters=12", "filters=5"), 2)
    distillation = Distillation(narrow, wide, hints=[7])
    raw, known = outputs([narrow, wide], distillation, images(wide))
    assert raw[7].shape[1] == 5 and known[7].shape[1] == 12
    maps = [each[7].detach().double().square().mean(1).flatten(1).numpy() for each in (raw, known)]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in maps]
    found = distillation(raw, known, [], (16, 16)).parts["distill_hints"]
    assert found == pytest.approx(((unit[0] - unit[1]) ** 2).sum(), rel=1e-4) and found > 0
    same = {index: known[7] * 3 if index == 7 else values for index, values in raw.items()}
    assert distillation(same, known, [], (16, 16)).parts["distill_hints"] < 1e-8


# ---- teachers that do not match

MARK = "    1 | [net]\n      | ^^^^^\n"
SAME = "hint: a teacher has the same heads, such as the net before pruning"


@pytest.mark.parametrize(
    "student, teacher, text",
    [
        (
            ended("yolo"),
            ended("yolo", width=32),
            "net.cfg:1: error: the teacher's input is 32 x 16 x 3, the student's 16 x 16 x 3\n"
            + MARK
            + "hint: give both the same size (darkprune edit --width --height)",
        ),
        (
            ended("yolo"),
            cfg(conv(4)),
            "net.cfg:1: error: the teacher has no head to learn from\n"
            + MARK
            + "hint: use a net that ends in [yolo], [region] or [softmax]",
        ),
        (
            ended("yolo"),
            ended("yolo") + section("route", layers=-3) + conv(21, 1, "linear", bn=None) + HEADS["yolo"][1],
            "net.cfg:1: error: the teacher has 2 heads, the student 1\n" + MARK + SAME,
        ),
        (
            ended("yolo"),
            ended("yolo").replace("filters=21", "filters=24").replace("classes=2", "classes=3"),
            "layer 2 of the teacher cannot teach layer 2 of the student: it has 3 classes, the student 2",
        ),
        (ended("yolo"), ended("yolo").replace("12,8", "12,9"), "student: its anchors are others"),
        (ended("yolo"), ended("scaled yolo"), "student: its stretch is 1.2, the student's 1.0"),
        (ended("yolo"), ended("classifier"), "student: one is [softmax], the other [yolo]"),
        (
            ended("classifier"),
            ended("classifier").replace("filters=7", "filters=9"),
            "student: it has 9 classes, the student 7",
        ),
    ],
)
def test_teachers_that_do_not_match(student, teacher, text):
    with pytest.raises(UsageError) as caught:
        Distillation(made(student), made(teacher))
    assert text in str(caught.value)


def test_bad_options():
    net = made(ended("yolo"))
    for name, value in (("temperature", 0.0), ("weight", -1.0), ("boxes", float("inf"))):
        with pytest.raises(UsageError) as caught:
            Distillation(net, net, options=DEFAULTS._replace(**{name: value}))
        wanted = "error: {} of a distillation cannot be {}\nhint: use a number such as 1".format(name, value)
        assert str(caught.value) == wanted
    with pytest.raises(UsageError) as caught:
        Distillation(net, net, hints=[9])
    assert str(caught.value) == (
        "net.cfg:1: error: no layer 9 can give hints: the teacher has 0 to 2\n"
        + MARK
        + "hint: name layers of the teacher"
    )
