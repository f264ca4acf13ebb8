"""The leaky, or continuous-time, recurrent network of computational neuroscience."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnlab.cells.base import Activation, AdditiveCell, named_activation
from rnnlab.cells.parameters import StackedCell, check_positive
from rnnlab.errors import RnnlabError


class LeakyRNNCell(StackedCell, AdditiveCell):
    r"""The leaky (continuous-time) recurrent cell, one Euler step of length dt.

        τ dh/dt = −h + W_rec act(h) + W_in x + b

        a = W_rec act(h) + W_in x + b               drive
        h' = (1 − α) h + α a,    α = dt/τ
        y = act(h')                                 rate

    x: input, `(I,)` or `(B, I)`. h: synaptic current (membrane variable), `(H,)` or `(B, H)`.
    y: firing rate, like h'. dt and τ are times in one unit, here ms; the recurrence sees α alone.
    Parameters: `weight_ih (H, I)` = W_in, `weight_hh (H, H)` = W_rec, `bias (H,)` or None,
    `h0 (H,)`. Weights are Glorot-uniform, bias and h0 zero.

    The convention is that the state is the current and the output is the rate. The other one, in
    which the state is the rate, h' = (1 − α) h + α act(W_rec h + W_in x + b) (Yang et al. 2019),
    is not this cell.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        activation: rate of a current: a name ("relu", "tanh", "softplus", …) or a function.
        dt: length of a step, > 0, in the unit of tau.
        tau: time constant of every unit, ≥ dt.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1, dt or tau out of range or an unknown activation (at
            construction); an input or state of the wrong shape, dtype or device (at the call).

    Source: Song, Yang & Wang 2016, Training excitatory-inhibitory recurrent neural networks for
    cognitive tasks, with x, r and u for our h, y and x. Without their noise (a cell is a pure
    function; add noise to x) and without their sign constraints. dt = τ gives the network
    h' = W_rec act(h) + W_in x + b.

    Example:
        >>> import torch
        >>> cell = LeakyRNNCell(10, 5, dt=10)
        >>> cell
        LeakyRNNCell(10, 5, dt=10)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> torch.equal(y, torch.relu(h))
        True
    """

    blocks = ("a",)
    gate_names = ("a",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str | Activation = "relu",
        dt: float = 20.0,
        tau: float = 100.0,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        check_positive("LeakyRNNCell", dt=dt, tau=tau)
        if tau < dt:
            raise RnnlabError(
                f"LeakyRNNCell: tau must be at least dt, got tau = {tau} and dt = {dt}. "
                "A step longer than the time constant overshoots: take a smaller dt."
            )
        self.activation = named_activation(activation, "LeakyRNNCell")
        self.dt = dt
        self.tau = tau

    def recurrent_input(self, state: Tensor) -> Tensor:
        return self.activation(state)

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        alpha = self.dt / self.tau
        a = u + v
        h = (1 - alpha) * state + alpha * a
        return {"a": a, "h": h, "y": self.activation(h)}
