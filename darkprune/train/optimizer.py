"""The step that changes the weights: momentum or Adam, with Darknet's weight decay."""

from collections import OrderedDict
from typing import Any, Dict, List, Tuple

import torch
from torch import nn

from darkprune.backends.torch_module import NetModule
from darkprune.train.layer_options import LayerOptions
from darkprune.train.settings import Settings


def make_optimizer(module: NetModule, settings: Settings, options: List[LayerOptions]) -> torch.optim.Optimizer:
    """The optimizer that [net] asks for.

    With momentum it is Darknet's `update_convolutional_layer`: v = momentum * v + gradient + decay * w, w -= rate * v,
    of gradients that are means over the batch's images. Only weights decay, those of recurrent layers too: biases and
    batch norm do not. Adam's decay is apart from its gradients (Loshchilov and Hutter, "Decoupled Weight Decay
    Regularization", 2019), as otherwise it would hardly do anything.

    options: of each layer; the factor of its rate.
    """
    groups: Dict[Tuple[bool, float], List[nn.Parameter]] = OrderedDict()
    for arrays, option in zip(module.layers, options):
        for name, values in arrays.named_parameters():
            groups.setdefault((name.endswith("weights"), option.factor), []).append(values)
    told = [
        {"params": some, "weight_decay": settings.decay if decays else 0.0, "factor": factor}
        for (decays, factor), some in groups.items()
    ]
    if settings.adam:
        betas = (settings.B1, settings.B2)
        return torch.optim.AdamW(told, settings.learning_rate, betas=betas, eps=settings.eps)
    return torch.optim.SGD(told, settings.learning_rate, momentum=settings.momentum)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def freeze(module: NetModule, options: List[LayerOptions], step: int) -> None:
    """Lets those layers learn whose time has come at step `step`, counted from 0. The others get no gradients, so that
    the optimizer passes them by: nothing decays, no momentum gathers."""
    for arrays, option in zip(module.layers, options):
        for values in arrays.parameters():
            values.requires_grad_(step >= option.frozen)


def clip(module: NetModule, options: List[LayerOptions]) -> None:
    """Holds the weights that have just learnt within what `clip` of their layers allows."""
    with torch.no_grad():
        for arrays, option in zip(module.layers, options):
            weights = getattr(arrays, "weights", None)
            if option.clip and weights is not None and weights.requires_grad:
                weights.clamp_(-option.clip, option.clip)


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
