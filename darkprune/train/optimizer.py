"""The step that changes the weights: momentum or Adam, with Darknet's weight decay."""

from typing import Any, Dict, List, Tuple

import torch
from torch import nn

from darkprune.train.settings import Settings


def make_optimizer(module: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimizer that [net] asks for.

    With momentum it is Darknet's `update_convolutional_layer`: v = momentum * v + gradient + decay * w, w -= rate * v,
    of gradients that are means over the batch's images. Only weights decay: biases and batch norm do not. Adam's decay
    is apart from its gradients (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), as otherwise it
    would hardly do anything.
    """
    decayed: List[nn.Parameter] = []
    others: List[nn.Parameter] = []
    for name, values in module.named_parameters():
        (decayed if name.rpartition(".")[2] == "weights" else others).append(values)
    groups = [{"params": decayed, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settings.adam:
        betas = (settings.B1, settings.B2)
        return torch.optim.AdamW(groups, settings.learning_rate, betas=betas, eps=settings.eps)
    return torch.optim.SGD(groups, settings.learning_rate, momentum=settings.momentum)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> Dict[str, Any]:
    """What the optimizer remembers, as name of the parameter / name of the moment -> tensor."""
    found = {}
    for name, values in module.named_parameters():
        for moment, tensor in optimizer.state.get(values, {}).items():
            if tensor is not None:
                found["{}/{}".format(name, moment)] = tensor
    return found


def restore_moments(module: nn.Module, optimizer: torch.optim.Optimizer, arrays: Dict[str, Any]) -> None:
    """Gives the optimizer what `moments` took from another one of the same net."""
    parameters = dict(module.named_parameters())
    for key, array in arrays.items():
        name, moment = _split(key)
        values = parameters[name]
        tensor = torch.from_numpy(array)
        if tensor.ndim:
            tensor = tensor.to(values.device)
            tensor = torch.empty_like(values).copy_(tensor)  # in the memory format of its parameter
        optimizer.state[values][moment] = tensor


def _split(key: str) -> Tuple[str, str]:
    name, _, moment = key.rpartition("/")
    return name, moment
