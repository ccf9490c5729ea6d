"""A training put together from its parts: what `darkprune train` and `darkprune compress` both do."""

import hashlib
from typing import Any, Callable, Dict, NamedTuple, Optional

from darkprune.backends.model import NetModel
from darkprune.backends.torch_module import NetModule
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import ClassificationSet, DetectionSet, read_detection
from darkprune.data.problems import Problems
from darkprune.evaluate.classification import evaluate_classifier, read_data
from darkprune.evaluate.detector import check_classes, evaluate_detector
from darkprune.graph.key import pair_key
from darkprune.graph.net import Net
from darkprune.train.augment import Augmentation
from darkprune.train.keep_zeros import KeepZeros
from darkprune.train.layer_options import ignored
from darkprune.train.loader import Loader
from darkprune.train.loop import Run
from darkprune.train.losses import losses_of
from darkprune.train.schedule import input_size
from darkprune.train.settings import Settings, describe
from darkprune.train.step import Stepper

EVALUATED_AT_ONCE = 8  # images

Options = NamedTuple(
    "Options",
    [
        ("seed", int),  # of all that is left to chance
        ("workers", Optional[int]),  # processes that load images; None: as many as there is use for
        ("device", str),  # cpu, cuda...
        ("bfloat16", bool),  # convolutions with 8 bits of precision
        ("every", int),  # epochs between two evaluations; 0: only after the last step
        ("save_every", int),  # steps between two checkpoints
    ],
)
DEFAULTS = Options(0, None, "cpu", False, 10, 100)


def read_set(data: DataFile, split: str, net: Net, problems: Problems) -> Any:
    """The split's DetectionSet or ClassificationSet, as the net needs it. Raises UsageError, also where the classes of
    the data and of the net do not match."""
    if any(layer.op.detector for layer in net.layers):
        examples = read_detection(data, split, problems)
        check_classes(net, data, examples.names)
        return examples
    return read_data(data, split, net, problems)


def make_run(
    net: Net,
    settings: Settings,
    train: Any,
    valid: Any,
    prefix: str,
    options: Options = DEFAULTS,
    augmentation: Optional[Augmentation] = None,
    teacher: Optional[Net] = None,
    distillation: Any = None,
    sparsity: Optional[Callable[[Net, NetModule], Any]] = None,
    box_gradient: str = "darknet",
    group: Any = None,
    band: Optional[float] = None,
    about: Optional[Dict[str, Any]] = None,
    keep_zeros: bool = False,
) -> Run:
    """A training that is ready to start, or to `restore`.

    Args:
        net: with values; it is not changed. settings: how it is trained.
        train, valid: of `read_set`; without `valid` nothing is evaluated.
        prefix: of the files to write.
        augmentation: None takes what the cfg says.
        teacher, distillation: of darkprune.train.distill.
        sparsity: makes the penalty (darkprune.train.gamma_sparsity) of the net and its module.
        box_gradient: of iou_loss in [yolo] (darkprune.train.losses.yolo).
        group: the processes that train together (darkprune.train.distributed); None is this one alone.
        band: training ends where the accuracy has fallen by so much.
        about: what else tells this training from another one.
        keep_zeros: weights that are 0 stay 0 (darkprune.train.keep_zeros).

    Raises Unsupported for a net that cannot be trained.
    """
    shape = net.input.shape

    def sizes(step: int) -> Any:
        return input_size(settings, shape.w, shape.h, step, options.seed)

    module = NetModule(net)
    stepper = Stepper(
        module,
        losses_of(net, box_gradient),
        settings,
        options.device,
        options.bfloat16,
        teacher=NetModule(teacher) if teacher is not None else None,
        distillation=distillation,
        group=group,
    )
    if sparsity is not None:
        stepper.sparsity = sparsity(net, module)
    if keep_zeros:
        stepper.zeros = KeepZeros(module)
    chosen = Augmentation.of(net) if augmentation is None else augmentation
    rank, world = (0, 1) if group is None else (group.rank, group.world)
    parts = settings.subdivisions if group is None else group.parts(settings.subdivisions)
    loader = Loader(net, train, chosen, settings.batch, parts, options.seed, options.workers, sizes, rank, world)
    loader.notices += ignored(net)
    told: Dict[str, Any] = {"box gradient": box_gradient, "augmentation": str(chosen), "images": _digest(train)}
    told["teacher"] = pair_key(teacher) if teacher is not None else None
    told["keep zeros"] = True if keep_zeros else None
    told.update(_identity(net, settings, options), **(about or {}))
    return Run(
        stepper,
        net,
        loader,
        len(train.images),
        prefix,
        options.seed,
        None if valid is None else evaluation(valid, options.device),
        options.every,
        options.save_every,
        told,
        band,
    )


def _identity(net: Net, settings: Settings, options: Options) -> Dict[str, Any]:
    return {
        "net": pair_key(net),
        "settings": describe(settings),
        "seed": options.seed,
        "bfloat16": options.bfloat16,
    }


def evaluation(valid: Any, device: str = "cpu") -> Callable[[Net], Dict[str, float]]:
    """What measures a net on a data set: {"map": Darknet's map} of a detector, {"top1": ...} of a classifier."""

    def detector(net: Net) -> Dict[str, float]:
        model: Any = NetModel(net, device)
        result = evaluate_detector(model, valid, with_coco=False, batch=EVALUATED_AT_ONCE)
        return {"map": result.map.map}

    def classifier(net: Net) -> Dict[str, float]:
        model: Any = NetModel(net, device)
        return {"top1": evaluate_classifier(model, valid, batch=EVALUATED_AT_ONCE).top1}

    return detector if isinstance(valid, DetectionSet) else classifier


def _digest(examples: Any) -> str:
    """Tells two lists of images with labels apart."""
    found = hashlib.sha256()
    if isinstance(examples, ClassificationSet):
        found.update(repr(examples.classes).encode("ascii"))
    else:
        for truth in examples.truths:
            found.update(repr([truth.classes.tolist(), truth.boxes.tolist()]).encode("ascii"))
    return "{} images, {}".format(len(examples.images), found.hexdigest()[:16])
