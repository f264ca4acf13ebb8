"""adapt: torch's layers and cells, stepped on their very weights."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab.adapters import adapt
from rnnlab.cells.torch_cells import (
    TorchGRUCell,
    TorchLSTMCell,
    TorchProjectedLSTMCell,
    TorchRNNCell,
)
from rnnlab.layers import Stacked
from rnnlab.recur import AT_INIT, recurs
from tests.helpers import F64, close, filled, parts, randomise, weighted

T, B, I, H = 6, 3, 4, 5

LAYERS = {
    "rnn": lambda **k: nn.RNN(I, H, dtype=F64, **k),
    "relu": lambda **k: nn.RNN(I, H, nonlinearity="relu", dtype=F64, **k),
    "gru": lambda **k: nn.GRU(I, H, dtype=F64, **k),
    "lstm": lambda **k: nn.LSTM(I, H, dtype=F64, **k),
    "projected": lambda **k: nn.LSTM(I, H, proj_size=2, dtype=F64, **k),
}
OPTIONS = [
    {},
    {"num_layers": 3},
    {"bias": False},
    {"batch_first": True, "num_layers": 2},
    {"batch_first": True, "bias": False},
]
layers = pytest.mark.parametrize("kind", LAYERS)
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


def ends(model):
    """The final states of all layers, as torch returns them: one tensor a part."""
    each = [parts(recur.state) for recur in model]
    return [torch.stack(column) for column in zip(*each, strict=True)]


@layers
@options
@pytest.mark.parametrize("way", ["steps", "unroll"])
@pytest.mark.parametrize("batched", [True, False])
def test_a_bare_layer(kind, options, way, batched):
    layer = randomise(LAYERS[kind](**options))
    model = adapt(layer)
    assert type(model) is rl.Chain
    x = filled(T, B, I) if batched else filled(T, I)
    x.requires_grad_()
    theirs = x.transpose(0, 1) if layer.batch_first and batched else x
    want, final = layer(theirs)
    want = want.transpose(0, 1) if layer.batch_first and batched else want
    got = torch.stack([model(step) for step in x]) if way == "steps" else rl.unroll(model, x)
    close(got, want, 1e-12)
    final = final if isinstance(final, tuple) else (final,)
    for ours, torchs in zip(ends(model), final, strict=True):
        close(ours, torchs, 1e-12)
    weights = [*layer.parameters(), x]
    ours = torch.autograd.grad(weighted([got, *ends(model)]), weights)
    torchs = torch.autograd.grad(weighted([want, *final]), weights)
    for a, b in zip(ours, torchs, strict=True):
        close(a, b, 1e-12)


@layers
@options
def test_training_one_trains_the_other(kind, options):
    layer = randomise(LAYERS[kind](**options))
    model = adapt(layer)
    assert {id(w) for w in model.parameters()} == {id(w) for w in layer.parameters()}
    x = filled(2, I)
    sequence = torch.stack([x, x + 1], dim=1 if layer.batch_first else 0)
    for trained, other in ((layer, model), (model, layer)):
        rl.reset(model)
        before = [w.clone() for w in other.parameters()]
        out = layer(sequence)[0] if trained is layer else rl.unroll(model, torch.stack([x, x + 1]))
        optimiser = torch.optim.SGD(trained.parameters(), lr=0.3)
        optimiser.zero_grad()
        weighted(out).backward()
        optimiser.step()
        assert all(not torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
        rl.reset(model)
        model(x)
        close(model(x + 1), layer(sequence)[0].select(1 if layer.batch_first else 0, 1), 1e-12)


CELLS = {
    "rnn": lambda **k: nn.RNNCell(I, H, dtype=F64, **k),
    "relu": lambda **k: nn.RNNCell(I, H, nonlinearity="relu", dtype=F64, **k),
    "gru": lambda **k: nn.GRUCell(I, H, dtype=F64, **k),
    "lstm": lambda **k: nn.LSTMCell(I, H, dtype=F64, **k),
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_a_bare_cell(kind, bias, batched):
    cell = randomise(CELLS[kind](bias=bias))
    model = adapt(cell)
    assert isinstance(model, rl.Recur)
    xs = filled(T, B, I) if batched else filled(T, I)
    state = None
    for x in xs:
        state = cell(x, state)
        y = model(x)
    close(y, parts(state)[0], 1e-12)
    for ours, theirs in zip(parts(model.state), parts(state), strict=True):
        close(ours, theirs, 1e-12)
    weights = list(cell.parameters())
    assert [id(w) for w in weights] == [id(w) for w in model.parameters()]
    ours = torch.autograd.grad(weighted(y), weights, retain_graph=True)
    theirs = torch.autograd.grad(weighted(parts(state)[0]), weights)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("batched", [True, False])
def test_fast_ways_are_the_equation(kind, batched):
    cell = adapt(randomise(LAYERS[kind]()))[0].cell
    sizes = cell.state_sizes()
    lead = (B,) if batched else ()
    state = tuple(filled(*lead, size, seed=k) for k, size in enumerate(sizes))
    state = state if len(state) > 1 else state[0]
    x = filled(*lead, I, seed=5)
    values = cell.gates(state, x)
    assert list(values) == [*cell.gate_names, *cell.state_names]
    after, y = cell(state, x)
    close(y, values["h"], 1e-14)
    for name, part in zip(cell.state_names, parts(after), strict=True):
        close(part, values[name], 1e-14)
    if batched:  # a state without a batch is meant for every row
        one = filled(sizes[0], seed=1), filled(sizes[-1], seed=2)
        one = one if len(sizes) > 1 else one[0]
        (more, _), row = cell(one, x), cell(one, x[1])[0]
        for a, b in zip(parts(more), parts(row), strict=True):
            close(a[1], b, 1e-14)


def test_a_gru_keeps_its_second_bias():
    layer = randomise(nn.GRU(I, H, dtype=F64))
    model = adapt(layer)
    x = filled(2, I)
    with torch.no_grad():
        close(torch.stack([model(step) for step in x]), layer(x)[0], 1e-12)
        layer.bias_hh_l0[2 * H :] = 0
        rl.reset(model)
        without = torch.stack([model(step) for step in x])
        close(without, layer(x)[0], 1e-12)
    values = model[0].cell.gates(filled(H), filled(I))
    assert sorted(values) == ["h", "n", "r", "z"]


def test_names_and_printing():
    assert repr(adapt(nn.LSTM(3, 4, 2))) == (
        "Chain(Recur(TorchLSTMCell(3, 4)), Recur(TorchLSTMCell(4, 4)))"
    )
    assert list(rl.states(adapt(nn.LSTM(3, 4, 2)))) == ["0.h", "0.c", "1.h", "1.c"]
    assert repr(adapt(nn.GRU(3, 4, bias=False))) == "Chain(Recur(TorchGRUCell(3, 4, bias=False)))"
    assert repr(adapt(nn.RNNCell(3, 4, nonlinearity="relu"))) == "Recur(TorchRNNCell(3, 4, relu))"
    projected = adapt(nn.LSTM(3, 4, proj_size=2))
    assert repr(projected[0].cell) == "TorchProjectedLSTMCell(3, 2, memory_size=4)"
    assert rl.states(projected)["0.c"].shape == (4,)
    assert list(rl.states(adapt(nn.LSTMCell(3, 4)))) == ["h", "c"]


def test_states_can_be_loaded_and_stepped_back():
    model = adapt(nn.LSTM(3, 4, proj_size=2))
    s = rl.Session(model)
    xs = torch.randn(5, 3)
    s.run(xs)
    after = {name: value.clone() for name, value in s.states().items()}
    s.rewind(2)
    s.checkout("main")
    for name, value in s.states().items():
        assert torch.equal(value, after[name])
    rl.load_states(model, {"0.h": torch.ones(6, 2), "0.c": torch.ones(6, 4)})
    assert model(torch.ones(6, 3)).shape == (6, 2)
    with pytest.raises(rl.RnnlabError) as error:
        rl.load_states(model, {"0.h": torch.ones(6, 2), "0.c": torch.ones(4)})
    assert str(error.value) == (
        "load_states: the parts of one state must have the same shape; 0.h, 0.c have (4,), (6, 2)."
    )


def test_an_empty_sequence_of_a_projected_layer():
    model = adapt(nn.LSTM(3, 4, proj_size=2))
    assert rl.unroll(model, torch.ones(0, 5, 3)).shape == (0, 5, 2)


def test_dropout_between_layers():
    layer = nn.LSTM(3, 40, 2, dropout=0.5)
    model = adapt(layer)
    assert isinstance(model, Stacked)
    assert model.training
    x = torch.ones(5, 3)
    first = rl.unroll(model, x)
    rl.reset(model)
    second = rl.unroll(model, x)
    assert not torch.equal(first, second)
    layer.eval()
    calm = adapt(layer)
    assert not calm.training
    close(torch.stack([calm(step) for step in x]), layer(x)[0], 1e-5)
    assert type(adapt(nn.LSTM(3, 4, 1))) is rl.Chain


def test_copies_and_dtypes():
    layer = randomise(nn.GRU(3, 4, 2))
    model = adapt(layer)
    model(torch.ones(3))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        close(other(torch.ones(3)), copy.deepcopy(model)(torch.ones(3)))
        assert other[0].cell.weight_ih is not layer.weight_ih_l0
    model.double()
    assert layer.weight_ih_l0.dtype == F64
    rl.reset(model)
    close(rl.unroll(model, filled(5, 3)), layer(filled(5, 3))[0], 1e-12)
    half = adapt(nn.LSTM(3, 4).bfloat16())
    assert half(torch.ones(3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_the_source_is_left_alone():
    layer = nn.LSTM(3, 4)
    before = dict(layer.__dict__)
    model = adapt(layer)
    model(torch.ones(3))
    assert layer.__dict__.keys() == before.keys()
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert list(layer.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert list(model.state_dict()) == [
        f"0.cell.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


class TestParity:
    @layers
    @options
    def test_layers(self, kind, options, capsys):
        layer = randomise(LAYERS[kind](**options))
        x = filled(B, T, I) if layer.batch_first else filled(T, B, I)
        model = adapt(layer, check=x)
        assert 0 <= model.parity < 1e-13
        said = capsys.readouterr().out
        assert said == (
            f"adapt: whole sequence and {T} single steps differ by at most {model.parity:.2g}\n"
        )
        assert all(recur.__dict__["_state"] is AT_INIT for _, recur in recurs(model))

    def test_unbatched_and_cells(self, capsys):
        assert adapt(nn.LSTM(3, 4, batch_first=True), check=torch.randn(7, 3)).parity < 1e-6
        assert "7 single steps" in capsys.readouterr().out
        assert adapt(nn.GRUCell(3, 4), check=torch.randn(7, 3)).parity < 1e-6
        assert "7 single steps" in capsys.readouterr().out

    def test_a_check_of_another_shape(self):
        text = (
            r"^adapt: the check could not be run: RuntimeError: input.size\(-1\) .* "
            r"check= is a whole sequence in the shape that the model takes; got a tensor of shape "
            r"\(7, 5\)\.$"
        )
        with pytest.raises(rl.RnnlabError, match=text):
            adapt(nn.LSTM(3, 4), check=torch.zeros(7, 5))

    def test_dropout_is_off_and_the_mode_stays(self, capsys):
        layer = nn.GRU(3, 4, 2, dropout=0.9)
        model = adapt(layer, check=torch.randn(7, 2, 3))
        assert model.parity < 1e-6
        assert layer.training
        assert model.training
        assert capsys.readouterr().out


class TestErrors:
    def test_bidirectional(self):
        with pytest.raises(rl.RnnlabError) as error:
            adapt(nn.LSTM(3, 4, bidirectional=True))
        assert str(error.value) == (
            "adapt: the layer, LSTM(3, 4, bidirectional=True), is bidirectional. Its backward half "
            "starts at the end of the sequence, so there is no single step; "
            "unroll(Bidirectional(…), xs) runs one over whole sequences."
        )
        model = nn.ModuleDict({"encoder": nn.Sequential(nn.GRU(3, 4, bidirectional=True))})
        with pytest.raises(rl.RnnlabError) as error:
            adapt(model)
        assert str(error.value) == (
            "adapt: layer 'encoder.0', GRU(3, 4, bidirectional=True), is bidirectional. Its "
            "backward half starts at the end of the sequence, so there is no single step; "
            "unroll(Bidirectional(…), xs) runs one over whole sequences."
        )

    def test_no_layer(self):
        with pytest.raises(rl.RnnlabError) as error:
            adapt(nn.Linear(3, 4))
        assert str(error.value) == (
            "adapt: Linear(in_features=3, out_features=4, bias=True) has no recurrent layer inside "
            "(nn.RNN, nn.LSTM, nn.GRU, their cells, or a cell called as cell(x, state) with a "
            "hidden_size). For a cell of your own, give its initial state: adapt(cell, init=…)."
        )

    def test_stateful_already(self):
        with pytest.raises(rl.RnnlabError) as error:
            adapt(rl.Chain(rl.RNN(3, 4)))
        assert str(error.value) == (
            "adapt: Chain(Recur(RNNCell(3, 4, tanh))) is stateful already; use it as it is."
        )

    def test_a_cell_of_ours(self):
        with pytest.raises(rl.RnnlabError) as error:
            adapt(rl.LSTMCell(3, 4))
        assert str(error.value) == (
            "adapt: LSTMCell(3, 4) is a cell h, y = cell(h, x) already. "
            "Recur(cell) makes it stateful."
        )

    def test_no_module(self):
        with pytest.raises(rl.RnnlabError) as error:
            adapt(3)  # type: ignore[arg-type]
        assert str(error.value) == (
            "adapt: expected an nn.Module, got int 3. A function h, y = cell(h, x) becomes "
            "stateful as Recur(cell, init)."
        )

    def test_inputs_and_states(self):
        cell = adapt(nn.LSTM(3, 4, proj_size=2))[0].cell
        with pytest.raises(rl.RnnlabError) as error:
            cell(cell.initial_state(), torch.ones(5))
        assert str(error.value) == (
            "TorchProjectedLSTMCell(3, 2, memory_size=4): x has 5 features, expected 3; "
            "x.shape = (5,)"
        )
        with pytest.raises(rl.RnnlabError) as error:
            cell((torch.zeros(2), torch.zeros(2)), torch.ones(3))
        assert str(error.value) == (
            "TorchProjectedLSTMCell(3, 2, memory_size=4): state c must have shape (4,) or (B, 4); "
            "c.shape = (2,)"
        )
        with pytest.raises(rl.RnnlabError) as error:
            cell((torch.zeros(2), torch.zeros(7, 4)), torch.ones(5, 3))
        assert str(error.value) == (
            "TorchProjectedLSTMCell(3, 2, memory_size=4): the state is for a batch of 7, x has a "
            "batch of 5. Call reset(model) before starting with another batch size."
        )

    def test_weights_that_do_not_fit(self):
        def p(*shape):
            return nn.Parameter(torch.zeros(*shape))

        with pytest.raises(rl.RnnlabError) as error:
            TorchLSTMCell(p(16, 3), p(12, 4))
        assert str(error.value) == (
            "TorchLSTMCell: weight_ih (16, 3) and weight_hh (12, 4) must both have 4 × H rows; the "
            "biases must both be there or both be missing."
        )
        with pytest.raises(rl.RnnlabError):
            TorchGRUCell(p(12, 3), p(12, 4), p(12))
        with pytest.raises(rl.RnnlabError) as error:
            TorchRNNCell(p(4, 3), p(4, 4), activation="sine")
        assert str(error.value) == "TorchRNNCell: activation must be tanh or relu, got 'sine'."
        with pytest.raises(rl.RnnlabError) as error:
            TorchProjectedLSTMCell(p(16, 3), p(16, 2), weight_hr=p(4, 4))
        assert str(error.value) == (
            "TorchProjectedLSTMCell: weight_hr must be (P, H) = 2 × 4, got (4, 4)."
        )


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell, nn.RNN, nn.GRU, nn.LSTM])
def test_hooks_on_a_bare_layer_count(kind):
    """A lesion by a hook is a lesion of the adapted model too."""
    torch.manual_seed(0)
    layer = kind(2, 3)
    kept = torch.tensor([0.0, 1.0, 0.5])

    def hook(module, given, result):
        if isinstance(result, tuple):
            return (result[0] * kept, result[1])
        return result * kept

    handle = layer.register_forward_hook(hook)
    whole = isinstance(layer, nn.RNNBase)
    x = torch.ones(1, 2) if whole else torch.ones(2)
    want, got = layer(x), rl.adapt(layer)(x)
    want = want[0] if isinstance(want, tuple) else want
    torch.testing.assert_close(got[0] if isinstance(got, tuple) else got, want)
    assert (want != 0).any()
    handle.remove()
    plain = rl.adapt(layer)
    assert isinstance(plain, rl.Chain if whole else rl.Recur)


def test_a_try_draws_no_random_numbers_of_a_gpu(monkeypatch):
    class NoisyCell(nn.Module):
        hidden_size, input_size = 3, 2

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x, state):
            return torch.tanh(self.linear(torch.cat([dropout(x), state], dim=-1)))

    def kept(devices):
        seen.append(devices)
        return nullcontext()

    seen, dropout = [], nn.Dropout(0.5)
    monkeypatch.setattr(torch.random, "fork_rng", kept)
    adapt(NoisyCell())
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    adapt(NoisyCell())
    assert seen == [[], [torch.device("cpu")]]  # the second stands for a GPU
