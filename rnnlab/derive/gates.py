"""derive: the gates of a recorded run, from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from rnnlab.adapters.inside import Adapted
from rnnlab.cells import LSTMCell
from rnnlab.cells.base import Cell, as_parts, describe
from rnnlab.cells.held import Hold, equation, has_equation
from rnnlab.cells.torch_cells import TorchLSTMCell
from rnnlab.derive.memory import LSTMS, lstm_gates, scan_memory
from rnnlab.errors import RnnlabError
from rnnlab.fingerprint import fingerprint, first_difference, weights
from rnnlab.functional import private_copy
from rnnlab.layers import Chain, Stacked
from rnnlab.nested import fill, named_leaves
from rnnlab.recur import Recur, recurs
from rnnlab.trace import Trace
from rnnlab.unfused import Unfused
from rnnlab.unroll import _ANY_LEADING_DIMS, _is


def derive(model: Any, trace: Trace, *, force: bool = False) -> Trace:
    """Every gate and named intermediate of a recorded run, all steps in one batched evaluation.

    Gates are a function of the inputs and of the states before each step, and both are in the
    trace. What an inner layer was given is formed again from them, layer by layer. A gate that was
    clamped in the run, which the trace's `edits` tell, is held here as it was held there.

    Args:
        model: the model that made the run. Its running state is not touched.
        trace: the recording: `"x"` and every state; of an LSTM, `"….c"` may be missing and is then
            derived too, from the initial state that the model has.
        force: go on although the weights are not those of the run.

    Returns:
        A Trace of the same steps with `"0.i"`, `"0.f"`, … for every cell of the library inside the
        model (also where it stands for a layer of an adapted model), `(T, H)` or `(T, B, H)`.

    Raises:
        RnnlabError: the weights differ from those of the run (the first that does is named); the
            trace lacks an input or state; dropout in training mode, whose masks are gone; an
            adapted model that was given several time steps at once.

    Example:
        >>> import rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1))
        >>> s = rl.Session(m)
        >>> y = s.run(torch.ones(5, 2))
        >>> full = derive(m, s.trace())
        >>> full["0.f"].shape, [name for name in full if name.startswith("0.")]
        ((5, 3), ['0.h', '0.c', '0.i', '0.f', '0.g', '0.o'])
    """
    if not isinstance(model, nn.Module) or not recurs(model):
        raise RnnlabError(f"derive: {describe(model)} has no state; give the model of the run.")
    if not isinstance(trace, Trace):
        raise RnnlabError(
            f"derive: the run must be a Trace, as session.trace() gives it; got {describe(trace)}."
        )
    if trace.weights is not None and not force:
        other = first_difference(trace.weights, fingerprint(model))
        if other is not None:
            raise RnnlabError(
                f"derive: {other} is not what it was in the recorded run, so its gates would be "
                "another model's. Load the weights of the run, or derive(…, force=True)."
            )
    refuse_dropout(model)
    names = {path: state_names(path, recur) for path, recur in recurs(model)}
    lacking = _lacking(recurs(model), names, trace)
    if not len(trace):
        return trace
    with torch.no_grad():
        before, after = _recorded(recurs(model), names, trace, lacking)
        xs, pieces = _inputs(model, trace), []
        for first, last, held in _stretches(recurs(model), trace):
            part = slice(first, last)
            then, now = ({n: v[part] for n, v in values.items()} for values in (before, after))
            fed = tuple(x[part] for x in xs)
            pieces.append(evaluate(model, names, then, now, fed, lacking, held))
        found = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        for path, name in lacking.items():
            first = _by_path(model)[path].init[1]
            f, i, g = (found[join(path, gate)] for gate in ("f", "i", "g"))
            found[name] = scan_memory(f, i * g, first)
    arrays = {name: trace[name] for name in trace}
    ends = {name: arrays.pop(name) for name in trace if name.split(".")[0] == "y"}
    initial = {name: trace.initial[name] for name in trace.initial}
    for path, name in lacking.items():
        value = _numpy(_by_path(model)[path].init[1])
        initial[name] = np.broadcast_to(value, found[name].shape[1:])
    derived = {name: _numpy(value) for name, value in found.items()}
    return Trace(
        {**arrays, **derived, **ends},
        initial=initial,
        labels=trace.labels,
        outputs=trace.outputs,
        weights=trace.weight_marks,
        edits=trace.edits,
    )


def _by_path(model: Any) -> dict[str, Recur]:
    """Every Recur inside `model` by its path."""
    return dict(recurs(model))


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def state_names(path: str, recur: Recur) -> list[str]:
    return [join(path, name) for name, _ in named_leaves(recur.init, top=recur._state_names)]


def refuse_dropout(model: nn.Module) -> None:
    for path, module in model.named_modules():
        drops = isinstance(module, (nn.modules.dropout._DropoutNd, Stacked, nn.RNNBase))
        p = getattr(module, "p", None) or getattr(module, "dropout", 0.0)
        if drops and module.training and p:
            raise RnnlabError(
                f"derive: {path or 'the model'} is in training mode with dropout {p}; which units "
                "were dropped in the run is not known. model.eval(), for runs recorded that way."
            )


def _lacking(
    inside: list[tuple[str, Recur]], names: dict[str, list[str]], trace: Trace
) -> dict[str, str]:
    """Path → name of each LSTM memory that was not recorded; anything else must be there."""
    lacking: dict[str, str] = {}
    for path, recur in inside:
        missing = [name for name in names[path] if name not in trace]
        if missing == names[path][1:] and type(recur) is Recur and type(recur.cell) in LSTMS:
            lacking[path] = missing[0]
        elif missing:
            raise RnnlabError(
                f"derive: the trace has no {missing[0]!r}. It has: {', '.join(trace)}."
            )
        for name in names[path]:
            if name in trace and name not in trace.initial:
                raise RnnlabError(f"derive: the trace has no initial value of {name!r}.")
    for name in lacking.values():
        touched = [edit for edit in trace.edits if edit.get("name", name) == name]
        if touched:
            raise RnnlabError(
                f"derive: {name!r} was not recorded and was edited along the run, so it cannot be "
                "derived."
            )
    return lacking


def _recorded(
    inside: list[tuple[str, Recur]],
    names: dict[str, list[str]],
    trace: Trace,
    lacking: dict[str, str],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every state before each step, `(T, …)`; after it, where a part was not recorded."""
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}
    for path, recur in inside:
        leaves = [leaf for _, leaf in named_leaves(recur.init, top=recur._state_names)]
        for name, like in zip(names[path], leaves, strict=True):
            if lacking.get(path) == name:
                h = after[names[path][0]] = torch.tensor(trace[names[path][0]]).to(like)
                before[name] = like.new_zeros(*h.shape[:-1], *like.shape)
                continue
            value = torch.tensor(trace.before(name))
            shape = tuple(like.shape) if isinstance(like, Tensor) else ()
            if isinstance(recur.cell, Cell) and tuple(value.shape[-1:]) != shape:
                raise RnnlabError(
                    f"derive: {name!r} has rows of shape {tuple(value.shape[1:])} in the trace, "
                    f"the model's state is {shape}. Give the model of the run."
                )
            floats = isinstance(like, Tensor) and like.is_floating_point()
            before[name] = value.to(like) if floats else value
    return before, after


