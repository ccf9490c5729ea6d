"""The slope of the training loss at the maps of layers: what first-order criteria look at.

The net is run as it stands, with its running statistics and without augmentation; the losses are those it is trained
with (darkprune.train.losses). Imports torch and OpenCV.
"""

from typing import Any, Dict, Iterator, Sequence, Tuple

import numpy as np
import torch

from darkprune.backends.torch_module import NetModule
from darkprune.detect.preprocess import require_image_input
from darkprune.errors import UsageError
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.train.augment import Augmentation
from darkprune.train.examples import Batch, Examples, Spot
from darkprune.train.image_cache import ImageCache
from darkprune.train.losses import losses_of
from darkprune.train.step import as_tensor

AT_ONCE = 8  # images
CACHED = 1 << 26  # bytes of decoded images

Found = Tuple[Dict[int, np.ndarray], Dict[int, np.ndarray]]


def map_gradients(
    net: Net, data_set: Any, layers: Sequence[int], device: str = "cpu", at_once: int = AT_ONCE
) -> Iterator[Found]:
    """(maps, slopes) of some images at a time: float32 [n,C,h,w] by layer index, the slope that of each image's loss.

    Args:
        net: with values, and heads that can be trained. data_set: DetectionSet or ClassificationSet, with labels.

    Raises UsageError for a data set without images, and what `losses_of` raises.
    """
    require_image_input(net)
    if not data_set.images:
        raise UsageError("there are no images to take gradients of", hint="check train= in the .data file")
    module = NetModule(net).eval().requires_grad_(False).to(device)
    losses = losses_of(net)
    shape, count = net.input.shape, len(data_set.images)
    unchanged = Augmentation.none()._replace(letter_box=Augmentation.of(net).letter_box)
    cache = ImageCache(data_set.images, shape.c, (shape.w, shape.h), CACHED)
    examples = Examples(cache, data_set, unchanged, count, 0)
    for start in range(0, count, at_once):
        spots = [Spot(0, number, shape.w, shape.h) for number in range(start, min(count, start + at_once))]
        yield gradients_of(module, losses, examples(spots), layers)


def gradients_of(module: NetModule, losses: Dict[int, Any], batch: Batch, layers: Sequence[int]) -> Found:
    """(maps, slopes) of one batch, by layer index. A layer that no loss depends on has slopes of 0."""
    device = next(module.parameters()).device
    images = as_tensor(batch.images, device).requires_grad_(True)
    maps: Dict[int, torch.Tensor] = {}

    def keep(layer: Layer, y: torch.Tensor) -> torch.Tensor:
        if layer.index in wanted:
            maps[layer.index] = y
        return y

    wanted = set(layers)
    raw = module(images, set(losses) | wanted, keep)
    size = (images.shape[3], images.shape[2])
    total = torch.stack([loss(raw[index], batch.targets, size).total for index, loss in losses.items()]).sum()
    slopes = torch.autograd.grad(total, [maps[index] for index in layers], allow_unused=True)
    found = {index: maps[index].detach().cpu().numpy() for index in layers}
    there = {index: slope for index, slope in zip(layers, slopes) if slope is not None}
    steep = {i: there[i].cpu().numpy() if i in there else np.zeros_like(found[i]) for i in layers}
    return found, steep
