"""The coupled oscillatory network (Rusch & Mishra 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import AdditiveCell, glorot_uniform
from rnnlab.cells.parameters import StackedCell, check_positive

OscillatorState = tuple[Tensor, Tensor]


class CoRNNCell(StackedCell, AdditiveCell):
    r"""The coupled oscillatory recurrent cell: driven, damped oscillators, one step of length dt.

        dh/dt = z,    dz/dt = tanh(W h + 𝒲 z + V x + b) − γ h − ε z

        a = tanh(W h + 𝒲 z + V x + b)           force
        z' = z + dt (a − γ h − ε z)
        h' = h + dt z',    y = h'

    x: input, `(I,)` or `(B, I)`. State: the tuple (h, z) of positions and velocities, each `(H,)`
    or `(B, H)`. y: output, like h'. dt is in units of time, γ in 1/time², ε in 1/time.
    Parameters: `weight_ih (H, I)` = V, `weight_hh (H, 2H)` = [W 𝒲], `bias (H,)` or None;
    `h0 (H,)`, `z0 (H,)`.

    With `implicit=True` the damping acts on the new velocity, z' = z + dt (a − γ h − ε z'), that
    is z' = (z + dt (a − γ h)) / (1 + dt ε).

    Args:
        input_size: I, features of the input.
        hidden_size: H, oscillators.
        dt: length of a step, > 0.
        gamma: γ > 0, square of the undamped frequency of an uncoupled oscillator.
        epsilon: ε > 0, damping.
        implicit: whether the damping is taken implicitly.
        bias: whether there is a bias.
        train_init: whether the initial state (h0, z0) is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1, or dt, gamma or epsilon not above 0 (at construction); an
            input or state of the wrong shape, structure, dtype or device (at the call).

    Source: Rusch & Mishra 2021, Coupled oscillatory recurrent neural network (arXiv 2010.00951);
    our h is their y. Both versions of the damping are theirs (n̄ = n is the implicit one); the
    published code takes the explicit one. dt, γ and ε default to what that code takes for
    sequential MNIST; they want tuning. Weights are Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = CoRNNCell(10, 5, dt=0.1)
        >>> cell
        CoRNNCell(10, 5, dt=0.1)
        >>> (h, z), y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, torch.allclose(h, 0.1 * z)
        (torch.Size([3, 5]), True)
    """

    blocks = ("a",)
    recurrent_blocks = ()
    state_names = ("h", "z")
    gate_names = ("a",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 0.042,
        gamma: float = 2.7,
        epsilon: float = 4.7,
        implicit: bool = False,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        check_positive("CoRNNCell", dt=dt, gamma=gamma, epsilon=epsilon)
        self.dt = dt
        self.gamma = gamma
        self.epsilon = epsilon
        self.implicit = bool(implicit)
        self.weight_hh = glorot_uniform(hidden_size, 2 * hidden_size, device=device, dtype=dtype)

    def recurrent_input(self, state: OscillatorState) -> Tensor:
        h, z = state
        parts = state if h.shape == z.shape else torch.broadcast_tensors(h, z)
        return torch.cat(parts, dim=-1)

    def combine(self, state: OscillatorState, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        h, z = state
        a = torch.tanh(u + v)
        pull = torch.add(a, h, alpha=-self.gamma)
        if self.implicit:
            z = torch.add(z, pull, alpha=self.dt) / (1 + self.dt * self.epsilon)
        else:
            z = torch.add(z, torch.add(pull, z, alpha=-self.epsilon), alpha=self.dt)
        return {"a": a, "h": torch.add(h, z, alpha=self.dt), "z": z}
