"""`explore`: from a model and what is known about it to an explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rnnlab.errors import RnnlabError
from rnnlab.recur import recurs
from rnnlab.session import Session, Vocabulary
from rnnlab.widgets.explorer import Explorer
from rnnlab.widgets.feeds import (
    CurveFeed,
    Features,
    Feed,
    Inputs,
    QueueFeed,
    SignalFeed,
    TokenFeed,
    VectorFeed,
    recordings,
)
from rnnlab.widgets.feeds.tokens import OFFERED
from rnnlab.widgets.lanes import Labelling, softmax


def explore(
    model: Any,
    xs: Any = None,
    *,
    input_names: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    output_names: Sequence[str] | None = None,
    vocabulary: Vocabulary | None = None,
    decode: str | Callable[[np.ndarray], np.ndarray] | None = None,
) -> Explorer:
    """Open a recurrent model, or a Session, in an explorer: feed it and watch its hidden state.

    Inputs are set by sliders, played from a recording, made by a generator or drawn with the mouse;
    a model that reads tokens is fed text.

    Args:
        model: a model with state, or a Session on one.
        xs: what to feed: rows `(T, I)`, several recordings `(N, T, I)`, a data frame, or a list of
            `(T, I)`; for a model that reads tokens a text, or a list of texts. Left out, a model of
            the zoo brings its own examples.
        input_names: a name for each input feature; left out, the columns of the data frame.
        input_range: the range of the sliders and of the input's colours; (−1, 1) if left out.
        output_names: a name for each output.
        vocabulary: the tokens that the model reads; left out, that of a Session made with
            `vocabulary.encode`, or of a model of the zoo; else, where the first layer is an
            embedding and there are no xs, the numbers of its rows.
        decode: "softmax" to show outputs as probabilities, or a function from rows of outputs
            `(n, O)` to the rows to show; left out with a vocabulary whose size the output has,
            "softmax".

    Raises:
        RnnlabError: a model without state, xs that are not rows of numbers (or texts of the
            vocabulary), or a model whose number of inputs cannot be told where neither xs nor
            input_names are given.

    Example:
        >>> import rnnlab as rl
        >>> rl.explore(rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2)))
        Explorer(Session(Chain(Recur(LSTMCell(3, 8)), Dense(8, 2)), step 0 of 0, branch 'main'))
    """
    given = isinstance(model, Session)
    session_model = model.model if given else model
    card = getattr(session_model, "card", None)
    if vocabulary is None and given:
        vocabulary = _vocabulary_of(model.encode)
    if vocabulary is None and card is None and xs is None:
        vocabulary = _numbers_read(session_model)
    if card is not None:
        input_names = input_names or card.inputs
        input_range = input_range or card.input_range
        vocabulary = vocabulary or card.vocabulary
        decode = decode or card.decode
    session = model if given else Session(model, vocabulary.encode if vocabulary else None)
    outputs = len(output_names or ()) or _output_size(session)
    numbers = not any(isinstance(value, Tensor) for value in session.states().values())
    if vocabulary is not None and outputs == len(vocabulary):
        output_names = output_names or vocabulary.tokens
        decode = decode or "softmax"
    elif card is not None:
        output_names = output_names or card.outputs
    if isinstance(decode, str) and decode != "softmax":
        raise RnnlabError(f"explore: decode must be 'softmax' or a function, not {decode!r}.")
    if vocabulary is not None:
        texts = _texts(xs) if xs is not None else [e.label for e in card.examples] if card else []
        encode = vocabulary.encode if session.encode is None else None
        feeds: list[Feed] = [TokenFeed(vocabulary, texts, encode)]
        units = len(vocabulary) if vocabulary.one_hot else 1
        input_names = vocabulary.tokens if vocabulary.one_hot else None
        input_range = (0.0, 1.0) if vocabulary.one_hot else None
    else:
        found = _recording(xs, card)
        if found is not None:
            input_names = input_names or getattr(found.examples[0], "names", None)
        units = len(input_names or ()) if found is None else found.rows.shape[1]
        units = units or _input_size(session, numbers)
        named = tuple(input_names or ())
        names = named if len(named) == units else _numbered(units)
        features = Features(names, *map(float, input_range or (-1.0, 1.0)))
        by_hand = [VectorFeed(features), SignalFeed(features), CurveFeed(features)]
        feeds = by_hand if found is None else [found, *by_hand]
    labelling = Labelling(
        inputs=None if input_names is None else tuple(input_names),
        outputs=None if output_names is None else tuple(output_names),
        input_range=input_range,
        decode=softmax if decode == "softmax" else decode,  # type: ignore[arg-type]
        probabilities=decode == "softmax",
        input_units=units,
        output_units=outputs,
        numbers=vocabulary is not None and not vocabulary.one_hot,
    )
    explorer = Explorer(session, Inputs(feeds, numbers=numbers), labelling)
    if vocabulary is not None:
        explorer.words = list(vocabulary.tokens[:OFFERED])
    return explorer


def _vocabulary_of(encode: Any) -> Vocabulary | None:
    """The vocabulary whose method a session's `encode` is."""
    owner = getattr(encode, "__self__", None)
    return owner if isinstance(owner, Vocabulary) else None


def _numbers_read(model: Any) -> Vocabulary | None:
    """For a model that begins with an embedding, the numbers of its tokens in place of words."""
    first = next(iter(model), None) if isinstance(model, nn.Sequential) else None
    if not isinstance(first, nn.Embedding):
        return None
    numbers = [str(number) for number in range(first.num_embeddings)]
    return Vocabulary(numbers, characters=False)  # also ten and fewer have blanks between them


def _texts(xs: Any) -> list[str]:
    texts = [xs] if isinstance(xs, str) else xs
    if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) for t in texts):
        raise RnnlabError(
            "explore: a model that reads tokens is fed texts: xs must be a text or a list of texts."
        )
    return list(texts)


def _recording(xs: Any, card: Any) -> QueueFeed | None:
    if xs is not None:
        return QueueFeed(recordings(xs))
    return None if card is None else QueueFeed(card.examples, "Examples")


def _input_size(session: Session, numbers: bool) -> int:
    """How many inputs the model takes; one whose states are numbers is taken to read a number."""
    model = session.model
    first = next(iter(model), model) if isinstance(model, nn.Sequential) else model
    inside = [found.cell for _, found in recurs(first)]
    for part in (first, *inside):
        size = getattr(part, "input_size", getattr(part, "in_features", None))
        if isinstance(size, int):
            return size
    if numbers:
        return 1
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


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"x[{i}]" for i in range(count))
