"""adapt: what becomes what."""

from __future__ import annotations

from typing import Any

from torch import nn

from rnnlab.adapters.bare import TORCH_CELLS, TORCH_LAYERS, chain, from_cell, hooked, plain
from rnnlab.adapters.foreign import ForeignCell, is_cell
from rnnlab.adapters.inside import Adapted
from rnnlab.adapters.parity import check_parity
from rnnlab.cells.base import Cell, describe
from rnnlab.errors import RnnlabError
from rnnlab.nested import State
from rnnlab.recur import Recur


def adapt(
    model: nn.Module,
    *,
    init: State = None,
    override: bool = False,
    check: Any = None,
    time_axis: int | None = None,
) -> Any:
    """A torch model made to step: same weights, same results, a running state.

    | model | becomes |
    |---|---|
    | `nn.RNN`, `nn.LSTM`, `nn.GRU` | a `Chain` of one `Recur` per layer (`Stacked` with dropout) |
    | `nn.RNNCell`, `nn.LSTMCell`, `nn.GRUCell` | a `Recur` |
    | a cell called `cell(x, state)` | a `Recur` around a `ForeignCell` |
    | any module with these inside | an `Adapted` |

    The weights are the model's own Parameters, each as it is (two biases stay two): training one
    trains the other. The initial state is zero, as torch's is.

    *A bare layer* becomes a model of single steps: x `(I,)` or `(B, I)`. Whole sequences go through
    `unroll`, which takes time first, `(T, I)` or `(T, B, I)`, whatever the source's `batch_first`
    was. Dropout between layers follows the training mode of the result, which starts in the
    source's. One with hooks (a lesion, a logger) or with computed weights (weight norm) is called
    as it is instead, like any other module: the hooks count.

    *A cell of another library* is called as `cell(x, state)` and may return `state` (whose first
    part is then the output) or `(y, state)`. It is recognised by its second argument: `state`,
    `states`, `hx`, `hidden`, … A third one that it requires, called `ts`, `timespans` or
    `elapsed_time`, is 1.0 unless given: `m(x, ts)`. Its initial state is zero, of the structure
    found by the first of these that applies: `init`; `uses_double_state()` and `hidden_size`; what
    it returns when called without a state (if that is allowed); `state_size`; `hidden_size` (one
    state, or two where the cell refuses one).

    *Any other module* is called as it always is, with one or more time steps; layers inside that
    are called without a state continue from where they were. See `Adapted`.

    Args:
        model: the torch module. It is not changed.
        init: the initial state of a cell called as `cell(x, state)`, for one row, `(H,)` or a tuple
            of such. Giving it says that `model` is such a cell.
        override: for a module whose own `forward` hands its layers a state (zeros, usually): let
            the running state take its place at each layer's first call.
        check: a whole sequence, in the shape that `model` takes (`(T, …)` for a cell). It is run
            through `model` at once and through the result step by step, in evaluation mode.
            The largest difference in outputs and final states is printed and kept as `.parity`.
        time_axis: which dimension of `check` is time; left out, 1 if the layers inside are
            batch_first and 0 otherwise (0 for a layer's unbatched `(T, I)`).

    Raises:
        RnnlabError: a bidirectional layer (it cannot be stepped), named by its path; no recurrent
            layer; a cell whose initial state cannot be found; results that differ by more than
            rounding (1e-10 in float64, 1e-5 in float32) in the check.

    Example:
        >>> import torch
        >>> lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)
        >>> m = adapt(lstm)
        >>> m
        Chain(Recur(TorchLSTMCell(3, 4)), Recur(TorchLSTMCell(4, 4)))
        >>> x = torch.ones(5, 7, 3)
        >>> y = torch.stack([m(x[:, t]) for t in range(7)], dim=1)
        >>> torch.allclose(y, lstm(x)[0], atol=1e-6)
        True
        >>> m[0].cell.weight_ih is lstm.weight_ih_l0
        True
    """
    if not isinstance(model, nn.Module):
        raise RnnlabError(
            f"adapt: expected an nn.Module, got {describe(model)}. A function h, y = cell(h, x) "
            "becomes stateful as Recur(cell, init)."
        )
    if isinstance(model, Cell):
        raise RnnlabError(
            f"adapt: {model!r} is a cell h, y = cell(h, x) already. Recur(cell) makes it stateful."
        )
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase) and module.bidirectional:
            where = f"layer {path!r}" if path else "the layer"
            raise RnnlabError(
                f"adapt: {where}, {module!r}, is bidirectional. Its backward half starts at the "
                "end of the sequence, so there is no single step; unroll(Bidirectional(…), xs) "
                "runs one over whole sequences."
            )
    adapted: Any
    if init is not None:
        adapted = Recur(ForeignCell(model, init), init)
    elif type(model) in TORCH_LAYERS and plain(model) and not hooked(model):
        adapted = chain(model)
    elif type(model) in TORCH_CELLS and plain(model) and not hooked(model):
        adapted = Recur(from_cell(model))
    elif is_cell(model):
        adapted = Recur(ForeignCell(model))
    else:
        adapted = Adapted(model, override=override)
    theirs = set(model.modules())
    for module in adapted.modules():
        if module not in theirs:  # parts of the model may have another mode (a frozen encoder)
            module.training = model.training
    if check is not None:
        adapted.parity = check_parity(model, adapted, check, time_axis)
    return adapted
