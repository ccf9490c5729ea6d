"""What can be said of all stages before the first one starts, since later ones come hours behind it."""

from darkprune.compress.config import Config, Section
from darkprune.compress.config_keys import TRAINING
from darkprune.errors import UsageError
from darkprune.graph.net import Net
from darkprune.train.device import usable_device
from darkprune.train.gamma_sparsity import require_sound
from darkprune.train.settings import Settings
from darkprune.train.sparsity_schedule import parse_schedule


def check_device(config: Config) -> None:
    """Raises UsageError where torch cannot use the device of [run]."""
    usable_device(config["run"]["device"], config["run"].place("device"))


def check_trainings(config: Config, net: Net, images: int) -> None:
    """Raises UsageError, at the line that is to blame, or CfgError for a training that cannot be started.

    net: of [model]; [net] stays the same while it is pruned. images: of the training list.
    """
    for name in TRAINING:
        section = config.get(name)
        if section is not None:
            places = {key: section.place(key) for key in section.lines}
            Settings.of(net, images, section["epochs"], places, **section.net)
    sparsify = config.get("sparsify")
    if sparsify is not None:
        _check_schedule(sparsify)


def _check_schedule(section: Section) -> None:
    try:
        require_sound(section["strength"], section["method"], parse_schedule(section["schedule"]))
    except UsageError as error:
        raise UsageError(error.message, section.place("schedule"), error.hint) from error
