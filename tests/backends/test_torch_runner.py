"""TorchRunner: its options, and what it says where something is missing."""

import sys

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.registry import RUNNERS, open_runner
from darkprune.backends.torch_ import TorchRunner
from darkprune.errors import MissingDependency, UsageError
from darkprune.graph.net import heads
from darkprune.verify import test_batch as picture
from small_nets import HEAD, cfg, conv, net, section, write

NET = cfg(conv(8), conv(16, stride=2), section("upsample"), HEAD)


def test_without_torch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    with pytest.raises(MissingDependency) as caught:
        TorchRunner(net(tmp_path, NET)).open()
    assert str(caught.value) == (
        "error: torch cannot be imported: import of torch halted; None in sys.modules\nhint: pip install torch"
    )


def test_all_outputs_or_those_asked_for(tmp_path):
    need.torch()
    own = net(tmp_path, NET)
    batch = np.concatenate([picture(own, seed=seed) for seed in range(3)])
    expected = NumpyRunner(own).infer(batch)
    with TorchRunner(own) as runner:
        assert runner.module is not None
        found = runner.infer(batch)
        assert sorted(found) == [0, 1, 2, 3]
        few = runner.infer(batch, iter([1, 3]))
        assert sorted(few) == [1, 3] and runner.infer(batch, []) == {}
    assert runner.module is None
    runner.close()
    for index, y in few.items():
        assert np.array_equal(y, found[index])
        assert np.abs(y - expected[index]).max() <= 1e-5 * np.abs(expected[index]).max()
    assert np.array_equal(runner.infer(batch, [3])[3], found[3])  # it opens again by itself


def test_what_is_given_back_is_the_callers(tmp_path):
    need.torch()
    own = net(tmp_path, cfg(section("implicit", filters=3), section("empty")))
    batch = picture(own)
    with TorchRunner(own) as runner:
        first = runner.infer(batch)
        wanted = first[0].copy()
        first[0][:] = 5
        assert np.array_equal(runner.infer(batch)[0], wanted)


@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie", "opencv"])
def test_dialects(dialect, tmp_path):
    need.torch()
    paths = write(tmp_path, NET)
    assert "torch" in RUNNERS
    runner = open_runner("torch", paths[0], paths[1], dialect)
    assert (runner.name, runner.dialect) == ("torch", dialect)
    batch = picture(runner.net)
    expected = open_runner("numpy", paths[0], paths[1], dialect).infer(batch)
    for index, y in runner.infer(batch).items():
        np.testing.assert_allclose(y, expected[index], rtol=1e-4, atol=1e-5)


def test_options(tmp_path):
    torch = need.torch()
    own = net(tmp_path, NET)
    batch, head, threads = picture(own), heads(own)[0], torch.get_num_threads()
    expected = NumpyRunner(own).infer(batch, [head])[head]
    scale = np.abs(expected).max()
    try:
        with TorchRunner(own, device="cpu", channels_last=False, threads=2) as runner:
            assert torch.get_num_threads() == 2
            assert np.abs(runner.infer(batch, [head])[head] - expected).max() <= 1e-5 * scale
            assert runner.module.layers[0].weights.is_contiguous()
        with TorchRunner(own, device="cpu") as runner:
            assert runner.module.layers[0].weights.is_contiguous(memory_format=torch.channels_last)
        with TorchRunner(own, device="cpu", bfloat16=True) as runner:
            y = runner.infer(batch, [head])[head]
            assert y.dtype == np.float32 and 1e-4 * scale < np.abs(y - expected).max() <= 0.05 * scale
    finally:
        torch.set_num_threads(threads)


def test_arrays_are_converted_once(tmp_path, monkeypatch):
    need.torch()
    own = net(tmp_path, NET)
    with TorchRunner(own) as runner:
        for layer in own.layers + runner.module.net.layers:
            layer.params.clear()  # what would read them again now fails
        assert sorted(runner.infer(picture(own))) == [0, 1, 2, 3]


def test_a_gpu_does_not_drop_bits(tmp_path):
    torch = need.torch()
    runner = TorchRunner(net(tmp_path, NET), device="cpu")
    runner.open()
    assert torch.backends.cudnn.allow_tf32
    with runner._settings("cuda"):
        assert not torch.backends.cudnn.allow_tf32 and torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32


def test_bad_arguments(tmp_path):
    torch = need.torch()
    own = net(tmp_path, NET)
    with pytest.raises(UsageError) as caught:
        TorchRunner(own, device="abacus").open()
    assert caught.value.message.startswith("torch has no device abacus: ")
    assert caught.value.hint == "use cpu, or install a torch that was built for the device"
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="torch has no device cuda"):
            TorchRunner(own, device="cuda").open()
    for shape in ((1, 3, 8, 16), (3, 16, 16), (1, 1, 16, 16)):
        with pytest.raises(UsageError) as caught:
            TorchRunner(own).infer(np.zeros(shape, np.float32))
        assert caught.value.message == "the batch has shape {}, the net takes [N, 3, 16, 16]".format(list(shape))
