"""as_cell: a whole model as a pure function, under torch.func, and nothing touched by a call."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.func import jacfwd, jacrev, jvp, vmap

import rnnlab as rl
from rnnlab.adapters import adapt
from rnnlab.cells.registry import CELLS
from rnnlab.functional import ModelCell, as_cell
from rnnlab.unfused import Unfused
from tests.helpers import F64, close, filled, joined, numeric_jacobian, randomise, weighted

# torch's own rules for jvp are made with torch.jit.script when they are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def chain(dtype=F64):
    layers = rl.LSTM(2, 3, dtype=dtype), rl.GRU(3, 4, dtype=dtype), rl.Dense(4, 2, dtype=dtype)
    return randomise(rl.Chain(*layers))


class Reader(nn.Module):
    """Someone else's model: layers called without a state, time in the second dimension."""

    def __init__(self, dtype=F64):
        super().__init__()
        self.embed = nn.Linear(2, 3, dtype=dtype)
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True, dtype=dtype)
        self.gru = nn.GRU(4, 3, batch_first=True, dtype=dtype)
        self.out = nn.Linear(3, 2, dtype=dtype)

    def forward(self, x):
        return self.out(self.gru(self.lstm(self.embed(x))[0])[0])


def models():
    yield "chain", chain(), filled(2, seed=3)
    yield "adapted chain", adapt(randomise(nn.LSTM(2, 3, 2, dtype=F64))), filled(2, seed=3)
    yield "adapted", adapt(randomise(Reader())), filled(1, 2, seed=3)
    yield "cell", adapt(randomise(nn.GRUCell(2, 3, dtype=F64))), filled(2, seed=3)


MODELS = pytest.mark.parametrize(("model", "x"), [pytest.param(m, x, id=n) for n, m, x in models()])


def started(model, x):
    """A vector of states in the middle of a run."""
    cell = as_cell(model)
    states = cell.initial_state()
    for k in range(3):
        states, _ = cell(states, x + k)
    return cell, cell.flat(states).detach()


@MODELS
def test_it_is_the_model(model, x):
    rl.reset(model)
    cell = as_cell(model)
    states = cell.initial_state()
    for k in range(4):
        states, y = cell(states, x * (k + 1))
        want = model(x * (k + 1))
        close(y, want, 1e-12)
        now = rl.states(model)
        assert list(states) == list(cell.names) == list(now)
        for name, value in now.items():
            close(states[name], value, 1e-12)


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_every_cell_of_the_library(kind):
    model = rl.Recur(randomise(kind(3, 3, dtype=F64)))
    cell, s = started(model, filled(3, seed=2))
    x = filled(3, seed=4)

    def step(s):
        return cell.flat_step(s, x)[0]

    J = jacrev(step)(s)
    close(jacfwd(step)(s), J, 1e-12)
    numeric = numeric_jacobian(lambda v: step(torch.from_numpy(v)).detach().numpy(), s.numpy())
    close(J, torch.from_numpy(numeric), 1e-6)
    rows = s + 0.1 * filled(5, cell.size, seed=6)
    close(vmap(step)(rows), torch.stack([step(row) for row in rows]), 1e-12)


@MODELS
def test_torch_func(model, x):
    cell, s = started(model, x)

    def step(s):
        return cell.flat_step(s, x)[0]

    J = jacrev(step)(s)
    numeric = numeric_jacobian(lambda v: step(torch.from_numpy(v)).detach().numpy(), s.numpy())
    close(J, torch.from_numpy(numeric), 1e-6)
    close(jacfwd(step)(s), J, 1e-12)
    direction = filled(cell.size, seed=9)
    close(jvp(step, (s,), (direction,))[1], J @ direction, 1e-12)
    rows = s + 0.1 * filled(5, cell.size, seed=6)
    close(vmap(jacrev(step))(rows), torch.stack([jacrev(step)(row) for row in rows]), 1e-12)
    H = jacfwd(jacrev(step))(s)
    close(H, H.transpose(-1, -2), 1e-10)
    out = jacrev(lambda x: cell.flat_step(s, x)[1])(x)
    assert out.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_forward_mode_in_every_precision(dtype):
    """torch's CPU kernel for float32 has no rule for jvp; the equation has."""
    model = adapt(randomise(Reader(dtype)))
    cell = as_cell(model)
    s = cell.flat(cell.initial_state()) + 0.1
    x = torch.ones(1, 2, dtype=dtype)

    def step(s):
        return cell.flat_step(s, x)[0]

    close(jacfwd(step)(s), jacrev(step)(s), 1e-5)


