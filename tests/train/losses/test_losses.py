"""What a loss is beside its deltas: a number that falls along its gradient, options that count, and clear refusals."""

import numpy as np
import pytest

import head_training
import need
from darkprune.data.labels import Truth
from darkprune.errors import DarkpruneError
from darkprune.graph.build import build
from head_training import YOLO, case, truths
from small_nets import cfg, conv, parse, section

torch = need.torch()

from darkprune.backends.torch_module import NetModule  # noqa: E402
from darkprune.train.losses import losses_of  # noqa: E402
from darkprune.train.losses.iou import overlap  # noqa: E402

# cases whose deltas are a gradient, per dialect
SMOOTH = [
    ("yolo", "pjreddie"),
    ("yolo", "alexeyab"),
    ("region", "pjreddie"),
    ("region", "alexeyab"),
    ("region, first images", "pjreddie"),
    ("region, first images", "alexeyab"),
    ("detection", "pjreddie"),
    ("softmax", "pjreddie"),
    ("logistic, cost", "pjreddie"),
    ("label_smooth_eps", "alexeyab"),
    ("new_coords", "alexeyab"),
    ("iou", "alexeyab"),
    ("giou", "alexeyab"),
    ("diou", "alexeyab"),
]


def loss_of(name, folder, dialect, **options):
    """(loss, raw values float64, targets, size) of a case."""
    net, raw, targets, _ = case(name, folder, dialect)
    (loss,) = losses_of(net, **options).values()
    loss.seen = head_training.ALL[name].seen
    return loss, torch.tensor(raw, dtype=torch.float64), targets, (net.input.shape.w, net.input.shape.h)


@pytest.mark.parametrize("name, dialect", SMOOTH)
def test_the_gradient_is_that_of_the_number(tmp_path, name, dialect):
    loss, raw, targets, size = loss_of(name, tmp_path, dialect, box_gradient="loss")
    along = torch.from_numpy(np.random.RandomState(5).randn(*raw.shape))
    leaf = raw.clone().requires_grad_(True)
    loss(leaf, targets, size).total.backward()
    if name == "logistic, cost":  # Darknet hands the delta of [cost] on as if [logistic] were not there
        loss.chain = loss.chain[:1]
        leaf.grad = None
        loss(leaf, targets, size).total.backward()
    up, down = (float(loss(raw + step * along, targets, size).total) for step in (1e-6, -1e-6))
    slope = float((leaf.grad * along).sum())
    assert abs(slope - (up - down) / 2e-6) < 1e-5 * abs(slope)


@pytest.mark.parametrize("kind, gradient", [("giou", "darknet"), ("ciou", "darknet"), ("ciou", "loss")])
def test_boxes_learn_to_cover_their_objects(tmp_path, kind, gradient):
    options = dict(YOLO, iou_loss=kind, iou_normalizer=0.07 if gradient == "darknet" else 0.75, ignore_thresh=0.7)
    net = head_training.net(tmp_path, section("yolo", **options), 16, 2, (4, 4), "alexeyab")
    (loss,) = losses_of(net, gradient).values()
    targets = truths(3, (3, 2), 3)
    raw = torch.zeros((2, 16, 4, 4), requires_grad=True)
    found = []
    for step in range(80):
        result = loss(raw, targets, (32, 32))
        raw.grad = None
        result.total.backward()
        raw.data -= 0.3 * (1 - step / 80) * raw.grad
        found.append(result.parts)
    assert found[0]["objects"] == found[-1]["objects"] == found[-1]["recall75"] == 4
    assert found[-1]["iou"] > 0.9 * 4 > 4 * found[0]["iou"]
    assert found[-1]["objectness"] < 0.2 * found[0]["objectness"]


