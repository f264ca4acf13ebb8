"""digits: an LSTM that reads a handwritten digit row by row. The model, its card and its data."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from rnnlab.errors import RnnlabError
from rnnlab.layers import LSTM, Chain, Dense
from rnnlab.zoo.card import Card, Example
from rnnlab.zoo.saved import load_weights

WEIGHTS = Path(__file__).with_name("weights") / "digits.safetensors"
HELD_OUT = slice(2, None, 3)
"""Every third image, from the one numbered 2 on: never seen in training."""


def digits() -> Chain:
    """An LSTM that reads a handwritten digit row by row: `Chain(LSTM(8, 32), Dense(32, 10))`.

    x: one row of an 8×8 image, `(8,)` or `(B, 8)`, float32 from 0 (paper) to 1 (ink). y: a score
    for each of the digits 0…9, `(10,)` or `(B, 10)`. A sequence is the 8 rows from top to bottom;
    `softmax(y)` after the last row are the probabilities of the digits. They are meaningful after
    every row: the training loss is the cross-entropy after each of the 8 rows, the later rows
    weighing more (row t has the weight t/36), so the model says how sure it can be so far.

    The images are the 1,797 that scikit-learn brings along, from the UCI repository; nothing is
    downloaded. Every third one (number 2, 5, 8, …; 599 in all) was held out of the training, and
    `card.examples` are these. `rnnlab.zoo.train_digits` is the code that trained the weights.

    The model has its Card as the attribute `card`. Its weights can be trained further; to make it
    neither draws random numbers nor needs scikit-learn, only the images do.

    Raises:
        RnnlabError: the weights in the package do not belong to this model.

    Source of the data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
    UCI Machine Learning Repository 1998.

    Example:
        >>> import torch, rnnlab as rl
        >>> model = digits()
        >>> model
        Chain(Recur(LSTMCell(8, 32)), Dense(32, 10))
        >>> example = model.card.examples[0]
        >>> scores = rl.unroll(model, torch.from_numpy(example.xs))
        >>> scores.shape, example.target, model.card.outputs[scores[-1].argmax()]
        (torch.Size([8, 10]), '2', '2')
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
        Chain(Recur(LSTMCell(8, 32)), Dense(32, 10))
    """
    return Chain(LSTM(8, 32, dtype=torch.float32), Dense(32, 10, dtype=torch.float32))


def images(part: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """The images of one part of the data, and the digits they show.

    Returns:
        xs `(N, 8, 8)` float32 from 0 (paper) to 1 (ink), and targets `(N,)` int64 from 0 to 9.
        "test" has every third image (number 2, 5, 8, …; N = 599), "train" the others (N = 1198).
        The arrays are copies.

    Raises:
        RnnlabError: another `part`, or scikit-learn is not installed.

    Example:
        >>> xs, targets = images("test")
        >>> xs.shape, targets[:4]
        ((599, 8, 8), array([2, 5, 8, 1]))
    """
    if part not in ("train", "test"):
        raise RnnlabError(f"images: part must be 'train' or 'test', got {part!r}.")
    xs, targets = _load()
    held_out = np.zeros(len(targets), bool)
    held_out[HELD_OUT] = True
    chosen = held_out if part == "test" else ~held_out
    return xs[chosen], targets[chosen]


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits  # takes a second: imported on use
    except ImportError as error:
        raise RnnlabError(
            "The images of handwritten digits are part of scikit-learn, which is not installed. "
            'Install it with: pip install "rnnlab[lab]"'
        ) from error
    xs, targets = map(np.asarray, load_digits(return_X_y=True))
    # scikit-learn counts the dark pixels of 4×4 blocks: whole numbers from 0 to 16
    return (xs / 16).astype(np.float32).reshape(-1, 8, 8), targets.astype(np.int64)


@dataclass(frozen=True)
class HeldOutDigits:
    """The held-out images as examples, read from scikit-learn when the first one is asked for.

    Raises:
        RnnlabError: scikit-learn is not installed (on use).
        IndexError: there is no example with this number.

    Example:
        >>> example = HeldOutDigits()[1]
        >>> example.label, example.target, example.xs.shape, example.picture.shape
        ('image 5', '5', (8, 8), (8, 8))
    """

    def __len__(self) -> int:
        return len(self._numbers())

    def __getitem__(self, index: int, /) -> Example:
        number = self._numbers()[operator.index(index)]
        xs, targets = _load()
        return Example(
            label=f"image {number}",
            xs=xs[number].copy(),
            target=str(targets[number]),
            picture=xs[number].copy(),
        )

    @staticmethod
    def _numbers() -> range:
        return range(len(_load()[1]))[HELD_OUT]


CARD = Card(
    name="digits",
    title="Handwritten digits, row by row",
    about=(
        "An LSTM with 32 units reads an 8×8 image of a handwritten digit from top to bottom, one "
        "row of 8 pixels a step, and says after every row how probable each digit is. It was "
        "trained on two thirds of the 1,797 images that scikit-learn brings along; of the other "
        "third, which are the examples here, it names 98 % correctly after the last row."
    ),
    inputs=tuple(f"pixel {column}" for column in range(8)),
    input_range=(0.0, 1.0),
    outputs=tuple(str(digit) for digit in range(10)),
    decode="softmax",
    examples=HeldOutDigits(),
)
