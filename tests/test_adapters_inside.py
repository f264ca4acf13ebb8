"""adapt: layers inside someone else's module, continued from call to call."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnlab as rl
from rnnlab.adapters import adapt
from rnnlab.functional import as_cell
from tests.helpers import F64, close, filled, randomise, weighted

T, B, I, H = 6, 3, 4, 5


class Tagger(nn.Module):
    """A typical model: embedding, recurrent layers, head; time where `batch_first` says."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": kind(I, H, dtype=F64, **options)})
        width = options.get("proj_size") or H
        self.out = nn.Linear(width, 2, dtype=F64)

    def forward(self, x, *, scale=1.0):
        y, _ = self.encoder["rnn"](x)
        return self.out(torch.tanh(y)) * scale


def untouched(model):
    return all(
        not part._forward_hooks
        and not part._forward_pre_hooks
        and not part._forward_hooks_with_kwargs
        and not part._forward_pre_hooks_with_kwargs
        and "forward" not in part.__dict__
        for part in model.modules()
    )


OPTIONS = [
    {},
    {"num_layers": 2},
    {"batch_first": True, "num_layers": 3, "bias": False},
    {"batch_first": True},
]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, "projected"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("chunks", [[1] * T, [2, 1, 3], [T]], ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_chunks_are_the_whole(kind, options, chunks, batched):
    if kind == "projected":
        kind, options = nn.LSTM, {**options, "proj_size": 2}
    model = randomise(Tagger(kind, **options))
    adapted = adapt(model)
    axis = 1 if options.get("batch_first") and batched else 0
    x = filled(B, T, I) if axis else filled(T, B, I)
    x = (x if batched else x.select(1 - axis, 0)).clone().requires_grad_()
    want = model(x)
    got = torch.cat([adapted(part) for part in x.split(chunks, dim=axis)], dim=axis)
    close(got, want, 1e-12)
    weights = [*model.parameters(), x]
    for a, b in zip(
        torch.autograd.grad(weighted(got), weights),
        torch.autograd.grad(weighted(want), weights),
        strict=True,
    ):
        close(a, b, 1e-12)
    assert untouched(model)


def test_names():
    adapted = adapt(Tagger(num_layers=2))
    assert adapted.layers == ("encoder.rnn",)
    names = ["encoder.rnn.0.h", "encoder.rnn.0.c", "encoder.rnn.1.h", "encoder.rnn.1.c"]
    assert list(rl.states(adapted)) == names
    assert list(rl.states(adapt(Tagger(nn.GRU)))) == ["encoder.rnn.h"]
    assert {tuple(value.shape) for value in rl.states(adapted).values()} == {(H,)}
    adapted(filled(2, B, I))
    assert {tuple(value.shape) for value in rl.states(adapted).values()} == {(B, H)}
    assert repr(adapted) == "Adapted(Tagger: encoder.rnn)"


def test_states_are_torchs():
    model = randomise(Tagger(num_layers=2))
    adapted = adapt(model)
    x = filled(T, B, I)
    adapted(x[:2])
    adapted(x[2:])
    _, (h, c) = model.encoder["rnn"](x)
    states = rl.states(adapted)
    for layer in range(2):
        close(states[f"encoder.rnn.{layer}.h"], h[layer], 1e-12)
        close(states[f"encoder.rnn.{layer}.c"], c[layer], 1e-12)
    rl.detach(adapted)
    assert not any(value.requires_grad for value in rl.states(adapted).values())
    rl.reset(adapted)
    close(adapted(x), model(x), 1e-12)


def test_states_can_be_put_in():
    model = randomise(Tagger(nn.GRU))
    adapted = adapt(model)
    h = filled(H)
    rl.load_states(adapted, {"encoder.rnn.h": h})  # one state for every row
    x = filled(T, B, I)
    want, _ = model.encoder["rnn"](x, h.expand(1, B, H).contiguous())
    close(adapted(x), model.out(torch.tanh(want)), 1e-12)


def test_the_owners_use_is_as_before():
    model = randomise(Tagger(num_layers=2))
    x = filled(T, B, I)
    want, keys = model(x), list(model.state_dict())
    slots = {name: set(part.__dict__) for name, part in model.named_modules()}
    adapted = adapt(model)
    for _ in range(3):
        adapted(x, scale=2.0)
        assert torch.equal(model(x), want)
    assert {name: set(part.__dict__) for name, part in model.named_modules()} == slots
    assert list(model.state_dict()) == list(adapted.state_dict()) == keys
    assert [id(w) for w in adapted.parameters()] == [id(w) for w in model.parameters()]
    assert untouched(model)
    saved = {name: value + 1 for name, value in model.state_dict().items()}
    adapted.load_state_dict(saved)
    assert torch.equal(model.out.bias, saved["out.bias"])


def test_another_thread_is_not_in_the_way():
    """The owner calls the module while the adapted one runs: hooks act for their own call."""
    model = randomise(Tagger())
    x = filled(T, B, I)
    want, seen = model(x), []
    adapted = adapt(model)
    adapted(x)

    def elsewhere(*_):
        thread = threading.Thread(target=lambda: seen.append(model.encoder["rnn"](x)[0]))
        thread.start()
        thread.join()

    handle = model.out.register_forward_hook(elsewhere)
    adapted(x)
    handle.remove()
    close(model.out(torch.tanh(seen[0])), want, 1e-12)


def test_hooks_of_the_owner_run():
    model, seen = Tagger(), []
    handle = model.encoder["rnn"].register_forward_hook(lambda *a: seen.append(len(a)))
    adapt(model)(filled(2, B, I))
    assert seen == [3]
    assert len(model.encoder["rnn"]._forward_hooks) == 1
    handle.remove()


def test_a_failed_call_changes_nothing():
    model = randomise(Tagger())
    adapted = adapt(model)
    adapted(filled(2, B, I))
    before = rl.states(adapted)
    for bad in (filled(2, B, I + 1), filled(2, B + 1, I), filled(2, I), None):
        with pytest.raises((RuntimeError, AttributeError, ValueError)):
            adapted(bad)
        now = rl.states(adapted)
        assert all(now[name] is before[name] for name in before)
        assert untouched(model)

    def late(*_):
        raise ZeroDivisionError

    handle = model.out.register_forward_hook(late)
    with pytest.raises(ZeroDivisionError):
        adapted(filled(2, B, I))
    handle.remove()
    assert all(value is before[name] for name, value in rl.states(adapted).items())
    assert untouched(model)


def test_release():
    model = Tagger()
    adapted = adapt(model)
    adapted(filled(2, B, I))
    adapted.release()
    assert untouched(model)
    with pytest.raises(rl.RnnlabError) as error:
        adapted(filled(2, B, I))
    assert str(error.value) == (
        "Adapted(Tagger: encoder.rnn) has been released; adapt(model) makes the model step again."
    )
    assert adapt(model)(filled(2, B, I)).shape == (2, B, 2)


def test_session():
    model = randomise(Tagger(num_layers=2, batch_first=True))
    adapted = adapt(model)
    s = rl.Session(adapted)
    x = filled(1, T, I)
    for t in range(T):
        s.step(x[:, t : t + 1])
    close(s.trace()["y"].squeeze().tolist(), model(x).squeeze().tolist(), 1e-12)
    assert s.trace()["encoder.rnn.1.c"].shape == (T, 1, H)
    s.rewind(2)
    assert torch.equal(rl.states(adapted)["encoder.rnn.0.h"], s.states()["encoder.rnn.0.h"])
    s.step(x[:, 2:3])
    recorded = torch.tensor(s.trace("main")["encoder.rnn.1.h"][2])
    close(torch.as_tensor(s.states()["encoder.rnn.1.h"]), recorded, 1e-14)
    s.rewind(0)
    close(s.step(x[:, :1]), model(x[:, :1]), 1e-12)


def test_copies():
    adapted = adapt(randomise(Tagger(num_layers=2)))
    x = filled(2, B, I)
    adapted(x)
    for other in (copy.deepcopy(adapted), pickle.loads(pickle.dumps(adapted))):
        before = {name: value.clone() for name, value in rl.states(adapted).items()}
        y = other(x)
        assert all(torch.equal(v, before[name]) for name, v in rl.states(adapted).items())
        close(y, copy.deepcopy(adapted)(x), 1e-14)
        with torch.no_grad():
            other.model.encoder["rnn"].weight_hh_l0.zero_()
        cell = other.encoder.rnn._modules["0"].cell
        assert cell.weight_hh is other.model.encoder["rnn"].weight_hh_l0


def test_moved_with_its_state():
    adapted = adapt(Tagger().float())
    adapted(torch.ones(2, B, I))
    adapted.double()
    assert {value.dtype for value in rl.states(adapted).values()} == {F64}
    assert adapted(filled(2, B, I)).dtype == F64
    adapted.eval()
    assert not adapted.model.training


class Pruned(nn.Module):
    """Weights that are computed before each call, as pruning and the older weight norm do."""

    def __init__(self, part, name):
        super().__init__()
        self.part = prune.random_unstructured(part, name, 0.5)

    def forward(self, x):
        if isinstance(self.part, nn.GRU):
            return self.part(x)[0]
        h, ys = None, []
        for step in x:
            ys.append(h := self.part(step, h))
        return torch.stack(ys)


@pytest.mark.parametrize(
    ("part", "name"),
    [(nn.GRU(I, H, dtype=F64), "weight_hh_l0"), (nn.GRUCell(I, H, dtype=F64), "weight_hh")],
    ids=["layer", "cell"],
)
def test_computed_weights_are_followed(part, name):
    model, xs = Pruned(part, name), filled(T, B, I)
    adapted = adapt(model)
    adapted(xs)
    with torch.no_grad():
        getattr(part, f"{name}_orig").mul_(3)
    rl.reset(adapted)
    whole = model(xs)
    close(torch.cat([adapted(xs[:2]), adapted(xs[2:])]), whole)
    # a formula on the weights of an earlier call would give the gates of another model
    assert not isinstance(adapted.part.cell, rl.cells.base.Cell)


def test_a_hook_before_a_bare_layer_counts():
    layer, xs = randomise(nn.GRU(I, H, dtype=F64)), filled(T, B, I)
    layer.register_forward_pre_hook(lambda module, args: (2 * args[0], *args[1:]))
    adapted = adapt(layer)
    close(torch.cat([adapted(xs[:2])[0], adapted(xs[2:])[0]]), layer(xs)[0])


class FreeCell(nn.Module):
    """A cell that may be called without a state, and that a call changes."""

    def __init__(self):
        super().__init__()
        self.input_size = self.hidden_size = I
        self.calls = nn.Buffer(torch.zeros(()))

    def forward(self, x, state=None, scale=3.0):
        self.calls += 1
        state = torch.zeros_like(x) if state is None else state
        return nn.functional.dropout(state, 0.5) * 0 + state + scale * x


class BoundCell(FreeCell):
    def forward(self, x, state, scale=3.0):
        return super().forward(x, state, scale)


@pytest.mark.parametrize("kind", [FreeCell, BoundCell])
def test_looking_for_the_initial_state_changes_nothing(kind):
    cell = kind()
    before = torch.get_rng_state()
    adapted = adapt(cell)
    assert torch.equal(torch.get_rng_state(), before)
    assert cell.calls == 0
    assert adapted.state.shape == (I,)
    close(adapted(torch.ones(I)), torch.full((I,), 3.0))


class TimedCell(nn.Module):
    """A cell that requires the time, with a row like its input."""

    hidden_size = I

    def forward(self, x, state, ts):
        assert not isinstance(ts, torch.Tensor) or ts.dim() == x.dim() == 2
        return state + x * ts


def test_a_time_without_a_batch_gets_a_row_as_its_input_does():
    adapted = adapt(TimedCell())
    close(adapted(torch.ones(I), torch.arange(float(I))), torch.arange(float(I)))


class Doubling(nn.GRU):
    """A layer with a forward of its own: not torch's formula."""

    def forward(self, x, hx=None):
        return super().forward(2 * x, hx)


class Odd(nn.Module):
    """Children named as an Adapted would name the model, and an input given by its name."""

    def __init__(self):
        super().__init__()
        self.model = nn.GRU(I, H, dtype=F64)
        self.model_ = Doubling(H, H, dtype=F64)

    def forward(self, x):
        return self.model_(self.model(input=x)[0])[0]


def test_inputs_by_name_and_names_that_are_taken():
    model, xs = randomise(Odd()), filled(T, B, I)
    adapted = adapt(model)
    close(torch.cat([adapted(xs[:2]), adapted(xs[2:])]), model(xs))
    assert list(rl.states(adapted)) == ["model.h", "model_.h"]
    assert isinstance(adapted.model.cell, rl.cells.base.Cell)
    assert not isinstance(adapted.model_.cell, rl.cells.base.Cell)


class Helped(nn.Module):
    """A Recur, and a layer that is always given its state."""

    def __init__(self):
        super().__init__()
        self.recur = rl.GRU(I, H, dtype=F64)
        self.layer = nn.GRU(H, H, dtype=F64)

    def forward(self, x):
        return self.layer(self.recur(x).unsqueeze(0), torch.zeros(1, len(x), H, dtype=F64))[0]


def test_a_recur_inside_is_state_enough():
    model, xs = randomise(Helped()), filled(2, B, I)
    want = [model(x) for x in xs]
    rl.reset(model)
    adapted = adapt(model)
    close([adapted(x) for x in xs], want)


class TrainedCell(nn.Module):
    """A cell with a part whose mode its owner may have chosen."""

    def __init__(self):
        super().__init__()
        self.hidden_size = I
        self.norm = nn.Dropout(0.9)

    def forward(self, x, state):
        return self.norm(x) + state


@pytest.mark.parametrize("training", [True, False])
def test_the_modes_of_the_parts_are_their_owners(training):
    model, cell = Tagger(num_layers=2, dropout=0.5), TrainedCell()
    for module, part in ((model, model.encoder), (cell, cell.norm)):
        module.train(training)
        part.train(not training)
        modes = [inner.training for inner in module.modules()]
        assert adapt(module).training is training
        assert [inner.training for inner in module.modules()] == modes


class Loop(nn.Module):
    """A model that loops over its cell, which it leaves to start by itself."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, xs):
        state, ys = None, []
        for x in xs:
            state = self.cell(x, state)
            ys.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(ys)


class FromZeros(nn.Module):
    """The tutorial's way: zeros made anew in every forward."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(I, H, dtype=F64)

    def forward(self, x):
        zeros = torch.zeros(1, x.shape[1], H, dtype=F64)
        return self.lstm(x, (zeros, zeros))[0]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(I, H, dtype=F64)

    def forward(self, a, b):
        return self.gru(a)[0] + self.gru(b)[0]


class Translator(nn.Module):
    """The decoder starts from the encoder's last state: forward's own business."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(I, H, dtype=F64)
        self.decoder = nn.GRU(I, H, dtype=F64)

    def forward(self, x):
        _, h = self.encoder(x)
        return self.decoder(x, h)[0]


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(I, H, dtype=F64)

    def forward(self, x):
        return x


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_loop_over_a_cell(cell):
    model = Loop(randomise(cell(I, H, dtype=F64)))
    adapted = adapt(model)
    x = filled(T, B, I)
    close(torch.cat([adapted(x[:2]), adapted(x[2:3]), adapted(x[3:])]), model(x), 1e-12)
    assert next(iter(rl.states(adapted))) == "cell.h"
    rl.reset(adapted)
    x = filled(T, I)
    close(torch.cat([adapted(x[:2]), adapted(x[2:])]), model(x), 1e-12)


def test_zeros_given_by_forward():
    model = randomise(FromZeros())
    x = filled(T, B, I)
    with pytest.raises(rl.RnnlabError) as error:
        adapt(model)(x)
    assert str(error.value) == (
        "adapt: forward gives its recurrent layers their states itself ('lstm'), so nothing would "
        "be carried from call to call. adapt(model, override=True) lets the running state take "
        "their place."
    )
    adapted = adapt(model, override=True)
    close(torch.cat([adapted(x[:2]), adapted(x[2:])]), model(x), 1e-12)
    assert torch.equal(model(x), model(x))


def test_a_state_that_forward_hands_on():
    model = randomise(Translator())
    adapted = adapt(model)
    x = filled(T, B, I)
    adapted(x[:2])
    last = rl.states(adapted)
    assert not last["decoder.h"].any()  # left alone
    h = last["encoder.h"].unsqueeze(0)
    _, h = model.encoder(x[2:], h)
    close(adapted(x[2:]), model.decoder(x[2:], h)[0], 1e-12)


def test_two_sequences_in_one_forward():
    with pytest.raises(rl.RnnlabError) as error:
        adapt(Twice())(filled(T, B, I), filled(T, B, I))
    assert str(error.value) == (
        "adapt: forward calls layer 'gru' twice without a state. Two sequences would go on from "
        "the same state; adapt the parts on their own."
    )


def test_a_layer_that_is_not_called():
    with pytest.raises(rl.RnnlabError) as error:
        adapt(Unused())(filled(T, B, I))
    assert str(error.value) == (
        "adapt: forward called none of its recurrent layers ('gru'), so nothing would be carried "
        "from call to call."
    )


class Straight(nn.Module):
    """Calls its layers past their hooks, as ncps does, from zeros of its own if `given`."""

    def __init__(self, given):
        super().__init__()
        self.given = given
        self.cell = nn.GRUCell(I, H, dtype=F64)
        self.layer = nn.LSTM(H, H, dtype=F64)

    def forward(self, xs):
        h, ys = xs.new_zeros(xs.shape[1], H) if self.given else None, []
        for x in xs:
            h = self.cell.forward(x, h)
            ys.append(h)
        return self.layer.forward(torch.stack(ys))[0]


@pytest.mark.parametrize("given", [True, False])
def test_a_layer_whose_forward_is_called(given):
    model, xs = Straight(given), filled(T, B, I)
    m = adapt(model, override=given)
    got = torch.cat([m(xs[:2]), m(xs[2:3]), m(xs[3:])])
    close(got, model(xs), 1e-12)
    assert list(rl.states(m)) == ["cell.h", "layer.h", "layer.c"]
    assert "forward" not in model.cell.__dict__
    model.cell.forward = own = lambda x, h: nn.GRUCell.forward(model.cell, x, h)
    rl.reset(m)
    close(torch.cat([m(xs[:2]), m(xs[2:])]), got, 1e-12)
    assert model.cell.forward is own


class Crossed(nn.Module):
    """The second layer starts from what the first has made; ncps' mixed memory is like that."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.GRUCell(I, H, dtype=F64), nn.GRUCell(I, H, dtype=F64)

    def forward(self, x):
        h = self.first(x, x.new_zeros(len(x), H))
        return self.second(x, h)


def test_a_state_that_another_layer_has_made_is_not_replaced():
    m = adapt(Crossed(), override=True)
    with pytest.raises(rl.RnnlabError) as error:
        m(filled(B, I))
    assert str(error.value) == (
        "adapt: forward gives layer 'second' a state that layer 'first' has made, so the running "
        "state cannot take its place. Without override, the layers that are given a state are left "
        "alone."
    )
    assert not rl.states(m)["first.h"].any()


def test_another_batch():
    adapted = adapt(Tagger())
    adapted(filled(2, B, I))
    with pytest.raises(rl.RnnlabError) as error:
        adapted(filled(2, 7, I))
    assert str(error.value) == (
        "adapt: layer 'encoder.rnn': the state is for a batch of 3, x has a batch of 7. "
        "Call reset(model) before starting with another batch size."
    )
    with pytest.raises(rl.RnnlabError) as error:
        adapted(filled(2, I))
    assert str(error.value) == (
        "adapt: layer 'encoder.rnn': the state is for a batch of 3, x is unbatched. "
        "Call reset(model) before starting with another batch size."
    )


def test_layers_are_not_called_by_themselves():
    adapted = adapt(Tagger(nn.GRU))
    with pytest.raises(rl.RnnlabError) as error:
        adapted.encoder.rnn(filled(I))
    assert str(error.value) == (
        "LayerState(TorchGRUCell(4, 5)): call the adapted model; it steps this layer."
    )


class Packing(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(I, H, dtype=F64)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0])[0]


