"""Trains a classifier's pair on Fashion-MNIST in torch: cross entropy, Adam, bfloat16 with float32 master weights.

The convolutions have batch norm while they learn, which takes a third of the time; it is folded into them at the end.
In the last epoch nothing is dropped, shifted or smoothed: few epochs leave little to be guarded against.
After every epoch the state is saved whole; a run that goes on from it takes the same steps as one that never stopped.
"""

import io
import json
import math
import os
import sys
import time

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from fashion_mnist import NAMES, SEED, load, scaling  # noqa: E402

from darkprune.backends.torch_module import NetModule, to_net  # noqa: E402
from darkprune.darknet.pair import write_file  # noqa: E402
from darkprune.edit.fuse_bn import fuse_batch_norm  # noqa: E402
from darkprune.graph.build import load as load_net  # noqa: E402
from darkprune.graph.save import save  # noqa: E402

BATCH = 32
RATE = 4e-4  # the highest
WARM_UP = 100  # steps
MOST_SHIFT = 1  # pixels of the 28 x 28 image, each way
SMOOTHING = 0.05  # of the labels


def train(cfg, out, epochs, resume=False, source=None, say=sys.stderr.write):
    """Trains the net `cfg` for `epochs` and writes the pair `out`.cfg, `out`.weights; its state is `out`.state.npz.

    Args:
        resume: go on from the state that an earlier run left.
        source: folder of Fashion-MNIST's files.
        say: told a line after every epoch.
    """
    images, classes = load("train", *([source] if source else []))
    net = load_net(cfg)
    module = NetModule(start(load_net(cfg)))
    run = Run(module, images, classes, epochs)
    state = out + ".state.npz"
    if resume and os.path.exists(state):
        run.restore(state)
    while run.epoch < epochs:
        began = time.time()
        loss, right = run.one_epoch()
        run.keep(state)
        row = {"epoch": run.epoch, "loss": loss, "right": right, "seconds": time.time() - began}
        say(json.dumps(row, sort_keys=True) + "\n")
    learnt = fuse_batch_norm(to_net(module.eval()), net.dialect.name)
    for layer, source in zip(net.layers, learnt.layers):
        for spec in layer.op.parameters(layer):
            layer.set_param(spec.name, source.array(spec.name))
    net.loaded = len(net.layers)
    save(net, out, overwrite=True)


def start(net):
    """Gives the net's convolutions batch norm, and the net random weights (He et al., "Delving Deep into Rectifiers",
    2015), biases of 0, and scores of 0 for all classes."""
    random = np.random.RandomState(SEED)
    for layer in net.layers:
        if any(len(spec.shape) == 4 for spec in layer.op.parameters(layer)):
            layer.set("batch_normalize", 1)
    net.infer()
    for layer in net.layers:
        for spec in layer.op.parameters(layer):
            values = np.full(spec.shape, float(spec.name in ("scales", "variance")), np.float32)
            if spec.name == "weights" and layer.shape.outputs != len(NAMES):
                fan_in = values.size // spec.shape[spec.axes.index("out")]
                values = random.standard_normal(spec.shape) * math.sqrt(2.0 / fan_in)
            layer.set_param(spec.name, values.astype(np.float32))
    return net


class Run:
    """Training under way.

    Args:
        module: a NetModule that ends in softmax. images: uint8 [N, 28, 28]. classes: int64 [N].
        epochs: how many there will be; the rate falls to 0 over them.
    """

    def __init__(self, module, images, classes, epochs):
        self.module = module.train()
        self.logits = module.net.layers[module.heads[0]].inputs[0].index
        self.images = torch.from_numpy(images.astype(np.float32) / 255)
        self.classes = torch.from_numpy(classes)
        shape = module.net.input.shape
        rows, columns = scaling(images.shape[1], shape.w)
        self.rows, self.columns = torch.from_numpy(rows), torch.from_numpy(np.ascontiguousarray(columns.T))
        self.channels = shape.c
        self.epoch, self.epochs = 0, epochs
        self.steps = len(images) // BATCH
        self.total = epochs * self.steps
        self.parameters = dict(module.named_parameters())
        self.optimizer = torch.optim.Adam(self.parameters.values(), RATE, fused=True)

    def one_epoch(self):
        """(mean loss, share that was right) over all images once."""
        torch.manual_seed(SEED + self.epoch)
        order = torch.randperm(len(self.images))
        if self._last():
            for layer in self.module.net.layers:
                if layer.text("probability") is not None:
                    layer.set("probability", 0)
        loss, right = 0.0, 0
        for step in range(self.steps):
            self.optimizer.param_groups[0]["lr"] = self._rate(self.epoch * self.steps + step)
            chosen = order[step * BATCH : (step + 1) * BATCH]
            one, hits = self._step(self._batch(chosen), self.classes[chosen])
            loss, right = loss + one, right + hits
        self.epoch += 1
        return loss / self.steps, right / (self.steps * BATCH)

    def _last(self):
        return self.epoch == self.epochs - 1

    def _step(self, batch, classes):
        arrays = {name: self._brief(name, values) for name, values in self.parameters.items()}
        outputs = functional_call(self.module, arrays, (batch, [self.logits]))
        logits = outputs[self.logits].flatten(1).float()
        loss = functional.cross_entropy(logits, classes, label_smoothing=0.0 if self._last() else SMOOTHING)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item(), int((logits.argmax(1) == classes).sum())

    def _batch(self, chosen):
        """bfloat16 [BATCH, C, H, W]: images mirrored and shifted by chance, scaled as darkprune does it."""
        images = self.images[chosen]
        mirrored = torch.rand(len(images)) < 0.5
        images = torch.where(mirrored[:, None, None], images.flip(2), images)
        size, most = images.shape[1], 0 if self._last() else MOST_SHIFT
        padded = functional.pad(images, (most, most, most, most))
        at = torch.randint(2 * most + 1, (len(images), 2)).tolist()
        images = torch.stack([image[y : y + size, x : x + size] for image, (y, x) in zip(padded, at)])
        scaled = (self.rows @ images @ self.columns).to(torch.bfloat16)[:, None]
        return scaled.repeat(1, self.channels, 1, 1).contiguous(memory_format=torch.channels_last)

    def _rate(self, step):
        return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / self.total))

    def _brief(self, name, values):
        """A parameter as bfloat16, but those of batch norm; gradients reach the float32 one."""
        if name.rpartition(".")[0] + ".scales" in self.parameters and values.dim() == 1:
            return values
        values = values.to(torch.bfloat16)
        return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values

    def keep(self, path):
        """Writes the state: parameters, statistics, Adam's two moments, and the number of epochs done."""
        arrays = {"epoch": np.array(self.epoch)}
        arrays.update((name, values.numpy()) for name, values in self.module.named_buffers())
        for name, values in self.parameters.items():
            arrays[name] = values.detach().numpy()
            for part, moment in self.optimizer.state[values].items():
                arrays["{}/{}".format(name, part)] = moment.numpy()
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        write_file(path, [stream.getbuffer()], overwrite=True)

    def restore(self, path):
        with np.load(path) as arrays:
            self.epoch = int(arrays["epoch"])
            for name, values in self.module.named_buffers():
                values.copy_(torch.from_numpy(arrays[name]))
            for name, values in self.parameters.items():
                values.data.copy_(torch.from_numpy(arrays[name]))
                parts = {key: arrays[key] for key in arrays.files if key.startswith(name + "/")}
                self.optimizer.state[values] = {
                    key.rpartition("/")[2]: torch.from_numpy(np.array(part)) for key, part in parts.items()
                }
