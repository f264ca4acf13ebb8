"""derive and run_states: what a run leaves out is formed again, equal to stepping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab.adapters import adapt
from rnnlab.cells.base import Cell
from rnnlab.cells.registry import CELLS
from rnnlab.derive import derive, run_states
from rnnlab.derive.gates import evaluate
from rnnlab.derive.memory import scan_memory
from rnnlab.fingerprint import fingerprint
from rnnlab.layers import Bidirectional, Stacked
from rnnlab.recur import recurs
from rnnlab.trace import Trace
from tests.helpers import F64, close, filled, randomise, weighted

T, B = 7, 3


class Nested(nn.Module):
    """Recurs inside a module of one's own: the flow of data is known to its forward alone."""

    def __init__(self):
        super().__init__()
        self.read = rl.GRU(2, 3, dtype=F64)
        self.deep = rl.Chain(nn.Tanh(), rl.LSTM(3, 4, dtype=F64))
        self.out = nn.Linear(7, 2, dtype=F64)

    def forward(self, x):
        h = self.read(x)
        return self.out(torch.cat([h, self.deep(2 * h)], dim=-1))


class Picky(Nested):
    """Looks at its numbers: this cannot be batched by vmap."""

    def forward(self, x):
        return super().forward(x) * (2 if x.sum() > 0 else 1)