@MODELS
def test_a_call_touches_nothing(model, x):
    rl.reset(model)
    model.train()
    model(x)
    before = {name: value.clone() for name, value in rl.states(model).items()}
    objects = {name: id(value) for name, value in rl.states(model).items()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    cell, s = started(model, x)
    jacrev(lambda s: cell.flat_step(s, x)[0])(s)
    with pytest.raises((rl.RnnlabError, RuntimeError)):
        cell(cell.initial_state(), torch.ones(7, 7, 7, dtype=F64))
    assert {name: id(value) for name, value in rl.states(model).items()} == objects
    for name, value in rl.states(model).items():
        assert torch.equal(value, before[name])
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_hooks_stay_and_run():
    model, seen = chain(), []
    handle = model[2].register_forward_hook(lambda m, x, y: seen.append(y.shape))
    cell = as_cell(model)
    cell(cell.initial_state(), filled(2))
    assert seen == [torch.Size([2])]
    handle.remove()
    cell(cell.initial_state(), filled(2))
    assert seen == [torch.Size([2])]
    model[2].register_forward_pre_hook(lambda m, args: seen.append(args[0].shape))
    cell(cell.initial_state(), filled(2))
    assert seen == [torch.Size([2]), torch.Size([4])]


def test_buffers_that_a_call_would_change_are_its_own():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = rl.RNN(2, 3)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(self.rnn(x))

    model = Normed()
    cell = as_cell(model)
    cell(cell.initial_state(), torch.randn(4, 2))
    assert model.norm.num_batches_tracked == 0
    model(torch.randn(4, 2))
    model.eval()
    rl.reset(model)
    x = torch.randn(4, 2)
    close(cell(cell.initial_state(), x)[1], model(x))


@pytest.mark.parametrize("dtype", [None, F64])
def test_it_follows_the_model(dtype):
    model = chain(torch.float32)
    cell = as_cell(model, dtype=dtype)
    x = filled(2, dtype=torch.float32)

    def now():
        rl.reset(model)
        close(cell(cell.initial_state(), x)[1].float(), model(x), 1e-6)
        return cell(cell.initial_state(), x)[1]

    before = now()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    weighted(model(x)).backward()
    optimiser.step()
    after = now()
    assert not torch.equal(before, after)
    model[2].bias = nn.Parameter(torch.ones(2))
    assert not torch.equal(after, now())
    model[2].activation = torch.relu
    now()
    model[2].bias.data = -9 * torch.ones(2)
    assert now().tolist() == [0, 0]


def test_training_mode_is_the_models():
    model = rl.Chain(rl.RNN(2, 50), nn.Dropout(0.5))
    cell = as_cell(model)
    x = torch.ones(2)
    assert (cell(cell.initial_state(), x)[1] == 0).any()
    model.eval()
    assert not (cell(cell.initial_state(), x)[1] == 0).any()


@pytest.mark.parametrize("dtype", [None, F64])
def test_gradients_reach_the_model(dtype):
    model = chain()
    cell = as_cell(model, dtype=dtype)
    rl.reset(model)
    x = filled(2)
    states = cell.initial_state()
    for _ in range(3):
        states, y = cell(states, x)
        want = model(x)
    weights = list(model.parameters())
    ours = torch.autograd.grad(weighted(y), weights)
    theirs = torch.autograd.grad(weighted(want), weights)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize(
    "make",
    [lambda: chain(torch.float32), lambda: adapt(randomise(Reader(torch.float32)))],
    ids=["chain", "adapted"],
)
def test_float64_of_a_float32_model(make):
    model = make()
    x = torch.ones(2) if isinstance(model, rl.Chain) else torch.ones(1, 2)
    double = copy.deepcopy(model).double()
    cell = as_cell(model, dtype=F64)
    states = cell.initial_state()
    for _ in range(3):
        states, y = cell(states, x)  # x is converted as well
        want = double(x.double())
    close(y, want, 1e-14)
    assert {value.dtype for value in states.values()} == {F64}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    weighted(y).backward()
    assert all(
        weight.grad is not None and weight.grad.dtype == torch.float32
        for weight in model.parameters()
        if weight.requires_grad
    )


@pytest.fixture
def on_gpu(monkeypatch):
    """Every tensor passes for one on a GPU."""
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    monkeypatch.setattr(torch.backends.cudnn, "is_acceptable", lambda tensor: True)


def test_layers_of_torch_are_not_left_to_cudnn(on_gpu, monkeypatch):
    """Weights of a copy are in no buffer, of which cuDNN would warn at every call."""

    class Seen(Unfused):
        def __enter__(self):
            entered.append(self)
            return super().__enter__()

    entered = []
    monkeypatch.setattr("rnnlab.functional.Unfused", Seen)
    model, x = adapt(randomise(Reader(torch.float32))), filled(1, 2, dtype=torch.float32)
    want = copy.deepcopy(model)(x)
    cell = as_cell(model, dtype=F64)
    close(cell(cell.initial_state(), x)[1].float(), want, 1e-6)
    assert entered


def test_weights_without_memory_are_not_laid_side_by_side(on_gpu):
    """A layer whose weights are computed asks for that at every call, also inside a transform."""
    layer = nn.GRU(2, 3, dtype=F64)
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")

    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)[0]

    cell, x = as_cell(adapt(Inside())), filled(1, 2)
    jacobian = jacrev(lambda s: cell.flat_step(s, x)[0])(filled(3))
    assert jacobian.isfinite().all()
    assert jacobian.shape == (3, 3)