def test_packed_sequences():
    model = randomise(Packing())
    adapted = adapt(model)
    x = filled(T, B, I)
    first = adapted(x[:4], [2, 4, 3])
    close(first, model(x[:4], [2, 4, 3]), 1e-12)
    again = adapted(x[:2], [2, 1, 2])
    for row, length in enumerate([2, 4, 3]):
        whole = torch.cat([x[:length, row], x[: [2, 1, 2][row], row]])
        want = model.lstm(whole)[0][length:]
        close(again[: len(want), row], want, 1e-12)


class Mine(nn.LSTM):
    """A subclass with a forward of its own."""

    def forward(self, x, hx=None):
        y, h = super().forward(x, hx)
        return 2 * y, h


def test_a_subclass_is_a_module_with_a_layer():
    model = randomise(Mine(I, H, 2, dtype=F64))
    adapted = adapt(model)
    x = filled(T, B, I)
    got = torch.cat([adapted(x[:2])[0], adapted(x[2:])[0]])
    close(got, model(x)[0], 1e-12)
    assert list(rl.states(adapted)) == ["layer.0.h", "layer.0.c", "layer.1.h", "layer.1.c"]


def test_computed_weights():
    torch.manual_seed(0)
    layer = weight_norm(nn.GRUCell(I, H, dtype=F64), "weight_hh")
    adapted = adapt(layer)
    x = filled(2, B, I)
    want = layer(x[1], layer(x[0]))
    adapted(x[0])
    close(adapted(x[1]), want, 1e-12)


