"""A recorded update gives bit for bit what the update gives, for every cell."""

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Cell, Recur, unroll
from rnnlab.cells import replay
from rnnlab.cells.base import as_parts, as_state
from rnnlab.cells.registry import CELLS
from tests.helpers import F64, close, filled, randomise

I, H, B, T = 3, 4, 2, 9
ALL_CELLS = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Record however short the sequence and small the gain."""
    monkeypatch.setattr(replay, "SHORTEST", 1)
    monkeypatch.setattr(replay, "LEAST_SAVED", -100)


@ALL_CELLS
@pytest.mark.parametrize("dtype", [F64, torch.float32, torch.bfloat16], ids=str)
@torch.no_grad()
def test_every_state_and_output(kind, dtype):
    cell = randomise(kind(I, H)).to(dtype)
    parts = tuple(filled(B, H, seed=p, dtype=dtype) for p in range(len(cell.state_names)))
    u = cell.project(filled(T, B, I, dtype=dtype))
    recorded = replay.record(cell, parts, u[0], T)
    assert recorded is not None
    start = [part.clone() for part in parts]
    for _ in range(2):  # nothing is left over from the run before
        last, stacks, ys = recorded.run(parts, u)
        state, states, outputs = as_state(parts), [], []
        for u_t in u:
            state, y = cell.update(state, u_t)
            states.append(as_parts(state))
            outputs.append(y)
        close(last, states[-1], 0)
        close(stacks, tuple(torch.stack(column) for column in zip(*states, strict=True)), 0)
        close(ys, torch.stack(outputs), 0)
        close(list(parts), start, 0)
    close(recorded.run(parts, u, states=False)[::2], (last, ys), 0)


@ALL_CELLS
def test_unroll_in_inference(kind):
    model, xs = randomise(Recur(kind(I, H, dtype=F64))), filled(T, B, I)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            model.reset()
            want = torch.stack([model(x) for x in xs]), model.state
            model.reset()
            close((unroll(model, xs), model.state), want)
            first = unroll(model, xs)
            again = first.clone()
            unroll(model, xs)
            close(first, again, 0)  # results are not written over
            with torch.no_grad():
                model.cell.weight_ih.mul_(1.1)  # and nothing is remembered of the weights


class Odd(Cell):
    """h' = formula(h, u), whatever that is."""

    def __init__(self, formula):
        super().__init__(H, H)
        self.formula = formula
        self.weight = nn.Parameter(filled(H))
        self.add_initial_state(True, dtype=F64)

    def project(self, x):
        return x

    def equation(self, state, u):
        return self.formula(state, u)


def inplace(h, u):
    return {"h": (h + u).mul_(0.5)}


def looks(h, u):
    return {"h": h + u if h.sum() > 0 else u - h}


def draws(h, u):
    return {"h": nn.functional.dropout(h + u, 0.5)}


def passes_on(h, u):
    return {"h": u}


@pytest.mark.parametrize("formula", [inplace, looks, draws, passes_on])
@torch.no_grad()
def test_what_cannot_be_recorded_is_done_as_it_is_written(formula):
    model, xs = Recur(Odd(formula)), filled(T, B, H)
    assert replay.record(model.cell, (filled(B, H),), xs[0], T) is None
    torch.manual_seed(0)
    want = torch.stack([model(x) for x in xs])
    model.reset()
    if formula is draws:
        assert (unroll(model, xs) == 0).any()
    else:
        close(unroll(model, xs), want)


def holds(h, u):
    return {"h": torch.tanh(h).expand_as(u).clone(), "y": u}


def constant(h, u):
    h = h.expand_as(u)
    return {"h": torch.ones_like(u), "y": torch.cat([h, u], -1).unflatten(-1, (2, H)).sum(-2)}


def several(h, u):
    top, _ = torch.max(torch.stack([h.expand_as(u), u]), dim=0)
    return {"h": torch.where(top > 0, nn.functional.gelu(top), 1 - top), "y": u.abs().to(F64)}


@pytest.mark.parametrize("formula", [holds, constant, several])
@torch.no_grad()
def test_unusual_formulas(formula):
    model, xs = Recur(Odd(formula)), filled(T, B, H)
    assert replay.record(model.cell, (filled(B, H),), xs[0], T) is not None
    want = torch.stack([model(x) for x in xs]), model.state
    model.reset()
    close((unroll(model, xs), model.state), want)


def test_only_where_it_pays(monkeypatch):
    monkeypatch.undo()
    cell, lean = rl.GRUv3Cell(I, H), Recur(rl.RNNCell(I, H, "sigmoid")).cell
    with torch.no_grad():
        parts, x = (torch.zeros(B, H),), torch.ones(B, I)
        assert replay.record(cell, parts, cell.project(x), replay.SHORTEST) is not None
        assert replay.record(cell, parts, cell.project(x), replay.SHORTEST - 1) is None
        assert replay.record(lean, parts, lean.project(x), 1000) is None
