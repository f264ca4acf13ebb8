"""Models of every kind that a Session steps, inputs for them, and what bit for bit means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import rnnlab as rl
from tests.helpers import filled, randomise

I, H = 3, 4


def accumulator() -> Any:
    return rl.Recur(lambda h, x: (h + x, 2 * h), 0.0)


def function_cell() -> Any:
    """A cell of three plain tensors in a nested state, one of them whole numbers."""

    def walk(state: Any, x: Any) -> Any:
        slow, (fast, count) = state
        fast = torch.tanh(0.5 * fast + x)
        slow = 0.9 * slow + 0.1 * fast
        return (slow, (fast, count + 1)), slow + fast

    return rl.Recur(walk, (torch.zeros(I), (torch.full((I,), 0.1), torch.tensor(0))))


def chain() -> Any:
    return rl.Chain(rl.LSTM(I, H), rl.GRU(H, H), rl.Dense(H, 2))


MODELS: dict[str, Callable[[], Any]] = {
    "rnn": lambda: rl.RNN(I, H),
    "lstm": lambda: rl.LSTM(I, H),
    "gru": lambda: rl.GRU(I, H),
    "gruv3": lambda: rl.GRUv3(I, H, dtype=torch.float64),
    "function": function_cell,
    "chain": chain,
}


class Two(torch.nn.Module):
    """A module of torch's own, two layers deep, that takes a sequence with time in front."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(I, H, num_layers=2)
        self.head = torch.nn.Linear(H, 2)
        with torch.no_grad():
            for number, weight in enumerate(self.parameters()):
                weight.copy_(0.4 * filled(*weight.shape, seed=number))

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0])


def sequences(model: Any) -> bool:
    """Whether one input of the model is a sequence of one step."""
    return any(isinstance(part, Two) for part in model.modules())


if hasattr(rl, "adapt"):
    MODELS["adapted"] = lambda: rl.adapt(Two())  # type: ignore[attr-defined]


def make(name: str) -> Any:
    model = MODELS[name]()
    if name == "adapted":  # has its numbers from the module that was adapted
        return model
    return randomise(model) if list(model.parameters()) else model


def inputs(count: int, seed: int = 0, model: Any = None) -> list[torch.Tensor]:
    weight = next(iter(model.parameters()), None) if model is not None else None
    dtype = torch.float32 if weight is None else weight.dtype
    shape = (1, I) if model is not None and sequences(model) else (I,)
    return list(filled(count, *shape, seed=seed, dtype=dtype).unbind(0))


def bits(value: Any) -> Any:
    """Type, dtype, shape and every bit of a value."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        exact = value.cpu().double() if value.dtype == torch.bfloat16 else value.cpu()
        return str(value.dtype), tuple(value.shape), exact.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return type(value).__name__, value


def states(session: rl.Session) -> dict[str, Any]:
    return {name: bits(value) for name, value in session.states().items()}


def running(model: Any) -> dict[str, Any]:
    return {name: bits(value) for name, value in rl.states(model).items()}


def contents(session: rl.Session) -> Any:
    """All that a session holds, to the bit: the tree, every row, the place, the states."""
    branches = {}
    for name in session.branches:
        trace = session.trace(name)
        arrays = {key: bits(trace[key]) for key in trace}
        initial = {key: bits(value) for key, value in trace.initial.items()}
        branches[name] = (arrays, initial, trace.labels, len(trace), trace.edits)
    return session.branch_name, session.t, states(session), running(session.model), branches
