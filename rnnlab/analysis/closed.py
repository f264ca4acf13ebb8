"""s − F(s) of one gated cell, without cancellation where its gates are all but closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.adapters.bare import hooked
from rnnlab.adapters.foreign import ForeignCell
from rnnlab.cells import GRUCell, GRUv3Cell, JANETCell, LSTMCell
from rnnlab.cells.antisymmetric import GatedAntisymmetricRNNCell
from rnnlab.cells.lem import LEMCell
from rnnlab.cells.lightru import LightRUCell
from rnnlab.cells.mgu import MGUCell
from rnnlab.cells.minimal import MinGRUCell, MinLSTMCell
from rnnlab.cells.peephole import PeepholeLSTMCell
from rnnlab.cells.torch_cells import TorchGRUCell, TorchLSTMCell, TorchProjectedLSTMCell
from rnnlab.cells.ugrnn import UGRNNCell

TINY = 1e-300


class Part(NamedTuple):
    """What is known of one part of a state."""

    gap: Tensor
    """s − F(s), each product of small factors formed as such."""
    cancelled: Tensor
    """The same divided by `scale`; of an output h = o∘tanh(c'), with c for c'."""
    scale: Tensor
    """What a closed gate makes small: the share of the state that a step replaces."""


Formula = Callable[[Any, Any, Tensor], tuple[Part, ...]]
"""`(cell, state, x)` → what is known of each part of the state."""


def formula_of(cell: Any) -> Formula | None:
    """How s − F(s) of a cell is formed without cancellation; None for a cell without gates that
    close, or one of another kind.

    Example:
        >>> import rnnlab as rl
        >>> closed = rl.GRUCell(1, 1, dtype=torch.float64)
        >>> with torch.no_grad(): _ = closed.bias[1].fill_(60.0)
        >>> zero = torch.zeros(1, dtype=torch.float64)
        >>> (part,) = formula_of(closed)(closed, zero + 1, zero)
        >>> bool(part.gap == 0), bool(part.scale < 1e-20), bool(part.cancelled > 0.1)
        (False, True, True)
    """
    return None if hooked(cell) else _FORMULAS.get(type(cell))


def closes(cell: Any) -> bool:
    """Whether the gates of a cell may close: known ones, and those of cells of other libraries.

    Example:
        >>> import rnnlab as rl
        >>> closes(rl.GRUCell(1, 1)), closes(rl.RNNCell(1, 1))
        (True, False)
    """
    if isinstance(cell, ForeignCell):
        return not isinstance(cell.cell, nn.RNNCell)
    layer = getattr(cell, "layer", None)
    return type(cell) in _FORMULAS or isinstance(layer, (nn.GRU, nn.LSTM))


def _part(share: Tensor, state: Tensor, target: Tensor) -> Part:
    """new = (1 − share)∘state + share∘target."""
    return Part(share * (state - target), state - target, share)


def _gru(cell: Any, h: Tensor, x: Tensor) -> tuple[Part]:
    u = cell.project(x)
    rows = slice(cell.hidden_size, 2 * cell.hidden_size)
    a = u[..., rows] + linear(h, cell.weight_hh[rows])
    if type(cell) is TorchGRUCell and cell.bias_hh is not None:
        a = a + cell.bias_hh[rows]
    return (_part(torch.sigmoid(-a), h, cell.equation(h, u)["n"]),)


def _ugrnn(cell: Any, h: Tensor, x: Tensor) -> tuple[Part]:
    u = cell.project(x)
    rows = slice(0, cell.hidden_size)
    share = torch.sigmoid(-(u[..., rows] + linear(h, cell.weight_hh[rows])))
    return (_part(share, h, cell.equation(h, u)["c"]),)


def _opened_by(gate: str) -> Formula:
    """The gate is itself the share that is replaced."""

    def formula(cell: Any, h: Tensor, x: Tensor) -> tuple[Part]:
        values = cell.gates(h, x)
        return (_part(values[gate], h, values["n"]),)

    return formula


def _written(share: Tensor, state: Tensor, write: Tensor) -> Part:
    """new = (1 − share)∘state + write."""
    return Part(share * state - write, state - write / share.clamp(min=TINY), share)


def _janet(cell: Any, h: Tensor, x: Tensor) -> tuple[Part]:
    s, _ = (cell.project(x) + linear(h, cell.weight_hh)).chunk(2, dim=-1)
    values = cell.gates(h, x)
    return (_written(torch.sigmoid(-s), h, values["i"] * values["g"]),)


def _lstm(cell: Any, state: tuple[Tensor, Tensor], x: Tensor) -> tuple[Part, Part]:
    h, c = state
    a = cell.project(x) + linear(h, cell.weight_hh)
    a_i, a_f, a_g, a_o = a.chunk(4, dim=-1)
    peep = type(cell) is PeepholeLSTMCell
    p_i, p_f, p_o = cell.weight_peephole.chunk(3) if peep else (torch.zeros_like(c),) * 3
    memory = _written(
        torch.sigmoid(-(a_f + p_f * c)), c, torch.sigmoid(a_i + p_i * c) * torch.tanh(a_g)
    )

    def output(c: Tensor) -> Tensor:
        found = torch.sigmoid(a_o + p_o * c) * torch.tanh(c)
        return linear(found, cell.weight_hr) if type(cell) is TorchProjectedLSTMCell else found

    # in the quotient c' is c, so that the two parts do not hang together through a closed gate
    return Part(h - output(c - memory.gap), h - output(c), torch.ones_like(h)), memory


def _lem(cell: Any, state: tuple[Tensor, Tensor], x: Tensor) -> tuple[Part, Part]:
    h, z = state
    u = cell.project(x)
    u_z, u_h = u.chunk(4, dim=-1)[2:]
    split, size = 3 * cell.hidden_size, cell.hidden_size
    values = cell.equation(state, u)

    def target(z: Tensor) -> Tensor:
        return torch.tanh(u_h + linear(z, cell.weight_hh[split:]))

    slow = _part(values["d_z"], z, torch.tanh(u_z + linear(h, cell.weight_hh[2 * size : split])))
    d_h = values["d_h"]
    return Part(d_h * (h - target(z - slow.gap)), h - target(z), d_h), slow


def _antisymmetric(cell: Any, h: Tensor, x: Tensor) -> tuple[Part]:
    values = cell.gates(h, x)
    rate, share = -cell.epsilon * values["n"], values["z"]
    return (Part(share * rate, rate, share),)


_FORMULAS: dict[type, Formula] = {
    GRUCell: _gru,
    GRUv3Cell: _gru,
    TorchGRUCell: _gru,
    UGRNNCell: _ugrnn,
    MGUCell: _opened_by("f"),
    LightRUCell: _opened_by("f"),
    MinGRUCell: _opened_by("z"),
    MinLSTMCell: _opened_by("i"),
    JANETCell: _janet,
    LSTMCell: _lstm,
    TorchLSTMCell: _lstm,
    TorchProjectedLSTMCell: _lstm,
    PeepholeLSTMCell: _lstm,
    LEMCell: _lem,
    GatedAntisymmetricRNNCell: _antisymmetric,
}
