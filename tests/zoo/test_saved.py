import pytest
import torch
from safetensors.torch import load_file, save_file

import rnnlab as rl
from rnnlab.zoo.saved import load_weights, save_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def model():
    return rl.Chain(rl.RNN(2, 3), rl.Dense(3, 1))


def weights(of):
    return {name: part.clone() for name, part in of.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_saved_is_loaded(path):
    one, other = model(), model()
    assert not same(weights(one), weights(other))
    save_weights(one, path)
    parameter = other[1].weight
    load_weights(other, path)
    assert same(weights(one), weights(other))
    assert other[1].weight is parameter  # an optimizer that holds it goes on holding it


def test_a_model_on_the_meta_device_comes_to_the_cpu_and_can_be_trained(path):
    one = model()
    save_weights(one, path)
    with torch.device("meta"):
        other = model()
    load_weights(other, path)
    assert same(weights(one), weights(other))
    x = torch.tensor([0.5, -1.0])
    assert torch.equal(one(x), other(x))
    other[0].state.sum().backward()
    assert all(part.requires_grad for part in other.parameters())
    assert other[0].init.grad is not None


def damage(file, change):
    saved = load_file(file)
    change(saved)
    save_file(saved, file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("0.cell.h0"), "missing: 0.cell.h0."),
        (lambda s: s.update(extra=torch.ones(1)), "unknown: extra."),
        (
            lambda s: s.update({"1.wait": s.pop("1.weight")}),
            "missing: 1.weight; unknown: 1.wait.",
        ),
        (
            lambda s: s.update({"1.weight": torch.ones(3, 1)}),
            "1.weight is (3, 1) torch.float32, the model's is (1, 3) torch.float32.",
        ),
        (
            lambda s: s.update({"1.bias": s["1.bias"].double()}),
            "1.bias is (1,) torch.float64, the model's is (1,) torch.float32.",
        ),
    ],
)
def test_weights_of_another_model_are_refused_by_name(path, change, said):
    save_weights(model(), path)
    damage(path, change)
    other = model()
    before = weights(other)
    with pytest.raises(rl.RnnlabError) as error:
        load_weights(other, path)
    begin = f"{path}: these are not the weights of Chain(Recur(RNNCell(2, 3, tanh)), Dense(3, 1)): "
    assert str(error.value).startswith(begin + said + " Train the model again")
    assert same(before, weights(other))


def test_a_missing_file_is_named(path):
    with pytest.raises(rl.RnnlabError) as error:
        load_weights(model(), path)
    assert str(error.value) == f"{path}: there is no such file."


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_a_file_of_another_kind_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(rl.RnnlabError, match="this is not a safetensors file"):
        load_weights(model(), path)
