"""The gated recurrent unit (Cho et al. 2014), in the two versions that are both called GRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells.base import AdditiveCell, Cell, for_kernel, glorot_uniform
from rnnlab.cells.cuda import fused_step, run, second_bias, sequence_arguments
from rnnlab.cells.fast import FastStep, Run, in_inference
from rnnlab.cells.in_place import gru_in_place, in_place


class _GatedUnit(Cell):
    """Parameters that both versions share: blocks r, z, n."""

    gate_names = ("r", "z", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        factory = {"device": device, "dtype": dtype}
        self.weight_ih = glorot_uniform(3 * hidden_size, input_size, **factory)
        self.weight_hh = glorot_uniform(3 * hidden_size, hidden_size, **factory)
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size, **factory)) if bias else None
        self.add_initial_state(train_init, **factory)

    def project(self, x: Tensor) -> Tensor:
        return linear(x, self.weight_ih, self.bias)


class _FastGRUStep(FastStep):
    blocks = 3

    def make(self, cell: Any, temporary: Callable[[int], Tensor]) -> Run:
        u, v, n, change = temporary(3), temporary(3), temporary(1), temporary(1)
        size = cell.hidden_size
        u_rz, u_n = u.split([2 * size, size], dim=-1)
        v_rz, v_n = v.split([2 * size, size], dim=-1)
        r, z = u_rz.chunk(2, dim=-1)
        of_input, of_state = self.of_input(u), self.of_state(v)

        def run(h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            of_input(x)
            of_state(h)
            u_rz.add_(v_rz).sigmoid_()
            torch.addcmul(u_n, r, v_n, out=n).tanh_()
            torch.sub(h, n, out=change)
            h = torch.addcmul(n, z, change)
            return h, h

        return run


class GRUCell(_GatedUnit, AdditiveCell):
    r"""The GRU cell, with the reset gate applied after the recurrent product.

        r = σ(W_r x + U_r h + b_r)              reset gate
        z = σ(W_z x + U_z h + b_z)              update gate
        n = tanh(W_n x + b_n + r∘(U_n h))       candidate
        h' = (1 − z)∘n + z∘h,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (3H, I)` = W, `weight_hh (3H, H)` = U, `bias (3H,)` or None, in blocks
    r, z, n; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Cho et al. 2014, version 1 (arXiv 1406.1078v1), the one that cuDNN and torch compute.
    One bias where torch.nn.GRUCell has two: b_n stands outside r∘(…), so a torch GRU whose
    recurrent bias b_hn is not zero is another function. See GRUv3Cell for the other version.

    Example:
        >>> import torch
        >>> cell = GRUCell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['r', 'z', 'n', 'h'])
    """

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        u_r, u_z, u_n = u.chunk(3, dim=-1)
        v_r, v_z, v_n = v.chunk(3, dim=-1)
        r = torch.sigmoid(u_r + v_r)
        z = torch.sigmoid(u_z + v_z)
        n = torch.tanh(u_n + r * v_n)
        return {"r": r, "z": z, "n": n, "h": (1 - z) * n + z * state}

    @in_inference(_FastGRUStep)
    def step(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if not fused_step(x):
            return self.update(state, self.project(x))
        weights = self.weight_ih, self.weight_hh, self.bias, second_bias(self.bias)
        if x.dim() == 1:
            h = torch.gru_cell(x.unsqueeze(0), state.unsqueeze(0), *weights).squeeze(0)
        else:
            h = torch.gru_cell(x, state.expand(x.shape[0], -1), *weights)
        return h, h

    has_kernel = True

    def kernel(self, state: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        if in_place(xs, self.weight_ih, self.weight_hh, self.bias):
            return gru_in_place(state, self.project(xs), self.weight_hh)
        h = for_kernel(state, xs.shape[1])
        ys, h = run(torch.gru, xs, h, sequence_arguments(self, "GRU"))
        return h.select(0, 0), ys


class GRUv3Cell(_GatedUnit):
    r"""The GRU cell, with the reset gate applied to the state before the recurrent product.

        r = σ(W_r x + U_r h + b_r)              reset gate
        z = σ(W_z x + U_z h + b_z)              update gate
        n = tanh(W_n x + b_n + U_n (r∘h))       candidate
        h' = (1 − z)∘n + z∘h,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: as GRUCell: `weight_ih (3H, I)`, `weight_hh (3H, H)`, `bias (3H,)` or None, in
    blocks r, z, n; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Cho et al. 2014, version 3 (arXiv 1406.1078v3), named as in Flux.jl. The gates are
    blocks r, z, n as in GRUCell; z weighs the old state. torch has no fused kernel for it.

    Example:
        >>> import torch
        >>> cell = GRUv3Cell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['r', 'z', 'n', 'h'])
    """

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        size = self.hidden_size
        u_r, u_z, u_n = u.chunk(3, dim=-1)
        h_r, h_z = linear(state, self.weight_hh[: 2 * size]).chunk(2, dim=-1)
        r = torch.sigmoid(u_r + h_r)
        z = torch.sigmoid(u_z + h_z)
        n = torch.tanh(u_n + linear(r * state, self.weight_hh[2 * size :]))
        return {"r": r, "z": z, "n": n, "h": (1 - z) * n + z * state}
