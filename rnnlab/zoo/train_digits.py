"""Train the weights of `rnnlab.zoo.digits`: `python -m rnnlab.zoo.train_digits`.

On one CPU core, in about half a minute. The same seed, torch and processor give the same weights.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample
from tqdm.auto import tqdm

from rnnlab.errors import RnnlabError
from rnnlab.layers import Chain
from rnnlab.recur import reset
from rnnlab.unroll import unroll
from rnnlab.zoo.digits import WEIGHTS, images, untrained
from rnnlab.zoo.saved import save_weights

EPOCHS = 300
BATCH = 64
# chosen by 4-fold cross-validation inside the training images
LEARNING_RATE = 0.02
WEIGHT_DECAY = 0.1


def train(epochs: int = EPOCHS, *, seed: int = 0, progress: bool = True) -> Chain:
    """Train the network of `digits` on the training images, from random weights.

    Args:
        epochs: how often every image is seen, each time warped a little differently.
        seed: of the initial weights, the order of the images and the warps. torch's global
            random numbers are left as they were.
        progress: whether to show a bar.

    Raises:
        RnnlabError: fewer than one epoch, or scikit-learn is not installed.

    Example:
        >>> model = train(1, progress=False)
        >>> model
        Chain(Recur(LSTMCell(8, 32)), Dense(32, 10))
    """
    if epochs < 1:
        raise RnnlabError(f"train: epochs must be at least 1, got {epochs}.")
    pixels, digit = (torch.from_numpy(part) for part in images("train"))
    batches = math.ceil(len(digit) / BATCH)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = untrained()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * batches
        )
        bar = tqdm(range(epochs), desc="digits", unit="epoch", disable=not progress)
        for _ in bar:
            for chosen in torch.randperm(len(digit)).split(BATCH):
                rows = warp(pixels[chosen]).transpose(0, 1)
                reset(model)
                nats = loss(unroll(model, rows), digit[chosen])
                optimizer.zero_grad()
                nats.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{nats.item():.3f}", refresh=False)
    reset(model)
    return model


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work on one thread inside the `with`."""
    # more threads gain nothing on matrices this small, and they sum in another order
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def loss(scores: Tensor, digit: Tensor) -> Tensor:
    """The cross-entropy after every row, the later rows weighing more.

        L = Σ_t w_t · CE(scores_t, digit),    w_t = t / (1 + 2 + … + T),    t = 1…T

    scores: `(T, B, 10)`. digit: `(B,)`, 0…9. L: a scalar, nats, the mean over the batch.

    Because every row counts, the probabilities are trained to be as good as they can be after each
    row; because the last row counts T times the first, the final answer comes before them.

    Example:
        >>> loss(torch.zeros(8, 3, 10), torch.tensor([0, 5, 9]))  # knows nothing: ln 10
        tensor(2.3026)
    """
    T, B, _ = scores.shape
    after = cross_entropy(scores.flatten(0, 1), digit.repeat(T), reduction="none").view(T, B)
    weight = torch.arange(1, T + 1, dtype=scores.dtype)
    return (weight / weight.sum()) @ after.mean(1)


def warp(pixels: Tensor) -> Tensor:
    """Each image turned, sheared, scaled and shifted a little, at random, as another hand might.

    pixels: `(B, 8, 8)`. Result: the same shape, other values in the same range. Turns by up to
    0.2 rad, stretches and shears by up to 15 %, shifts by up to half a pixel each way.

    Example:
        >>> warp(torch.rand(5, 8, 8)).shape
        torch.Size([5, 8, 8])
    """
    B = len(pixels)
    angle = 0.2 * _uniform(B)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    stretch = torch.eye(2) + 0.15 * _uniform(B, 2, 2)
    shift = 0.125 * _uniform(B, 2, 1)  # the image is 2 wide in these coordinates: 0.25 a pixel
    grid = affine_grid(
        torch.cat([stretch @ turn, shift], -1), [B, 1, *pixels.shape[1:]], align_corners=False
    )
    return grid_sample(pixels.unsqueeze(1), grid, align_corners=False).squeeze(1)


def _uniform(*shape: int) -> Tensor:
    return 2 * torch.rand(*shape) - 1


@torch.no_grad()
def accuracy(model: Chain, pixels: Tensor, digit: Tensor) -> Tensor:
    """The share of images named correctly after each row; resets the model before and after.

    pixels: `(B, T, 8)`. digit: `(B,)`. Result: `(T,)`, from 0 to 1.

    Example:
        >>> accuracy(untrained(), torch.rand(5, 8, 8), torch.tensor([3, 1, 4, 1, 5])).shape
        torch.Size([8])
    """
    reset(model)
    guess = unroll(model, pixels.transpose(0, 1)).argmax(-1)
    reset(model)
    return (guess == digit).double().mean(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write the weights, and print the accuracy on the held-out third."""
    parser = argparse.ArgumentParser(prog="python -m rnnlab.zoo.train_digits", description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=WEIGHTS, help="the file to write; default: the package's own"
    )
    asked = parser.parse_args(argv)
    if not asked.out.parent.is_dir():
        parser.error(f"there is no folder {asked.out.parent}")
    try:
        model = train(asked.epochs)
    except RnnlabError as error:
        parser.error(str(error))
    save_weights(model, asked.out)
    after = accuracy(model, *(torch.from_numpy(part) for part in images("test")))
    print(f"held-out accuracy after each row: {', '.join(f'{share:.1%}' for share in after)}")


if __name__ == "__main__":
    main()
