"""Feeding a session: one input, or a whole sequence; and what the model answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.session.commands import check_label
from rnnlab.session.lane import SLOW
from rnnlab.session.reading import Reading
from rnnlab.session.vocabulary import Vocabulary
from rnnlab.session.wording import refused

BAR = 10_000
"""A run of more steps than this shows a progress bar unless told otherwise."""


class Feeding(Reading):
    """What a Session is fed and what it gives for it."""

    @property
    def encode(self) -> Callable[..., Any] | None:
        return self._stepper.encode

    @encode.setter
    def encode(self, encode: Callable[..., Any] | None) -> None:
        with self._lock:
            self._stepper.encode = encode
            self._lane = None

    def step(self, *inputs: Any, label: str | None = None) -> Any:
        """Feed one input, record what came of it, and return the model's output.

        From the past of a branch this forks a new one, which becomes the current branch.
        """
        lock = self._lock
        lock.acquire()  # what `with` adds to this is felt in a step of a small cell
        try:
            lane = self._lane
            y = lane(inputs[0]) if lane is not None and label is None and len(inputs) == 1 else SLOW
            if y is SLOW:
                stepper = self._stepper
                if label is not None:
                    check_label(label)
                elif stepper.encode is not None:
                    label = _label(stepper.encode, inputs)
                y = self._step(stepper.encoded(inputs), label)
            if self._subscribers:
                self._tell(self._t - 1)
            return y
        finally:
            lock.release()

    def run(self, xs: Iterable[Any], *, progress: bool | None = None) -> Any:
        """Feed a sequence; returns the outputs, one tensor `(T, …)` for a tensor, else a list.

        A tensor, and a list of inputs alike (vectors or tokens), goes through the model's
        whole-sequence evaluation where it has one; what is recorded agrees with stepping to
        rounding. An empty sequence gives an empty result. If one element is
        refused, the session stands where it stood before the first.

        Args:
            xs: a tensor or array `(T, …)`, any iterable of inputs, or a data frame (its rows).
            progress: whether to show a bar; left out, for more than 10,000 steps.
        """
        with self._lock:
            whole = isinstance(xs, (Tensor, np.ndarray))
            fed, labels = self._sequence(xs)
            if not len(fed):
                if isinstance(fed, Tensor):
                    return self._feed_nothing(fed)
                return torch.empty(0) if whole else []
            t = self._t
            with _Bar(len(fed), progress) as tick:
                ys = self._carry_out(None, lambda _: self._feed(fed, labels, tick), run=True)
            self._tell(t)
            return joined(ys, isinstance(fed, Tensor), whole)

    def _sequence(self, xs: Any) -> tuple[Any, list[str | None] | None]:
        """A sequence as one tensor, if its elements are alike, or a list; and their labels."""
        stepper = self._stepper
        if hasattr(xs, "itertuples"):
            return self._frame(xs)
        if not isinstance(xs, Iterable) or (isinstance(xs, (Tensor, np.ndarray)) and not xs.ndim):
            raise RnnlabError(
                f"Session: run takes a sequence of inputs, (T, …), not {describe(xs)}."
            )
        if stepper.encode is None:
            if isinstance(xs, Tensor):
                return stepper.as_inputs((xs,))[0], None
            if isinstance(xs, np.ndarray) and xs.ndim > 1:
                return stepper.encoded((xs,))[0], None
        given = _taken(xs)
        encode = stepper.encode
        labels = None if encode is None else [_label(encode, (x,)) for x in given]
        return _stacked([stepper.encoded((x,)) for x in given]), labels

    def _frame(self, frame: Any) -> tuple[Any, list[str | None]]:
        """The rows of a data frame: as they are, or as dicts for `encode`."""
        labels: list[str | None] = [str(label) for label in frame.index]
        if self.encode is None:
            return self._stepper.encoded((frame.to_numpy(),))[0], labels
        rows = frame.to_dict("records")
        return _stacked([self._stepper.encoded((row,)) for row in rows]), labels

    def output(self) -> Any:
        """The model's output at the current place, as `decode` tells it; None at t = 0.

        Without `decode` it is the output as it was recorded, by name if it has several parts. A
        Vocabulary's `decode` gives a dict, and for a batch a list with a dict for each row.
        """
        with self._lock:
            line, t = self._branch, self._t
            if not t or line.layout is None:
                return None
            branch = line.holder(t)
            while branch.fork >= t and branch.parent is not None:
                branch = branch.parent
            layout = line.layout
            found = {
                name: layout.take(
                    name, branch.columns[layout.slots[name].column].row(t - branch.fork - 1)
                )
                for name in layout.output_names
            }
            y = found.get("y", found)
        if self.decode is None:
            return y
        try:
            return self.decode(y)
        except RnnlabError:
            raise
        except Exception as error:
            raise refused("decode", error) from error


def _taken(xs: Iterable[Any]) -> list[Any]:
    """All elements, which somebody's generator makes."""
    given: list[Any] = []
    try:
        given.extend(xs)
    except RnnlabError:
        raise
    except Exception as error:
        raise refused(f"what run was given (after {len(given)} inputs)", error) from error
    return given


def _label(encode: Callable[..., Any], inputs: tuple[Any, ...]) -> str | None:
    """What a step with these inputs is called: a text as it is, a token of a vocabulary by it."""
    if len(inputs) != 1:
        return None
    owner = getattr(encode, "__self__", None)
    if isinstance(owner, Vocabulary):
        return owner.label(inputs[0])
    return str(inputs[0]) if isinstance(inputs[0], (str, int)) else None


def _stacked(steps: list[tuple[Any, ...]]) -> Any:
    """One tensor if all steps have one tensor and these are alike; else the list."""
    first = steps[0][0] if steps and len(steps[0]) == 1 else None
    if not isinstance(first, Tensor):
        return steps
    kind = (first.shape, first.dtype, first.device)
    if any(not isinstance(x, Tensor) or (x.shape, x.dtype, x.device) != kind for x, *_ in steps):
        return steps
    return torch.stack([x for (x,) in steps])


def joined(ys: list[Any], pieces: bool, whole: bool) -> Any:
    """Outputs of pieces of a sequence as one tensor, or as a list with one element a step."""
    tensors = all(isinstance(y, Tensor) for y in ys)
    if pieces and tensors:
        joined = torch.cat(ys) if len(ys) > 1 else ys[0]
        return joined if whole else list(joined.unbind(0))
    return torch.stack(ys) if whole and tensors else ys


class _Bar:
    """A tqdm bar, or nothing."""

    def __init__(self, total: int, progress: bool | None) -> None:
        self._bar: Any = None
        if progress or (progress is None and total > BAR):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="step")

    def __enter__(self) -> Callable[[int], Any]:
        return (lambda n: None) if self._bar is None else self._bar.update

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