class Theirs(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.rnn = kind(2, 3, batch_first=True, dtype=F64, **options)
        self.out = nn.Linear(3, 2, dtype=F64)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


def own(x):
    return x.detach().clone() if isinstance(x, torch.Tensor) else x


def record(model, xs):
    """The run by single steps: a Trace of x, states and y, and every gate by single calls."""
    rl.reset(model)
    rows, gates, seen = [], [], {}
    for path, recur in recurs(model):
        if isinstance(recur.cell, Cell):
            forward = recur.cell.step

            def step(state, x, path=path, cell=recur.cell, forward=forward):
                values = cell.gates(state, x)
                seen.update({f"{path}.{n}".strip("."): own(values[n]) for n in cell.gate_names})
                return forward(state, x)

            recur.cell.__dict__["step"] = step
    initial = {name: own(value) for name, value in rl.states(model).items()}
    ys = []
    for x in xs:
        ys.append(own(model(x)))
        rows.append({name: own(value) for name, value in rl.states(model).items()})
        gates.append(dict(seen))
    for _, recur in recurs(model):
        if isinstance(recur.cell, Cell):
            del recur.cell.__dict__["step"]
    states = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    arrays = {"x": xs, **states, "y": torch.stack(ys)}
    start = {name: initial[name].expand(value.shape[1:]) for name, value in states.items()}
    trace = Trace(
        {name: value.numpy() for name, value in arrays.items()},
        initial={name: value.numpy() for name, value in start.items()},
        labels=[f"{t}" for t in range(len(xs))],
        weights=fingerprint(model),
    )
    rl.reset(model)
    return trace, {name: torch.stack([row[name] for row in gates]) for name in seen}


def chain():
    return rl.Chain(
        rl.LSTM(2, 3, dtype=F64),
        rl.Dense(3, 3, "tanh", dtype=F64),
        rl.GRU(3, 4, dtype=F64),
        rl.Recur(rl.GRUv3Cell(4, 3, dtype=F64)),
    )


MODELS = {
    "recur": lambda: rl.LSTM(2, 3, dtype=F64),
    "chain": chain,
    "stacked": lambda: Stacked(rl.LSTM(2, 3, dtype=F64), rl.LSTM(3, 3, dtype=F64)).eval(),
    "function": lambda: rl.Chain(
        rl.RNN(2, 3, dtype=F64),
        torch.sin,
        rl.Recur(lambda h, x: (0.5 * h + x, 2 * h + x), torch.zeros(3, dtype=F64)),
        rl.GRU(3, 2, dtype=F64),
    ),
    "nested": Nested,
    "picky": Picky,
    "adapted": lambda: adapt(nn.LSTM(2, 3, 2, dtype=F64)),
    "projected": lambda: adapt(nn.LSTM(2, 4, 2, proj_size=3, dtype=F64)),
    "gru": lambda: adapt(nn.GRU(2, 3, 2, bias=False, dtype=F64)),
    "frozen": lambda: rl.Chain(rl.LSTM(2, 3, train_init=False, dtype=F64)),
}
models = pytest.mark.parametrize("name", MODELS)
batched = pytest.mark.parametrize("shape", [(T, B, 2), (T, 2)], ids=["batched", "unbatched"])


class TestDerive:
    @models
    @batched
    def test_gates_of_a_run(self, name, shape):
        model = randomise(MODELS[name]())
        trace, want = record(model, filled(*shape))
        full = derive(model, trace)
        assert set(want) == set(full) - set(trace)
        for gate, value in want.items():
            close(torch.tensor(full[gate]), value, 1e-10)
        for key in trace:
            assert full[key] is trace[key] or (full[key] == trace[key]).all()
        assert full.labels == trace.labels
        assert full.weights == trace.weights
        assert full.states == trace.states
        assert next(iter(full)) == "x"
        assert list(full)[-1] == "y"

    @pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
    def test_every_cell(self, kind):
        model = rl.Chain(rl.Recur(randomise(kind(3, 3, dtype=F64))), rl.GRU(3, 2, dtype=F64))
        trace, want = record(model, filled(T, B, 3))
        full = derive(model, trace)
        assert set(want) == set(full) - set(trace)
        for gate, value in want.items():
            close(torch.tensor(full[gate]), value, 1e-10)

    @pytest.mark.parametrize("name", ["recur", "chain", "stacked", "adapted", "projected"])
    @batched
    def test_memories_that_were_not_recorded(self, name, shape):
        model = randomise(MODELS[name]())
        if name in ("recur", "chain", "stacked"):
            assert all(
                w.abs().min() > 0 for w in (model if name == "recur" else model[0]).cell.c0[None]
            )
        trace, want = record(model, filled(*shape))
        memories = [key for key in trace if key.split(".")[-1] == "c"]
        assert memories
        short = Trace(
            {key: trace[key] for key in trace if key not in memories},
            initial={key: trace.initial[key] for key in trace.initial if key not in memories},
            weights=trace.weights,
        )
        full = derive(model, short)
        assert set(full) == set(trace) | set(want)
        for key, value in {**want, **{key: torch.tensor(trace[key]) for key in trace}}.items():
            close(torch.tensor(full[key]), value, 1e-10)
        assert set(memories) <= set(full.states)

    @pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
    @pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=str)
    def test_layers_of_an_adapted_module(self, kind, options):
        theirs = randomise(Theirs(kind, **options))
        model = adapt(theirs)
        xs = filled(T, B, 1, 2)
        trace, _ = record(model, xs)
        full = derive(model, trace)
        bare = adapt(randomise(kind(2, 3, dtype=F64, **options)))
        for a, b in zip(bare.parameters(), theirs.rnn.parameters(), strict=True):
            a.data.copy_(b.data)
        _, want = record(bare, xs.squeeze(2))
        assert want
        for gate, value in want.items():
            layer, name = gate.split(".")
            path = f"rnn.{layer}.{name}" if options else f"rnn.{name}"
            close(torch.tensor(full[path]), value, 1e-10)

    def test_after_an_edit(self):
        """A state that was changed by hand is what the next step starts from."""
        model = randomise(chain())
        trace, _ = record(model, filled(T, B, 2))
        h = trace["0.h"].copy()
        h[2] += 1
        arrays = {**{key: trace[key] for key in trace}, "0.h": h}
        edited = Trace(arrays, initial=trace.initial, edits=[{"t": 3, "name": "0.h"}])
        full, before = derive(model, edited), derive(model, trace)
        state = tuple(torch.tensor(edited[f"0.{n}"][2]) for n in "hc")
        close(torch.tensor(full["0.f"][3]), model[0].cell.gates(state, filled(T, B, 2)[3])["f"])
        assert (full["2.z"][2] == before["2.z"][2]).all()  # layer 2 had what layer 0 put out

    def test_nothing_is_touched(self):
        model = randomise(chain()).train()
        model(filled(2))
        now = {name: value.clone() for name, value in rl.states(model).items()}
        rl_states = rl.states(model)
        trace, _ = record(randomise(chain()), filled(T, B, 2))
        derive(model, trace)
        assert all(torch.equal(value, now[name]) for name, value in rl_states.items())
        assert all(value is rl_states[name] for name, value in rl.states(model).items())
        assert all("forward" not in part.__dict__ for part in model.modules())

    def test_of_a_session(self):
        model = randomise(rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1)))
        s = rl.Session(model)
        s.run(torch.randn(T, 2))
        full = derive(model, s.trace())
        assert full["0.o"].dtype == "float32"
        assert full["0.o"].shape == (T, 3)

    def test_no_steps(self):
        model = rl.RNN(2, 3)
        trace = Trace(
            {"x": torch.zeros(0, 2), "h": torch.zeros(0, 3)}, initial={"h": torch.zeros(3)}
        )
        assert derive(model, trace) is trace