def _stretches(
    inside: list[tuple[str, Recur]], trace: Trace
) -> Iterator[tuple[int, int, dict[str, dict[str, Hold]]]]:
    """The steps start … stop in which the same was clamped; what, by path and name in the cell."""
    where = {
        join(path, name): (path, name)
        for path, recur in inside
        if has_equation(recur.cell)
        for name in (*recur.cell.gate_names, *recur.cell.state_names)  # type: ignore[union-attr]
    }
    clamps: list[tuple[float, float, str, str, tuple[Any, Any]]] = []
    for edit in trace.edits:
        if edit.get("kind") == "clamp" and edit["name"] in where:
            steps = float("inf") if edit["steps"] is None else edit["steps"]
            hold = (edit["units"], edit["value"])
            clamps.append((edit["t"], edit["t"] + steps, *where[edit["name"]], hold))
    edges = {0, len(trace)}
    for begin, end, *_ in clamps:
        edges |= {int(min(max(t, 0), len(trace))) for t in (begin, end)}
    for first, last in pairwise(sorted(edges)):
        held: dict[str, dict[str, Hold]] = {}
        for begin, end, path, name, hold in clamps:
            if begin <= first < end:
                held.setdefault(path, {}).setdefault(name, []).append(hold)
        yield first, last, held


def _inputs(model: nn.Module, trace: Trace) -> tuple[Tensor, ...]:
    half = next((p.dtype for p in model.parameters()), None) == torch.bfloat16

    def fed(name: str) -> Tensor:
        x = torch.tensor(trace[name])
        if half and x.dtype == torch.float32:
            was = x.to(torch.bfloat16)  # numpy has no bfloat16: such inputs are recorded as float32
            return was if torch.equal(was.float(), x) else x
        return x

    if "x" in trace:
        return (fed("x"),)
    xs: list[Tensor] = []
    while f"x.{len(xs)}" in trace:
        xs.append(fed(f"x.{len(xs)}"))
    if not xs:
        raise RnnlabError(f"derive: the trace has no input 'x'. It has: {', '.join(trace)}.")
    return tuple(xs)