def test_names_that_are_taken():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.GRU(I, H, dtype=F64)
            self.release = nn.Linear(H, 1, dtype=F64)

        def forward(self, x):
            return self.release(self.model(x)[0])

    model = Named()
    adapted = adapt(model)
    x = filled(T, B, I)
    close(torch.cat([adapted(x[:1]), adapted(x[1:])]), model(x), 1e-12)
    assert list(rl.states(adapted)) == ["model.h"]
    adapted.release()


def test_inside_a_chain():
    model = randomise(Tagger())
    chain = rl.Chain(adapt(model), nn.Tanh())
    x = filled(T, B, I)
    got = torch.cat([chain(x[:2]), chain(x[2:])])
    close(got, torch.tanh(model(x)), 1e-12)
    assert list(rl.states(chain)) == ["0.encoder.rnn.h", "0.encoder.rnn.c"]
    state = copy.deepcopy(chain.state_dict())
    assert list(state) == [f"0.{name}" for name in model.state_dict()]
    other = rl.Chain(adapt(Tagger()), nn.Tanh())
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    close(other(x), torch.tanh(model(x)), 1e-12)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*0\.model\.nobody"):
        other.load_state_dict({**state, "0.nobody": torch.ones(1)})


def test_what_is_adapted_already():
    inner = adapt(randomise(Tagger()))
    with pytest.raises(rl.RnnlabError) as error:
        adapt(inner)
    assert str(error.value) == (
        "adapt: Adapted(Tagger: encoder.rnn) is stateful already; use it as it is."
    )

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.gru = inner, nn.GRU(2, H, dtype=F64)

        def forward(self, x):
            return self.gru(self.inner(x))[0]

    model = adapt(Two())
    assert model.layers == ("gru",)
    x = filled(T, B, I)
    want = model(x)
    rl.reset(model)
    close(torch.cat([model(x[:2]), model(x[2:])]), want, 1e-12)