class TestDeriveErrors:
    def setup_method(self):
        self.model = randomise(rl.Chain(rl.LSTM(2, 3, dtype=F64), rl.GRU(3, 3, dtype=F64)))
        self.trace, _ = record(self.model, filled(T, B, 2))

    def without(self, *names):
        return Trace(
            {key: self.trace[key] for key in self.trace if key not in names},
            initial={k: self.trace.initial[k] for k in self.trace.initial if k not in names},
        )

    def refused(self, model, trace, **options):
        with pytest.raises(rl.RnnlabError) as error:
            derive(model, trace, **options)
        return str(error.value)

    def test_other_weights(self):
        with torch.no_grad():
            self.model[1].cell.weight_hh[0, 0] += 1
        assert self.refused(self.model, self.trace) == (
            "derive: 1.cell.weight_hh is not what it was in the recorded run, so its gates would "
            "be another model's. Load the weights of the run, or derive(…, force=True)."
        )
        full = derive(self.model, self.trace, force=True)
        assert "1.z" in full

    def test_missing(self):
        assert self.refused(self.model, self.without("1.h")) == (
            "derive: the trace has no '1.h'. It has: x, 0.h, 0.c, y."
        )
        assert self.refused(self.model, self.without("0.h")) == (
            "derive: the trace has no '0.h'. It has: x, 0.c, 1.h, y."
        )
        assert self.refused(self.model, self.without("x")) == (
            "derive: the trace has no input 'x'. It has: 0.h, 0.c, 1.h, y."
        )
        arrays = {key: self.trace[key] for key in self.trace}
        assert self.refused(self.model, Trace(arrays)) == (
            "derive: the trace has no initial value of '0.h'."
        )

    def test_another_model(self):
        other = rl.Chain(rl.LSTM(2, 4, dtype=F64), rl.GRU(4, 3, dtype=F64))
        assert self.refused(other, self.trace, force=True) == (
            "derive: '0.h' has rows of shape (3, 3) in the trace, the model's state is (4,). "
            "Give the model of the run."
        )
        assert self.refused(nn.Linear(2, 3), self.trace) == (
            "derive: Linear Linear(in_features=2, out_features=3, bias=True) has no state; give "
            "the model of the run."
        )

    def test_an_edited_memory_that_was_not_recorded(self):
        short = self.without("0.c")
        arrays = {key: short[key] for key in short}
        edited = Trace(arrays, initial=short.initial, edits=[{"t": 2, "name": "0.c"}])
        assert self.refused(self.model, edited) == (
            "derive: '0.c' was not recorded and was edited along the run, so it cannot be derived."
        )

    def test_dropout(self):
        model = Stacked(rl.LSTM(2, 3, dtype=F64), rl.GRU(3, 3, dtype=F64), dropout=0.5)
        text = (
            "is in training mode with dropout 0.5; which units were dropped in the run is not "
            "known. model.eval(), for runs recorded that way."
        )
        assert self.refused(model, self.trace, force=True) == f"derive: the model {text}"
        model = rl.Chain(*self.model, nn.Dropout(0.5))
        assert self.refused(model, self.trace, force=True) == f"derive: 2 {text}"
        derive(model.eval(), self.trace, force=True)

    def test_several_steps_a_call(self):
        model = adapt(Theirs())
        trace, _ = record(model, filled(T, B, 4, 2))
        assert self.refused(model, trace) == (
            "derive: layer 'rnn' was given several time steps in one call; gates are derived for "
            "runs of single steps."
        )


