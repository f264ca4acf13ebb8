"""What a session says of a step that came to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError


def refused(
    who: str, error: BaseException, xs: Sequence[Any] = (), like: Tensor | None = None
) -> RnnlabError:
    """What to say when somebody else's code failed, given these inputs; `like` is a weight."""
    typed = isinstance(error, (TypeError, IndexError, RuntimeError))
    told = [*(_elsewhere(x, like) for x in xs), *map(_other_kind, xs)] if typed else []
    hints = [hint for hint in told if hint]
    return RnnlabError(
        " ".join(
            [
                f"Session: {who} failed with {type(error).__name__}: {error}.",
                *hints[:1],
                "The session stands where it stood.",
            ]
        )
    )


def _elsewhere(x: Any, like: Tensor | None) -> str | None:
    """Where an input is and where the weights are, if these are two devices."""
    if not isinstance(x, Tensor) or like is None or x.device == like.device:
        return None
    return (
        f"It was fed a tensor on {x.device}, and the weights are on {like.device}; "
        f"x.to({str(like.device)!r}) moves it. Arrays and lists the session moves itself."
    )


def _other_kind(x: Any) -> str | None:
    """What whole numbers were fed as, and how to feed them as the other thing that they can be."""
    if type(x) is int:
        return f"It was fed the number {x}; if it looks it up in a table, feed torch.tensor({x})."
    if not isinstance(x, Tensor):
        return None
    if x.dtype == torch.int64:
        return "It was fed int64 token numbers; if it computes with them, feed floats."
    if x.is_floating_point() and x.is_cpu and bool((x == x.round()).all()):  # a GPU may be gone
        kind = str(x.dtype).removeprefix("torch.")
        return f"It was fed {kind}; if it looks them up in a table, feed an int64 tensor."
    return None


def refuse_transforms() -> None:
    """Raise inside a transform of torch.func, whose tensors have no numbers to be recorded."""
    if torch._C._are_functorch_transforms_active():
        raise RnnlabError(
            "Session: a command was given inside a transform of torch.func (jacrev, vmap, jvp, …), "
            "where there are no numbers to record. rl.as_cell(session.model) is the pure function "
            "(states, x) -> (states, y) to transform. The session stands where it stood."
        )


def short(model: Any) -> str:
    """The model in a few words."""
    text = " ".join(repr(model).split())
    return text if len(text) <= 80 else f"{text[:77]}…"


def check_number(caller: str, name: str, value: Any) -> None:
    """Raise unless `value` is a number that others can be compared with."""
    known = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, complex))
    if not known or np.isnan(value):
        raise RnnlabError(f"{caller}: {name} must be a number, got {describe(value)}.")


def not_finite(what: str) -> RnnlabError:
    return RnnlabError(
        f"Session: {what} values that are not finite (NaN or infinity). Nothing was recorded. "
        "Session(model, allow_nonfinite=True) accepts them."
    )
