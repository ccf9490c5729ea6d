"""The energy that a machine draws, from its own meter: NVIDIA Jetson's INA3221, or RAPL of Intel and AMD.

A meter sees the whole board or processor, whoever uses it.

INA3221, power in rails: with the driver ina3221x `in_power0_input` (mW) and `rail_name_0` in
/sys/bus/i2c/drivers/ina3221x/*/iio:device*; with the kernel's driver ina3221 `in1_input` (mV), `curr1_input` (mA) and
`in1_label` in /sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*. RAPL: `energy_uj`, which wraps at `max_energy_range_uj`,
in /sys/class/powercap/intel-rapl:N (Documentation/power/powercap in the Linux kernel).
"""

import glob
import os
import re
import threading
import time
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

INTERVAL = 0.02  # seconds between two looks at a power
TOTAL = re.compile(r"(^|_)IN$")  # rails in front of all others: VDD_IN, POM_5V_IN

Rail = NamedTuple("Rail", [("name", str), ("watts", Callable[[], float])])
_Counter = NamedTuple("_Counter", [("path", str), ("range", int)])  # microjoules


class Meter:
    """Measures what is drawn between `start` and `stop`.

    Attributes: name (what measures). source (which rails or domains).
    """

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source

    def start(self) -> None:
        """Begins a measurement."""
        raise NotImplementedError("{}.start".format(type(self).__name__))

    def stop(self) -> float:
        """Ends it; the joules drawn since `start`."""
        raise NotImplementedError("{}.stop".format(type(self).__name__))

    def watts(self) -> Optional[float]:
        """What is drawn now; None where that is not known yet. Raises OSError or ValueError as a driver fails."""
        raise NotImplementedError("{}.watts".format(type(self).__name__))


class PowerMeter(Meter):
    """Adds up the power of rails, looked at every INTERVAL, over time (trapezoids)."""

    def __init__(self, rails: List[Rail], clock: Callable[[], float] = time.perf_counter) -> None:
        super(PowerMeter, self).__init__("INA3221", " + ".join(rail.name for rail in rails))
        self._rails, self._clock = rails, clock
        self._stopped = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._seen: List[Tuple[float, float]] = []

    def start(self) -> None:
        self._seen = []
        self._stopped.clear()
        self._look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._look()
        pairs = zip(self._seen, self._seen[1:])
        return sum((later - sooner) * (a + b) / 2 for (sooner, a), (later, b) in pairs)

    def watts(self) -> Optional[float]:
        return sum(rail.watts() for rail in self._rails)

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        watts = self.watts() or 0.0
        self._seen.append((self._clock(), watts))


class EnergyMeter(Meter):
    """Reads RAPL's counters. They must be read at least once per turn (a minute or more at full load)."""

    def __init__(self, counters: List[Tuple[str, str, int]]) -> None:
        super(EnergyMeter, self).__init__("RAPL", " + ".join(name for name, _, _ in counters))
        self._counters = [_Counter(path, span) for _, path, span in counters]
        self._before: List[int] = []
        self._last: Optional[Tuple[float, List[int]]] = None  # when `watts` was asked, and what it read

    def start(self) -> None:
        self._before = [_number(counter.path) for counter in self._counters]

    def stop(self) -> float:
        return self._joules(self._before, [_number(counter.path) for counter in self._counters])

    def watts(self) -> Optional[float]:
        """The mean since this was asked last; None the first time."""
        now = time.perf_counter(), [_number(counter.path) for counter in self._counters]
        before, self._last = self._last, now
        return self._joules(before[1], now[1]) / (now[0] - before[0]) if before is not None else None

    def _joules(self, before: List[int], after: List[int]) -> float:
        sides = zip(self._counters, before, after)
        return sum(b - a if b >= a else b + counter.range - a for counter, a, b in sides) * 1e-6


def find_meter(root: str = "/") -> Tuple[Optional[Meter], str]:
    """(the machine's meter, what it is), or (None, why there is none)."""
    rails = _rails(root)
    if rails:
        totals = [rail for rail in rails if TOTAL.search(rail.name)]
        meter: Meter = PowerMeter(totals or rails)
        return meter, "{} ({})".format(meter.name, meter.source)
    counters, refused = _counters(root)
    if counters:
        meter = EnergyMeter(counters)
        return meter, "{} ({})".format(meter.name, meter.source)
    if refused:
        return None, "only root may read {} since Linux 5.10".format(refused)
    return None, "this machine has no INA3221 and no RAPL that Linux shows"


def _rails(root: str) -> List[Rail]:
    """Every rail that has a power, of both drivers."""
    found: List[Any] = []
    drivers = os.path.join(root, "sys/bus/i2c/drivers")
    for path in _paths(drivers, "ina3221x/*/iio[:_]device*/in_power*_input"):
        number = re.findall(r"\d+", os.path.basename(path))[0]
        name = _text(os.path.join(os.path.dirname(path), "rail_name_" + number)) or "rail " + number
        found.append((name, path, None))
    for path in _paths(drivers, "ina3221*/*/hwmon/hwmon*/curr*_input"):
        number = re.findall(r"\d+", os.path.basename(path))[0]
        volts = os.path.join(os.path.dirname(path), "in{}_input".format(number))
        name = _text(os.path.join(os.path.dirname(path), "in{}_label".format(number))) or "rail " + number
        if name != "NC":  # not connected
            found.append((name, path, volts))
    return [Rail(name, _power(path, volts)) for name, path, volts in found if _readable(path, volts)]


def _power(path: str, volts: Optional[str]) -> Callable[[], float]:
    """A function for the watts of a rail: of a file in mW, or of two in mA and mV."""
    if volts is None:
        return lambda: _number(path) * 1e-3
    return lambda: _number(path) * _number(str(volts)) * 1e-6


def _counters(root: str) -> Tuple[List[Tuple[str, str, int]], Optional[str]]:
    """((name, path, range) of each processor package, the first path that may not be read)."""
    found, refused = [], None
    for folder in _paths(os.path.join(root, "sys/class/powercap"), "intel-rapl:*"):
        name = _text(os.path.join(folder, "name")) or ""
        path = os.path.join(folder, "energy_uj")
        if not name.startswith("package") or not os.path.isfile(path):
            continue  # cores and memory are parts of a package; psys is more than the processor
        if not _readable(path):
            refused = refused or path
            continue
        found.append((name, path, int(_text(os.path.join(folder, "max_energy_range_uj")) or 2**32)))
    return found, refused


def _paths(folder: str, pattern: str) -> List[str]:
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))


def _readable(*paths: Optional[str]) -> bool:
    try:
        for path in paths:
            if path is not None:
                _number(path)
    except (OSError, ValueError):
        return False
    return True


def _number(path: str) -> int:
    with open(path) as stream:
        return int(stream.read())


def _text(path: str) -> Optional[str]:
    try:
        with open(path) as stream:
            return stream.read().strip()
    except OSError:
        return None
