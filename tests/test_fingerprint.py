"""The fingerprint names the weight that differs, and only that."""

import copy

import pytest
import torch

import rnnlab as rl
from rnnlab.fingerprint import fingerprint, first_difference, weights


def test_it_reads_names_dtypes_shapes():
    found = fingerprint(rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1)))
    assert list(found) == [
        "0.cell.weight_ih",
        "0.cell.weight_hh",
        "0.cell.bias",
        "0.cell.h0",
        "0.cell.c0",
        "1.weight",
        "1.bias",
    ]
    kind, shape, digest = found["1.weight"].replace(", ", ",").split()
    assert (kind, shape, len(digest)) == ("float32", "(1,3)", 16)


def test_equal_weights_equal_prints():
    model = rl.GRU(2, 3)
    assert fingerprint(model) == fingerprint(copy.deepcopy(model))
    assert first_difference(fingerprint(model), fingerprint(copy.deepcopy(model))) is None


@pytest.mark.parametrize("name", ["cell.weight_ih", "cell.weight_hh", "cell.bias", "cell.h0"])
def test_one_changed_number_is_named(name):
    model = rl.GRU(2, 3)
    before = fingerprint(model)
    with torch.no_grad():
        model.get_parameter(name).view(-1)[-1] += 1e-6
    assert first_difference(before, fingerprint(model)) == name


def test_shape_dtype_and_missing_differ():
    a = fingerprint(rl.RNN(2, 3, "tanh"))
    assert first_difference(a, fingerprint(rl.RNN(2, 4))) == "cell.weight_ih"
    assert first_difference(a, fingerprint(rl.RNN(2, 3).double())) == "cell.weight_ih"
    without = {name: text for name, text in a.items() if name != "cell.bias"}
    assert first_difference(a, without) == "cell.bias"
    assert first_difference(without, a) == "cell.bias"


def test_signed_zeros_and_bits_count():
    a = torch.nn.Module()
    a.register_buffer("b", torch.tensor([0.0]))
    b = copy.deepcopy(a)
    b.b.neg_()
    assert first_difference(fingerprint(a), fingerprint(b)) == "b"


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(1.5),
        torch.empty(0, 3),
        torch.tensor([True, False]),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.ones(4, 4).t()[:2],
    ],
)
def test_every_kind_of_buffer(value):
    a, b = torch.nn.Module(), torch.nn.Module()
    a.register_buffer("v", value)
    b.register_buffer("v", value.clone().contiguous())
    assert fingerprint(a) == fingerprint(b)


def test_lists_and_dicts_of_modules():
    models = {"a": rl.RNN(1, 2), "b": [rl.RNN(1, 2), lambda h, x: (h, x)]}
    assert {name.rsplit(".", 2)[0] for name in weights(models)} == {"a", "b.0"}
    assert weights(lambda x: x) == {}