def test_parity(capsys):
    x = filled(B, T, I)
    adapted = adapt(randomise(Tagger(batch_first=True, num_layers=2)), check=x)
    assert adapted.parity < 1e-13
    assert not rl.states(adapted)["encoder.rnn.0.h"].any()
    assert capsys.readouterr().out.startswith("adapt: whole sequence and 6 single steps differ by")

    class Last(Tagger):
        def forward(self, x):
            return super().forward(x)[-1], {"steps": 0}

    assert adapt(randomise(Last()), check=filled(T, B, I)).parity < 1e-13

    class Mean(Tagger):
        def forward(self, x):
            return super().forward(x).mean(0)

    with pytest.raises(rl.RnnlabError) as error:
        adapt(randomise(Mean()), check=filled(T, B, I))
    text = str(error.value)
    assert text.startswith("adapt: the output differs by ")
    assert text.endswith(
        "between the whole sequence and 6 single steps (rounding: 1e-10). The model may look at "
        "more than the past (attention, pooling or convolution over time), or be random."
    )

    class Summed(Tagger):
        def forward(self, x):
            return super().forward(x).sum((0, 1)).expand(x.shape[0] + 1, 2)

    with pytest.raises(rl.RnnlabError) as error:
        adapt(Summed(), check=filled(T, B, I))
    assert str(error.value) == (
        "adapt: the output is (7, 2) for the whole sequence and (2, 2) for one step; these cannot "
        "be compared along dimension 0. time_axis= says which dimension of the input is time."
    )


