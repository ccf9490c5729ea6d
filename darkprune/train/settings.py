"""How a net is trained: the options of [net], with the defaults of AlexeyAB's Darknet, each of which can be overridden.

Darknet's words hold: a step ("iteration") is one change of the weights, from `batch` images; these are run in
`subdivisions` parts, one after the other, so that no more than batch / subdivisions images are in memory at once.
"""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from darkprune.darknet import values
from darkprune.errors import CfgError, Place, UsageError
from darkprune.graph.net import Net

MOST_RANDOM = 4.0
POLICIES = ("constant", "step", "steps", "exp", "poly", "random", "sig", "sgdr")

_Settings = NamedTuple(
    "_Settings",
    [
        ("batch", int),  # images of a step
        ("subdivisions", int),  # parts that they are run in
        ("max_batches", int),  # steps
        ("learning_rate", float),
        ("learning_rate_min", float),  # where policy=sgdr ends a cycle
        ("policy", str),  # one of POLICIES
        ("burn_in", int),  # steps over which the rate rises
        ("power", float),  # of the rise, and of policy=poly and random
        ("step", int),  # of policy=step and sig
        ("scale", float),  # of policy=step
        ("steps", Tuple[int, ...]),  # of policy=steps
        ("scales", Tuple[float, ...]),
        ("gamma", float),  # of policy=exp and sig
        ("sgdr_cycle", int),  # steps of the first cycle
        ("sgdr_mult", int),  # by which each next cycle is longer
        ("momentum", float),
        ("decay", float),  # of weights; biases and batch norm have none
        ("adam", int),  # 1: Adam in place of momentum
        ("B1", float),
        ("B2", float),
        ("eps", float),
        ("ema_alpha", float),  # 0: no moving average of the weights
        ("resize_step", int),  # multi-scale sizes are multiples of it
        ("random", float),  # multi-scale: 0 never, 1 up to a factor 1.4, else up to that factor
    ],
)


class Settings(_Settings):
    """The settings of one training. Make them by `Settings.of`."""

    __slots__ = ()

    @classmethod
    def of(
        cls,
        net: Net,
        images: Optional[int] = None,
        epochs: Optional[float] = None,
        places: Optional[Dict[str, Place]] = None,
        **given: Any
    ) -> "Settings":
        """What [net] says, but for what is `given`.

        Args:
            images: how many the training list has; epochs: how often each is to be seen, in place of max_batches.
            places: where `epochs` and what is given stand, for messages.
            given: any of the fields; None leaves it to the cfg.

        Raises CfgError for a value that makes no sense in the cfg, UsageError for one that was given.
        """
        unknown = sorted(set(given) - set(cls._fields))
        if unknown:
            raise UsageError("{} is no setting of training".format(unknown[0]), hint="use " + ", ".join(cls._fields))
        given = {key: value for key, value in given.items() if value is not None}
        read = _Reader(net, given, places or {})
        batch = read.number("batch", 1, low=1)
        if epochs is not None:
            given["max_batches"] = _steps(epochs, images, batch, (places or {}).get("epochs"))
        steps = read.number("max_batches", 0, low=0)
        found: Dict[str, Any] = {"batch": batch, "max_batches": steps}
        found["subdivisions"] = read.number("subdivisions", 1, low=1)
        found["policy"] = read.text("policy", "constant")
        for key, default in _FLOATS.items():
            found[key] = read.real(key, default)
        for key, number, low in (("burn_in", 0, 0), ("step", 1, 1), ("sgdr_mult", 2, 1), ("adam", 0, 0)):
            found[key] = read.number(key, number, low=low)
        found["resize_step"] = read.number("resize_step", 32, low=1)
        found["sgdr_cycle"] = read.number("sgdr_cycle", max(1, steps), low=1)
        found["steps"] = read.numbers("steps", values.int_list)
        found["scales"] = read.numbers("scales", values.float_list)
        found["random"] = read.random()
        settings = cls(**found)
        _check(settings, read)
        return settings

    @property
    def part(self) -> int:
        """Images that are run at once."""
        return self.batch // self.subdivisions


