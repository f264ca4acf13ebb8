"""A model as a map on vectors in float64: s' = F(s, x), its Jacobians, its trajectories."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vjp

from rnnlab.adapters.inside import Adapted
from rnnlab.analysis.advice import told
from rnnlab.analysis.arguments import numbers
from rnnlab.analysis.field import Field
from rnnlab.analysis.progress import Progress, Ticks
from rnnlab.analysis.recording import recorded
from rnnlab.analysis.result import Units
from rnnlab.cells.base import Cell
from rnnlab.errors import RnnlabError
from rnnlab.fingerprint import weights
from rnnlab.functional import ModelCell, as_cell
from rnnlab.layers import Chain, Dense, Stacked
from rnnlab.recur import Recur
from rnnlab.trace import Trace

F64 = torch.float64
SMALL = 128
"""With states of up to so many numbers one thread does the work: on small matrices torch loses
more to waiting for its threads than it gains by them (ten times the time on a busy machine)."""

Inputs = tuple[Tensor, ...]


class Dynamics:
    """The whole carried state of a model as one vector, and its update in float64.

    Args:
        model: a cell, Recur, Chain, adapted model, or what `as_cell` made of one.
        owner: the name of the analysis, for messages.

    Attributes:
        n: how many numbers the state has.
        units: their names.
        device: where the model lies.

    Raises:
        RnnlabError: a model without state, or one that is random (dropout in training mode).
    """

    def __init__(self, model: Any, owner: str) -> None:
        self.owner = owner
        self.ticks: Ticks | None = None
        self.raised: Exception | None = None
        """What the model last raised."""
        self.cell: ModelCell = as_cell(
            model.model if isinstance(model, ModelCell) else model, dtype=F64
        )
        self.model: nn.Module = self.cell.model
        self.n = self.cell.size
        lie = (weight.device for weight in weights(self.model).values())
        self.device = next(lie, torch.device("cpu"))
        self.direct = takes_batches(self.model)
        self.whole = any(isinstance(m, nn.Embedding) for m in self.model.modules())
        self.units: Units = tuple(
            (name, unit)
            for name in self.cell.names
            for unit in range(self.cell.slices[name].stop - self.cell.slices[name].start)
        )
        if not self.n:
            raise RnnlabError(f"{owner}: the state of {self.shown()} has no entries.")
        for name, leaf in self.cell.initial_state().items():
            if isinstance(leaf, Tensor) and not leaf.is_floating_point():
                raise RnnlabError(
                    f"{owner}: the state {name!r} of {self.shown()} is of type {leaf.dtype}; a "
                    "derivative needs real numbers. Begin with a state of floats."
                )

    def shown(self) -> str:
        """The model for a message."""
        return " ".join(repr(self.model).split())[:80]

    @contextmanager
    def telling(self, total: int, progress: Progress) -> Iterator[Ticks]:
        """Tell how far the work is; every evaluation inside is a place to stop at."""
        with Ticks(total, self.owner, progress) as ticks:
            self.ticks = ticks
            yield ticks
        self.ticks = None

    def beat(self) -> None:
        """A place to stop at."""
        if self.ticks is not None:
            self.ticks.beat()

    # arguments

    def inputs(self, x: Any) -> Inputs:
        """One step's input as tensors; zeros if it is left out."""
        if x is None:
            return (self._zero_input(),)
        return tuple(self._tensor(part) for part in (x if isinstance(x, tuple) else (x,)))

    def _zero_input(self) -> Tensor:
        if any(isinstance(m, Adapted) for m in self.model.modules()):
            raise RnnlabError(
                f"{self.owner}: x is needed for {self.shown()}, in the shape that the model takes "
                "for one step."
            )
        for module in self.model.modules():
            size = getattr(module, "input_size", None) or getattr(module, "in_features", None)
            if isinstance(size, int):
                return torch.zeros(size, dtype=F64, device=self.device)
            if isinstance(module, nn.Embedding):
                return torch.zeros((), dtype=torch.long, device=self.device)
        return torch.zeros((), dtype=F64, device=self.device)

    def _tensor(self, value: Any) -> Tensor:
        given = numbers(self.owner, "x", value)
        keep = self.whole and not given.is_floating_point()
        return given.to(self.device, given.dtype if keep else F64)

    def sequence(self, xs: Any, row: Any = None) -> tuple[Inputs, Any]:
        """A sequence `(T, …)` as tensors with time first, and the state it starts from.

        `xs` is an array, a list of steps, a tuple of arrays (several inputs), or a Trace, which
        brings its initial state along; `row` says which of the rows of its batch.
        """
        state = None
        if isinstance(xs, Trace):
            run = recorded(self, xs, row)
            xs, state = run.inputs, run.initial
        elif row is not None:
            raise RnnlabError(
                f"{self.owner}: row= is for a Trace of a batch; of an array give one row, xs[:, b]."
            )
        if isinstance(xs, list) and all(isinstance(x, Tensor) for x in xs) and xs:
            xs = torch.stack(xs)
        given = tuple(self._tensor(part) for part in (xs if isinstance(xs, tuple) else (xs,)))
        if any(not part.dim() for part in given) or len({len(part) for part in given}) > 1:
            raise RnnlabError(
                f"{self.owner}: xs must be a sequence (T, …) with time first; got "
                f"{', '.join(str(tuple(part.shape)) for part in given)}."
            )
        if not len(given[0]):
            raise RnnlabError(f"{self.owner}: xs is empty; give at least one step.")
        return given, state

    def vector(self, state: Any) -> Tensor:
        """A state as a vector `(n,)`: a dictionary by name, a vector, or None for the initial."""
        if state is None:
            state = self.cell.initial_state()
        if isinstance(state, Mapping):
            given = {
                name: numbers(self.owner, f"state {name!r}", value) for name, value in state.items()
            }
            unknown = [name for name in given if name not in self.cell.names]
            if unknown:
                raise RnnlabError(
                    f"{self.owner}: no state {unknown[0]!r}. "
                    f"They are: {', '.join(self.cell.names)}."
                )
            found = self.cell.flat({k: v.to(self.device) for k, v in given.items()})
        else:
            found = numbers(self.owner, "state", state)
        found = found.to(self.device, F64)
        if found.shape == (1, self.n):
            found = found[0]
        if tuple(found.shape) != (self.n,):
            of_batch = found.dim() == 2 and found.shape[1] == self.n
            raise RnnlabError(
                f"{self.owner}: one state is needed, a dictionary by name or a vector "
                f"({self.n},); got shape {tuple(found.shape)}"
                + (f", a batch: take one row of {len(found)}." if of_batch else ".")
            )
        return found

    # the map

    def step(self, s: Tensor, xs: Inputs) -> tuple[Tensor, Any]:
        """s' and y of one state `(n,)`."""
        return self._evaluated(self.cell, s, xs)

    def field(self, xs: Inputs) -> Field:
        """F(·, x) at a constant input."""
        return Field(lambda s: self.call(self.cell, s, xs), self.direct, self.beat)

    def call(self, cell: ModelCell, s: Tensor, xs: Inputs) -> Tensor:
        """The new state from s `(n,)`, or `(B, n)` for a model that takes batches."""
        if s.dim() > 1:
            xs = tuple(x.expand(len(s), *x.shape) for x in xs)
        return self._evaluated(cell, s, xs)[0]

    def _evaluated(self, cell: ModelCell, s: Tensor, xs: Inputs) -> tuple[Tensor, Any]:
        try:
            new, y = cell.flat_step(s, *xs)
        except Exception as error:
            self.raised = error
            raise
        if not self.direct and new.shape == (1, self.n):
            new = new[0]  # a module that takes batches only was given a batch of one row
        return new, y

    def trajectory(self, s: Tensor, xs: Inputs) -> Tensor:
        """The states `(T + 1, n)` from s on; cut off after the last finite one."""
        rows = [s]
        for t in range(len(xs[0])):
            if self.ticks is not None:
                self.ticks.update()
            rows.append(self.step(rows[-1], tuple(part[t] for part in xs))[0])
            if not bool(torch.isfinite(rows[-1]).all()):
                rows.pop()
                break
        return torch.stack(rows)

    def _random_state(self) -> Tensor:
        """What changes if random numbers are drawn."""
        if self.device.type == "cuda":
            return torch.cat([torch.get_rng_state(), torch.cuda.get_rng_state(self.device)])
        return torch.get_rng_state()

    @contextmanager
    def untouched(self, xs: Inputs) -> Iterator[None]:
        """No gradients; refuses a model that draws random numbers, tells what it raises.

        The global random state is put back after the one step that tells, not at the end: another
        thread may draw from it while a long analysis runs.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        one = threads(1) if self.n <= SMALL and self.device.type == "cpu" else nullcontext()
        with torch.no_grad(), one:
            s = self.vector(None)
            with torch.random.fork_rng(devices=devices), python_random_kept():
                drawn = self._random_state()
                first = self._first_step(s, xs)
                drew = not torch.equal(drawn, self._random_state())
                again = self._first_step(s, xs)
            if first.shape != s.shape:
                raise RnnlabError(
                    f"{self.owner}: one step of one row is needed; with x of shape "
                    f"{', '.join(str(tuple(x.shape)) for x in xs)} the state becomes "
                    f"{tuple(first.shape)}. Take one row of a batch: x[b] of a step, xs[:, b] of a "
                    "sequence."
                )
            if drew:
                raise RnnlabError(
                    f"{self.owner}: {self.shown()} draws random numbers in a step. Dropout in "
                    "training mode? model.eval() switches it off."
                )
            if not torch.equal(first.nan_to_num(), again.nan_to_num()):
                raise RnnlabError(
                    f"{self.owner}: {self.shown()} gives two different states for the same state "
                    "and input: random numbers, or something it keeps besides its state. Its step "
                    "must be a function of the two."
                )
            try:
                yield
            except RnnlabError:
                raise
            except Exception as error:
                if error is not self.raised:
                    raise
                said = told(
                    error,
                    "A model that cannot take some states can give NaN there; that is then said in "
                    "the result.",
                )
                raise RnnlabError(
                    f"{self.owner}: {self.shown()} failed on the way with {said}"
                ) from error

    def _first_step(self, s: Tensor, xs: Inputs) -> Tensor:
        try:
            return self.step(s, xs)[0]
        except RnnlabError:
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in xs)
            raise RnnlabError(
                f"{self.owner}: {self.shown()} failed on the input of shape {shapes} with "
                f"{told(error, 'x must have the shape of one step.')}"
            ) from error


@contextmanager
def python_random_kept() -> Iterator[None]:
    """The random states of Python and numpy are afterwards what they were."""
    python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for torch's operations."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pushed(fn: Callable[..., Tensor], at: Inputs) -> Callable[..., Tensor]:
    """The derivative of `fn` at `at` as a function of directions: `(δ, …) → J δ + …`.

    By reverse mode twice, which every operator has: u ↦ Jᵀu is linear, and its transpose is J.

    Example:
        >>> push = pushed(lambda a, b: a * b, (torch.tensor([2.0]), torch.tensor([3.0])))
        >>> push(torch.tensor([1.0]), torch.tensor([10.0]))
        tensor([23.])
    """
    y, pull, *_ = vjp(fn, *at)
    _, push, *_ = vjp(pull, torch.zeros_like(y))
    return lambda *directions: push(directions)[0]


_PLAIN = (Dense, nn.Linear, nn.Identity, nn.Dropout, nn.LayerNorm, nn.Tanh, nn.ReLU, nn.Sigmoid)


def takes_batches(model: Any) -> bool:
    """Whether a batch may simply be put in front of everything that the model computes."""
    if type(model) in (Chain, Stacked):
        return all(takes_batches(layer) for layer in model)
    if type(model) is Recur:
        return isinstance(model.cell, Cell)
    return type(model) in _PLAIN


def to_numpy(value: Tensor) -> np.ndarray:
    """A tensor as an array of its own."""
    return value.detach().cpu().numpy().copy()


def fed(inputs: Inputs) -> np.ndarray:
    """The input as a result keeps it; empty if there are several."""
    return to_numpy(inputs[0]) if len(inputs) == 1 else np.zeros(0)
