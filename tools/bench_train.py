"""Measures what loading costs while a net is trained, and how much slower that is than the bare net.

    python tools/bench_train.py [--sizes WxH,...] [--workers N,...] [--rounds N] [--steps N] [--threads N] [--write]

A quarter of YOLOv3 (cfg/bccd-yolov3.cfg) is trained on BCCD, which DARKPRUNE_SHARED finds, with the cfg's mosaics,
flips, jitter and colours, 16 images a step, in bfloat16. Every way to feed it is a process of its own, and they take
turns:

- bare: forward, backward and change of the weights, for a batch in memory and a sum of squares as the loss;
- memory: the steps of a training, all on one batch in memory;
- 0, 1, 2... workers: the same steps on the batches of the loader, whose images are decoded already.

The last column is of the loader alone, in one process. --write puts the rows into docs/bench-train.jsonl and the table
made of them into docs/results.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import results  # noqa: E402
from bench_prune import environment  # noqa: E402

from darkprune.cli.bench import machine  # noqa: E402

PART, TOOL = "bench-train", "bench_train.py"
ROWS = os.path.join(ROOT, "docs", "bench-train.jsonl")
CFG = os.path.join(ROOT, "cfg", "bccd-yolov3.cfg")
BUILD = os.path.join(ROOT, "build", "bench-train")
BCCD = os.path.join(ROOT, os.environ.get("DARKPRUNE_SHARED", os.path.join("..", "shared")), "datasets", "bccd")
BATCH, WARM, SEED = 16, 3, 1
BARE, MEMORY, ALONE = "bare", "memory", "alone"
GOAL = 0.15  # of a step's time


def data_file():
    """BCCD's .data file, which is made where it is missing. Ends the program where the images are not at hand."""
    path = os.path.join(BUILD, "bccd", "bccd.data")
    if not os.path.exists(path):
        if not os.path.isdir(BCCD):
            sys.exit("error: {} is not there; DARKPRUNE_SHARED names the folder of the images".format(BCCD))
        os.makedirs(BUILD, exist_ok=True)
        tool = os.path.join(ROOT, "tools", "voc_to_darknet.py")
        command = [sys.executable, tool, BCCD, "-o", os.path.dirname(path), "--train", "trainval", "--valid", "test"]
        command.append("--ignore-problems")  # two boxes without an area
        subprocess.check_call(command, env=environment(), stdout=subprocess.DEVNULL)
    return path


def child(cfg, data, size, way, steps, threads):
    """Milliseconds of a step: what one process measures."""
    import torch

    from darkprune.backends.torch_module import NetModule
    from darkprune.data.data_file import DataFile
    from darkprune.data.data_set import read_detection
    from darkprune.graph.build import load
    from darkprune.train.augment import Augmentation
    from darkprune.train.loader import Loader
    from darkprune.train.losses import losses_of
    from darkprune.train.random_weights import start
    from darkprune.train.settings import Settings
    from darkprune.train.step import Stepper, as_tensor

    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    net = load(cfg)
    for key, value in (
        ("width", size[0]),
        ("height", size[1]),
        ("batch", BATCH),
        ("subdivisions", 1),
        ("max_batches", 1),
    ):
        net.config.set(key, value)
    net.infer()
    net = start(net, SEED)
    workers = int(way) if way.isdigit() else 0
    images = read_detection(DataFile.read(data), "train")
    loader = Loader(net, images, Augmentation.of(net), BATCH, 1, SEED, workers, lambda step: size)
    for number in range(len(images.images) if way != BARE else 0):
        loader.cache[number]  # decoded before workers are forked
    batches = loader.steps(0, WARM + steps)
    if way == ALONE:
        return timed(lambda parts: None, batches, steps, time.process_time)
    if not way.isdigit():
        parts = next(batches)
        batches = (parts for _ in range(WARM + steps))
    stepper = Stepper(NetModule(net), losses_of(net), Settings.of(net), bfloat16=True)
    if way != BARE:
        found = timed(lambda parts: stepper.step(parts, 1e-4, "the measurement"), batches, steps, time.perf_counter)
        loader.close()
        return found
    batch = as_tensor(next(batches)[0].images, stepper.device, True)

    def bare(_):
        stepper.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            heads = stepper.module(batch, stepper.losses)
        torch.stack([head.float().square().mean() for head in heads.values()]).sum().backward()
        stepper.optimizer.step()

    return timed(bare, batches, steps, time.perf_counter)


