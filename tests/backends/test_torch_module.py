"""A net as a torch module: the same arrays there and back, gradients to all of them, batch norm in training."""

import copy

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.darknet.weights import Header
from darkprune.errors import GraphError, Unsupported
from darkprune.graph.build import load
from darkprune.graph.key import pair_key
from darkprune.graph.net import heads
from darkprune.graph.save import save, weights_chunks
from darkprune.graph.write import cfg_bytes
from darkprune.verify import test_batch as picture
from odd_nets import NETS, text
from random_checks import draw
from random_layers import Choices
from random_nets import HEADERS, write_weights
from small_nets import HEAD, cfg, conv, make_weights, section, shortcut
from small_nets import net as written
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type

torch = need.torch()

from darkprune.backends.torch_module import NetModule, to_net  # noqa: E402
from darkprune.backends.torch_ops import TorchBuilder  # noqa: E402


def content(net):
    return b"".join(weights_chunks(net))


def module_of(net):
    return NetModule(net).eval()


def batch_of(net, count=2):
    return torch.from_numpy(np.concatenate([picture(net, seed=seed) for seed in range(count)]))


def odd(name, folder):
    (folder / "net.cfg").write_text(text(name), "ascii")
    paths, dialect = [str(folder / "net.cfg"), str(folder / "net.weights")], NETS[name][0]
    make_weights.make(*paths, dialect=dialect, dead=0)
    return load(paths[0], paths[1], dialect)


# ---- there and back


@pytest.mark.parametrize("name", sorted(CFGS))
def test_every_layer_type_comes_back_bit_for_bit(name, tmp_path):
    net = load_type(name, "alexeyab")
    data = with_weights(net, tmp_path)
    module = NetModule(net)
    again = to_net(module)
    assert content(again) == data and cfg_bytes(again) == cfg_bytes(net) and pair_key(again) == pair_key(net)
    wanted = ["layers.{}.{}".format(layer.index, spec.name) for layer, spec in net.specs()]
    assert sorted(module.state_dict()) == sorted(wanted)
    for name, _ in module.named_buffers():
        assert name.endswith(("mean", "variance"))
    for name, _ in module.named_parameters():
        assert not name.endswith(("mean", "variance"))


@pytest.mark.parametrize("header", HEADERS)
def test_random_nets_come_back_in_every_file_layout(header, tmp_path):
    transposed = 0
    for seed in range(40, 52):
        case, weights = draw(Choices(seed)), str(tmp_path / "net.weights")
        (tmp_path / "net.cfg").write_bytes(case.data)
        write_weights(case.data, weights, seed, Header(*header), 0.5, case.dialect)
        net = load(str(tmp_path / "net.cfg"), weights, case.dialect)
        save(to_net(NetModule(net)), str(tmp_path / "back"), overwrite=True)
        assert (tmp_path / "back.weights").read_bytes() == (tmp_path / "net.weights").read_bytes()
        transposed += net.header.transposed and any(spec.transposable for _, spec in net.specs())
    assert (transposed > 0) == (header[0] > 1000)


def test_bits_that_arithmetic_would_lose(tmp_path):
    net = written(tmp_path, cfg(conv(4), HEAD))
    values = np.array([-0.0, 1e-45, np.finfo(np.float32).max, -1e-38], np.float32)
    net.layers[0].set_param("biases", values)
    assert to_net(NetModule(net)).layers[0].array("biases").tobytes() == values.tobytes()


def test_yolo_fastest_comes_back_bit_for_bit(tmp_path):
    folder = need.shared() / "models" / "yolo-fastest-1.1"
    for name in ("yolo-fastest-1.1", "yolo-fastest-1.1-xl"):
        paths = [folder / (name + suffix) for suffix in (".cfg", ".weights")]
        save(to_net(NetModule(load(str(paths[0]), str(paths[1])))), str(tmp_path / name))
        assert (tmp_path / (name + ".weights")).read_bytes() == paths[1].read_bytes()


