"""`darkprune compress` in children that are killed; torch is imported once, by this process.

One JSON job per line of stdin, one JSON answer per line of stdout. A job has `argv` and `folder` (the working
directory); with `at`, the child kills itself at its `at`-th file that is put in place, right before or `after` that;
with `delay`, this process kills it so many seconds after its first one. With `signal`, `at` sends that. The
answer: `status` (or minus the signal) and `output`.
"""

import json
import os
import signal
import sys
import tempfile
import time

import torch

from darkprune.cli import compress, prune, recalibrate  # noqa: F401  (so that the children need not)
from darkprune.cli import train as train_command  # noqa: F401
from darkprune.compress import loop  # noqa: F401
from darkprune.train import logs
from kill_runner import child


def count_files(job, pipe):
    """Lets this process die at a file that is put in place."""
    real, left = os.replace, [job.get("at", -1)]
    number = job.get("signal", signal.SIGKILL)

    def replace(source, target, **options):
        left[0] -= 1
        if left[0] == 0 and not job.get("after"):
            os.kill(os.getpid(), number)
        real(source, target, **options)
        os.write(pipe, b".")
        if left[0] == 0 and job.get("after"):
            os.kill(os.getpid(), number)

    os.replace = replace


def run(job):
    end, pipe = os.pipe()
    with tempfile.TemporaryFile() as output:
        number = os.fork()
        if not number:
            child(job, pipe, output.fileno(), count_files)
        os.close(pipe)
        with os.fdopen(end, "rb", 0) as files:
            if "delay" in job and files.read(1):
                time.sleep(job["delay"])
                os.kill(number, signal.SIGKILL)
            status = os.waitpid(number, 0)[1]
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    return {"status": -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), "output": text}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)  # imports much of torch
    logs._drawn([], [], "")  # and this matplotlib
    for line in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
