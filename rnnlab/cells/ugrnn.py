"""The update-gate network, between the plain cell and the GRU (Collins et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells.base import AdditiveCell
from rnnlab.cells.parameters import StackedCell


class UGRNNCell(StackedCell, AdditiveCell):
    r"""The update-gate recurrent cell: a plain cell with one gate that holds the state.

        g = σ(W_g x + U_g h + b_g)              update gate
        c = tanh(W_c x + U_c h + b_c)           candidate
        h' = g∘h + (1 − g)∘c,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (2H, I)` = W, `weight_hh (2H, H)` = U, `bias (2H,)` or None, in blocks
    g, c; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Collins, Sohl-Dickstein & Sussillo 2016, Capacity and trainability in recurrent neural
    networks (arXiv 1611.09913). g weighs the old state; c is a candidate, not a cell state. Their
    constant added to the bias of the gate is its initial value here: 1, so that the cell starts
    by remembering. Weights are Glorot-uniform, the other bias zero.

    Example:
        >>> import torch
        >>> cell = UGRNNCell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['g', 'c', 'h'])
    """

    blocks = ("g", "c")
    open_blocks = ("g",)
    gate_names = ("g", "c")

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        a_g, a_c = (u + v).chunk(2, dim=-1)
        g, c = torch.sigmoid(a_g), torch.tanh(a_c)
        return {"g": g, "c": c, "h": g * state + (1 - g) * c}
