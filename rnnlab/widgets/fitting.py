"""What a model takes and gives, as far as its layers or a recording tell, and what does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from torch import nn

from rnnlab.adapters import Adapted
from rnnlab.cells.base import Cell
from rnnlab.errors import RnnlabError
from rnnlab.layers import Dense
from rnnlab.recur import Recur
from rnnlab.session import Session, Vocabulary


def end_of(model: Any, number: int) -> Any:
    """The first (0) or last (−1) part of a chain, however nested; of a Recur its cell."""
    part = model
    while isinstance(part, nn.Sequential) and len(part):
        part = part[number]
    return part.cell if isinstance(part, Recur) else part


def step_axes(model: Any) -> tuple[int, ...]:
    """The axes that one input has before its features: none, or those of a sequence of one step.

    A module with a sequence layer of torch inside, adapted as a whole, is called as ever: with a
    batch of sequences.
    """
    first = end_of(model, 0)
    whole = isinstance(first, Adapted) and any(isinstance(m, nn.RNNBase) for m in first.modules())
    return (1, 1) if whole else ()


def recorded_shape(session: Session, name: str) -> tuple[int, ...] | None:
    """The shape of a row of `x` or `y`: of the newest branch that has a step, if any has."""
    for branch in reversed(session.branches):
        shape = session.recorded(branch).get(name)
        if shape is not None:
            return shape
    return None


def input_size(session: Session) -> int | None:
    """How many numbers a step is fed, where that is sure; a number alone counts as one."""
    if session.encode is not None:  # it may make anything of what it is given
        return None
    return recorded_size(session, "x") or layer_size(end_of(session.model, 0))


def recorded_size(session: Session, name: str) -> int | None:
    """The size of what a recording has for `x` or `y`."""
    shape = recorded_shape(session, name)
    return None if shape is None else shape[-1] if shape else 1


def layer_size(part: Any) -> int | None:
    """How many features a layer of ours, or a linear one of torch, takes."""
    if isinstance(part, (Cell, Dense)):
        return part.input_size
    return part.in_features if isinstance(part, nn.Linear) else None


def likely_input_size(session: Session) -> int | None:
    """What was recorded; else the size of the first layer inside that has one."""
    model, size = session.model, recorded_size(session, "x")
    for part in model.modules() if size is None and isinstance(model, nn.Module) else ():
        size = getattr(part, "input_size", getattr(part, "in_features", None))
        if isinstance(size, int):
            return size
    return size if isinstance(size, int) else None


def output_size(session: Session) -> int | None:
    """How many numbers the model gives for a step, where that is sure."""
    last = end_of(session.model, -1)
    sure = isinstance(last, (Cell, Dense, nn.Linear))
    return recorded_size(session, "y") or (likely_output_size(session) if sure else None)


def likely_output_size(session: Session) -> int | None:
    """What the last layer says of itself."""
    last = end_of(session.model, -1)
    sizes = (getattr(last, name, None) for name in ("output_size", "out_features", "hidden_size"))
    return next((size for size in sizes if isinstance(size, int)), None)


def check_rows(session: Session, shapes: Sequence[tuple[int, ...]]) -> None:
    """Recordings `(T, I)` must all have as many features as the model takes.

    Raises:
        RnnlabError: they have not.
    """
    widths = sorted({shape[-1] for shape in shapes})
    if len(widths) > 1:
        raise RnnlabError(
            "explore: the sequences of xs must all have the same number of features, got "
            f"{', '.join(map(str, shapes))}."
        )
    size = input_size(session)
    if size is not None and widths != [size]:
        raise RnnlabError(
            f"explore: the rows of xs have {widths[0]} features, but {_taker(session)} takes "
            f"{size}; a sequence has shape {shapes[0]}. Give rows (T, {size})."
        )


def checked_names(names: Any, owner: str, kind: str, count: int | None) -> tuple[str, ...] | None:
    """Names that the user gave, one for each of `count` (None: as many as there are names).

    Raises:
        RnnlabError: too many or too few, one twice, or something that is no text.
    """
    if names is None:
        return None
    try:
        found = tuple(names)
    except TypeError:
        raise RnnlabError(f"explore: {owner} must be a list of names, not {names!r}.") from None
    for place, name in enumerate(found):
        if not isinstance(name, str):
            raise RnnlabError(f"explore: {owner} must be texts, but there is {name!r}.")
        if name in found[:place]:
            raise RnnlabError(
                f"explore: {name!r} is twice in {owner}; give each {kind} a name of its own."
            )
    if not found or (count is not None and len(found) != count):
        there = f"the model has {count} {kind}s" if count else f"every {kind} needs one"
        raise RnnlabError(f"explore: {len(found)} {owner} were given, but {there}: {found!r}.")
    return found


def checked_range(given: Any) -> tuple[float, float] | None:
    """The range of the inputs as two numbers, the lower first.

    Raises:
        RnnlabError: it is none.
    """
    if given is None:
        return None
    ends: list[Any] = list(given) if isinstance(given, Iterable) else []
    fits = len(ends) == 2 and all(isinstance(end, Real) and math.isfinite(end) for end in ends)
    if not fits or not ends[0] < ends[1]:
        raise RnnlabError(
            "explore: input_range must be two finite numbers, the lower first, as (-1, 1); got "
            f"{given!r}."
        )
    return float(ends[0]), float(ends[1])


def check_vocabulary(session: Session, vocabulary: Any) -> None:
    """Tokens must be what the model's first layer reads: whole numbers, or one-hot vectors.

    Raises:
        RnnlabError: they are not.
    """
    if not isinstance(vocabulary, Vocabulary):
        raise RnnlabError(
            "explore: vocabulary must be a Vocabulary, as rl.Vocabulary(['the', 'river']); got "
            f"{vocabulary!r}."
        )
    if session.encode is not None and getattr(session.encode, "__self__", None) is not vocabulary:
        return  # a function of the user's stands between them
    first, count = end_of(session.model, 0), len(vocabulary)
    if isinstance(first, nn.Embedding):
        if vocabulary.one_hot:
            raise RnnlabError(
                f"explore: {first} reads the numbers of tokens, but the vocabulary makes vectors "
                "of them. Make it without one_hot."
            )
        if count > first.num_embeddings:
            raise RnnlabError(
                f"explore: the vocabulary has {count} tokens, but {first} has only "
                f"{first.num_embeddings} rows. Leave out the tokens that the model has not learnt."
            )
        return
    size = layer_size(first)
    if size is None:
        return
    if not vocabulary.one_hot:
        raise RnnlabError(
            f"explore: {first} reads vectors of {size} numbers, but the vocabulary makes whole "
            "numbers of tokens. Make it with one_hot=True, or begin the model with an "
            "nn.Embedding."
        )
    if count != size:
        raise RnnlabError(
            f"explore: {first} reads vectors of {size} numbers, but the vocabulary has {count} "
            "tokens. Give it the tokens that the model was made for."
        )


def _taker(session: Session) -> str:
    """What the features do not fit: a layer, or where none is known the recording."""
    first = end_of(session.model, 0)
    return repr(first) if layer_size(first) is not None else "the recorded run"