def test_overlaps_of_boxes_are_the_published_ones():
    one, other = torch.tensor([[0.5, 0.5, 0.4, 0.4]]), torch.tensor([[0.7, 0.5, 0.4, 0.2]])
    iou = 0.04 / 0.2
    expected = {
        "iou": iou,
        "giou": iou - (0.6 * 0.4 - 0.2) / (0.6 * 0.4),
        "diou": iou - 0.2**2 / (0.6**2 + 0.4**2),
    }
    aspect = 4 / np.pi**2 * (np.arctan(2) - np.arctan(1)) ** 2
    expected["ciou"] = expected["diou"] - aspect**2 / (1 - iou + aspect)
    for kind, value in expected.items():
        assert abs(float(overlap(kind, one, other)) - value) < 1e-5


def test_a_map_of_classes_a_limit_and_objects_to_leave_out(tmp_path):
    (tmp_path / "two.map").write_text("2\n0\n")
    options = dict(YOLO, max=2, map=str(tmp_path / "two.map"))
    (loss,) = losses_of(head_training.net(tmp_path, section("yolo", **options), 16, 1)).values()
    size, raw = (32, 24), torch.zeros((1, 16, 3, 4))
    boxes = [[0.4, 0.5, 0.12, 0.4], [0.7, 0.5, 0.12, 0.4], [0.1, 0.5, 0.12, 0.4]]  # as the anchor 4,9

    def objects(kinds, chosen):
        return loss(raw, [Truth(np.array(kinds, np.int64), np.array(chosen).reshape(-1, 4))], size).parts["objects"]

    assert objects([0, 1, 0], boxes) == 2  # the third is beyond max
    assert objects([0, 1], [boxes[0], [0.7, 0.5, 0.12, 0.0]]) == 1  # without area
    assert objects([], []) == 0
    assert objects([0, 1], [[1.0, 1.0, 0.12, 0.4], boxes[0]]) == 2  # a point on the edge counts for the last cell
    raw.requires_grad_(True)
    loss(raw, [Truth(np.array([1]), np.array(boxes[:1]))], size).total.backward()
    delta = -raw.grad[0].reshape(2, 8, 12)[:, 5:].sum(dim=(0, 2))
    assert delta.tolist() == [0.5, -0.5, -0.5]  # class 1 of the labels is class 0 of the head
    with pytest.raises(DarkpruneError) as caught:
        objects([2], boxes[:1])
    assert str(caught.value) == (
        "error: an object has class 2, but the head knows 0 to 1\n"
        "hint: train on data of the net's classes, or give the net those of the data (darkprune edit)"
    )


@pytest.mark.parametrize("name", ["yolo", "region", "detection"])
def test_the_order_in_memory_is_of_no_matter(tmp_path, name):
    loss, raw, targets, size = loss_of(name, tmp_path, "alexeyab")
    found = []
    for memory in (torch.contiguous_format, torch.channels_last):
        leaf = raw.clone(memory_format=memory).requires_grad_(True)
        loss(leaf, targets, size).total.backward()
        found.append(leaf.grad.numpy())
    np.testing.assert_array_equal(found[0], found[1])


def test_a_nan_is_no_loss():
    net = build(parse(cfg(conv(16, 1, "linear", bn=None), section("yolo", **YOLO), width=4, height=4)))
    (loss,) = losses_of(net).values()
    raw = torch.full((1, 16, 4, 4), float("nan"))
    assert torch.isnan(loss(raw, truths(1, (2,), 3), (4, 4)).total)


def test_a_classifier_learns_from_the_values_before_its_softmax():
    text = cfg(
        conv(5, 1, "linear", bn=None), section("avgpool"), section("softmax"), section("cost"), label_smooth_eps=0.1
    )
    net = build(parse(text))
    ((index, loss),) = losses_of(net).items()
    assert index == 1
    raw = torch.zeros((2, 5, 1, 1), requires_grad=True)
    loss(raw, np.array([0, 4]), (16, 16)).total.backward()
    wanted = np.full((2, 5), 0.1 / 4)
    wanted[[0, 1], [0, 4]] = 0.9
    np.testing.assert_allclose(-raw.grad.numpy()[:, :, 0, 0], 2 * (wanted - 0.2), atol=1e-6)  # softmax and cost alike
    with pytest.raises(DarkpruneError) as caught:
        loss(raw, np.array([0, 5]), (16, 16))
    assert str(caught.value) == (
        "error: an image has class 5, but the net knows 0 to 4\n"
        "hint: train on data of the net's classes, or give the net those of the data (darkprune edit)"
    )


