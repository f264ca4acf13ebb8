"""Train the weights of `rnnlab.zoo.bank`: `python -m rnnlab.zoo.train_bank`.

On one CPU core, in less than a minute. The same seed, torch and processor give the same weights.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from rnnlab.errors import RnnlabError
from rnnlab.layers import Chain
from rnnlab.recur import reset
from rnnlab.unroll import unroll
from rnnlab.zoo.bank import VOCABULARY, WEIGHTS, information, sentences, untrained
from rnnlab.zoo.saved import save_weights
from rnnlab.zoo.train_digits import one_thread

STEPS = 1500
BATCH = 32
LENGTH = 32
"""Words of a training sequence: a few sentences one after another, the last cut off."""

LEARNING_RATE = 0.02


def train(steps: int = STEPS, *, seed: int = 0, progress: bool = True) -> Chain:
    """Train the network of `bank` on sentences of its grammar, from random weights.

    Args:
        steps: how many batches are seen; each is new.
        seed: of the initial weights and the sentences. torch's global random numbers are left as
            they were.
        progress: whether to show a bar.

    Raises:
        RnnlabError: fewer than one step.

    Example:
        >>> train(1, progress=False)
        Chain(Embedding(42, 16), Recur(LSTMCell(16, 32)), Dense(32, 42))
    """
    if steps < 1:
        raise RnnlabError(f"train: steps must be at least 1, got {steps}.")
    texts = batches(seed)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = untrained()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        bar = tqdm(range(steps), desc="bank", unit="batch", disable=not progress)
        for _ in bar:
            nats = loss(model, next(texts)).mean()
            optimizer.zero_grad()
            nats.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{nats.item():.3f}", refresh=False)
    reset(model)
    return model


def batches(seed: int) -> Iterator[Tensor]:
    """Texts without end: the numbers of the words, `(T + 1, B)` int64, a new batch each time."""
    drawn = sentences(seed)

    def text() -> list[int]:
        words: list[str] = []
        while len(words) <= LENGTH:
            words += next(drawn)
        return [VOCABULARY.index(word) for word in words[: LENGTH + 1]]

    while True:
        yield torch.tensor([text() for _ in range(BATCH)]).T


def loss(model: Chain, words: Tensor) -> Tensor:
    """−ln of the probability that the model gave to each next word; resets the model before.

    words: `(T + 1, B)` int64. Result: `(T, B)`, nats.
    """
    reset(model)
    scores = unroll(model, words[:-1])
    return cross_entropy(scores.flatten(0, 1), words[1:].flatten(), reduction="none").view(
        words[1:].shape
    )


@torch.no_grad()
def nats_per_word(model: Chain, seed: int = 1, count: int = 400) -> tuple[float, float]:
    """The mean −ln p of the words of new sentences: by the model, and by the grammar itself.

    The first word of a sentence is not counted: before it the model has read nothing.
    """
    drawn = sentences(seed)
    ours: list[float] = []
    best: list[float] = []
    for words in itertools.islice(drawn, count):
        numbers = torch.tensor([VOCABULARY.index(word) for word in words])[:, None]
        ours += loss(model, numbers).flatten().tolist()
        best += information(words)[1:]
    reset(model)
    return sum(ours) / len(ours), sum(best) / len(best)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write the weights, and print how uncertain the model is beside the grammar."""
    parser = argparse.ArgumentParser(prog="python -m rnnlab.zoo.train_bank", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=WEIGHTS, help="the file to write; default: the package's own"
    )
    asked = parser.parse_args(argv)
    if not asked.out.parent.is_dir():
        parser.error(f"there is no folder {asked.out.parent}")
    try:
        model = train(asked.steps)
    except RnnlabError as error:
        parser.error(str(error))
    save_weights(model, asked.out)
    ours, best = nats_per_word(model)
    print(f"nats a word: {ours:.3f}; of the grammar itself: {best:.3f}")


if __name__ == "__main__":
    main()