def test_as_cell_of_one_step():
    model = randomise(Tagger(num_layers=2))
    cell = as_cell(adapt(model))
    states = cell.initial_state(batch=B)
    x = filled(T, B, I)
    ys = []
    for t in range(T):
        states, y = cell(states, x[t : t + 1])
        ys.append(y)
    close(torch.cat(ys), model(x), 1e-12)


# cells of other libraries. The stand-ins follow the documented conventions: torchrecurrent's
# cells take (inp, state=None) and return h or (h, c), their `uses_double_state` says which; ncps'
# take (inputs, states), or (inputs, states, ts), with a batch, and return (output, new state).


class SingleStateCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_size, self.hidden_size = I, H
        self.weight_ih = nn.Parameter(filled(H, I))
        self.weight_hh = nn.Parameter(0.4 * filled(H, H, seed=1))

    def uses_double_state(self):
        return False

    def forward(self, inp, state=None):
        batched = inp.dim() == 2
        inp = inp if batched else inp.unsqueeze(0)
        if state is None:
            state = inp.new_zeros(inp.shape[0], self.hidden_size)
        elif not batched and state.dim() == 1:
            state = state.unsqueeze(0)
        h = torch.tanh(inp @ self.weight_ih.t() + state @ self.weight_hh.t())
        return h if batched else h.squeeze(0)


