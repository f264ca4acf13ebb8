"""Long expressive memory (Rusch et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnlab.cells.parameters import StackedCell, check_positive

LEMState = tuple[Tensor, Tensor]


class LEMCell(StackedCell):
    r"""The long expressive memory cell: two coupled states, each with a learned step of time.

        d_z = dt σ(W_1 h + V_1 x + b_1)                 step of the slow memory
        d_h = dt σ(W_2 h + V_2 x + b_2)                 step of the output
        z' = (1 − d_z)∘z + d_z∘tanh(W_z h + V_z x + b_z)
        h' = (1 − d_h)∘h + d_h∘tanh(W_h z' + V_h x + b_h),    y = h'

    x: input, `(I,)` or `(B, I)`. State: the tuple (h, z), each `(H,)` or `(B, H)`. y: like h'.
    dt, d_z and d_h are dimensionless times (both states relax with time constant 1).
    Parameters: `weight_ih (4H, I)` = V, `weight_hh (4H, H)` = W, `bias (4H,)` or None, in blocks
    1, 2, z, h; the last block of W multiplies z', the others h; `h0 (H,)`, `z0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of each state.
        dt: largest step of time, > 0; the states stay bounded for dt ≤ 1.
        bias: whether there is a bias.
        train_init: whether the initial state (h0, z0) is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 or dt not above 0 (at construction); an input or state of the
            wrong shape, structure, dtype or device (at the call).

    Source: Rusch, Mishra, Erichson & Mahoney 2022, Long expressive memory for sequence modeling
    (arXiv 2110.04744); our h, d_z and d_h are their y, Δt and Δt̄. The equation of the output
    takes the new z. Weights are Glorot-uniform and the bias zero, where the published code draws
    both uniformly from ±1/√H.

    Example:
        >>> import torch
        >>> cell = LEMCell(10, 5)
        >>> (h, z), y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates((h, z), torch.ones(3, 10)))
        (torch.Size([3, 5]), ['d_z', 'd_h', 'h', 'z'])
    """

    blocks = ("1", "2", "z", "h")
    state_names = ("h", "z")
    gate_names = ("d_z", "d_h")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 1.0,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        check_positive("LEMCell", dt=dt)
        self.dt = dt

    def equation(self, state: LEMState, u: Tensor) -> dict[str, Tensor]:
        h, z = state
        u_1, u_2, u_z, u_h = u.chunk(4, dim=-1)
        split = 3 * self.hidden_size
        v_1, v_2, v_z = linear(h, self.weight_hh[:split]).chunk(3, dim=-1)
        d_z = self.dt * torch.sigmoid(u_1 + v_1)
        d_h = self.dt * torch.sigmoid(u_2 + v_2)
        z = (1 - d_z) * z + d_z * torch.tanh(u_z + v_z)
        h = (1 - d_h) * h + d_h * torch.tanh(u_h + linear(z, self.weight_hh[split:]))
        return {"d_z": d_z, "d_h": d_h, "h": h, "z": z}