def test_a_number_among_the_states_is_where_the_others_are():
    init = (torch.zeros(2, device="meta"), 1)  # stands for a GPU
    cell = as_cell(rl.Recur(lambda h, x: ((h[0] + x, h[1] + 1), x), init))
    assert cell.flat(cell.initial_state()).device == torch.device("meta")
    assert cell.flat_step(cell.flat(cell.initial_state()), init[0])[0].shape == (3,)


def test_weights_may_change_between_two_transforms():
    """The converted copies are not made inside a transform that has ended since."""
    model = chain(torch.float32)
    cell = as_cell(model, dtype=F64)
    s = cell.flat(cell.initial_state()).detach()
    x = torch.ones(2, dtype=F64)

    def step(s):
        return cell.flat_step(s, x)[0]

    with torch.no_grad():
        model[0].cell.weight_hh.mul_(1.1)
    first = vmap(jacrev(step))(s.unsqueeze(0))[0]
    close(jacfwd(step)(s), first, 1e-12)
    assert not step(s).requires_grad or step(s).grad_fn is not None


class Weighed(nn.Module):
    """Tensors that are neither parameters nor buffers, one of them computed from a parameter."""

    def __init__(self):
        super().__init__()
        self.rnn = randomise(rl.GRU(2, 3, train_init=False))
        self.scale = torch.arange(1.0, 4.0)
        self.root = nn.Parameter(torch.full((3,), 2.0))
        self.square = self.root**2

    def forward(self, x):
        return self.square * self.scale * self.rnn(x)


@pytest.mark.parametrize("dtype", [None, F64])
def test_tensors_that_are_mere_attributes(dtype):
    model, x = Weighed(), filled(2, dtype=torch.float32)
    cell = as_cell(model, dtype=dtype)
    for change in (None, model.scale.neg_):
        if change is not None:
            change()
        rl.reset(model)
        y, want = cell(cell.initial_state(), x)[1], model(x)
        assert y.dtype == (dtype or torch.float32)
        close(y.float(), want, 1e-6)
        slopes = (torch.autograd.grad(v.sum(), model.root, retain_graph=True) for v in (y, want))
        close(*slopes, 1e-6)