def evaluate(
    model: nn.Module,
    names: dict[str, list[str]],
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    xs: tuple[Tensor, ...],
    lacking: dict[str, str],
    held: Mapping[str, Mapping[str, Hold]] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The gates of all steps at once; step by step where the model cannot be batched.

    `held` tells what was held in all of them: path → name inside the cell → units and values.
    """
    device = next((weight.device for weight in weights(model).values()), None)
    xs = tuple(x.to(device) for x in xs)
    model = private_copy(model)
    stage = _Stage(lacking, held)
    parts = recurs(model)
    for path, recur in parts:
        if type(recur) is Recur and isinstance(recur.cell, Cell):
            recur.__dict__["forward"] = _Watched(path, recur, stage, last=recur is _last(model))
    adapted = [module for module in model.modules() if isinstance(module, Adapted)]

    def one(before: Any, after: Any, xs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        stage.after, stage.found = after, {}
        for path, recur in parts:
            values = iter([before[name] for name in names[path]])
            recur.__dict__["_state"] = fill(recur.init, values)
            recur.__dict__["_lead"] = None
        for wrapper in adapted:
            wrapper.__dict__["_visits"] = []
        with Unfused():
            model(*xs)
        where = {id(recur): path for path, recur in parts}
        for wrapper in adapted:
            for visit in wrapper.__dict__["_visits"]:
                stage.found |= _gates_inside(visit, where, stage)
        return stage.found

    if _any_leading(model):
        stage.leading = 1
        return one(before, after, xs)
    try:
        return vmap(one)(before, after, xs)
    except RuntimeError:  # data-dependent Python, or an operator without a batching rule
        rows = []
        for t in range(len(xs[0])):
            now, then = ({name: v[t] for name, v in part.items()} for part in (before, after))
            rows.append(one(now, then, tuple(x[t] for x in xs)))
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _any_leading(model: Any) -> bool:
    """Whether time may be one more dimension of everything that the model computes."""
    if _is(model, Chain):
        return all(_any_leading(layer) for layer in model)
    if isinstance(model, Recur):
        return type(model) is Recur and _is(model.cell, Cell)
    return _is(model, *_ANY_LEADING_DIMS)


def _last(model: Any) -> Any:
    """The layer whose output is the model's, so that nothing inside depends on it."""
    while _is(model, Chain) and len(model):
        model = model[-1]
    return model


class _Stage:
    """What one evaluation knows and finds."""

    def __init__(self, lacking: dict[str, str], held: Mapping[str, Mapping[str, Hold]]) -> None:
        self.lacking = lacking
        self.held = held
        self.leading = 0
        self.after: dict[str, Tensor] = {}
        self.found: dict[str, Tensor] = {}

    def gates(self, path: str, cell: Cell, state: Any, x: Tensor) -> dict[str, Tensor]:
        """Every named intermediate of one cell, with what was held in the run held again."""
        held = self.held.get(path)
        return equation(cell, state, x, held) if held else cell.gates(state, x)


class _Watched:
    """In place of the forward of a Recur: the equation, with every intermediate kept."""

    def __init__(self, path: str, recur: Recur, stage: _Stage, *, last: bool) -> None:
        self.path, self.recur, self.stage, self.last = path, recur, stage, last

    def __call__(self, x: Any) -> Any:
        cell: Any = self.recur.cell
        state = self.recur.state
        cell.check_input(x, leading=self.stage.leading)
        quick = self.stage.leading and type(cell) in (LSTMCell, TorchLSTMCell)
        if quick and self.path not in self.stage.held:
            i, f, g, o = lstm_gates(cell, x, state[0], 4).chunk(4, dim=-1)
            if self.last:  # the new state and the output are not asked for
                gates = zip(cell.gate_names, (i, f, g, o), strict=True)
                self.stage.found |= {join(self.path, name): gate for name, gate in gates}
                return None
            c = torch.addcmul(i * g, f, state[1])
            values = {"i": i, "f": f, "g": g, "o": o, "h": o * torch.tanh(c), "c": c}
        else:
            values = self.stage.gates(self.path, cell, state, x)
        for name in cell.gate_names:
            self.stage.found[join(self.path, name)] = values[name]
        state, y = cell._result(values)
        self.recur._advance(state, None)
        if self.path in self.stage.lacking:  # without c, h is known from the record alone
            return self.stage.after[join(self.path, cell.state_names[0])]
        return y


def _gates_inside(visit: Any, where: dict[int, str], stage: _Stage) -> dict[str, Tensor]:
    """The gates of one layer of an adapted model, from what it was given."""
    site, x, found = visit.site, visit.x, {}
    if not visit.started:
        return found
    if site.sequence:
        axis = 0 if x.dim() < 3 or not site.layer.batch_first else 1
        if not isinstance(x, Tensor) or x.shape[axis] != 1:
            raise RnnlabError(
                f"derive: layer {site.path!r} was given several time steps in one call; gates are "
                "derived for runs of single steps."
            )
        x = x.squeeze(axis)
    for holder, state in zip(site.holders, visit.before, strict=True):
        if isinstance(holder.cell, Cell):
            path = where[id(holder)]
            values = stage.gates(path, holder.cell, state, x)
            for name in holder.cell.gate_names:
                found[join(path, name)] = values[name]
        x = as_parts(holder.state)[0]
    return found


def _numpy(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
