"""A library cell over a whole sequence; rows of unequal length and resets on the way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnlab.cells.base import Cell, Parts, as_parts, as_state, autocasts, describe
from rnnlab.cells.replay import loop, record
from rnnlab.errors import RnnlabError
from rnnlab.sweep import sweep, sweepable

CHUNK_BYTES = 1 << 18
"""How much of the hoisted input projection is made at a time: small enough for the cache."""

_SWEPT_UNITS = 512
"""Up to this many units in a step (batch × H) a sweep beats autograd's record of the steps."""

_SWEPT_STEPS = 24
"""Fewer steps do not make up for what a sweep has to find out first."""

_SWEPT_KERNEL_STEPS = 64
"""The same, beside a fused kernel."""

_SHORT = 8
"""Segments shorter than this, on average, are stepped through rather than started one by one."""


@dataclass(frozen=True)
class Plan:
    """What is special about a sequence: how long each row is, and where states are put back."""

    steps: int
    rows: int
    lengths: Tensor | None = None
    """Steps of each row, `(B,)`; None where all rows are full."""
    resets: Tensor | None = None
    """`(T,)` or `(T, B)`: whether the state is put back before that step."""

    @property
    def plain(self) -> bool:
        """Whether every row is full and nothing is put back."""
        return self.lengths is None and self.resets is None

    @property
    def by_row(self) -> bool:
        """Whether rows have ends or resets of their own."""
        return self.lengths is not None or (self.resets is not None and self.resets.dim() == 2)

    @cached_property
    def active(self) -> Tensor | None:
        """Which steps belong to a row, `(T, B)`; None where all do."""
        if self.lengths is None:
            return None
        time = torch.arange(self.steps, device=self.lengths.device)
        return time.unsqueeze(1) < self.lengths

    @cached_property
    def order(self) -> Tensor:
        """The rows from the longest to the shortest."""
        assert self.lengths is not None
        return torch.argsort(self.lengths, descending=True, stable=True)

    @cached_property
    def sizes(self) -> list[int]:
        """How many rows every step has."""
        if self.active is None:
            return [self.rows] * self.steps
        return self.active.sum(1).tolist()

    @cached_property
    def masks(self) -> list[Tensor | bool]:
        """Before each step: the rows put back, in their own order; True for all, False for none."""
        if self.resets is None:
            return [False] * self.steps
        resets, active = self.resets, self.active
        if resets.dim() == 1 and active is None:
            return resets.tolist()
        if resets.dim() == 1:
            resets = resets.unsqueeze(1)
        if active is not None:
            resets = resets & active
        resets = resets.expand(self.steps, self.rows)
        kinds = zip(resets.any(1).tolist(), resets.all(1).tolist(), strict=True)
        return [resets[t] if some and not every else every for t, (some, every) in enumerate(kinds)]

    @cached_property
    def segments(self) -> list[tuple[int, int]]:
        """Stretches of steps, start and stop, inside which nothing happens to the state."""
        sizes, masks = self.sizes, self.masks
        events = [
            t for t in range(1, self.steps) if masks[t] is not False or sizes[t] != sizes[t - 1]
        ]
        return list(zip([0, *events], [*events, self.steps], strict=True))

    @cached_property
    def packed(self) -> Tensor:
        """Where in `(T · B)` the steps of the sorted rows are that exist, time first."""
        assert self.active is not None
        rows = self.order.expand(self.steps, -1)
        places = torch.arange(self.steps, device=rows.device).unsqueeze(1) * self.rows + rows
        return places[self.active[:, self.order]]

    @cached_property
    def padded(self) -> Tensor:
        """Where in the packed steps each of `(T · B)` is; beyond its end, the row's last step."""
        assert self.lengths is not None
        sizes = torch.tensor(self.sizes, device=self.lengths.device)
        offsets = sizes.cumsum(0) - sizes
        return (offsets[self._within] + torch.argsort(self.order)).flatten()

    @cached_property
    def _within(self) -> Tensor:
        assert self.lengths is not None
        time = torch.arange(self.steps, device=self.lengths.device)
        return torch.minimum(time.unsqueeze(1), self.lengths - 1)

    def filled(self, values: Tensor) -> Tensor:
        """values `(T, B, …)`, beyond the end of a row its last step: real data, never padding."""
        return self._take(values, self._within) if self.lengths is not None else values

    def reversed(self, values: Tensor) -> Tensor:
        """values `(T, B, …)`, every row from its own end to its start (twice: as it was)."""
        if self.lengths is None:
            return values.flip(0)
        time = torch.arange(self.steps, device=self.lengths.device)
        return self._take(values, (self.lengths - 1 - time.unsqueeze(1)).clamp(min=0))

    def _take(self, values: Tensor, steps: Tensor) -> Tensor:
        columns = torch.arange(self.rows, device=steps.device)
        return take(values, (steps * self.rows + columns).flatten()).unflatten(
            0, (self.steps, self.rows)
        )

    def cleared(self, values: Tensor) -> Tensor:
        """values `(T, B, …)` with zeros beyond the end of every row."""
        if self.active is None:
            return values
        return values.masked_fill(~_columns(self.active, values.dim()), 0)

    def backwards(self) -> Plan:
        """The plan for the same sequence from its end to its start."""
        resets = self.resets
        if resets is not None and self.lengths is not None:
            resets = resets if resets.dim() == 2 else resets.unsqueeze(1)
            resets = self.reversed(resets.expand(self.steps, self.rows))
        elif resets is not None:
            resets = resets.flip(0)
        return Plan(self.steps, self.rows, self.lengths, resets)


