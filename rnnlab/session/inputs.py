"""What a model is fed for what somebody gave: tensors as they are, all else made into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.nested import hides


def as_input(x: Any, model: nn.Module, like: Callable[[], Tensor | None]) -> Any:
    """What a model is fed for a tensor, an array, a list or a number.

    Args:
        x: what was given.
        model: the model; where it looks numbers up in a table, whole numbers become int64 tensors.
        like: gives a weight whose dtype and device all but tensors get; asked only then.
    """
    if isinstance(x, Tensor):
        if x.layout is not torch.strided or x.is_meta:
            kind = "meta, without numbers" if x.is_meta else str(x.layout)
            way = "Feed one with numbers" if x.is_meta else "Feed x.to_dense()"
            raise RnnlabError(f"Session: the input is {describe(x)} that is {kind}. {way}.")
        return x.detach()
    if isinstance(x, np.number):  # a number like Python's, which some of them are
        x = x.item()
    tokens = _reads_tokens(model)
    if isinstance(x, (int, float, complex)) and not isinstance(x, bool) and not tokens:
        return x
    if hides(x):
        raise RnnlabError(
            f"Session: the input, {describe(x)}, has masked elements, and what the mask hides "
            "would be fed. x.filled(value) has a value of your own in their place."
        )
    array = why = None
    try:
        array = np.asarray(x)
    except Exception as error:  # rows of unequal length, or what an object's own way raises
        why = error
    if array is None or array.dtype.kind not in "fiubc":
        raise RnnlabError(
            f"Session: cannot turn {describe(x)} into an input. Give a tensor, an array or a "
            "list of numbers, or make the session with an encode function."
        ) from why
    weight = like()
    dtype = torch.get_default_dtype() if weight is None else weight.dtype
    if array.dtype.kind == "c":
        dtype = dtype.to_complex()
    elif tokens and array.dtype.kind in "iu":
        dtype = torch.int64
    # torch takes neither another order of bytes nor of rows
    array = np.array(array, array.dtype.newbyteorder("="), order="C")
    return torch.tensor(array, dtype=dtype, device=None if weight is None else weight.device)


def _reads_tokens(model: nn.Module) -> bool:
    """Whether whole numbers are token numbers for a model: it has a table of embeddings.

    Of layers in a row the first that has weights must be, or have, the table. In what order a
    module of somebody's own uses its parts cannot be known: there any table counts.
    """
    if isinstance(model, (nn.Embedding, nn.EmbeddingBag)):
        return True
    parts = list(model.children())
    if isinstance(model, nn.Sequential):
        parts = [part for part in parts if next(part.parameters(), None) is not None][:1]
    return any(map(_reads_tokens, parts))