@pytest.mark.parametrize("dtype", [None, F64])
def test_several_models_at_once(dtype):
    """functional_call gives the model other weights for a call, of an ensemble say."""

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, s):
            return cell.flat_step(s, x)[0]

    model = rl.Chain(rl.LSTM(2, 3, train_init=False), rl.Dense(3, 2)).to(dtype or torch.float32)
    cell, x = as_cell(model, dtype=dtype), filled(2, dtype=dtype or torch.float32)
    step, s = Step(), filled(6, dtype=x.dtype)
    names = [name for name, _ in (*step.named_parameters(), *step.named_buffers())]
    weights = {n: filled(2, *step.state_dict()[n].shape, dtype=x.dtype) for n in names}
    got = vmap(lambda w: torch.func.functional_call(step, w, s))(weights)
    for k in range(2):
        model.load_state_dict({n.removeprefix("model."): w[k] for n, w in weights.items()})
        close(got[k], cell.flat_step(s, x)[0], 1e-6)


def test_a_gradient_after_inference_mode():
    model, x = rl.Chain(rl.LSTM(2, 3, train_init=False), rl.GRU(3, 2)), torch.ones(2)
    with torch.inference_mode():
        cell = as_cell(model, dtype=F64)
        cell(cell.initial_state(), x)
    y = cell(cell.initial_state(), x)[1]
    assert torch.autograd.grad(y.sum(), model[0].cell.weight_ih)[0].abs().sum() > 0


@pytest.mark.parametrize("dtype", [None, F64])
def test_in_inference_mode_and_of_a_model_made_there(dtype):
    model = chain(torch.float32)
    x = torch.ones(2, dtype=dtype or torch.float32)
    with torch.inference_mode():
        made = as_cell(copy.deepcopy(model), dtype=dtype)
        inside = as_cell(model, dtype=dtype)
        there = inside(inside.initial_state(), x)[1].clone()
    want = as_cell(model, dtype=dtype)
    for cell in (made, inside, want):
        with torch.no_grad():
            y = cell(cell.initial_state(), x)[1]
        assert torch.equal(y, there)


def test_vectors():
    cell = as_cell(chain())
    states = {name: filled(*shape, seed=k) for k, (name, shape) in enumerate(cell.shapes.items())}
    vector = cell.flat(states)
    assert cell.names == ("0.h", "0.c", "1.h")
    assert cell.shapes == {"0.h": (3,), "0.c": (3,), "1.h": (4,)}
    assert cell.size == 10
    assert vector.tolist() == joined(tuple(states.values())).tolist()
    for name, value in cell.unflat(vector).items():
        assert torch.equal(value, states[name])
        assert torch.equal(vector[cell.slices[name]], value)
    batch = {**states, "0.c": filled(5, 3, seed=8)}
    assert cell.flat(batch).shape == (5, 10)
    assert cell.flat(batch)[4].tolist() == cell.flat({**states, "0.c": batch["0.c"][4]}).tolist()
    s, y = cell.flat_step(cell.flat(cell.initial_state(batch=5)), filled(5, 2))
    assert s.shape == (5, 10)
    assert y.shape == (5, 2)


def test_states_of_other_shapes():
    model = rl.Recur(
        lambda h, x: ({"count": h["count"] + 1, "sum": h["sum"] + x}, x),
        {"count": 0, "sum": torch.zeros(2, 3, dtype=F64)},
    )
    cell = as_cell(model)
    assert cell.names == ("h.count", "h.sum")
    assert cell.shapes == {"h.count": (), "h.sum": (2, 3)}
    states, _ = cell(cell.initial_state(), torch.ones(2, 3, dtype=F64))
    assert states["h.count"] == 1
    assert cell.flat(states).tolist() == [1] * 7
    s, _ = cell.flat_step(cell.flat(states), torch.ones(2, 3, dtype=F64))
    assert s.tolist() == [2] * 7
    close(
        jacrev(lambda s: cell.flat_step(s, torch.ones(2, 3, dtype=F64))[0])(s),
        torch.eye(7, dtype=F64),
    )