def plan_for(xs: Any, lengths: Any, reset_at: Any) -> Plan:
    """The plan for xs; every row is as long as every other where `lengths` says so."""
    steps = len(xs)
    shape = tuple(xs.shape) if isinstance(xs, Tensor) else None
    device = next(
        (x.device for x in (xs if shape is None else [xs]) if isinstance(x, Tensor)), None
    )
    resets = None if reset_at is None else _as_resets(reset_at, steps, device)
    rows = shape[1] if shape is not None and len(shape) > 1 else None
    if resets is not None and resets.dim() == 2:
        if rows is None and shape is None:
            rows = resets.shape[1]
        if resets.shape[1] != rows:
            raise RnnlabError(
                f"unroll: reset_at has {resets.shape[1]} rows, "
                + (f"and xs a batch of {rows}" if rows is not None else "and xs has none")
                + (f"; xs.shape = {shape}" if shape is not None else "")
            )
    if lengths is None:
        return Plan(steps, rows or 0, None, resets)
    if shape is None or rows is None:
        raise RnnlabError(
            "unroll: lengths need a padded batch, a tensor (T, B, …) or a list of such steps; "
            + (f"xs.shape = {shape}" if shape is not None else f"xs is {describe(xs)}.")
        )
    counts = _as_lengths(lengths, steps, rows, shape)
    if all(count == steps for count in counts):
        return Plan(steps, rows, None, resets)
    return Plan(steps, rows, torch.tensor(counts, device=device), resets)


def _as_lengths(lengths: Any, steps: int, rows: int, shape: tuple[int, ...]) -> list[int]:
    counts = lengths.tolist() if hasattr(lengths, "tolist") else lengths
    whole = isinstance(counts, (list, tuple)) and all(
        isinstance(count, int) and not isinstance(count, bool) for count in counts
    )
    if not whole:
        raise RnnlabError(
            f"unroll: lengths must be one whole number for each row, got {describe(lengths)}."
        )
    if len(counts) != rows:
        raise RnnlabError(
            f"unroll: there are {len(counts)} lengths for a batch of {rows}; xs.shape = {shape}"
        )
    for row, count in enumerate(counts):
        if count < 1:
            raise RnnlabError(
                f"unroll: row {row} has length {count}; every row needs at least one step. "
                f"Take row {row} out of the batch."
            )
        if count > steps:
            raise RnnlabError(
                f"unroll: row {row} has length {count}, and xs has {steps} steps; "
                f"xs.shape = {shape}"
            )
    return list(counts)


def _as_resets(reset_at: Any, steps: int, device: Any) -> Tensor:
    try:
        resets = torch.as_tensor(reset_at, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RnnlabError(
            f"unroll: reset_at must be boolean, (T,) or (T, B), got {describe(reset_at)}."
        ) from error
    if resets.dtype != torch.bool and resets.numel():
        raise RnnlabError(
            f"unroll: reset_at must be boolean, got {resets.dtype}. "
            "reset_at.bool() takes everything but zero for true."
        )
    if resets.dim() not in (1, 2) or len(resets) != steps:
        raise RnnlabError(
            f"unroll: reset_at must have shape (T,) or (T, B) with T = {steps}; "
            f"reset_at.shape = {tuple(resets.shape)}"
        )
    return resets.bool()


def take(values: Tensor, places: Tensor) -> Tensor:
    """The steps at `places` of values `(T, B, …)`, counted through both dimensions."""
    return values.flatten(0, 1).index_select(0, places)


def _columns(mask: Tensor, dim: int) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (dim - mask.dim()))


def put_back(mask: Tensor | bool, init: Tensor, part: Tensor) -> Tensor:
    """`part` with the rows in `mask` replaced by `init`, which has rows or is meant for all."""
    if isinstance(mask, bool):
        return init.expand_as(part) if mask else part
    return torch.where(_columns(mask, part.dim()), init, part)


