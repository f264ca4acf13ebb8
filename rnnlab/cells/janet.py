"""JANET, the LSTM with nothing but its forget gate (van der Westhuizen & Lasenby 2018)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import AdditiveCell
from rnnlab.cells.parameters import StackedCell, check_positive
from rnnlab.errors import RnnlabError


class JANETCell(StackedCell, AdditiveCell):
    r"""JANET ("just another network"): an LSTM with only the forget gate.

        s = W_f x + U_f h + b_f
        f = σ(s)                                forget gate
        i = 1 − σ(s − β)                        what the candidate enters with
        g = tanh(W_g x + U_g h + b_g)           candidate
        h' = f∘h + i∘g,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'. The cell state
    and the hidden state of the LSTM are one and the same here: c = h.
    Parameters: `weight_ih (2H, I)` = W, `weight_hh (2H, H)` = U, `bias (2H,)` or None, in blocks
    f, g; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        beta: β: i is open while f is, up to β; 0 couples the two as i = 1 − f.
        t_max: longest dependency, in steps, > 2: draws b_f by the chrono initialisation,
            b_f = log u with u uniform on [1, t_max − 1]. None: b_f starts at 1.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1, beta not finite, or t_max that is not above 2 or comes
            without a bias (at construction); an input or state of the wrong shape, dtype or
            device (at the call).

    Source: van der Westhuizen & Lasenby 2018, The unreasonable effectiveness of the forget gate
    (arXiv 1804.04849), g for their c̃; chrono initialisation: Tallec & Ollivier 2018. The paper
    always uses it; the code of its authors starts b_f at 1 where no t_max is known. Weights are
    Glorot-uniform, b_g is zero.

    Example:
        >>> import torch
        >>> cell = JANETCell(10, 5, t_max=100)
        >>> cell
        JANETCell(10, 5, t_max=100)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['f', 'i', 'g', 'h'])
    """

    blocks = ("f", "g")
    open_blocks = ("f",)
    gate_names = ("f", "i", "g")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 1.0,
        t_max: float | None = None,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        if not isinstance(beta, (int, float)) or not math.isfinite(beta):
            raise RnnlabError(f"JANETCell: beta must be a finite number, got {beta!r}.")
        self.beta = beta
        self.t_max = t_max
        if t_max is not None:
            self._draw_chrono_bias(t_max)

    @torch.no_grad()
    def _draw_chrono_bias(self, t_max: float) -> None:
        check_positive("JANETCell", t_max=t_max)
        if t_max <= 2:
            raise RnnlabError(f"JANETCell: t_max must be above 2 steps, got {t_max}.")
        if self.bias is None:
            raise RnnlabError(
                f"JANETCell: t_max = {t_max} sets the bias of the forget gate, and bias=False "
                "leaves none. Drop one of the two."
            )
        self.bias[: self.hidden_size].uniform_(1, t_max - 1).log_()

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        s, a = (u + v).chunk(2, dim=-1)
        f = torch.sigmoid(s)
        i = torch.sigmoid(self.beta - s)  # 1 − σ(s − β) without cancellation
        g = torch.tanh(a)
        return {"f": f, "i": i, "g": g, "h": f * state + i * g}