def test_it_is_a_cell():
    model = chain()
    model(filled(2))  # has a running state of its own
    again = rl.Recur(as_cell(model))
    rl.reset(model)
    for k in range(3):
        close(again(filled(2, seed=k)), model(filled(2, seed=k)), 1e-12)
    assert list(rl.states(again)) == ["0.h", "0.c", "1.h"]
    start = {"0.h": filled(3), "0.c": filled(3, seed=1), "1.h": filled(4)}
    other = rl.Recur(as_cell(model), start)
    assert torch.equal(other.state["0.c"], start["0.c"])
    other(filled(2))
    rl.reset(other)
    assert torch.equal(other.state["1.h"], start["1.h"])
    assert ModelCell(again).names == again.cell.names


def test_a_bare_cell():
    cell = as_cell(randomise(rl.LSTMCell(2, 3, dtype=F64)))
    assert cell.names == ("h", "c")
    states, y = cell(cell.initial_state(), filled(2))
    close(y, states["h"])


def test_copies():
    model = chain()
    cell = as_cell(model)
    states, y = cell(cell.initial_state(), filled(2))
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        close(other(other.initial_state(), filled(2))[1], y)
    twin = copy.deepcopy(cell)
    with torch.no_grad():
        model[2].bias.add_(1)
    close(twin(twin.initial_state(), filled(2))[1], y)
    close(cell(cell.initial_state(), filled(2))[1], y + 1)
    assert states


def test_a_state_of_small_numbers_does_not_confuse_the_copy():
    """Numbers are shared objects: a running state of 0 is the same 0 as everywhere else."""
    model = rl.Recur(lambda h, x: (h + x, 0 * x), 0)
    model(0)
    assert model.state == 0
    cell = as_cell(rl.Chain(model))
    assert cell({"0.h": 5}, 2) == ({"0.h": 7}, 0)


class TestErrors:
    def test_no_state(self):
        with pytest.raises(rl.RnnlabError) as error:
            as_cell(nn.Linear(2, 3))
        assert str(error.value) == (
            "as_cell: Linear(in_features=2, out_features=3, bias=True) has no state. Give a "
            "Recur, a Chain with one inside, adapt(model) of a torch model, or Recur(cell, init) "
            "around a cell function of your own."
        )

    def test_dtype(self):
        with pytest.raises(rl.RnnlabError) as error:
            as_cell(rl.RNN(2, 3), dtype=torch.int64)
        assert str(error.value) == "as_cell: dtype must be a floating-point type, got torch.int64."

    def test_names(self):
        cell = as_cell(rl.LSTM(2, 3))
        with pytest.raises(rl.RnnlabError) as error:
            cell({"h": torch.zeros(3), "d": 0}, torch.ones(2))
        assert str(error.value) == (
            "ModelCell(Recur(LSTMCell(2, 3))): the states do not fit (missing: c; unknown: d). "
            "They are: h, c."
        )
        with pytest.raises(rl.RnnlabError) as error:
            cell.flat({"h": torch.zeros(3)})
        assert str(error.value) == (
            "ModelCell(Recur(LSTMCell(2, 3))): the state c is missing. They are: h, c."
        )

    def test_shapes(self):
        cell = as_cell(rl.LSTM(2, 3))
        with pytest.raises(rl.RnnlabError) as error:
            cell.flat({"h": torch.zeros(3), "c": torch.zeros(4)})
        assert str(error.value) == (
            "ModelCell(Recur(LSTMCell(2, 3))): state c has shape (4,), expected (3,) or a batch of "
            "it."
        )
        with pytest.raises(rl.RnnlabError) as error:
            cell.unflat(torch.zeros(7))
        assert str(error.value) == (
            "ModelCell(Recur(LSTMCell(2, 3))): a vector of states has 6 entries, got a tensor of "
            "shape (7,)."
        )

    def test_what_is_no_dictionary(self):
        cell, vector = as_cell(rl.LSTM(2, 3)), torch.zeros(6)
        for refused in (lambda: cell(vector, torch.ones(2)), lambda: cell.flat(vector)):
            with pytest.raises(rl.RnnlabError) as error:
                refused()
            assert str(error.value) == (
                "ModelCell(Recur(LSTMCell(2, 3))): the states must be a dictionary, as "
                "initial_state() gives it, got a tensor of shape (6,). unflat(vector) makes one of "
                "a vector."
            )

    def test_different_batches(self):
        cell = as_cell(rl.Chain(rl.RNN(2, 3), rl.Recur(lambda h, x: (h, x), 0)))
        with pytest.raises(rl.RnnlabError) as error:
            cell.flat({"0.h": torch.zeros(2, 3), "1.h": torch.zeros(4)})
        assert str(error.value) == (
            f"{cell!r}: the states have different batches: 0.h (2, 3), 1.h (4,)."
        )

    def test_a_structure_that_changes(self):
        cell = as_cell(rl.Recur(lambda h, x: ((h, x), x), 0))
        with pytest.raises(rl.RnnlabError) as error:
            cell({"h": 0}, 1)
        assert str(error.value) == (
            "ModelCell(Recur(<lambda>)): a step changed the structure of the states from h to "
            "h.0, h.1."
        )

    def test_what_the_model_refuses(self):
        cell = as_cell(rl.RNN(2, 3))
        with pytest.raises(rl.RnnlabError) as error:
            cell(cell.initial_state(), torch.ones(4))
        assert str(error.value) == (
            "RNNCell(2, 3, tanh): x has 4 features, expected 2; x.shape = (4,)"
        )

    def test_what_cannot_be_copied(self):
        model = rl.RNN(2, 3)
        model.source = (number for number in range(3))
        with pytest.raises(rl.RnnlabError) as error:
            as_cell(model)
        assert str(error.value) == (
            "as_cell: no private copy of Recur(RNNCell(2, 3, tanh)) could be made (TypeError: "
            "cannot pickle 'generator' object). Keep what cannot be copied out of the module, or "
            "give its class a __deepcopy__."
        )