def test_shared_weights_stay_one_parameter(tmp_path):
    net = odd("shared weights", tmp_path)
    module = module_of(net)
    assert list(module.layers[2].parameters()) == []
    batch = batch_of(net)
    before = module(batch, [2])[2]
    with torch.no_grad():
        module.layers[1].weights *= 2
    assert not torch.equal(module(batch, [2])[2], before)
    after = to_net(module)
    assert np.array_equal(after.layers[1].array("weights"), 2 * net.layers[1].array("weights"))
    found = NumpyRunner(after).infer(batch.numpy(), [2])[2]
    np.testing.assert_allclose(module(batch, [2])[2].detach().numpy(), found, rtol=1e-4, atol=1e-4)


def test_a_module_is_apart_from_its_net(tmp_path):
    net = written(tmp_path, cfg(conv(4), HEAD))
    module = NetModule(net)
    before = content(net)
    with torch.no_grad():
        module.layers[0].weights += 1
    first = to_net(module)
    with torch.no_grad():
        module.layers[0].weights += 1
    assert content(net) == before
    np.testing.assert_array_equal(first.layers[0].array("weights"), net.layers[0].array("weights") + 1)
    net.layers[0].set_param("biases", np.ones(4))
    assert not np.array_equal(to_net(module).layers[0].array("biases"), np.ones(4))


def test_a_state_dict_goes_to_another_module_of_the_net(tmp_path):
    net = written(tmp_path, cfg(conv(4), HEAD))
    module, other = NetModule(net), NetModule(net)
    with torch.no_grad():
        module.layers[1].weights += 1
        module.layers[0].mean += 1
    other.load_state_dict(module.state_dict())
    assert content(to_net(other)) == content(to_net(module)) != content(net)


def test_a_copied_module_is_apart_and_any_precision_comes_back(tmp_path):
    """As the moving average of a model in training is kept."""
    net = written(tmp_path, cfg(conv(4), shortcut(-1), HEAD))
    module = NetModule(net)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.layers[0].weights += 1
    assert content(to_net(module)) == content(net) != content(to_net(twin))
    batch = batch_of(net)
    for index, y in copy.deepcopy(module).eval()(batch).items():
        assert torch.equal(module.eval()(batch)[index], y)
    assert content(to_net(module.double())) == content(net)
    values = net.layers[0].array("weights")
    np.testing.assert_allclose(to_net(module.bfloat16()).layers[0].array("weights"), values, rtol=1e-2)


def test_what_is_not_finite_does_not_come_back(tmp_path):
    module = NetModule(written(tmp_path, cfg(conv(4), HEAD)))
    with torch.no_grad():
        module.layers[1].weights[0, 0] = float("nan")
    with pytest.raises(GraphError) as caught:
        to_net(module)
    assert caught.value.message == "weights of layer <1 convolutional> would hold a nan or infinity"


def test_a_net_without_values(tmp_path):
    (tmp_path / "net.cfg").write_text(cfg(conv(4), HEAD), "ascii")
    with pytest.raises(GraphError) as caught:
        NetModule(load(str(tmp_path / "net.cfg")))
    assert caught.value.message == "layer <0 convolutional> has no values for 'biases'"
    assert caught.value.hint == "load the weights too" and caught.value.where.line is not None


# ---- gradients


def gradients(module, batch):
    """Backward from the raw heads, each value weighed at random, so that no symmetry cancels a gradient."""
    torch.manual_seed(1)
    module.zero_grad()
    sum((y * torch.randn_like(y)).sum() for y in module(batch).values()).backward()
    return {name: values.grad for name, values in module.named_parameters()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN - {"implicit"}))
def test_gradients_reach_every_parameter_of_every_layer_type(name, training, tmp_path):
    net = load_type(name, "alexeyab")
    with_weights(net, tmp_path)
    batch = torch.from_numpy(np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32))
    found = gradients(NetModule(net).train(training), batch)
    assert found
    for name, gradient in found.items():
        assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().max() > 0, name


