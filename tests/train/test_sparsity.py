"""Sparsity training: sets die together and exactly, and what died can go without any change."""

import numpy as np

import need
from darkprune.graph.build import build
from darkprune.graph.channels import Channels
from darkprune.prune.pipeline import prune
from darkprune.train.initial import start
from small_nets import HEAD, cfg, conv, distance, parse, shortcut

torch = need.torch()

from darkprune.backends.torch_module import NetModule, to_net  # noqa: E402
from darkprune.train.sparsity import Sparsity  # noqa: E402

TRUNK = cfg(
    conv(16, stride=2),
    conv(8, 1),
    conv(16),
    shortcut(-3),
    conv(16, 3, groups=16),
    conv(12, 1),
    conv(16, 1),
    shortcut(-4),
    HEAD,
)


def made(text=TRUNK, strength=0.1, **options):
    net = start(build(parse(text)), 3)
    module = NetModule(net).train()
    return net, module, Sparsity(net, module, strength, **options)


def learn(net, module, sparsity, steps=120, rate=0.05, momentum=0.9):
    """Trains the module towards a map that depends on the images; gives the losses."""
    torch.manual_seed(1)
    images = torch.rand(16, 3, 16, 16)
    wanted = torch.nn.functional.avg_pool2d(images, 2).mean(1, keepdim=True) * torch.linspace(-4, 4, 5).view(1, 5, 1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum)
    losses = []
    for step in range(steps):
        sparsity.progress(step / steps)
        optimizer.zero_grad()
        (found,) = module(images).values()
        loss = (found - wanted).square().mean()
        loss.backward()
        sparsity.add_gradient()
        optimizer.step()
        sparsity.shrink(rate)
        losses.append(loss.item())
    return losses


def test_sets_die_whole_and_pruning_them_changes_nothing():
    net, module, sparsity = made(strength=0.2)
    losses = learn(net, module, sparsity)
    assert losses[-1] < 0.01 < losses[0]
    trained, channels = to_net(module.eval()), Channels(net)
    zero = {la.index: la.array("scales") == 0 for la in trained.layers if la.has("scales")}
    for number in sparsity.sets.tolist():  # whole sets: of the trunk with depthwise layer four gammas each
        assert len({bool(zero[index][place]) for index, place in channels.members(number)}) == 1
    assert [len(channels.members(n)) for n in sparsity.sets[[0, 16, 24]].tolist()] == [4, 1, 1]
    dead = sparsity.scores() == 0
    assert 0.5 < dead.mean() < 1 and dead[:16].any() and dead[16:].any()
    removed = np.zeros(channels.size, bool)
    removed[sparsity.sets[dead]] = True
    pruned = prune(trained, channels=0.8)
    assert pruned.reached > 0.75 and pruned.preflight["damage"] == 0
    assert distance(trained, pruned.net) < 1e-5


def test_a_subgradient_reaches_no_zero():
    net, module, sparsity = made(strength=0.02, method="subgradient")
    losses = learn(net, module, sparsity)
    assert losses[-1] < 0.01 < losses[0]
    assert (sparsity.scores() > 0).all() and np.median(sparsity.scores()) < 0.3
