"""`explore`: from a model and what is known about it to an explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from rnnlab.errors import RnnlabError
from rnnlab.session import Session, Vocabulary
from rnnlab.widgets.explorer import Explorer
from rnnlab.widgets.feeds import (
    CurveFeed,
    Features,
    Inputs,
    QueueFeed,
    SignalFeed,
    TokenFeed,
    VectorFeed,
    recordings,
)
from rnnlab.widgets.feeds.tokens import OFFERED
from rnnlab.widgets.fitting import (
    check_rows,
    check_vocabulary,
    checked_names,
    checked_range,
    end_of,
    input_size,
    likely_input_size,
    likely_output_size,
    output_size,
    recorded_shape,
    step_axes,
)
from rnnlab.widgets.lanes import Labelling, decoded, softmax


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
            embedding, the numbers of its rows.
        decode: "softmax" to show outputs as probabilities, or a function from rows of outputs
            `(n, O)` to the rows to show; left out with a vocabulary whose size the output has,
            "softmax".

    Raises:
        RnnlabError: a model without state; xs that are not rows of as many numbers as the model
            takes (or texts of the vocabulary); names that are not one for each input or output; a
            range without extent; a vocabulary that the first layer cannot read; a model of which
            neither its layers nor xs, a recording or input_names tell how many inputs it takes.

    Example:
        >>> import rnnlab as rl
        >>> rl.explore(rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2)))
        Explorer(Session(Chain(Recur(LSTMCell(3, 8)), Dense(8, 2)), step 0 of 0, branch 'main'))
    """
    input_range = checked_range(input_range)
    if decode is not None and decode != "softmax" and not callable(decode):
        raise RnnlabError(f"explore: decode must be 'softmax' or a function, not {decode!r}.")
    given = isinstance(model, Session)
    card = getattr(model.model if given else model, "card", None)
    if vocabulary is None:
        vocabulary = _vocabulary_of(model, card)
    # where a step is a sequence, a token's number is not yet what the model takes
    encode = None if step_axes(model) else getattr(vocabulary, "encode", None)
    session = model if given else Session(model, encode)
    if vocabulary is not None:
        check_vocabulary(session, vocabulary)

    size = output_size(session)
    output_names = checked_names(output_names, "output_names", "output", size)
    outputs = size or len(output_names or ()) or likely_output_size(session) or 0
    if vocabulary is not None and outputs == len(vocabulary):
        output_names = output_names or vocabulary.tokens
        decode = decode or "softmax"
    elif card is not None:
        output_names = output_names or card.outputs
        decode = decode or card.decode

    if vocabulary is None:
        inputs, known = _of_vectors(session, xs, card, input_names, input_range)
    elif input_names is None and input_range is None:
        texts = _texts(xs) if xs is not None else [e.label for e in card.examples] if card else []
        encode = vocabulary.encode if session.encode is None else None
        inputs = Inputs([TokenFeed(vocabulary, texts, encode)])
        known = {"numbers": not vocabulary.one_hot, "input_units": 1}
        if vocabulary.one_hot:
            tokens = vocabulary.tokens
            known |= {"inputs": tokens, "input_range": (0.0, 1.0), "input_units": len(tokens)}
    else:
        raise RnnlabError(
            "explore: the inputs of a model that reads tokens are these tokens; leave input_names "
            "and input_range out."
        )
    shown = softmax if decode == "softmax" else decode
    if size is not None:
        decoded(shown, np.zeros((1, size), np.float32))  # type: ignore[arg-type]
    labelling = Labelling(
        outputs=None if output_names is None else tuple(output_names),
        decode=shown,  # type: ignore[arg-type]
        probabilities=decode == "softmax",
        output_units=outputs,
        **known,
    )
    explorer = Explorer(session, inputs, labelling)
    if vocabulary is not None:
        explorer.words = list(vocabulary.tokens[:OFFERED])
    return explorer


def _of_vectors(
    session: Session, xs: Any, card: Any, names: Any, limits: tuple[float, float] | None
) -> tuple[Inputs, dict[str, Any]]:
    """The inputs of a model that reads vectors or numbers, and what the labelling knows of them."""
    size, queue, owner = input_size(session), [], "input_names"
    if xs is not None:
        rows = recordings(xs)
        check_rows(session, [recording.xs.shape for recording in rows])
        size, queue = rows[0].xs.shape[1], [QueueFeed(rows)]
        if names is None:
            names, owner = rows[0].names, "the columns of xs"
    elif card is not None:
        queue = [QueueFeed(card.examples, "Examples")]
    if card is not None:
        names = card.inputs if names is None else names
        limits = card.input_range if limits is None else limits
    named = checked_names(names, owner, "input", size)
    # a cell whose states are numbers is taken to read a number
    recorded = recorded_shape(session, "x")
    numbers = not any(np.ndim(value) for value in session.states().values())
    numbers = numbers if recorded is None else recorded == ()
    size = size or len(named or ()) or likely_input_size(session) or int(numbers)
    if not size:
        raise RnnlabError(
            "explore: cannot tell how many inputs the model takes. Give the data to feed (xs=…) "
            "or the names of the inputs (input_names=[…])."
        )
    features = Features(named or tuple(f"x[{i}]" for i in range(size)), *(limits or (-1.0, 1.0)))
    by_hand = [VectorFeed(features), SignalFeed(features), CurveFeed(features)]
    known = {"inputs": named, "input_range": limits, "input_units": size}
    return Inputs([*queue, *by_hand], numbers=numbers), known


def _vocabulary_of(model: Any, card: Any) -> Vocabulary | None:
    """The vocabulary whose method a session's `encode` is, a card's, or an embedding's numbers."""
    encode = model.encode if isinstance(model, Session) else None
    owner = getattr(encode, "__self__", None)
    if isinstance(owner, Vocabulary):
        return owner
    if card is not None or encode is not None:
        return getattr(card, "vocabulary", None)
    first = end_of(model.model if isinstance(model, Session) else model, 0)
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