def test_the_layers_are_those_that_a_module_gives(tmp_path):
    for name in ("yolo", "softmax, cost", "logistic, cost"):
        net, raw, _, _ = case(name, tmp_path, "pjreddie")
        (index,) = losses_of(net)
        batch = torch.tensor(raw.repeat(8, axis=2).repeat(8, axis=3))
        found = NetModule(net).eval()(batch, [index])[index]
        np.testing.assert_allclose(found.detach().numpy(), raw, atol=1e-6)


REGION = dict(anchors="1,1", num=1, classes=3, coords=4)
REFUSED = [
    (section("contrastive"), 8, "[contrastive] cannot be trained", "[contrastive]", "train this net in Darknet"),
    (
        section("region", classfix=1, **REGION),
        8,
        "[region] cannot be trained with classfix=1",
        "classfix=1",
        "take it out, or use Darknet",
    ),
    (
        section("Gaussian_yolo", objectness_smooth=1, anchors="4,4", classes=3),
        12,
        "[Gaussian_yolo] cannot be trained with objectness_smooth=1",
        "objectness_smooth=1",
        "take it out, or use [yolo]",
    ),
    (
        section("detection", side=1, coords=4, classes=3, random=1),
        None,
        "[detection] cannot be trained with random=1",
        "random=1",
        "set random=0, or use Darknet",
    ),
    (
        section("softmax", tree="nine.tree"),
        8,
        "[softmax] cannot be trained with a tree of classes",
        "tree=nine.tree",
        "use Darknet",
    ),
    (
        section("softmax") + section("cost", ratio=0.1),
        8,
        "[cost] cannot be trained with ratio=0.1",
        "ratio=0.1",
        "take it out: Darknet heeds it on a GPU only",
    ),
    (
        section("maxpool"),
        8,
        "this net has nothing to train on",
        "[net]",
        "end it with [yolo], [region], [detection], [softmax] or [cost]",
    ),
    (
        section("yolo", counters_per_class="1,2", anchors="4,4", classes=3),
        8,
        "counters_per_class has 2 numbers for 3 classes",
        "counters_per_class=1,2",
        "write how many objects each class has",
    ),
    (
        section("yolo", map="none.map", anchors="4,4", classes=3),
        8,
        "the map of classes cannot be read: No such file or directory",
        "map=none.map",
        "give its path as Darknet finds it",
    ),
]


@pytest.mark.parametrize("head, channels, cause, text, hint", REFUSED)
def test_what_cannot_be_trained_is_refused(head, channels, cause, text, hint):
    before = section("connected", output=8) if channels is None else conv(channels, 1, "linear", bn=None)
    assert refusal(cfg(before, head)) == message(cfg(before, head), cause, text, hint)


def test_options_of_net_that_change_deltas_are_refused():
    text = cfg(conv(8, 1, "linear", bn=None), section("softmax"), equidistant_point=100)
    cause, hint = "[net] cannot be trained with equidistant_point=100", "take it out, or train this net in Darknet"
    assert refusal(text) == message(text, cause, "equidistant_point=100", hint)


def refusal(text):
    """What is said of a cfg whose net cannot be trained."""
    with pytest.raises(DarkpruneError) as caught:
        losses_of(build(parse(text)))
    return str(caught.value)


def message(text, cause, marked, hint):
    """The error that marks a line of a cfg."""
    line = text.split("\n").index(marked)
    key, equals, value = marked.partition("=")
    marks = " " * len(key + equals) + "^" * len(value) if equals else "^" * len(marked)
    rows = ["{:5d} | {}".format(line + 1, marked), "      | " + marks, "hint: " + hint]
    return "\n".join(["net.cfg:{}: error: {}".format(line + 1, cause)] + rows)
