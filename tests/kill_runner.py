"""The program, run in children that are killed: one JSON job per line of stdin, one JSON answer per line of stdout.

A job has `argv` and `folder`; with `step` (from 0), the child is killed with SIGKILL
- `how` = "before": by itself, before that step,
- "after": by itself, when the next call of the system behind that step has returned,
- "outside": by this process, `delay` seconds after the child has come to that step.

The answer: `status` (0, or minus the signal), `steps` (the names of those that the child came to), `output`.
"""

import json
import os
import signal
import sys
import tempfile
import time

from darkprune.cli import inspect, prune  # noqa: F401  (so that the children need not)
from darkprune.cli.main import main
from darkprune.darknet import journal

CALLS = {"replace", "remove", "fsync", "open", "close", "write", "flush", "flock", "chmod"}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hook(job, pipe):
    """What the program calls before each step."""
    left = [job["step"] if job.get("how") in ("before", "after") else -1]

    def returned(frame, event, argument):
        if event == "c_return" and argument.__name__ in CALLS:
            die()

    def step(name):
        os.write(pipe, name.encode("ascii") + b"\n")
        left[0] -= 1
        if left[0] == -1:
            if job["how"] == "before":
                die()
            sys.setprofile(returned)

    return step


def count_steps(job, pipe):
    journal.step = hook(job, pipe)


def child(job, pipe, output, prepare=count_steps):
    """Runs the job's command in this process and ends it; `prepare` makes ready what is to kill it."""
    status = 70
    try:
        os.chdir(job["folder"])
        for stream in (1, 2):
            os.dup2(output, stream)
        prepare(job, pipe)
        status = main(job["argv"])
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(job):
    end, pipe = os.pipe()
    with tempfile.TemporaryFile() as output:
        number = os.fork()
        if number == 0:
            child(job, pipe, output.fileno())
        os.close(pipe)
        with os.fdopen(end, "rb") as names:
            steps = []
            if job.get("how") == "outside":
                while len(steps) <= job["step"]:
                    steps.append(names.readline())
                time.sleep(job["delay"])
                os.kill(number, signal.SIGKILL)
            steps += list(names)
        status = os.waitpid(number, 0)[1]
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return {"status": code, "steps": [name.decode("ascii").strip() for name in steps], "output": text}


if __name__ == "__main__":
    for line in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
