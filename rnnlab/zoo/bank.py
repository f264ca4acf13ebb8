"""bank: an LSTM that reads sentences about banks word by word. The model, its card, its grammar."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rnnlab.layers import LSTM, Chain, Dense
from rnnlab.session.vocabulary import Vocabulary
from rnnlab.zoo.card import Card, Example
from rnnlab.zoo.saved import load_weights

WEIGHTS = Path(__file__).with_name("weights") / "bank.safetensors"


@dataclass(frozen=True)
class Sense:
    """The words that go with one meaning of "bank"; what it was, the most frequent first."""

    kinds: tuple[str, ...]
    places: tuple[str, ...]
    deeds: tuple[str, ...]
    was: tuple[str, ...]


RIVER = Sense(
    kinds=("river", "grassy", "sandy", "left"),
    places=("stream", "lake", "canal"),
    deeds=("fished", "swam", "rowed"),
    was=("steep", "green", "wet", "flooded"),
)
MONEY = Sense(
    kinds=("investment", "savings", "national", "private"),
    places=("city", "town", "country"),
    deeds=("paid", "saved", "invested"),
    was=("closed", "rich", "robbed", "bankrupt"),
)
SENSES = (RIVER, MONEY)
PEOPLE = ("we", "they", "she", "he", "anna", "tom")
WAS = (0.4, 0.3, 0.2, 0.1)
"""How often each of the four words of `Sense.was` is the one."""

PATTERNS = (
    ("the", "kinds", "bank", "was", "was!", "."),
    ("the", "bank", "of", "the", "places", "was", "was!", "."),
    ("people", "deeds", "at", "the", "bank", "until", "it", "was", "was!", "."),
    ("people", "deeds", "at", "the", "kinds", "bank", "."),
    ("the", "bank", "was", "was!", "."),
)
"""The sentences, equally frequent. The first four tell the meaning of "bank", the last does not."""

VOCABULARY = Vocabulary(
    [
        *("the", "bank", "of", "at", "until", "it", "was", "."),
        *PEOPLE,
        *(word for s in SENSES for word in (*s.kinds, *s.places, *s.deeds, *s.was)),
    ]
)


def bank() -> Chain:
    """An LSTM that reads sentences about banks word by word, and says which word may come next.

    `Chain(Embedding(42, 16), LSTM(16, 32), Dense(32, 42))`. x: the number of a word in
    `card.vocabulary`, int64, `()` or `(B,)`. y: a score for each word as the next one, `(42,)` or
    `(B, 42)`; `softmax(y)` are its probabilities.

    The sentences come from a small grammar in which "bank" means the river's side or the money's
    house: "the river bank was steep .", "anna paid at the bank until it was robbed .". Which one it
    is, the state has to carry from the word that tells it to the word that depends on it.
    `rnnlab.zoo.train_bank` is the code that trained the weights.

    The model has its Card as the attribute `card`; to make it draws no random numbers.

    Raises:
        RnnlabError: the weights in the package do not belong to this model.

    Example:
        >>> import rnnlab as rl
        >>> model = bank()
        >>> words = model.card.vocabulary
        >>> for text in ("the river bank was", "the investment bank was"):
        ...     s = rl.Session(model, words.encode, words.decode)
        ...     ys = s.run(words.split(text))
        ...     print(max(s.output(), key=s.output().get))
        ...     s.reset()
        steep
        closed
    """
    with torch.device("meta"):
        model = untrained()
    load_weights(model, WEIGHTS)
    vars(model)["card"] = CARD
    return model


def untrained() -> Chain:
    """The same network with random weights, as training starts from it.

    Example:
        >>> untrained()
        Chain(Embedding(42, 16), Recur(LSTMCell(16, 32)), Dense(32, 42))
    """
    words = len(VOCABULARY)
    return Chain(
        nn.Embedding(words, 16, dtype=torch.float32),
        LSTM(16, 32, dtype=torch.float32),
        Dense(32, words, dtype=torch.float32),
    )


def sentences(seed: int) -> Iterator[list[str]]:
    """Sentences of the grammar without end.

    Example:
        >>> " ".join(next(sentences(0)))
        'the bank was closed .'
    """
    draw = np.random.default_rng(seed)
    while True:
        pattern = PATTERNS[draw.integers(len(PATTERNS))]
        sense = SENSES[draw.integers(len(SENSES))]
        yield [_word(slot, sense, draw) for slot in pattern]


def _word(slot: str, sense: Sense, draw: np.random.Generator) -> str:
    if slot == "was!":
        return str(draw.choice(sense.was, p=WAS))
    choices = PEOPLE if slot == "people" else getattr(sense, slot, None)
    if choices is None or slot == "was":
        return slot
    return choices[draw.integers(len(choices))]


def information(words: list[str]) -> list[float]:
    """−ln of each word's probability in the grammar, given the words before it, in nats.

    Its mean is the least cross-entropy that any model can have on these sentences.

    Example:
        >>> [round(n, 2) for n in information(["the", "bank", "was", "rich"])]
        [0.51, 0.41, 0.69, 1.9]
    """
    starts = [1.0] + [
        sum(_start(pattern, sense, words[:n]) for pattern in PATTERNS for sense in SENSES)
        for n in range(1, len(words) + 1)
    ]
    return [math.log(before / after) for before, after in itertools.pairwise(starts)]


def _start(pattern: tuple[str, ...], sense: Sense, words: list[str]) -> float:
    """The probability that a sentence is of this pattern and meaning and begins with `words`."""
    if len(words) > len(pattern):
        return 0.0
    p = 1 / (len(PATTERNS) * len(SENSES))
    for slot, word in zip(pattern, words, strict=False):
        if slot == "was!":
            p *= WAS[sense.was.index(word)] if word in sense.was else 0
        elif slot == "people" or (slot != "was" and hasattr(sense, slot)):
            choices = PEOPLE if slot == "people" else getattr(sense, slot)
            p *= (word in choices) / len(choices)
        else:
            p *= word == slot
    return p


def _example(text: str, target: str) -> Example:
    numbers = [VOCABULARY.index(word) for word in VOCABULARY.split(text)]
    return Example(text, np.array(numbers, np.int64), target)


CARD = Card(
    name="bank",
    title="The bank of a river, or of money",
    about=(
        "An LSTM with 32 units reads sentences about banks, one word a step, and says after every "
        'word how probable each word is as the next. "bank" is the side of a river or the house of '
        "money; a word before it, or after it, tells which. It was trained on sentences drawn from "
        "a small grammar, whose own uncertainty is 0.61 nats a word; so is the model's."
    ),
    inputs=("word",),
    input_range=(0.0, len(VOCABULARY) - 1.0),
    outputs=VOCABULARY.tokens,
    decode="softmax",
    examples=(
        _example("the river bank was", "steep"),
        _example("the investment bank was", "closed"),
        _example("she fished at the bank until it was", "steep"),
        _example("she paid at the bank until it was", "closed"),
        _example("the bank was", "steep"),
    ),
    vocabulary=VOCABULARY,
)