def scan(cell: Cell, parts: Parts, xs: Tensor) -> tuple[Parts, Tensor]:
    """The last state and all outputs of `cell` over xs `(T, B, I)`, T ≥ 1.

    Parts of the state are `(H,)` or `(B, H)`, those that come back `(B, H)`.
    """
    fused = cell.fused
    if (
        torch.is_grad_enabled()
        and _sweep_pays(cell, fused, xs)
        and _wants_gradient(cell, parts, xs)
        and _ordinary(xs.device.type)
    ):
        u, parts = cell.project(xs), _rows(parts, xs)
        if sweepable(cell, parts, u):
            return sweep(cell, parts, u, xs if fused else None)
    if fused and not _differentiated_forward() and not _taken_apart():
        state, ys = cell.kernel(as_state(parts), xs)
        return as_parts(state), ys
    parts = _rows(parts, xs)
    chunks = xs.split(_steps_per_chunk(cell, xs))
    if _ordinary(xs.device.type) and not _wants_gradient(cell, parts, xs):
        with torch.no_grad():
            recorded = record(cell, parts, cell.project(xs[0]), len(xs))
            if recorded is not None:
                outputs = []
                for chunk in chunks:
                    parts, _, ys = recorded.run(parts, cell.project(chunk), states=False)
                    outputs.append(ys)
                return parts, torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    step, outputs = cell.stepper(), []
    for chunk in chunks:
        parts, _, ys = loop(step, parts, cell.project(chunk))
        outputs += ys
    return parts, torch.stack(outputs)


def scan_planned(
    cell: Cell, parts: Parts, init: Parts, xs: Tensor, plan: Plan
) -> tuple[Parts, Tensor]:
    """`scan` by a plan, put back to `init`. Beyond the end of a row its last y is repeated."""
    parts, init = _rows(parts, xs), _rows(init, xs)
    if plan.lengths is None:
        parts, ys = _segments(cell, parts, init, xs.flatten(0, 1), plan)
        return parts, ys.unflatten(0, (plan.steps, plan.rows))
    order = plan.order
    parts, init = (tuple(part.index_select(0, order) for part in state) for state in (parts, init))
    parts, ys = _segments(cell, parts, init, take(xs, plan.packed), plan)
    back = torch.argsort(order)
    ys = ys.index_select(0, plan.padded).unflatten(0, (plan.steps, plan.rows))
    return tuple(part.index_select(0, back) for part in parts), ys


def _segments(
    cell: Cell, parts: Parts, init: Parts, xs: Tensor, plan: Plan
) -> tuple[Parts, Tensor]:
    """Every segment in turn; xs `(N, I)` are the steps of the sorted rows, time first."""
    segments, sizes, masks = plan.segments, plan.sizes, plan.masks
    short = plan.steps < _SHORT * len(segments)
    us, step = None, cell.stepper()
    if short:  # one projection for all
        us = cell.project(xs)
    ended: list[Parts] = []
    ys: list[Tensor] = []
    first = 0
    for start, stop in segments:
        size, mask = sizes[start], masks[start]
        if size < len(parts[0]):
            ended.append(tuple(part[size:] for part in parts))
            parts = tuple(part[:size] for part in parts)
        if isinstance(mask, Tensor) and plan.lengths is not None:
            mask = mask[plan.order[:size]]
        if mask is not False:
            parts = tuple(
                put_back(mask, start_value[:size], part)
                for start_value, part in zip(init, parts, strict=True)
            )
        last = first + size * (stop - start)
        if us is None:
            parts, more = scan(cell, parts, xs[first:last].unflatten(0, (stop - start, size)))
            ys.append(more.flatten(0, 1))
        else:
            state = as_state(parts)
            for u in us[first:last].split(size):
                state, y = step(state, u)
                ys.append(y)
            parts = as_parts(state)
        first = last
    ended.append(parts)
    columns = zip(*ended[::-1], strict=True)
    return tuple(torch.cat(column) for column in columns), torch.cat(ys)


def _differentiated_forward() -> bool:
    """Whether torch.func or forward AD is at work: fused kernels have no rules for these."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _taken_apart() -> bool:
    """Whether torch.compile is at work, which makes single steps of a kernel, also of cuDNN's."""
    return torch.compiler.is_compiling()


def _ordinary(device: str) -> bool:
    """Whether nothing stands between the operations that are written and those that are done."""
    return not (
        device == "meta"  # there is nothing to look at
        or _differentiated_forward()
        or autocasts(device)
        or torch.compiler.is_compiling()
    )


def _rows(parts: Parts, xs: Tensor) -> Parts:
    """The parts with a row for each of the batch."""
    rows = xs.shape[1]
    return tuple(p if p.dim() == 2 else p.expand(rows, p.shape[-1]) for p in parts)


def _sweep_pays(cell: Cell, fused: bool, xs: Tensor) -> bool:
    """Whether the steps are small and many; a kernel shows the outputs, not a second state."""
    if fused and len(cell.state_names) > 1:
        return False
    steps, rows = xs.shape[:2]
    return (
        steps >= (_SWEPT_KERNEL_STEPS if fused else _SWEPT_STEPS)
        and 0 < rows * cell.hidden_size <= _SWEPT_UNITS
        and not xs.is_cuda
    )


def _wants_gradient(cell: Cell, parts: Parts, xs: Tensor) -> bool:
    return torch.is_grad_enabled() and (
        xs.requires_grad
        or any(part.requires_grad for part in parts)
        or any(weight.requires_grad for weight in cell.parameters())
    )


def _steps_per_chunk(cell: Cell, xs: Tensor) -> int:
    row = cell.project(xs[:1, :1]).numel() * xs.element_size()
    return max(1, CHUNK_BYTES // max(1, row * xs.shape[1]))