UNFUSED = [
    nn.LSTM(3, 4, dtype=F64),
    nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2, dtype=F64),
    nn.LSTM(3, 4, 2, bias=False, batch_first=True, proj_size=3, dtype=F64),
    nn.GRU(3, 4, 3, bidirectional=True, dtype=F64),
    nn.GRU(3, 4, bias=False, dtype=F64),
    nn.RNN(3, 4, 2, batch_first=True, dtype=F64),
    nn.RNN(3, 4, nonlinearity="relu", dtype=F64),
]


@pytest.mark.parametrize("layer", UNFUSED, ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3)])
def test_the_equations_of_the_fused_sequences(layer, shape):
    randomise(layer)
    x = filled(*shape).requires_grad_()
    want = layer(x)
    with Unfused():
        got = layer(x)
    weights = [*layer.parameters(), x]
    flat = [[y, *(h if isinstance(h, tuple) else (h,))] for y, h in (want, got)]
    for a, b in zip(*flat, strict=True):
        close(b, a, 1e-12)
    for a, b in zip(
        torch.autograd.grad(weighted(flat[0]), weights),
        torch.autograd.grad(weighted(flat[1]), weights),
        strict=True,
    ):
        close(b, a, 1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        nn.LSTMCell,
        nn.GRUCell,
        nn.RNNCell,
        lambda *a, **k: nn.RNNCell(*a, nonlinearity="relu", **k),
    ],
    ids=["lstm", "gru", "tanh", "relu"],
)
def test_the_equations_of_the_fused_cells(make, bias):
    cell = randomise(make(3, 4, bias=bias, dtype=F64))
    x = filled(2, 3)
    want = cell(x)
    with Unfused():
        got = cell(x)
        rows = vmap(lambda x: cell(x))(x)
    close(joined(got), joined(want), 1e-12)
    close(joined(rows), joined(want), 1e-12)


def test_a_packed_sequence_stays_with_torch():
    layer, x = nn.GRU(3, 4), torch.randn(2, 5, 3)
    packed = nn.utils.rnn.pack_padded_sequence(x, [2, 2, 2, 1, 1])
    with Unfused():
        close(layer(packed)[0].data, layer(packed)[0].data)
