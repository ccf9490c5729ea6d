"""Every layer of a net in a runner against numpy: what the tests of several runners share."""

import numpy as np

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.verify import allow_noise, check, moved


def largest_error(runner, net, batch, tolerance):
    """The largest error of any layer, relative to the layer's largest value; fails where one is too large.

    An error may be `tolerance`, or what verify allows for the noise of float32.
    """
    expected, found = NumpyRunner(net).infer(batch), runner.infer(batch)
    assert sorted(found) == sorted(expected) == list(range(len(net.layers)))
    assert all(y.dtype == np.float32 and y.flags.c_contiguous for y in found.values())
    checks = [check(runner.name, runner.name, i, expected[i], found[i], tolerance) for i in sorted(expected)]

    def noise():
        other = NumpyRunner(net, lambda layer, y: moved(y)).infer(moved(batch))
        return {i: check("noise", "numpy", i, y, other[i], 0.0).max_error for i, y in expected.items()}

    failed = [c for c in allow_noise(checks, noise) if not c.ok]
    assert not failed, failed[0]
    return max(c.max_error for c in checks)
