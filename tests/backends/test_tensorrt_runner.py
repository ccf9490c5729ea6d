"""The runner tensorrt on stand-ins of TensorRT 8.2, which numbers bindings, and 10.3, which names tensors, and pycuda.

The stand-ins' memory holds bytes, their streams do nothing until they are waited for, and their engines compute in
numpy by code of their own: a copy that is missing or too early gives wrong numbers, as on a GPU.
"""

import threading

import numpy as np
import pytest

from darkprune.backends.tensorrt_ import TensorrtRunner
from int8_nets import pictures
from small_engines import built, expected, folder, memory, opened, release, require_equal
from small_nets import cfg, conv, section, write

__all__ = ["folder", "release"]  # fixtures


def test_an_engine_in_memory_computes_what_numpy_computes(release):
    net = opened()
    batch = pictures(net, 1)
    with TensorrtRunner(net) as runner:
        assert memory() >= 3
        require_equal(runner.infer(batch), expected(net, batch))
        assert list(runner.infer(batch, [4])) == [4]
        assert runner.infer(batch, []) == {}
        assert runner.notices == [] and runner.report.fields["precision"]["requested"] == "fp32"
    assert memory() == 0


def test_a_flat_head_of_a_map(release, folder):
    """Darknet's softmax forgets the map's shape; so does the engine's output."""
    write(folder, cfg(conv(2, stride=2), section("softmax"), width=16, height=8))
    net = opened()
    images = pictures(net, 2)
    built("net.engine", batch=(1, 2))
    with TensorrtRunner(net, "net.engine") as runner:
        found = runner.infer(images)
        assert found[1].shape == (2, 64, 1, 1)
        require_equal(found, {1: expected(net, images)[1].reshape(2, 64, 1, 1)})


@pytest.mark.parametrize("batch", [(1, 1), (2, 2), (1, 3), (2, 3), (8, 8)])
def test_batches_of_another_length_than_the_engines(release, batch):
    """Five images: in pieces, the last one filled up, or all in one that is filled up."""
    net = opened()
    images = pictures(net, 5)
    built("net.engine", batch=batch)
    with TensorrtRunner(net, "net.engine") as runner:
        require_equal(runner.infer(images), expected(net, images))
        require_equal(runner.infer(images[:1]), expected(net, images[:1]))
        require_equal(runner.infer(images), expected(net, images))  # what was longer and shorter before
        assert {i: y.shape[0] for i, y in runner.infer(images[:0]).items()} == {4: 0, 8: 0}
    assert memory() == 0


def test_results_are_not_overwritten_by_the_next_batch(release):
    net = opened()
    images = pictures(net, 2)
    with TensorrtRunner(net) as runner:
        first = runner.infer(images[:1])
        kept = {index: y.copy() for index, y in first.items()}
        runner.infer(images[1:])
    for index in kept:
        assert np.array_equal(first[index], kept[index])


def test_other_threads_may_run_it_and_close_it(release):
    """A CUDA context belongs to a thread; a capture loop is another one than the one that opened the camera."""
    net = opened()
    images, wanted = pictures(net, 4), []
    runner, failures = TensorrtRunner(net), []
    wanted = expected(net, images)

    def run(number):
        try:
            for _ in range(3):
                found = runner.infer(images[number : number + 1])
                require_equal(found, {i: y[number : number + 1] for i, y in wanted.items()})
        except BaseException as error:
            failures.append(error)

    runner.open()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    last = threading.Thread(target=runner.close)
    last.start(), last.join()
    assert memory() == 0


def test_it_opens_itself_again(release):
    net = opened()
    batch = pictures(net, 1)
    runner = TensorrtRunner(net)
    for _ in range(2):
        require_equal(runner.infer(batch), expected(net, batch))
        runner.close()
        runner.close()
    assert memory() == 0


def test_two_at_once(release):
    net = opened()
    batch = pictures(net, 1)
    with TensorrtRunner(net) as one, TensorrtRunner(net) as other:
        require_equal(one.infer(batch), expected(net, batch))
        require_equal(other.infer(batch), expected(net, batch))
        one.close()
        require_equal(other.infer(batch), expected(net, batch))
