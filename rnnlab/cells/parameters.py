"""What many cells share in their construction: parameters in blocks, checked options, printing."""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells.base import Cell, activation_name, glorot_uniform
from rnnlab.errors import RnnlabError

_COMMON = ("self", "input_size", "hidden_size", "bias", "train_init", "device", "dtype")


class StackedCell(Cell):
    r"""A cell whose weights are stacked in blocks of H rows, one block a gate.

    With k `blocks`: `weight_ih (kH, I)`, `bias (kH,)` or None, the initial state, and
    `weight_hh (jH, H)` with j `recurrent_blocks` (none of them: no `weight_hh`). Weights are
    Glorot-uniform on the stacked matrix; the bias is 0, and 1 for the blocks in `open_blocks`.
    """

    blocks: ClassVar[tuple[str, ...]]
    """Names of the blocks of `weight_ih` and `bias`, in order."""

    recurrent_blocks: ClassVar[tuple[str, ...] | None] = None
    """Names of the blocks of `weight_hh`; None: the same as `blocks`."""

    open_blocks: ClassVar[tuple[str, ...]] = ()
    """Gates that start open: the blocks whose bias begins at 1."""

    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias: nn.Parameter | None

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
        recurrent = self.blocks if self.recurrent_blocks is None else self.recurrent_blocks
        self.weight_ih = glorot_uniform(len(self.blocks) * hidden_size, input_size, **factory)
        if recurrent:
            self.weight_hh = glorot_uniform(len(recurrent) * hidden_size, hidden_size, **factory)
        self.bias = None
        if bias:
            start = torch.zeros(len(self.blocks), hidden_size, **factory)
            for name in self.open_blocks:
                start[self.blocks.index(name)] = 1
            self.bias = nn.Parameter(start.flatten())
        self.add_initial_state(train_init, **factory)

    def project(self, x: Tensor) -> Tensor:
        return linear(x, self.weight_ih, self.bias)

    def describe_arguments(self) -> list[str]:
        return super().describe_arguments() + changed_options(self)


def changed_options(cell: Cell) -> list[str]:
    """`name=value` for each option of the cell's own constructor that is not the default.

    The value is read from the attribute of the same name.
    """
    shown = []
    for name, option in inspect.signature(type(cell).__init__).parameters.items():
        if name in _COMMON:
            continue
        value: Any = getattr(cell, name, option.default)
        text = activation_name(value) if name == "activation" else value
        if text != option.default:
            shown.append(f"{name}={text}")
    return shown


def check_positive(owner: str, **values: float) -> None:
    """Raise unless every value is a finite number greater than 0."""
    for name, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise RnnlabError(f"{owner}: {name} must be a finite number > 0, got {value!r}.")