@pytest.mark.parametrize("name", sorted(NETS))
def test_gradients_reach_every_parameter_of_odd_nets(name, tmp_path):
    net = odd(name, tmp_path)
    for training in (False, True):
        module = NetModule(net).train(training)
        for key, gradient in gradients(module, batch_of(net)).items():
            assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().max() > 0, key


def test_gradients_reach_implicit_constants(tmp_path):
    net = written(tmp_path, cfg(section("implicit", filters=4), section("connected", output=3, activation="leaky")))
    found = gradients(NetModule(net), torch.zeros(2, 3, 16, 16))
    assert found["layers.0.weights"].abs().min() > 0 and found["layers.1.weights"].abs().max() > 0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", sorted(set(NETS) - {"binary convolutions"}))
def test_gradients_are_the_slopes(name, training, tmp_path):
    """Every parameter moved to both sides along its gradient, in float64."""
    net = odd(name, tmp_path)
    module = NetModule(net).train(training).double()
    batch, weighs = batch_of(net).double(), {}

    def value():
        found = module(batch)
        torch.manual_seed(2)
        return sum((y * weighs.setdefault(i, torch.randn_like(y))).sum() for i, y in found.items())

    module.zero_grad()
    value().backward()
    for key, values in module.named_parameters():
        gradient = values.grad.clone()
        step = 1e-6 / float(gradient.norm())
        with torch.no_grad():
            values += step * gradient
            above = value().item()
            values -= 2 * step * gradient
            below = value().item()
            values += step * gradient
        assert (above - below) / (2 * step) == pytest.approx(float((gradient * gradient).sum()), rel=1e-3), key


def test_gradients_of_binary_convolutions_pass_straight_through():
    b = TorchBuilder()
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 2.0], requires_grad=True)
    y = b.sign(x)
    assert y.tolist() == [-1, -1, -1, 1, 1]
    y.backward(torch.arange(1.0, 6.0))
    assert x.grad.tolist() == [0, 2, 3, 4, 0]
    weights = torch.tensor([1.0, -3.0, 0.5, 0.0], requires_grad=True)
    binary = b.binarised(weights.reshape(1, 1, 2, 2))
    assert binary.flatten().tolist() == [1.125, -1.125, 1.125, -1.125]
    binary.backward(torch.arange(4.0).reshape(1, 1, 2, 2))
    assert weights.grad.tolist() == [0, 1, 2, 3]


# ---- training


# One channel with the values 1, 2, 3 and 6: mean 3, variance (4 + 1 + 0 + 9) / 3 = 14/3 over n - 1.
@pytest.mark.parametrize(
    "dialect, divisor",
    [
        ("alexeyab", np.sqrt(14 / 3 + 1e-5)),
        ("pjreddie", np.sqrt(14 / 3) + 1e-6),
        ("opencv", np.sqrt(14 / 3 + 1e-6)),
    ],
)
def test_batch_norm_in_training(dialect, divisor):
    b = TorchBuilder(dialect)
    b.training = True
    x = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(2, 1, 1, 2)
    mean, variance = torch.tensor([0.5]), torch.tensor([2.0])
    y = b.batch_norm(x, torch.tensor([2.0]), torch.tensor([-1.0]), mean, variance)
    wanted = [2 * (v - 3) / divisor - 1 for v in (1, 2, 3, 6)]
    np.testing.assert_allclose(y.flatten().numpy(), wanted, rtol=1e-6)
    assert float(mean) == pytest.approx(0.9 * 0.5 + 0.1 * 3, rel=1e-6)
    assert float(variance) == pytest.approx(0.9 * 2 + 0.1 * 14 / 3, rel=1e-6)