class DoubleStateCell(SingleStateCell):
    def uses_double_state(self):
        return True

    def forward(self, inp, state=None):
        if state is None:
            zeros = inp.new_zeros(*inp.shape[:-1], self.hidden_size)
            state = zeros, zeros
        h, c = state
        c = 0.9 * c + super().forward(inp, h)
        return torch.sin(c), c


class LTCLikeCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(I, H, dtype=F64)

    @property
    def state_size(self):
        return H

    @property
    def sensory_size(self):
        return I

    def forward(self, inputs, states):
        assert inputs.dim() == states.dim() == 2
        state = 0.5 * states + torch.sum(self.map(inputs).unsqueeze(1), dim=1)
        return state[:, :2], state


class CfCLikeCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_size, self.hidden_size = I, H
        self.map = nn.Linear(I + H, H, dtype=F64)

    def forward(self, input, hx, ts):
        new = torch.tanh(self.map(torch.cat([input, hx], 1))) * ts
        return new, new


class TwoStatesCell(nn.Module):
    """An LSTM as ncps has it inside: two states, required, and no way to see that."""

    def __init__(self):
        super().__init__()
        self.input_size, self.hidden_size = I, H
        self.map = nn.Linear(I + H, H, dtype=F64)

    def forward(self, inputs, states):
        h, c = states
        c = c + torch.tanh(self.map(torch.cat([inputs, h], 1)))
        return torch.tanh(c), c


