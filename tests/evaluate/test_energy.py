"""Meters on the files of Linux, made here as its drivers show them."""

import os

import pytest

from darkprune.evaluate import energy
from darkprune.evaluate.energy import PowerMeter, Rail, find_meter


def files(root, folder, **texts):
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (path / name).write_text("{}\n".format(text), "ascii")
    return path


def package(root, number, name="package-0", uj=0, span=262143328850):
    folder = "sys/class/powercap/intel-rapl:{}".format(number)
    return files(root, folder, name=name, energy_uj=uj, max_energy_range_uj=span)


def jetson(root, device, *rails):
    """A monitor of the driver ina3221x with (name, milliwatts)."""
    for number, (name, power) in enumerate(rails):
        texts = {"rail_name_{}".format(number): name, "in_power{}_input".format(number): power}
        path = files(root, device, **texts)
    return path


def test_a_machine_without_a_meter(tmp_path):
    assert find_meter(str(tmp_path)) == (None, "this machine has no INA3221 and no RAPL that Linux shows")


# ---- RAPL


def test_rapl_adds_up_packages_and_nothing_inside_them(tmp_path):
    first, second = package(tmp_path, 0, uj=1000000), package(tmp_path, 1, "package-1", uj=5000000)
    package(tmp_path, "0:0", "core", uj=7)
    package(tmp_path, 2, "psys", uj=7)
    meter, text = find_meter(str(tmp_path))
    assert text == "RAPL (package-0 + package-1)"
    meter.start()
    (first / "energy_uj").write_text("3500000\n", "ascii")
    (second / "energy_uj").write_text("5250000\n", "ascii")
    assert meter.stop() == pytest.approx(2.75)


def test_a_counter_that_wraps(tmp_path):
    folder = package(tmp_path, 0, uj=9000000, span=10000000)
    meter, _ = find_meter(str(tmp_path))
    meter.start()
    (folder / "energy_uj").write_text("500000\n", "ascii")
    assert meter.stop() == pytest.approx(1.5)


def test_counters_that_only_root_may_read(tmp_path, monkeypatch):
    path = str(package(tmp_path, 0) / "energy_uj")

    def number(asked):
        assert asked == path
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(energy, "_number", number)
    assert find_meter(str(tmp_path)) == (None, "only root may read {} since Linux 5.10".format(path))


# ---- INA3221


def test_tx2_takes_the_rail_in_front_of_all(tmp_path):
    drivers = "sys/bus/i2c/drivers/ina3221x/"
    chips = (("VDD_SYS_GPU", 300), ("VDD_SYS_SOC", 600), ("VDD_4V0_WIFI", 20))
    jetson(tmp_path, drivers + "0-0040/iio:device0", *chips)
    path = jetson(tmp_path, drivers + "0-0041/iio:device1", ("VDD_IN", 5000), ("VDD_SYS_CPU", 900))
    meter, text = find_meter(str(tmp_path))
    assert text == "INA3221 (VDD_IN)"
    assert [rail.watts() for rail in meter._rails] == [5.0]
    (path / "in_power0_input").write_text("7500\n", "ascii")
    assert [rail.watts() for rail in meter._rails] == [7.5]


def test_nano_and_the_other_spelling_of_devices(tmp_path):
    drivers = "sys/bus/i2c/drivers/ina3221x/6-0040/iio_device"
    jetson(tmp_path, drivers, ("POM_5V_IN", 2100), ("POM_5V_GPU", 40), ("POM_5V_CPU", 400))
    assert find_meter(str(tmp_path))[1] == "INA3221 (POM_5V_IN)"


def test_xavier_adds_up_all_rails(tmp_path):
    drivers = "sys/bus/i2c/drivers/ina3221x/"
    jetson(tmp_path, drivers + "1-0040/iio:device0", ("GPU", 100), ("CPU", 200), ("SOC", 300))
    jetson(tmp_path, drivers + "1-0041/iio:device1", ("CV", 10), ("VDDRQ", 20), ("SYS5V", 30))
    meter, text = find_meter(str(tmp_path))
    assert text == "INA3221 (GPU + CPU + SOC + CV + VDDRQ + SYS5V)"
    assert sum(rail.watts() for rail in meter._rails) == pytest.approx(0.66)


def test_orin_has_volts_and_amperes(tmp_path):
    rails = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1200}
    rails.update(in2_label="VDD_CPU_GPU_CV", in2_input=5000, curr2_input=300, in4_input=3, in7_label="sum of shunt")
    files(tmp_path, "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4", **rails)
    meter, text = find_meter(str(tmp_path))
    assert text == "INA3221 (VDD_IN)"
    assert [rail.watts() for rail in meter._rails] == [pytest.approx(6.0)]


def test_a_rail_that_is_off(tmp_path):
    rails = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": "", "in2_label": "VDD_SOC", "in2_input": 1000}
    files(tmp_path, "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4", curr2_input=1000, **rails)
    assert find_meter(str(tmp_path))[1] == "INA3221 (VDD_SOC)"


def test_power_is_added_up_over_time(monkeypatch):
    monkeypatch.setattr(energy, "INTERVAL", 3600.0)  # only the looks at both ends
    times, watts = iter([10.0, 14.0]), iter([2.0, 4.0])
    meter = PowerMeter([Rail("VDD_IN", lambda: next(watts))], lambda: next(times))
    meter.start()
    assert meter.stop() == pytest.approx(12.0)  # 4 s at 3 W on average


def test_power_is_looked_at_in_between(monkeypatch):
    monkeypatch.setattr(energy, "INTERVAL", 0.001)
    seen = []

    def watts():
        seen.append(os.getpid())
        return 1.5

    meter = PowerMeter([Rail("VDD_IN", watts)])
    begin = energy.time.perf_counter()
    meter.start()
    while len(seen) < 10 and energy.time.perf_counter() - begin < 60:
        energy.time.sleep(0.002)
    found, spent = meter.stop(), energy.time.perf_counter() - begin
    assert len(seen) >= 10 and 0 < found <= 1.5 * spent
