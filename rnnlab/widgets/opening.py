"""`explore`: from a model and what is known about it to an explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from rnnlab.errors import RnnlabError
from rnnlab.recur import recurs
from rnnlab.session import Session
from rnnlab.widgets.explorer import Explorer
from rnnlab.widgets.feeds import Feed, QueueFeed, VectorFeed, recordings
from rnnlab.widgets.lanes import Labelling, softmax


def explore(
    model: Any,
    xs: Any = None,
    *,
    input_names: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    output_names: Sequence[str] | None = None,
    decode: str | Callable[[np.ndarray], np.ndarray] | None = None,
) -> Explorer:
    """Open a recurrent model, or a Session, in an explorer: feed it and watch its hidden state.

    Args:
        model: a model with state, or a Session on one.
        xs: what to feed: rows `(T, I)`, several recordings `(N, T, I)`, or a list of `(T, I)`.
            Left out, a model of the zoo brings its own examples; any other is fed by sliders.
        input_names: a name for each input feature.
        input_range: the range of the sliders and of the input's colours; (−1, 1) if left out.
        output_names: a name for each output.
        decode: "softmax" to show outputs as probabilities, or a function from rows of outputs
            `(n, O)` to the rows to show.

    Raises:
        RnnlabError: a model without state, xs that are not rows of numbers, or a model whose
            number of inputs cannot be told where neither xs nor input_names are given.

    Example:
        >>> import rnnlab as rl
        >>> rl.explore(rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2)))
        Explorer(Session(Chain(Recur(LSTMCell(3, 8)), Dense(8, 2)), step 0 of 0, branch 'main'))
    """
    session = model if isinstance(model, Session) else Session(model)
    card = getattr(session.model, "card", None)
    if card is not None:
        input_names = input_names or card.inputs
        input_range = input_range or card.input_range
        output_names = output_names or card.outputs
        decode = decode or card.decode
    if isinstance(decode, str) and decode != "softmax":
        raise RnnlabError(f"explore: decode must be 'softmax' or a function, not {decode!r}.")
    feed: Feed
    if xs is None and card is not None:
        feed = QueueFeed(card.examples, [example.label for example in card.examples])
    elif xs is not None:
        examples = recordings(xs)
        feed = QueueFeed(examples, [example.label for example in examples])
    else:
        names = list(input_names or _numbered(_input_size(session)))
        low, high = input_range or (-1.0, 1.0)
        feed = VectorFeed(names, float(low), float(high))
    labelling = Labelling(
        inputs=None if input_names is None else tuple(input_names),
        outputs=None if output_names is None else tuple(output_names),
        input_range=input_range,
        decode=softmax if decode == "softmax" else decode,  # type: ignore[arg-type]
        probabilities=decode == "softmax",
        input_units=feed.units,
        output_units=len(output_names or ()) or _output_size(session),
    )
    return Explorer(session, feed, labelling)


def _input_size(session: Session) -> int:
    model = session.model
    first = next(iter(model), model) if isinstance(model, nn.Sequential) else model
    inside = [found.cell for _, found in recurs(first)]
    for part in (first, *inside):
        size = getattr(part, "input_size", getattr(part, "in_features", None))
        if isinstance(size, int):
            return size
    raise RnnlabError(
        "explore: cannot tell how many inputs the model takes. Give the data to feed (xs=…) "
        "or the names of the inputs (input_names=[…])."
    )


def _output_size(session: Session) -> int:
    """How many outputs the model has, if its last layer tells; else 0."""
    model = session.model
    last = list(model)[-1] if isinstance(model, nn.Sequential) and len(model) else model
    size = getattr(last, "output_size", getattr(last, "out_features", None))
    if size is None:
        size = getattr(getattr(last, "cell", None), "hidden_size", 0)
    return size if isinstance(size, int) else 0


def _numbered(count: int) -> list[str]:
    return [f"x[{i}]" for i in range(count)]