def test_batch_norm_with_a_tiny_variance_in_training_differs_by_dialect():
    x = torch.tensor([1e-4, -1e-4]).reshape(2, 1, 1, 1)  # the variance is 2e-8
    found = []
    for dialect in ("alexeyab", "pjreddie", "opencv"):
        b = TorchBuilder(dialect)
        b.training = True
        found.append(float(b.batch_norm(x, *(torch.full((1,), v) for v in (1.0, 0.0, 0.0, 1.0)))[0]))
    root = np.sqrt(2e-8)
    wanted = [1e-4 / np.sqrt(2e-8 + 1e-5), 1e-4 / (root + 1e-6), 1e-4 / np.sqrt(2e-8 + 1e-6)]
    assert found == pytest.approx(wanted, rel=1e-4)


def test_statistics_move_in_training_only(tmp_path):
    net = written(tmp_path, cfg(conv(4), conv(4), HEAD))
    module, batch = module_of(net), batch_of(net, 4)
    before = content(to_net(module))
    module(batch)
    assert content(to_net(module)) == before
    seen = {}
    module.train()(batch, hook=lambda layer, y: seen.setdefault(layer.index, y))
    after = to_net(module)
    assert not np.array_equal(after.layers[1].array("mean"), net.layers[1].array("mean"))
    raw = torch.nn.functional.conv2d(batch, torch.from_numpy(net.layers[0].array("weights")), padding=1)
    mean = raw.double().mean((0, 2, 3)).numpy()
    variance = raw.double().var((0, 2, 3)).numpy()
    for name, own in (("mean", mean), ("variance", variance)):
        wanted = 0.9 * net.layers[0].array(name) + 0.1 * own
        np.testing.assert_allclose(after.layers[0].array(name), wanted, rtol=1e-5, atol=1e-6)
    assert sorted(seen) == [0, 1, 2]


def test_a_hook_replaces_outputs(tmp_path):
    net = written(tmp_path, cfg(conv(4), HEAD))
    module, batch = module_of(net), batch_of(net, 1)
    found = module(batch, hook=lambda layer, y: y * 0 if layer.index == 0 else y)[1]
    wanted = torch.tensor(net.layers[1].array("biases").tolist()).reshape(1, -1, 1, 1).expand_as(found)
    assert torch.equal(found, wanted)


def test_dropout_drops_in_training_only(tmp_path):
    net = written(tmp_path, cfg(conv(8), section("dropout", probability=0.25), HEAD))
    module, batch = module_of(net), batch_of(net)
    quiet = module(batch, [0, 1])
    assert torch.equal(quiet[0], quiet[1])
    torch.manual_seed(3)
    loud = module.train()(batch, [0, 1])
    kept = loud[1] != 0
    assert 0.7 < float(kept.float().mean()) < 0.8
    torch.testing.assert_close(loud[1][kept], loud[0][kept] / 0.75)


@pytest.mark.parametrize("options, what", [({"dropblock": 1}, "DropBlock"), ({"probability": 2}, "probability 2.0")])
def test_dropout_that_torch_cannot_train(options, what, tmp_path):
    module = NetModule(written(tmp_path, cfg(conv(8), section("dropout", **options), HEAD)))
    batch = batch_of(module.net)
    module.eval()(batch)
    with pytest.raises(Unsupported) as caught:
        module.train()(batch)
    assert "layer 1: the torch backend cannot run" in caught.value.message and what in caught.value.message


def test_a_step_of_training_ends_in_files_that_compute_the_same(tmp_path):
    net = written(tmp_path, cfg(conv(8), conv(8, 1, "mish"), conv(8), shortcut(-3), HEAD), dead=0)
    module, batch = NetModule(net).train(), batch_of(net, 4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = sum((y - 1).square().mean() for y in module(batch).values())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    save(to_net(module), str(tmp_path / "trained"))
    trained = load(str(tmp_path / "trained.cfg"), str(tmp_path / "trained.weights"))
    expected, found = module.eval()(batch), NumpyRunner(trained).infer(batch.numpy(), heads(trained))
    for index, y in expected.items():
        np.testing.assert_allclose(found[index], y.detach().numpy(), rtol=1e-4, atol=1e-4)
    for layer, spec in trained.specs():
        assert not np.array_equal(layer.array(spec.name), net.layers[layer.index].array(spec.name)), (layer, spec.name)
