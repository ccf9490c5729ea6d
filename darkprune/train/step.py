"""One step of training: images in, weights changed."""

import contextlib
import math
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from darkprune.backends.torch_module import NetModule
from darkprune.errors import TrainingError
from darkprune.train.layer_options import layer_options
from darkprune.train.optimizer import clip, freeze, make_optimizer, set_rate
from darkprune.train.settings import Settings

DIVERGED = "train with a smaller learning_rate, or a longer burn_in; the last checkpoint is still good"
MEANS = ("iou", "recall50", "recall75")


class Stepper:
    """A module under training, on its device.

    Args:
        module: a NetModule; it is moved to the device.
        losses: layer index -> loss of that head (darkprune.train.losses).
        settings: how it is trained.
        device: cpu, cuda...
        bfloat16: computes convolutions with 8 bits of precision; weights and losses stay float32.
        teacher: a NetModule of the same input size, to learn from.
        distillation: its darkprune.train.distill.Distillation, whose loss is added.
        group: the processes that train together (darkprune.train.distributed), where there are several.

    Attributes: sparsity (darkprune.train.gamma_sparsity), zeros (darkprune.train.keep_zeros): what else acts on the
        weights.
    """

    def __init__(
        self,
        module: NetModule,
        losses: Dict[int, Any],
        settings: Settings,
        device: str = "cpu",
        bfloat16: bool = False,
        teacher: Optional[NetModule] = None,
        distillation: Any = None,
        sparsity: Any = None,
        group: Any = None,
    ) -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).train()
        self.losses, self.settings, self.bfloat16 = losses, settings, bfloat16
        self.teacher, self.distillation, self.sparsity, self.group = teacher, distillation, sparsity, group
        self.zeros: Any = None
        if teacher is not None:
            _channels_last(teacher.to(self.device).eval().requires_grad_(False))
        _channels_last(self.module)
        self.options = layer_options(module.net, settings.burn_in)
        self.optimizer = make_optimizer(self.module, settings, self.options)
        self.freeze(0)

    def resize(self, width: int, height: int) -> None:
        """The input's size of the next steps."""
        for module in (self.module, self.teacher):
            if module is not None and (module.net.input.shape.w, module.net.input.shape.h) != (width, height):
                module.net.config.set("width", width)
                module.net.config.set("height", height)
                module.net.infer()

    def freeze(self, step: int) -> None:
        """Freezes the layers that the cfg does not let learn at this step, counted from 0, and no others."""
        freeze(self.module, self.options, step)

    def step(self, parts: List[Any], rate: float, where: Callable[[int], str]) -> Dict[str, float]:
        """Changes the weights by one step.

        Args:
            parts: Batches (darkprune.train.loader), together the step's images, or this process's share of them.
            rate: learning rate. where: names a part in messages, by its number.

        Returns the loss, a mean over the images, and its parts. Raises TrainingError where the loss is not finite; the
        weights are then as they were, but for running statistics.
        """
        self.optimizer.zero_grad(set_to_none=True)
        found: Dict[str, float] = {}
        for number, part in enumerate(parts):
            if self.group is not None:
                self.group.begin_part(self.module)
            loss, seen = self._loss(part)
            if not math.isfinite(seen["loss"]):
                raise TrainingError("the loss is {} in {}".format(seen["loss"], where(number)), hint=DIVERGED)
            if loss.requires_grad:  # not where all layers are frozen for now
                (loss / self.settings.batch).backward()
            for key, value in seen.items():
                found[key] = found.get(key, 0.0) + value / self.settings.batch
        if self.group is not None:
            self.group.reduce(self.module, found)
        if self.sparsity is not None:
            self.sparsity.add_gradient()
        for key in MEANS:  # of the objects, whose number stays a mean over the images
            if found.get("objects"):
                found[key] = found[key] / found["objects"]
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        clip(self.module, self.options)
        if self.sparsity is not None:
            self.sparsity.shrink(rate)
        if self.zeros is not None:
            self.zeros.hold()
        return found

    def _loss(self, part: Any) -> Tuple[Tensor, Dict[str, float]]:
        batch = as_tensor(part.images, self.device, self.bfloat16)
        size = (batch.shape[3], batch.shape[2])
        layers = set(self.losses)
        if self.teacher is not None:
            layers.update(self.distillation.student_layers)
        with self._precision():
            raw = self.module(batch, layers)
        raw = {index: head.float() for index, head in raw.items()}
        results = [loss(raw[index], part.targets, size) for index, loss in self.losses.items()]
        if self.teacher is not None:
            with self._precision(), torch.no_grad():
                known = self.teacher(batch, self.distillation.teacher_layers)
            known = {index: head.float() for index, head in known.items()}
            results.append(self.distillation(raw, known, part.targets, size))
        total = torch.stack([result.total for result in results]).sum()
        seen = {"loss": float(total.detach())}
        for result in results:
            for key, value in result.parts.items():
                seen[key] = seen.get(key, 0.0) + value
        return total, seen

    def _precision(self) -> Any:
        if not self.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def as_tensor(images: Any, device: torch.device, bfloat16: bool = False) -> Tensor:
    """uint8 [N,H,W,C] -> [N,C,H,W] of 0..1, channels last in memory."""
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    return batch.to(torch.bfloat16 if bfloat16 else torch.float32).div_(255)


def _channels_last(module: Any) -> None:
    for arrays in module.parameters():
        if arrays.ndim == 4:
            arrays.data = arrays.data.contiguous(memory_format=torch.channels_last)
