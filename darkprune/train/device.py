"""The device that is trained on."""

from typing import Optional

import torch

from darkprune.errors import Place, UsageError


def usable_device(asked: Optional[str], where: Optional[Place] = None) -> str:
    """The device that was asked for, or where none was, a GPU if there is one.

    where: what asks for it. Raises UsageError where torch cannot use it.
    """
    device = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        cause = "torch has no device {}: {}".format(device, str(error).splitlines()[0].rstrip("."))
        raise UsageError(cause, where, "use cpu, or install a torch that was built for the device") from error
    return device
