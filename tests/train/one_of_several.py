"""Short trainings, by one process or by several, in children of this one, which has torch imported already.

One JSON job per line of stdin (cfg, weights, out, subdivisions, world, port, fail), one JSON answer per line of
stdout: `codes` (exit statuses by process) and `said` (what each printed). OUT0.npz gets the losses and arrays of
process 0. With `fail`, process 1 meets an error of that kind. A job with `argv` runs that command of darkprune; with
`interrupt` as [rank, step], that process gets a SIGINT while that step is under way.
"""

import json
import os
import signal
import sys
import tempfile
from collections import namedtuple

import numpy as np
import torch

from darkprune.backends.torch_module import NetModule
from darkprune.cli import train as train_command  # noqa: F401  (so that the children need not)
from darkprune.cli.main import main
from darkprune.errors import DarkpruneError, TrainingError
from darkprune.graph.build import load
from darkprune.train import distributed
from darkprune.train import loop as train_loop
from darkprune.train.settings import Settings
from darkprune.train.step import Stepper

STEPS, BATCH = 50, 8
Batch = namedtuple("Batch", "images targets")
Result = namedtuple("Result", "total parts")


def loss(raw, targets, size):
    """Of a head that is to show each image's own pattern."""
    wanted = torch.from_numpy(targets).to(raw)
    error = (raw - wanted).square().sum() / raw[0].numel()
    return Result(error, {"error": float(error.detach())})


def batches(net, step, parts, rank, world):
    """The process's share of the parts of a step, which are the same however many processes there are."""
    random = np.random.RandomState(step)
    shape, head = net.input.shape, net.layers[-1].shape
    images = random.randint(0, 256, (BATCH, shape.h, shape.w, shape.c)).astype(np.uint8)
    wanted = random.randn(BATCH, head.channels, head.h, head.w).astype(np.float32)
    size = BATCH // (parts * world)
    starts = [(part * world + rank) * size for part in range(parts)]
    return [Batch(images[start : start + size], wanted[start : start + size]) for start in starts]


def train(cfg, weights, out, subdivisions, group, fail):
    net = load(cfg, weights)
    settings = Settings.of(net, batch=BATCH, subdivisions=subdivisions, max_batches=STEPS, learning_rate=0.01)
    stepper = Stepper(NetModule(net), {len(net.layers) - 1: loss}, settings, group=group)
    rank, world = (group.rank, group.world) if group else (0, 1)
    parts = group.parts(subdivisions) if group else subdivisions
    losses = []
    if group:
        group.require_same("other" if fail == "differs" and rank == 1 else "seed 0", "set of options")
    for step in range(STEPS):
        if fail == "raises" and rank == 1 and step == 2:
            raise TrainingError("this process cannot go on", hint="none")
        losses.append(stepper.step(batches(net, step, parts, rank, world), settings.learning_rate, str)["loss"])
    arrays = dict(stepper.module.named_parameters())
    arrays.update(stepper.module.named_buffers())
    np.savez(
        "{}{}.npz".format(out, rank), losses=np.array(losses), **{k: v.detach().numpy() for k, v in arrays.items()}
    )


def interrupt_in(number):
    """Lets this process get a SIGINT in that step, counted from 1."""
    step = train_loop.Run._step

    def interrupted(run, parts, shape):
        if run.done + 1 == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(run, parts, shape)

    train_loop.Run._step = interrupted


def child(job, rank, output):
    status = 70
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        env = {"WORLD_SIZE": job["world"], "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": job["port"]}
        os.environ.update({key: str(value) for key, value in env.items()})
        if job.get("interrupt", [None])[0] == rank:
            interrupt_in(job["interrupt"][1])
        if "argv" in job:
            status = main(job["argv"])
            return
        group = distributed.join()
        try:
            train(job["cfg"], job["weights"], job["out"], job["subdivisions"], group, job["fail"])
            status = 0
        except DarkpruneError as error:
            status = 2
            if group is None or group.speaks(error):
                print(error, flush=True)
        if group and not status:
            group.leave()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(job):
    outputs = [tempfile.TemporaryFile() for _ in range(job["world"])]
    children = []
    for rank, output in enumerate(outputs):
        children.append(os.fork())
        if not children[-1]:
            child(job, rank, output.fileno())
    codes = [os.waitpid(number, 0)[1] >> 8 for number in children]
    for output in outputs:
        output.seek(0)
    return {"codes": codes, "said": [output.read().decode() for output in outputs]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)  # imports much of torch, so that the children need not
    for line in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