_FLOATS = {
    "learning_rate": 0.001,
    "learning_rate_min": 0.00001,
    "power": 4.0,
    "scale": 1.0,
    "gamma": 1.0,
    "momentum": 0.9,
    "decay": 0.0001,
    "B1": 0.9,
    "B2": 0.999,
    "eps": 0.000001,
    "ema_alpha": 0.0,
}


def _steps(epochs: float, images: Optional[int], batch: int, where: Optional[Place]) -> int:
    if not images or not 0 < epochs < 1e6:
        cause = "{} epochs of {} images cannot be trained".format(epochs, images or 0)
        raise UsageError(cause, where, "use 1 or more")
    return max(1, int(math.ceil(epochs * images / batch)))


class _Reader:
    """Reads options of [net]; what was given comes first."""

    def __init__(self, net: Net, given: Dict[str, Any], places: Dict[str, Place]) -> None:
        self._net, self._given, self._places = net, given, places

    def error(self, key: str, cause: str, hint: str) -> Exception:
        """The error for a value that makes no sense, at its place."""
        if key in self._given:
            return UsageError("{} {}: {}".format(key, self._given[key], cause), self._places.get(key), hint)
        return CfgError("{} {}".format(key, cause), self._net.config.place(key), hint)

    def text(self, key: str, default: str) -> str:
        return str(self._given.get(key) or self._net.config.text(key) or default)

    def number(self, key: str, default: int, low: int) -> int:
        text = self._net.config.text(key)
        try:
            value = self._given[key] if key in self._given else default if text is None else values.atoi(text)
        except ValueError:
            value = low - 1
        if not isinstance(value, int) or value < low:
            raise self.error(key, "is no whole number from {} on".format(low), "write a number as in Darknet")
        return value

    def real(self, key: str, default: float) -> float:
        text = self._net.config.text(key)
        value = float(self._given[key] if key in self._given else default if text is None else values.atof(text))
        if not (math.isfinite(value) and value >= 0):
            raise self.error(key, "is no number from 0 on", "write a number as in Darknet")
        return value

    def numbers(self, key: str, parse: Callable[[str], Any]) -> Tuple[Any, ...]:
        if key in self._given:
            return tuple(self._given[key])
        return tuple(parse(self._net.config.text(key) or ""))

    def random(self) -> float:
        """The option `random` of the last head, as Darknet reads it."""
        heads = [layer for layer in self._net.layers if layer.op.jitter(layer) is not None]
        text = heads[-1].text("random") if heads else None
        value = float(self._given["random"] if "random" in self._given else values.atof(text or "0"))
        if not 0 <= value <= MOST_RANDOM:
            cause = "random {} is no factor of the input's size".format(value)
            hint = "use 0, 1, or a factor such as 1.4"
            if "random" in self._given:
                raise UsageError(cause, self._places.get("random"), hint)
            raise CfgError(cause, heads[-1].place("random"), hint)
        return value


def _check(settings: Settings, read: _Reader) -> None:
    if settings.policy not in POLICIES:
        raise read.error("policy", "is none that Darknet knows", "use one of " + ", ".join(POLICIES))
    if settings.batch % settings.subdivisions:
        cause = "does not cut a batch of {} images into equal parts".format(settings.batch)
        raise read.error("subdivisions", cause, "use a divisor of batch")
    if settings.policy == "steps" and len(settings.steps) != len(settings.scales):
        raise read.error("scales", "has not as many numbers as steps", "write one scale for each step")
    if settings.learning_rate <= 0:
        raise read.error("learning_rate", "must be above 0", "use a rate such as 0.001")
    for key in ("momentum", "B1", "B2", "ema_alpha"):
        if getattr(settings, key) >= 1:
            raise read.error(key, "must be below 1", "use a number such as 0.9")
    if settings.max_batches < 1:
        raise read.error("max_batches", "says that nothing is to be trained", "set it, or use --epochs")


def describe(settings: Settings) -> List[str]:
    """The settings as `key=value` texts, for logs and to tell two trainings apart."""
    return ["{}={}".format(key, getattr(settings, key)) for key in settings._fields]
