"""Card: what a laboratory needs to know about a model of the zoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.session.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Example:
    """One sequence to feed to a model, with the right answer.

    Attributes:
        label: its name in a list of examples.
        xs: the inputs, `(T, I)` float32, one row a step; of a model that reads tokens, their
            numbers `(T,)` int64.
        target: the right output, one of the card's `outputs`.
        picture: the whole example as an image, `(rows, columns)` float32 from 0 (paper) to 1
            (ink), or None where it is not an image.

    Example:
        >>> Example("one impulse", xs=np.ones((1, 3), np.float32), target="yes").xs.shape
        (1, 3)
    """

    label: str
    xs: np.ndarray
    target: str
    picture: np.ndarray | None = None


class Examples(Protocol):
    """Examples made on demand: anything with `len(examples)` and `examples[i]`.

    Nothing has to be in memory before it is asked for; `examples[i]` raises IndexError past the
    end, so that a `for` loop over them ends. A tuple of Example will do.

    Example:
        >>> examples: Examples = (Example("impulse", np.ones((1, 3), np.float32), "yes"),)
        >>> len(examples), examples[0].label
        (1, 'impulse')
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True)
class Card:
    """What a laboratory needs to know about a model: what goes in, what comes out, what to try.

    A model of the zoo carries it as the plain attribute `card`; copies and pickles keep it.

    Attributes:
        name: the function of `rnnlab.zoo` that makes the model.
        title: a few words for a heading.
        about: one paragraph for a person: what it does, what it learnt from, how well it does it.
        inputs: the names of the I input features.
        input_range: the lowest and highest value of an input feature.
        outputs: the labels of the O outputs.
        decode: how an output y `(…, O)` becomes probabilities: "softmax" over the last axis.
        examples: sequences to feed to it.
        vocabulary: the tokens it reads, in the order of their numbers; None if it reads vectors.

    Raises:
        RnnlabError: an unknown `decode`, or an `input_range` whose low is not below its high.

    Example:
        >>> import rnnlab.zoo
        >>> card = rnnlab.zoo.digits().card
        >>> card.inputs[0], len(card.inputs), card.input_range, card.decode
        ('pixel 0', 8, (0.0, 1.0), 'softmax')
    """

    name: str
    title: str
    about: str
    inputs: tuple[str, ...]
    input_range: tuple[float, float]
    outputs: tuple[str, ...]
    decode: Literal["softmax"]
    examples: Examples
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        if self.decode != "softmax":
            raise RnnlabError(f"Card {self.name!r}: decode must be 'softmax', got {self.decode!r}.")
        low, high = self.input_range
        if not low < high:
            raise RnnlabError(
                f"Card {self.name!r}: input_range must be (low, high) with low < high, "
                f"got {self.input_range!r}."
            )