def stepped(model, xs):
    ys, rows = [], []
    for x in xs:
        ys.append(model(x))
        rows.append({name: torch.as_tensor(value) for name, value in rl.states(model).items()})
    return ys, {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class TestRunStates:
    @models
    @batched
    @pytest.mark.parametrize("grad", [True, False])
    def test_as_stepping(self, name, shape, grad):
        model = randomise(MODELS[name]())
        xs = filled(*shape)
        with torch.set_grad_enabled(grad):
            model(xs[0])  # somewhere on the way
            _, states = stepped(model, xs)
            rl.reset(model)
            model(xs[0])
            want, after = stepped(model, xs), rl.states(model)
            rl.reset(model)
            model(xs[0])
            ys, found = run_states(model, xs)
        assert list(found) == list(states)
        close(ys, torch.stack(want[0]), 1e-10)
        for key, value in want[1].items():
            close(found[key], value, 1e-10)
        for key, value in rl.states(model).items():
            close(value, after[key], 1e-10)
            assert torch.equal(value, found[key][-1])
        if grad:
            weights = list(model.parameters())
            for a, b in zip(
                torch.autograd.grad(weighted([ys, *found.values()]), weights, allow_unused=True),
                torch.autograd.grad(
                    weighted([torch.stack(want[0]), *want[1].values()]), weights, allow_unused=True
                ),
                strict=True,
            ):
                close(a, b, 1e-9)

    @models
    @batched
    @pytest.mark.parametrize("grad", [True, False])
    def test_gates(self, name, shape, grad):
        model = randomise(MODELS[name]())
        xs = filled(*shape)
        trace, want = record(model, xs)
        with torch.set_grad_enabled(grad):
            _, found = run_states(model, xs, gates=True)
        assert set(found) == set(want) | set(trace.states)
        for gate, value in want.items():
            close(found[gate], value, 1e-10)

    @pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
    def test_every_cell(self, kind):
        model = rl.Recur(randomise(kind(3, 3, dtype=F64)))
        xs = filled(T, B, 3)
        trace, want = record(model, xs)
        ys, found = run_states(model, xs, gates=True)
        close(ys, torch.tensor(trace["y"]), 1e-10)
        for key in trace.states:
            close(found[key], torch.tensor(trace[key]), 1e-10)
        for gate, value in want.items():
            close(found[gate], value, 1e-10)

    def test_lists_and_empty_sequences(self):
        model = randomise(chain())
        xs = filled(T, 2)
        want, _ = run_states(model, xs)
        rl.reset(model)
        ys, found = run_states(model, list(xs))
        assert isinstance(ys, list)
        close(torch.stack(ys), want)
        assert found["0.c"].shape == (T, 3)
        rl.reset(model)
        assert run_states(model, []) == ([], {})
        ys, found = run_states(model, xs[:0])
        assert ys.shape == (0, 3)
        assert found == {}

    def test_numbers(self):
        model = rl.Recur(lambda h, x: (h + x, x), 0)
        ys, found = run_states(model, [2, 3, 4])
        assert ys == [2, 3, 4]
        assert found["h"].tolist() == [2, 5, 9]
        assert model.state == 9

    def test_dropout_between_layers(self):
        """In training the masks are drawn and the states are those of the run that drew them."""
        model = Stacked(rl.LSTM(2, 30, dtype=F64), rl.GRU(30, 3, dtype=F64), dropout=0.5)
        _, found = run_states(model, filled(T, 2), gates=True)
        ys, more = run_states(model, filled(T, 2))
        assert torch.equal(ys, more["1.h"])  # none after the last layer
        assert found["1.h"].shape == (T, 3)
        assert found["1.z"].shape == (T, 3)

    def test_a_cell_that_works_in_the_memory_of_its_state(self):
        model, xs = rl.Recur(lambda h, x: (h.add_(x), h), torch.zeros(3)), torch.ones(T, 3)
        ys, found = run_states(model, xs)
        assert torch.equal(ys, xs.cumsum(0))
        assert torch.equal(found["h"], ys)
        assert not model.init.any()

    @pytest.mark.parametrize("kind", [rl.LEM, rl.LeakyRNN, rl.GRU, rl.LSTM])
    @pytest.mark.parametrize("leads", [((), (B,)), ((B,), ()), ((1,), ())], ids=str)
    def test_another_batch_is_refused(self, kind, leads):
        first, second = (filled(T, *lead, 2) for lead in leads)
        for begin, go_on in (
            (lambda m: run_states(m, first), lambda m: m(second[0])),
            (lambda m: m(first[0]), lambda m: run_states(m, second)),
        ):
            model = kind(2, 3, dtype=F64)
            begin(model)
            with pytest.raises(rl.RnnlabError, match=r"Call reset\(model\) before"):
                go_on(model)

    @pytest.mark.parametrize("where", ["update", "_result"])
    def test_an_output_of_its_own(self, where):
        def doubled(self, *given):
            h, y = getattr(rl.GRUv3Cell, where)(self, *given)
            return h, 2 * y

        Doubled = type("Doubled", (rl.GRUv3Cell,), {where: doubled})
        model, xs = randomise(rl.Recur(Doubled(2, 3, dtype=F64))), filled(T, B, 2)
        ys, found = run_states(model, xs)
        close(ys, 2 * found["h"])

    def test_hooks_see_every_step(self):
        model, seen = randomise(chain()), []
        handle = model[0].register_forward_hook(lambda m, x, y: seen.append(y))
        xs = filled(T, 2)
        _, found = run_states(model, xs)
        assert len(seen) == T
        handle.remove()
        rl.reset(model)
        _, want = run_states(model, xs)
        for name, value in want.items():
            close(found[name], value, 1e-10)

    def test_refusals_change_nothing(self):
        model = randomise(chain())
        model(filled(B, 2))
        before = rl.states(model)
        with pytest.raises(rl.RnnlabError) as error:
            run_states(model, filled(T, B + 1, 2))
        assert str(error.value) == (
            "Recur(LSTMCell(2, 3)): the state is for a batch of 3, x has a batch of 4. Call "
            "reset(model) before starting with another batch size."
        )
        with pytest.raises(rl.RnnlabError) as error:
            run_states(model, "abc")
        assert str(error.value) == (
            "run_states: xs must be a list of steps or a tensor (T, …), got str 'abc'."
        )
        model[3].cell.weight_ih = nn.Parameter(torch.ones(9, 5, dtype=F64))
        with pytest.raises(RuntimeError):
            run_states(model, filled(T, B, 2))
        assert all(value is before[name] for name, value in rl.states(model).items())
        with pytest.raises(rl.RnnlabError):
            run_states(Bidirectional(rl.RNN(2, 3), rl.RNN(2, 3)), torch.ones(T, 2))


def test_what_is_no_trace_is_refused():
    model = rl.RNN(2, 3)
    session = rl.Session(model)
    for given, told in ((3, "int 3"), (session, "Session")):
        with pytest.raises(rl.RnnlabError) as error:
            derive(model, given)
        assert str(error.value).startswith(
            f"derive: the run must be a Trace, as session.trace() gives it; got {told}"
        )


@pytest.mark.parametrize("steps", [1, 2, 3, 15, 16, 17, 32, 100, 600, 2048])
@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_the_scan_is_the_loop(steps, shape):
    f = torch.sigmoid(4 * filled(steps, *shape)).requires_grad_()
    ig = filled(steps, *shape, seed=1).requires_grad_()
    first = filled(shape[-1], seed=2).requires_grad_()
    rows, c = [], first
    for t in range(steps):
        c = f[t] * c + ig[t]
        rows.append(c)
    want = torch.stack(rows)
    got = scan_memory(f, ig, first)
    close(got, want, 1e-12)
    ours = torch.autograd.grad(weighted(got), (f, ig, first))
    theirs = torch.autograd.grad(weighted(want), (f, ig, first))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 1e-10)
    with torch.no_grad():
        given = f.clone(), ig.clone(), first.clone()
        close(scan_memory(*given), want, 1e-12)
        assert all(torch.equal(a, b) for a, b in zip(given, (f, ig, first), strict=True))


def test_inputs_go_where_the_states_of_a_function_cell_are():
    """It has no weight; a device without numbers stands for a GPU."""
    far = torch.zeros(3, device="meta")
    model = rl.Recur(lambda h, x: (h + x, h), far)
    assert evaluate(model, {"": ["h"]}, {"h": far.expand(5, 3)}, {}, (torch.ones(5, 3),), {}) == {}