class ProbedCell(nn.Module):
    """No `uses_double_state`: what it returns without a state shows its structure."""

    def __init__(self):
        super().__init__()
        self.input_size, self.hidden_size = I, H
        self.map = nn.Linear(I, H, dtype=F64)

    def forward(self, x, hidden=None):
        if hidden is None:
            hidden = (x.new_zeros(x.shape[0], 2 * H), x.new_zeros(x.shape[0], H))
        a, b = hidden
        b = 0.5 * b + self.map(x)
        return 3 * b, (a + 1, b)


class TestForeignCells:
    @pytest.mark.parametrize("kind", [SingleStateCell, DoubleStateCell])
    @pytest.mark.parametrize("batched", [True, False])
    def test_torchrecurrent(self, kind, batched):
        cell = kind()
        model = adapt(cell)
        state = None
        for x in filled(T, B, I) if batched else filled(T, I):
            state = cell(x, state)
            y = model(x)
        h = state[0] if isinstance(state, tuple) else state
        close(y, h, 1e-12)
        names = ["h", "c"] if kind is DoubleStateCell else ["h"]
        assert list(rl.states(model)) == names
        assert rl.states(model)["h"].shape == ((B, H) if batched else (H,))
        assert [id(w) for w in model.parameters()] == [id(w) for w in cell.parameters()]

    @pytest.mark.parametrize("batched", [True, False])
    def test_ncps(self, batched):
        cell = LTCLikeCell()
        model = adapt(cell)
        xs = filled(T, B, I) if batched else filled(T, I)
        state = torch.zeros(B if batched else 1, H, dtype=F64)
        for x in xs:
            want, state = cell(x if batched else x.unsqueeze(0), state)
            y = model(x)
        close(y, want if batched else want[0], 1e-12)
        assert y.shape[-1] == 2
        close(model.state, state if batched else state[0], 1e-12)

    def test_elapsed_time(self):
        cell = CfCLikeCell()
        model = adapt(cell)
        x = filled(B, I)
        close(model(x), cell(x, torch.zeros(B, H, dtype=F64), 1.0)[0], 1e-12)
        rl.reset(model)
        close(model(x, 0.5), cell(x, torch.zeros(B, H, dtype=F64), 0.5)[0], 1e-12)
        rl.reset(model)
        ts = filled(B, 1)
        close(model(x, ts), cell(x, torch.zeros(B, H, dtype=F64), ts)[0], 1e-12)

    def test_probed(self):
        cell = ProbedCell()
        model = adapt(cell)
        want, state = cell(filled(B, I))
        close(model(filled(B, I)), want, 1e-12)
        close(model.state[0], state[0])
        assert list(rl.states(model)) == ["h", "c"]
        rl.reset(model)
        assert [tuple(v.shape) for v in rl.states(model).values()] == [(2 * H,), (H,)]

    def test_two_states_where_one_is_refused(self):
        model, cell = adapt(TwoStatesCell()), TwoStatesCell()
        assert list(rl.states(model)) == ["h", "c"]
        state = (torch.zeros(B, H, dtype=F64),) * 2
        cell.load_state_dict(model.cell.cell.state_dict())
        for x in filled(T, B, I):
            y, state = model(x), cell(x, state)
            close((y, model.state), (state[0], state), 1e-12)

    def test_a_state_that_cannot_be_found(self):
        class ThreeStatesCell(TwoStatesCell):
            def forward(self, inputs, states):
                a, b, c = states
                return a, b, c

        with pytest.raises(rl.RnnlabError) as error:
            adapt(ThreeStatesCell())
        assert str(error.value).startswith(
            "adapt: ThreeStatesCell( (map): Linear(in_features=9, out_features=5, bias=True) ) "
            "does not take a state of shape (B, 5), nor two (ValueError: "
        )
        assert str(error.value).endswith(
            "Give its initial state for one row: adapt(cell, init=torch.zeros(H)), or a tuple."
        )

    def test_given_init(self):
        zero = torch.zeros(H, dtype=F64)
        model = adapt(TwoStatesCell(), init=(zero, zero + 0.1))
        y = model(filled(B, I))
        close(y, torch.tanh(model.state[1]), 1e-12)
        assert list(rl.states(model)) == ["h", "c"]
        rl.reset(model)
        assert torch.equal(rl.states(model)["c"], zero + 0.1)

    def test_trained_init(self):
        start = nn.Parameter(filled(H))
        model = adapt(SingleStateCell(), init=start)
        weighted(model(filled(B, I))).backward()
        assert start.grad is not None
        assert start.grad.abs().min() > 0

    def test_parity(self, capsys):
        assert adapt(DoubleStateCell(), check=filled(T, B, I)).parity == 0
        assert adapt(LTCLikeCell(), check=filled(T, I)).parity == 0
        assert capsys.readouterr().out

    def test_gradients_session_and_as_cell(self):
        model = adapt(DoubleStateCell())
        cell = as_cell(model)
        s = 0.1 * filled(2 * H)
        x = filled(I)
        J = torch.func.jacrev(lambda s: cell.flat_step(s, x)[0])(s)
        steps = [1e-6 * row for row in torch.eye(2 * H, dtype=F64)]
        numeric = [
            (cell.flat_step(s + d, x)[0] - cell.flat_step(s - d, x)[0]) / 2e-6 for d in steps
        ]
        close(J, torch.stack(numeric, dim=1), 1e-6)
        session = rl.Session(model)
        session.run(filled(T, I))
        assert session.trace()["c"].shape == (T, H)

    def test_inside_a_module(self):
        model = Loop(DoubleStateCell())
        adapted = adapt(model)
        x = filled(T, B, I)
        close(torch.cat([adapted(x[:2]), adapted(x[2:])]), model(x), 1e-12)
        assert list(rl.states(adapted)) == ["cell.h", "cell.c"]

    def test_no_size(self):
        class SomeCell(nn.Module):
            def forward(self, x, state):
                return x, state

            def uses_double_state(self):
                return True

        with pytest.raises(rl.RnnlabError) as error:
            adapt(SomeCell())
        assert str(error.value) == (
            "adapt: SomeCell() does not say how large its state is (no hidden_size or state_size). "
            "Give the initial state: adapt(cell, init=torch.zeros(H)), or a tuple."
        )

    def test_an_argument_that_is_not_known(self):
        class MaskedCell(nn.Module):
            hidden_size = 3

            def forward(self, x, state, mask):
                return x, state

        with pytest.raises(rl.RnnlabError) as error:
            adapt(MaskedCell())
        assert str(error.value) == (
            "adapt: MaskedCell() requires the argument 'mask' after the state, which is neither "
            "the time nor optional. Wrap it: Recur(lambda h, x: …, init)."
        )

    def test_a_result_of_another_structure(self):
        class OddCell(nn.Module):
            hidden_size = 3

            def forward(self, x, state):
                return x, state, x

        model = adapt(OddCell())
        with pytest.raises(rl.RnnlabError) as error:
            model(torch.ones(2, 3))
        assert str(error.value) == (
            "adapt: OddCell() was given a tensor of shape (2, 3) as its state and returned a tuple "
            "of 3; expected a new state like it, or (y, state). adapt(cell, init=…) says what its "
            "state is."
        )
        assert torch.equal(model.state, torch.zeros(3))
