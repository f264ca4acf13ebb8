"""A whole run with every state and every gate, at about the cost of the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import Cell, as_parts, as_state, describe
from rnnlab.derive.gates import evaluate, join, refuse_dropout, state_names
from rnnlab.derive.memory import LSTMS, lstm_gates, lstm_weights, scan_memory, scan_memory_
from rnnlab.errors import RnnlabError
from rnnlab.layers import Chain
from rnnlab.nested import State, map_leaves, named_leaves
from rnnlab.recur import AT_INIT, Recur, atomic, recurs
from rnnlab.unroll import _hooked, _is, _layerwise, unroll

CHUNK_BYTES = 1 << 20
"""How much of an intermediate is made at a time: few chunks, yet small enough for the cache."""

SCRATCH_BYTES = 1 << 19
"""The same for what is made in place."""


def run_states(model: Any, xs: Any, *, gates: bool = False) -> tuple[Any, dict[str, Tensor]]:
    """A whole sequence, as by `unroll`, with every state after every step, and every gate.

    Args:
        model: a Recur, a Chain, an adapted model, or any `nn.Module` with Recurs inside.
        xs: one tensor `(T, …)` with time first, or a list of steps.
        gates: give the named intermediates of the library's cells too, as `derive` does.

    Returns:
        What `unroll(model, xs)` returns, and a dictionary from the names of `states(model)`, then
        of the gates, to tensors `(T, H)` or `(T, B, H)`. The model's states are advanced;
        everything agrees with stepping to rounding. The dictionary is empty for an empty sequence.

    Raises:
        RnnlabError: whatever the model refuses (its states are then what they were); with `gates`,
            dropout in training mode outside Stacked, and what `derive` says of adapted models.

    RNN, LSTM and GRU run on torch's fused kernels; an LSTM's c, which these do not give, follows
    from its h. Other cells of the library run with their input projection hoisted; anything else is
    stepped through.

    Example:
        >>> import rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(10, 15), rl.Dense(15, 5))
        >>> ys, found = run_states(m, torch.ones(7, 3, 10), gates=True)
        >>> ys.shape, list(found)
        (torch.Size([7, 3, 5]), ['0.h', '0.c', '0.i', '0.f', '0.g', '0.o'])
        >>> torch.equal(found["0.c"][-1], m[0].state[1])
        True
    """
    as_list = not isinstance(xs, Tensor)
    if as_list and (not isinstance(xs, Sequence) or isinstance(xs, (str, bytes))):
        raise RnnlabError(
            f"run_states: xs must be a list of steps or a tensor (T, …), got {describe(xs)}."
        )
    if as_list and len(xs) and all(isinstance(x, Tensor) for x in xs):
        kinds = {(x.shape, x.dtype, x.device) for x in xs}
        xs = torch.stack(list(xs)) if len(kinds) == 1 else xs
    with atomic():
        ys, found = _run(model, "", xs, gates)
    names = [name for path, recur in recurs(model) for name in state_names(path, recur)]
    found = {name: found[name] for name in sorted(found, key=lambda name: name not in names)}
    return (list(ys) if as_list else ys), found


def _run(model: Any, path: str, xs: Any, gates: bool) -> tuple[Any, dict[str, Tensor]]:
    found: dict[str, Tensor] = {}
    if not len(xs):
        return unroll(model, xs), found
    if not isinstance(xs, Tensor):
        return _stepped(model, path, xs, gates)
    if _is(model, Chain) and _layerwise(model):
        layers = model._named()
        for position, (name, layer) in enumerate(layers):
            xs, more = _run(layer, join(path, name), xs, gates)
            found |= more
            if position < len(layers) - 1:
                xs = model.between(position, xs)
        return xs, found
    if not recurs(model):
        return unroll(model, xs), found
    if _is(model, Recur) and _is(model.cell, Cell) and not _hooked(model):
        return _cell_states(model, path, xs, gates)
    return _stepped(model, path, xs, gates)


def _stepped(model: Any, path: str, xs: Any, gates: bool) -> tuple[Any, dict[str, Tensor]]:
    inside = recurs(model)
    if gates:
        refuse_dropout(model)
    for _, recur in inside:  # a cell may work in the memory of its state, and give that out as y
        if recur.__dict__["_state"] is AT_INIT:
            recur._advance(map_leaves(_copy, recur.init), None)
    first = _row(inside)
    rows: list[dict[str, Any]] = []
    ys = []
    for x in xs:
        ys.append(map_leaves(_copy, model(x)))
        rows.append(_row(inside))
    if any(row.keys() != rows[0].keys() for row in rows):
        raise RnnlabError("run_states: the structure of the state changed on the way.")
    found = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    if gates and isinstance(xs, Tensor):
        names = {where: state_names(where, recur) for where, recur in inside}
        before = {
            name: torch.cat([first[name].expand(value.shape[1:]).unsqueeze(0), value[:-1]])
            for name, value in found.items()
        }
        found |= evaluate(model, names, before, {}, (xs,), {})
    found = {join(path, name): value for name, value in found.items()}
    whole = isinstance(xs, Tensor) and all(isinstance(y, Tensor) for y in ys)
    return (torch.stack(ys) if whole else ys), found


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _row(inside: list[tuple[str, Recur]]) -> dict[str, Tensor]:
    return {
        join(path, name): torch.as_tensor(leaf).clone()
        for path, recur in inside
        for name, leaf in named_leaves(recur.state, top=recur._state_names)
    }


def _cell_states(
    recur: Recur, path: str, xs: Tensor, gates: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """All states of a library cell over xs `(T, I)` or `(T, B, I)`."""
    cell = recur.cell
    assert isinstance(cell, Cell)
    cell.check_input(xs, leading=1)
    before, lead = recur.state, xs.shape[1:-1]
    names = [join(path, name) for name in cell.state_names]
    if type(cell) in LSTMS:
        ys = unroll(recur, xs)
        memory, values = _lstm(cell, before, recur.state[1], xs, ys, gates=gates)
        found = {names[0]: ys, names[1]: memory}
        if values is not None:
            each = values.chunk(4, dim=-1)
            found |= {join(path, name): v for name, v in zip(cell.gate_names, each, strict=True)}
        return ys, found
    if _output_is_state(cell, before, xs[0]):
        ys = unroll(recur, xs)
        found = {names[0]: ys}
    else:
        ys, columns = _hoisted(recur, xs)
        found = dict(zip(names, columns, strict=True))
    if gates:
        started = [part.expand(*lead, part.shape[-1]).unsqueeze(0) for part in as_parts(before)]
        past = [torch.cat([a, found[b][:-1]]) for a, b in zip(started, names, strict=True)]
        values = cell.gates(as_state(tuple(past)), xs)
        found |= {join(path, name): values[name] for name in cell.gate_names}
    return ys, found


def _output_is_state(cell: Cell, state: State, x: Tensor) -> bool:
    """Whether what the cell puts out is all of its state."""
    kind = type(cell)
    if (
        len(cell.state_names) > 1
        or kind.update is not Cell.update
        or kind._result is not Cell._result
    ):
        return False
    with torch.no_grad():
        cell.check(state, x)
        return "y" not in cell.gates(state, x)


def _hoisted(recur: Recur, xs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The loop with the input projection taken out: the outputs, and each part of the states."""
    cell: Any = recur.cell
    before, lead = recur.state, xs.shape[1:-1]
    if recur.__dict__["_lead"] is not None:
        recur._refuse_batch(recur.__dict__["_lead"], (lead,))
    cell.check(before, xs[0])
    state = as_state(tuple(part.expand(*lead, part.shape[-1]) for part in as_parts(before)))
    step, rows, outputs = cell.stepper(), [], []
    size = cell.project(xs[:1]).numel() * xs.element_size()
    for chunk in xs.split(max(1, CHUNK_BYTES // max(1, size))):
        for u in cell.project(chunk).unbind(0):
            state, y = step(state, u)
            rows.append(as_parts(state))
            outputs.append(y)
    recur._advance(state, (lead,))
    return torch.stack(outputs), [torch.stack(column) for column in zip(*rows, strict=True)]


def _lstm(
    cell: Any, before: State, last: Tensor, xs: Tensor, hs: Tensor, *, gates: bool
) -> tuple[Tensor, Tensor | None]:
    """Every c of an LSTM, and its gates `(T, …, 4H)` if wanted, from its inputs and its h."""
    h, c = before
    if not (gates or torch.is_grad_enabled()):
        return _memory(cell, h, c, last, xs, hs), None
    blocks = 4 if gates else 3  # o is not needed for c
    row = blocks * last.numel() * xs.element_size()
    steps = max(1, CHUNK_BYTES // max(1, row))
    past = torch.cat([h.expand(hs.shape[1:]).unsqueeze(0), hs[:-1]])
    memories: list[Tensor] = []
    pieces: list[Tensor] = []
    for x, h in zip(xs.split(steps), past.split(steps), strict=True):
        a = lstm_gates(cell, x, h, blocks)
        i, f, g, *_ = a.split(last.shape[-1], dim=-1)
        memories.append(scan_memory(f, i * g, c))
        pieces.append(a)
        c = memories[-1][-1]
    memory = torch.cat([*memories[:-1], memories[-1][:-1], last.unsqueeze(0)])  # the kernel's last
    return memory, torch.cat(pieces) if gates else None


def _memory(cell: Any, h: Tensor, c: Tensor, last: Tensor, xs: Tensor, hs: Tensor) -> Tensor:
    """Every c of an LSTM, without gradients, in as little new memory as it takes."""
    lead, size = hs.shape[1:-1], last.shape[-1]
    weights = [part.split(size, dim=-1) for part in lstm_weights(cell, 3)]  # c needs no o
    memory, f = (hs.new_empty(len(hs), *lead, size) for _ in range(2))
    steps = max(1, SCRATCH_BYTES // max(1, last.numel() * xs.element_size()))
    scratch = hs.new_empty(min(steps, len(hs)), *lead, size)
    first, batch = h.expand(hs.shape[1:]).reshape(-1, hs.shape[-1]), lead.numel()
    for start in range(0, len(hs), steps):
        stop = min(start + steps, len(hs))
        x, past = xs[start:stop].flatten(0, -2), hs[max(start - 1, 0) : stop - 1].flatten(0, -2)
        i, kept, g = parts = memory[start:stop], f[start:stop], scratch[: stop - start]
        for gate, bias, weight, recurrent in zip(parts, *weights, strict=True):
            a = gate.view(-1, size)
            torch.addmm(bias, x, weight, out=a)
            if not start:
                a[:batch].addmm_(first, recurrent)
                a = a[batch:]
            a.addmm_(past, recurrent)
        kept.sigmoid_()
        i.sigmoid_().mul_(g.tanh_())
    scan_memory_(f, memory, c)
    memory[-1] = last  # the kernel's
    return memory
