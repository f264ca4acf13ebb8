"""What the fused LSTM keeps to itself: every gate, and every c, from the run of x and h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnlab.cells import LSTMCell
from rnnlab.cells.torch_cells import TorchLSTMCell, TorchProjectedLSTMCell

LSTMS = (LSTMCell, TorchLSTMCell, TorchProjectedLSTMCell)
"""Cells whose gates depend on x and h alone, so that c can be had from the run of h."""

BLOCK = 16
"""Steps of a block in a scan in place."""


def scan_memory(f: Tensor, ig: Tensor, first: Tensor) -> Tensor:
    """c_t = f_t∘c_{t−1} + ig_t for all t; f and ig `(T, …)`, first the memory before.

    About √T blocks are run through side by side, each from zero, and then joined: the memory that
    a block starts with reaches its step t as the product of the f up to there. As 0 ≤ f ≤ 1, this
    is as exact as the loop.
    """
    if not torch.is_grad_enabled():
        c = ig.clone(memory_format=torch.contiguous_format)
        return scan_memory_(f.clone(memory_format=torch.contiguous_format), c, first)
    blocks, steps = _blocks(len(f))
    whole = blocks * steps
    if blocks < 4:
        return _scan_rows(f, ig, first)
    fs, igs = (rows[:whole].unflatten(0, (blocks, steps)) for rows in (f, ig))
    kept_rows, added_rows = [fs[:, 0]], [igs[:, 0]]
    for f_t, ig_t in zip(fs.unbind(1)[1:], igs.unbind(1)[1:], strict=True):
        kept_rows.append(kept_rows[-1] * f_t)
        added_rows.append(torch.addcmul(ig_t, f_t, added_rows[-1]))
    kept, added = torch.stack(kept_rows, 1), torch.stack(added_rows, 1)
    starts = [first.expand(f.shape[1:])]
    for keep, add in zip(kept[:, -1].unbind(0), added[:, -1].unbind(0), strict=True):
        starts.append(torch.addcmul(add, keep, starts[-1]))
    joined = torch.addcmul(added, kept, torch.stack(starts[:-1]).unsqueeze(1)).flatten(0, 1)
    if whole == len(f):
        return joined
    return torch.cat([joined, _scan_rows(f[whole:], ig[whole:], starts[-1])])


def scan_memory_(f: Tensor, ig: Tensor, first: Tensor) -> Tensor:
    """The same in place, without gradients: ig becomes c and is returned, f is used up.

    What the blocks start with is a scan of their ends: many short blocks, few operations.
    """
    blocks, c = len(f) // BLOCK, first.expand(f.shape[1:])
    whole = blocks * BLOCK if blocks > 1 else 0
    if whole:
        kept, added = (rows[:whole].unflatten(0, (blocks, BLOCK)) for rows in (f, ig))
        k, a = kept[:, 0], added[:, 0]
        for k_t, a_t in zip(kept.unbind(1)[1:], added.unbind(1)[1:], strict=True):
            a = a_t.addcmul_(k_t, a)
            k = k_t.mul_(k)
        ends = scan_memory_(k.clone(), a.clone(), c)
        added.addcmul_(kept, torch.cat([c.unsqueeze(0), ends[:-1]]).unsqueeze(1))
        c = ends[-1]
    for f_t, c_t in zip(f[whole:].unbind(0), ig[whole:].unbind(0), strict=True):
        c = c_t.addcmul_(f_t, c)
    return ig


def _blocks(length: int) -> tuple[int, int]:
    """How many blocks of how many steps a scan is cut into: few operations, of some size.

    A step of the blocks is two operations, the joining of a block one.
    """
    steps = max(1, round((length / 2) ** 0.5))
    return length // steps, steps


def _scan_rows(f: Tensor, ig: Tensor, first: Tensor) -> Tensor:
    rows = [first.expand(f.shape[1:])]
    for f_t, ig_t in zip(f.unbind(0), ig.unbind(0), strict=True):
        rows.append(torch.addcmul(ig_t, f_t, rows[-1]))
    return torch.stack(rows[1:])


def lstm_gates(cell: Any, x: Tensor, h: Tensor, blocks: int) -> Tensor:
    """The first of the blocks i, f, g, o `(…, blocks · H)` for x `(…, I)` and h `(…, H)`."""
    size = cell.weight_ih.shape[0] // 4
    bias, weight, recurrent = lstm_weights(cell, blocks)
    a, h = torch.addmm(bias, x.flatten(0, -2), weight), h.flatten(0, -2)
    if torch.is_grad_enabled():
        i, f, g, *o = torch.addmm(a, h, recurrent).split(size, dim=-1)
        parts = [torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), *map(torch.sigmoid, o)]
        a = torch.cat(parts, dim=-1)
    else:
        a.addmm_(h, recurrent)
        a[:, : 2 * size].sigmoid_()
        a[:, 2 * size : 3 * size].tanh_()
        a[:, 3 * size :].sigmoid_()
    return a.unflatten(0, x.shape[:-1])


def lstm_weights(cell: Any, blocks: int) -> tuple[Tensor, Tensor, Tensor]:
    """For the first of the blocks i, f, g, o: the bias, and what x and h are multiplied by."""
    rows = blocks * cell.weight_ih.shape[0] // 4
    bias = torch.zeros_like(cell.weight_ih[:rows, 0])
    for given in (getattr(cell, name, None) for name in ("bias", "bias_ih", "bias_hh")):
        bias = bias if given is None else bias + given[:rows]
    return bias, cell.weight_ih[:rows].t(), cell.weight_hh[:rows].t()
