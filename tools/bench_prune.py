"""Times `darkprune prune` as a whole process, from the command line to two files on the disk.

speed: pruning YOLOv3 beside a process that only reads the same weights and writes as many bytes as the pruned file
has, taken in turns. growth: time and peak memory over models of growing size. Weights are made where they are missing.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GROWTH = ("yolov4-tiny", "yolov3-tiny", "yolov3", "yolov3-spp", "yolov3-wide")
WIDER = 1.42  # about twice the weights
PLAIN = """
import os, sys
source, target, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
block = 4 << 20
buffer = bytearray(block)
with open(source, "rb", 0) as reader, open(target + ".new", "wb", 0) as writer:
    while True:
        count = reader.readinto(buffer)
        if not count:
            break
        left -= writer.write(memoryview(buffer)[: min(count, left)])
    os.fsync(writer.fileno())
os.replace(target + ".new", target)
"""


def run(command):
    """Runs a command in a process of its own: (seconds, peak bytes of resident memory). Exits where it fails."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = status
        if status:
            output.seek(0)
            sys.exit("failed: {}\n{}".format(" ".join(command), output.read().decode("utf-8", "replace")))
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def environment():
    """Ours, with this tree's darkprune first."""
    path = [ROOT] + [p for p in [os.environ.get("PYTHONPATH")] if p]
    # Compiled modules are kept, as those of an installed package are; the warm-up run writes them.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return dict(kept, PYTHONPATH=os.pathsep.join(path), PYTHONPYCACHEPREFIX=os.path.join(ROOT, "build", "bytecode"))


def prune(cfg, weights, out, share):
    """The command that is timed."""
    command = [sys.executable, "-m", "darkprune", "prune", cfg, weights, "-o", out]
    return command + ["--channels", str(share), "--overwrite"]


def pair(name, build, calibrate=True):
    """(cfg, weights) of a model, made in `build` where they are missing."""
    cfg, weights = os.path.join(ROOT, "cfg", name + ".cfg"), os.path.join(build, name + ".weights")
    if name == "yolov3-wide":
        cfg = os.path.join(build, name + ".cfg")
        with open(os.path.join(ROOT, "cfg", "yolov3.cfg")) as source, open(cfg, "w") as target:
            target.write(wider(source.read()))
    if not os.path.exists(weights):
        command = [sys.executable, os.path.join(ROOT, "tools", "make_weights.py"), cfg, weights]
        run(command if calibrate else command + ["--no-calibrate"])
    return cfg, weights


def wider(text):
    """A cfg's text with more filters in all convolutions but the heads, which have no batch norm."""

    def widen(found):
        return found.group(1) + str(8 * int(round(int(found.group(2)) * WIDER / 8)))

    parts = re.split(r"^(?=\[)", text, flags=re.M)
    normalised = re.compile(r"^batch_normalize=1", re.M)
    filters = re.compile(r"^(filters=)(\d+)", re.M)
    return "".join(filters.sub(widen, part) if normalised.search(part) else part for part in parts)


def speed(build, scratch, share, repeats):
    """Seconds and peaks of pruning and of plain reading and writing, in turns after one run to warm up."""
    cfg, weights = pair("yolov3", build)
    out = os.path.join(scratch, "pruned")
    commands = {"prune": prune(cfg, weights, out, share)}
    run(commands["prune"])
    size = os.path.getsize(out + ".weights")
    commands["plain"] = [sys.executable, "-c", PLAIN, weights, os.path.join(scratch, "plain"), str(size)]
    run(commands["plain"])
    found = {name: {"seconds": [], "peak_bytes": []} for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            seconds, peak = run(command)
            found[name]["seconds"].append(seconds)
            found[name]["peak_bytes"].append(peak)
    ratios = [a / b for a, b in zip(found["prune"]["seconds"], found["plain"]["seconds"])]
    return dict(found, ratios=ratios, weights_bytes=os.path.getsize(weights), pruned_bytes=size)


def growth(build, scratch, share, repeats):
    """Seconds and peaks of pruning, by model."""
    rows = []
    for name in GROWTH:
        cfg, weights = pair(name, build, calibrate=name == "yolov3")  # `speed` uses that one too
        command = prune(cfg, weights, os.path.join(scratch, name), share)
        runs = [run(command) for _ in range(repeats + 1)][1:]
        rows.append(
            {
                "model": name,
                "weights_bytes": os.path.getsize(weights),
                "pruned_bytes": os.path.getsize(os.path.join(scratch, name + ".weights")),
                "seconds": [seconds for seconds, _ in runs],
                "peak_bytes": [peak for _, peak in runs],
            }
        )
        for suffix in (".weights", ".cfg"):
            os.remove(os.path.join(scratch, name + suffix))
    return rows


def spread(values, form="{:.2f}"):
    """Median (min-max) as text."""
    shown = [form.format(v) for v in (statistics.median(values), min(values), max(values))]
    return "{} ({}-{})".format(*shown)


def speed_table(found):
    """Markdown lines."""
    lines = [
        "YOLOv3, {:.1f} MB -> {:.1f} MB; median (min-max) of {} runs in turns:".format(
            found["weights_bytes"] / 1e6, found["pruned_bytes"] / 1e6, len(found["ratios"])
        ),
        "",
        "| process | seconds | peak MB | peak / weights |",
        "|---|---|---|---|",
    ]
    for name, label in (("prune", "darkprune prune"), ("plain", "plain read and write")):
        peak = max(found[name]["peak_bytes"])
        row = (label, spread(found[name]["seconds"]), peak / 1e6, peak / found["weights_bytes"])
        lines.append("| {} | {} | {:.0f} | {:.2f} |".format(*row))
    return lines + ["| ratio, turn by turn | {} | | |".format(spread(found["ratios"]))]


def growth_table(rows):
    """Markdown lines."""
    lines = ["| model | weights MB | pruned MB | seconds | seconds per 100 MB | peak MB | peak / weights |"]
    lines.append("|---" * 7 + "|")
    for row in rows:
        size, peak = row["weights_bytes"], max(row["peak_bytes"])
        pace = statistics.median(row["seconds"]) / size * 1e8
        shown = (row["model"], size / 1e6, row["pruned_bytes"] / 1e6, spread(row["seconds"]), pace, peak / 1e6)
        lines.append("| {} | {:.1f} | {:.1f} | {} | {:.2f} | {:.0f} | {:.2f} |".format(*shown + (peak / size,)))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="speed, growth, or both (the default)")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each process (7); growth takes at most 3")
    parser.add_argument("--channels", type=float, default=0.6, help="share of the channels to remove (0.6)")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="folder for weights and scratch files")
    parser.add_argument("--json", action="store_true", help="print every measurement as JSON instead of tables")
    args = parser.parse_args()
    parts = args.parts or ["speed", "growth"]
    if not set(parts) <= {"speed", "growth"}:
        parser.error("parts are speed and growth")
    os.makedirs(args.build, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix="bench-", dir=args.build)
    result = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
    try:
        if "speed" in parts:
            result["speed"] = speed(args.build, scratch, args.channels, args.repeats)
        if "growth" in parts:
            result["growth"] = growth(args.build, scratch, args.channels, min(3, args.repeats))
    finally:
        shutil.rmtree(scratch)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print("{machine}, {cpus} CPUs, Python {python}\n".format(**result))
    if "speed" in result:
        print("\n".join(speed_table(result["speed"])) + "\n")
    if "growth" in result:
        print("\n".join(growth_table(result["growth"])))


if __name__ == "__main__":
    main()
