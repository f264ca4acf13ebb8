"""What is measured: one function a section, each gives its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.bench import analysis as analyses
from rnnlab.bench.explorer import explorer
from rnnlab.bench.settings import Settings
from rnnlab.bench.timing import Row, compare
from rnnlab.cells import GRUCell, LSTMCell, RNNCell
from rnnlab.cells.base import Cell
from rnnlab.cells.registry import CELLS
from rnnlab.derive import derive, run_states
from rnnlab.graphs import graphed
from rnnlab.recur import Recur
from rnnlab.session import Session
from rnnlab.trace import Trace
from rnnlab.unroll import unroll

FUSED = {
    LSTMCell: (nn.LSTMCell, nn.LSTM),
    GRUCell: (nn.GRUCell, nn.GRU),
    RNNCell: (nn.RNNCell, nn.RNN),
}
"""For each fused cell what people use now: the same in torch.nn."""


def steps(settings: Settings) -> Iterator[Row]:
    """A stateful step in inference, beside the step of torch.nn that hands the state along."""
    for kind, (theirs, _) in FUSED.items():
        target = 0.60 if kind is RNNCell else 0.75
        for size in (8,) if settings.quick else (8, 32, 64):
            for lead, shape in (((1,), "batch 1"), ((), "unbatched")):
                what = f"{kind.__name__} {size}, {shape}"
                yield _step("cpu", kind, theirs, size, lead, what, target, settings.rounds)
    for kind, (theirs, _) in {} if settings.quick else FUSED.items():
        what = f"{kind.__name__} 256, batch 32"
        yield _step("cpu", kind, theirs, 256, (32,), what, 1.02, settings.rounds)


def _step(
    device: Any,
    kind: type[Cell],
    theirs: type[nn.Module],
    size: int,
    lead: tuple[int, ...],
    what: str,
    target: float | None,
    rounds: int,
    section: str = "Stateful step, inference",
    through: Callable[[Recur, Tensor], Callable[[Tensor], Any]] = lambda model, x: model,
    settle: Callable[[], object] | None = None,
) -> Row:
    model, other = Recur(_built(kind, size).to(device)), theirs(size, size).to(device)
    x = torch.randn(*lead, size, device=device)
    zero = torch.zeros(*lead, size, device=device)
    state: Any = (zero, zero) if kind is LSTMCell else zero
    ours = through(model, x)

    def step() -> None:
        nonlocal state
        state = other(x, state)

    with torch.no_grad():
        name = f"nn.{theirs.__name__}"
        return compare(
            section,
            what,
            name,
            lambda: ours(x),
            step,
            rounds=rounds,
            target=target,
            settle=settle,
        )


def sequences(settings: Settings) -> Iterator[Row]:
    """`unroll` of the fused cells, beside the layers of torch.nn."""
    for kind, (_, theirs) in FUSED.items():
        for batch in (1,) if settings.quick else (1, 32):
            yield from _sequence("cpu", kind, theirs, batch, settings)


def _sequence(
    device: Any,
    kind: type[Cell],
    theirs: type[nn.Module],
    batch: int,
    settings: Settings,
    section: str = "A whole sequence, beside torch.nn",
    target: float | None = 1.05,
    settle: Callable[[], object] | None = None,
) -> Iterator[Row]:
    size, length = (8, 16) if settings.quick else (64, 200)
    model, other = Recur(_built(kind, size).to(device)), theirs(size, size).to(device)
    xs = torch.randn(length, batch, size, device=device)

    def ours() -> Tensor:
        model.reset()
        return unroll(model, xs)

    for training in (False, True):
        what = f"{kind.__name__} {size}, T {length}, batch {batch}, {_mode(training)}"
        with torch.set_grad_enabled(training):
            yield compare(
                section,
                what,
                f"nn.{theirs.__name__}",
                _way(ours, model, training),
                _way(lambda: other(xs)[0], other, training),
                rounds=settings.few,
                target=target,
                settle=settle,
            )


def cells(settings: Settings) -> Iterator[Row]:
    """`unroll` of every other cell, beside the loop over the same cell that one would write."""
    size, length = (8, 16) if settings.quick else (64, 128)
    others = [kind for kind in CELLS if kind not in FUSED]
    for kind in others[:2] if settings.quick else others:
        for batch in (1,) if settings.quick else (1, 32):
            cell = _built(kind, size)
            model, xs = Recur(cell), torch.randn(length, batch, size)

            def ours(model: Recur = model, xs: Tensor = xs) -> Tensor:
                model.reset()
                return unroll(model, xs)

            def loop(cell: Cell = cell, xs: Tensor = xs) -> Tensor:
                state, ys = cell.initial_state(), []
                for x in xs:
                    state, y = cell(state, x)
                    ys.append(y)
                return torch.stack(ys)

            for training in (False, True):
                with torch.set_grad_enabled(training):
                    yield compare(
                        "A whole sequence, beside the loop over the same cell",
                        f"{kind.__name__} {size}, T {length}, batch {batch}, {_mode(training)}",
                        "h, y = cell(h, x)",
                        _way(ours, model, training),
                        _way(loop, cell, training),
                        rounds=max(3, settings.few // 2),
                        target=0.75 if batch == 1 else 1.0,
                    )


def gates(settings: Settings) -> Iterator[Row]:
    """Every state and every gate of an LSTM run, beside the run alone with nothing recorded."""
    size, length = (8, 64) if settings.quick else (64, 2048)
    model, other = Recur(LSTMCell(size, size)), nn.LSTM(size, size)
    xs = torch.randn(length, 1, size)

    def ours() -> Any:
        model.reset()
        return run_states(model, xs, gates=True)

    def later() -> Any:
        """The states recorded first, the gates derived when they are asked for."""
        model.reset()
        ys, found = run_states(model, xs)
        first = dict(zip(("h", "c"), model.init, strict=True))
        recorded = {"x": xs, **found, "y": ys}
        trace = Trace(
            {name: value.numpy() for name, value in recorded.items()},
            initial={name: value.detach().expand(1, -1).numpy() for name, value in first.items()},
        )
        return derive(model, trace)

    ways = {"run_states(…, gates=True)": ours, "run_states, then derive": later}
    with torch.no_grad():
        for name, way in ways.items():
            yield compare(
                "Every state and every gate of a run",
                f"LSTMCell {size}, T {length}, {name}",
                "nn.LSTM, nothing recorded",
                way,
                lambda: other(xs),
                rounds=settings.few,
                target=3.0,
            )


def sessions(settings: Settings) -> Iterator[Row]:
    """A session, which records everything, beside the model alone, which records nothing."""
    section = "Session, everything recorded"
    size, length = (8, 64) if settings.quick else (64, 2048)
    for kind in FUSED:
        cell, x = _built(kind, size), torch.randn(size)
        session, bare = Session(Recur(cell)), Recur(cell)
        with torch.no_grad():
            yield compare(
                section,
                f"Session.step, {kind.__name__} {size}",
                "Recur, nothing recorded",
                partial(session.step, x),
                partial(bare, x),
                rounds=settings.rounds,
                target=2.0,
            )
    cell, other, xs = LSTMCell(size, size), nn.LSTM(size, size), torch.randn(length, size)
    with torch.no_grad():
        yield compare(
            section,
            f"Session(…).run, LSTMCell {size}, T {length}",
            "nn.LSTM, nothing recorded",
            lambda: _ran(cell, xs),
            lambda: other(xs),
            rounds=settings.few,
            target=2.0,
        )
    yield compare(
        section,
        f"Session.rewind, LSTMCell {size}, {length} steps recorded",
        f"the same, {length // 32} steps recorded",
        _there_and_back(_ran(cell, xs)),
        _there_and_back(_ran(cell, xs[: length // 32])),
        rounds=settings.few,
        target=1.5,
    )


def _ran(cell: Cell, xs: Tensor) -> Session:
    session = Session(Recur(cell))
    session.run(xs, progress=False)
    return session


def _there_and_back(session: Session) -> Callable[[], object]:
    """Going to the middle of the recording and to its end."""
    length = session.length()

    def rewound() -> None:
        session.rewind(length // 2)
        session.rewind(length)

    return rewound


def gpu(settings: Settings) -> Iterator[Row]:
    """Steps, captured steps and sequences on the GPU; nothing without one."""
    if not torch.cuda.is_available():
        return
    settle = torch.cuda.synchronize
    section = f"GPU: {torch.cuda.get_device_name()}"
    for kind, (theirs, layer) in FUSED.items():
        for size, batch in ((64, 1),) if settings.quick else ((64, 1), (256, 32)):
            what = f"{kind.__name__} {size}, batch {batch}"
            measured = partial(
                _step, "cuda", kind, theirs, size, (batch,), section=section, settle=settle
            )
            yield measured(what=f"{what}, step", target=None, rounds=settings.rounds)
            yield measured(
                what=f"{what}, graphed step", target=None, rounds=settings.rounds, through=graphed
            )
            yield from _sequence("cuda", kind, layer, batch, settings, section, None, settle)


def _built(kind: type[Cell], size: int) -> Cell:
    return kind(size, size)


def _mode(training: bool) -> str:
    return "training" if training else "inference"


def _way(run: Callable[[], Tensor], module: nn.Module, training: bool) -> Callable[[], object]:
    """One call of `run`; in training with the gradient in every weight."""
    if not training:
        return run
    weights = list(module.parameters())

    def there_and_back() -> object:
        return torch.autograd.grad(run().sum(), weights, allow_unused=True)

    return there_and_back


SECTIONS = {
    "steps": steps,
    "sequences": sequences,
    "cells": cells,
    "gates": gates,
    "sessions": sessions,
    "analysis": analyses.analysis,
    "gpu": gpu,
    "explorer": explorer,
}

SLOW = {"explorer"}
"""Sections that take minutes at any size: a quick run has them only when they are named."""