def timed(act, batches, steps, clock):
    """Milliseconds per step of getting a batch and acting on it, after a few steps to warm up."""
    began = None
    for number, parts in enumerate(batches):
        if number == WARM:
            began = clock()
        act(parts)
        if number == WARM + steps - 1:
            break
    return 1e3 * (clock() - began) / steps


def measure(sizes, ways, steps, rounds, threads, say=sys.stderr.write):
    """{"size": (w, h), "way": ..., "ms": [of each round]} for each size and way."""
    data, found = data_file(), {}
    for number in range(rounds):
        for size in sizes:
            for way in ways:
                command = [sys.executable, os.path.abspath(__file__), "--child", way, "--sizes", "{}x{}".format(*size)]
                command += ["--steps", str(steps), "--threads", str(threads), "--cfg", CFG, "--data", data]
                ms = float(subprocess.check_output(command, env=environment(), cwd=ROOT))
                found.setdefault((size, way), []).append(ms)
                say("round {} {}x{} {}: {:.1f} ms\n".format(number + 1, size[0], size[1], way, ms))
    told = {"machine": machine(), "threads": threads, "steps": steps}
    return [dict(told, size=list(size), way=way, ms=ms) for (size, way), ms in found.items()]


def page(rows):
    """The table of what `measure` found."""
    if not rows:
        return "Not measured yet.\n"
    sizes = sorted({tuple(row["size"]) for row in rows})
    found = {(tuple(row["size"]), row["way"]): row["ms"] for row in rows}
    head = ["input", "workers", "a step on a batch in memory, ms", "with the loader, ms", "loading costs", "images/s"]
    head += ["bare net, images/s", "loading alone, ms of processor time per image"]
    text = "| {} |\n|{}\n".format(" | ".join(head), "---|" * len(head))
    for size in sizes:
        memory, bare, alone = (found[size, way] for way in (MEMORY, BARE, ALONE))
        for way in sorted(way for at, way in found if at == size and way.isdigit()):
            ms = found[size, way]
            cost = statistics.median(mine / theirs for mine, theirs in zip(ms, memory)) - 1
            cells = ["{} x {}".format(*size), way, _ms(memory), _ms(ms), "{:+.1f} %".format(100 * cost)]
            cells += ["{:.1f}".format(1e3 * BATCH / statistics.median(each)) for each in (ms, bare)]
            text += "| {} | {:.2f} |\n".format(" | ".join(cells), statistics.median(alone) / BATCH)
    row = rows[0]
    text += "\nMedians of {} rounds; the cost is the median of the rounds' ratios, and the goal at most ".format(
        len(row["ms"])
    )
    text += "{:.0f} %. {}, {} threads, {} steps of {} images in each process.\n".format(
        100 * GOAL, row["machine"], row["threads"], row["steps"], BATCH
    )
    return text


def _ms(times):
    return "{:.0f}".format(statistics.median(times))


def kept():
    """The rows of the last measurement that was written."""
    with open(ROWS, encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def keep(rows):
    """Writes the rows, and the part of docs/results.md."""
    with open(ROWS + ".part", "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    os.replace(ROWS + ".part", ROWS)
    results.write(PART, TOOL, page(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256x192,320x320")
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    for name in ("--child", "--cfg", "--data"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [tuple(int(side) for side in size.split("x")) for size in arguments.sizes.split(",")]
    steps, threads = arguments.steps, arguments.threads
    if arguments.child:
        print(child(arguments.cfg, arguments.data, sizes[0], arguments.child, steps, threads))
        return
    ways = [BARE, MEMORY] + arguments.workers.split(",") + [ALONE]
    rows = measure(sizes, ways, steps, arguments.rounds, threads)
    sys.stdout.write(page(rows))
    if arguments.write:
        keep(rows)


if __name__ == "__main__":
    main()
