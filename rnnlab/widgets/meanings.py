"""What the gates of a cell are called and where signals saturate, as its documentation has it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch

from rnnlab.cells.registry import CELLS
from rnnlab.recur import recurs

SIGMOID = frozenset("ifozru")
"""Letters that cells use for gates between 0 and 1: for a gate of which no equation is written."""


def meaning(cell: Any, gate: str) -> dict[str, Any]:
    """What a gate `means`, and whether it is a `sigmoid` or a `tanh`.

    Read off the line of the class's docstring that defines it, as all cells of the library have
    it: `f = σ(W_f x + U_f h + b_f)    forget gate`.

    Example:
        >>> import rnnlab as rl
        >>> meaning(rl.LSTMCell(2, 3), "g")
        {'means': 'candidate', 'sigmoid': False, 'tanh': True}
    """
    for text in _documentation(cell):
        if line := re.search(rf"^ *{gate} = (.*?)(?: {{3,}}(.*))?$", text, re.MULTILINE):
            equation, means = line[1], line[2] or ""
            break
        if named := re.search(rf"the ([\w\s-]+),?\s`{gate}`", text):
            equation, means = "", " ".join(named[1].split())
            break
    else:
        equation, means = "", ""
    share = re.match(r"(1 − )?σ\(", equation) is not None or means.endswith("normalised")
    return {
        "means": means,
        "sigmoid": share or (not equation and gate in SIGMOID),
        "tanh": equation.startswith("tanh("),
    }


def bounded(model: Any) -> list[str]:
    """The states, as "0.h", that stay between −1 and 1 and saturate there.

    That is: a tanh, one times a gate, or a mean of such values and the old state.

    Example:
        >>> import rnnlab as rl
        >>> bounded(rl.Chain(rl.LSTM(2, 3), rl.GRU(3, 3), rl.RNN(3, 3, "relu")))
        ['0.h', '1.h']
    """
    return [
        f"{path}.{name}" if path else name
        for path, recur in recurs(model)
        for name in getattr(recur.cell, "state_names", ())
        if _saturates(recur.cell, name)
    ]


def _saturates(cell: Any, state: str) -> bool:
    for text in _documentation(cell):
        if not (line := re.search(rf"(?:^|\s){state}' = (.*?)(?:,\s|$)", text, re.MULTILINE)):
            continue
        equation = line[1]
        if equation.startswith("act("):
            return getattr(cell, "activation", None) in (torch.tanh, "tanh")
        told = [meaning(cell, g) for g in cell.gate_names if re.search(rf"\b{g}\b", equation)]
        if "(1 − " in equation:
            return "tanh(" in equation or (
                any(gate["tanh"] for gate in told)
                and all(gate["tanh"] or gate["sigmoid"] for gate in told)
            )
        return re.match(r"(\w+∘)?tanh\(", equation) is not None
    return False


def _documentation(cell: Any) -> Iterator[str]:
    """What the class says of itself, then what a cell of the library with the same gates says."""
    own = getattr(cell, "gate_names", ())
    for known in (type(cell), *(known for known in CELLS if own and known.gate_names == own)):
        yield inspect.getdoc(known) or ""
