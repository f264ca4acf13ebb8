"""What can be done to a session, as data: every command is a frozen dataclass of plain values.

`session.log` holds them, `session.do(command)` carries one out, `replay` all of them on a new
session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError

Value = Any
"""A number, or nested tuples of numbers."""


@dataclass(frozen=True, eq=False)
class Command:
    """One thing done to a session. Equal commands have equal values, tensors bit for bit."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    def __hash__(self) -> int:
        return hash(type(self).__name__)


@dataclass(frozen=True, eq=False)
class Step(Command):
    """Feed one input: what the model was given, encoded."""

    inputs: tuple[Any, ...]
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Run(Command):
    """Feed a sequence at once: one tensor `(T, …)` per input of the model."""

    inputs: tuple[Any, ...]
    labels: tuple[str | None, ...] | None = None


@dataclass(frozen=True, eq=False)
class Reset(Command):
    """Start a new run from the initial states."""


@dataclass(frozen=True, eq=False)
class Rewind(Command):
    """Go to the place after step t of the current branch."""

    t: int


@dataclass(frozen=True, eq=False)
class MakeBranch(Command):
    """Start a named branch here."""

    name: str


@dataclass(frozen=True, eq=False)
class Checkout(Command):
    """Go to a branch: to its end, or to the place after its step t."""

    name: str
    t: int | None = None


@dataclass(frozen=True, eq=False)
class Poke(Command):
    """Set units of a state (all of them if `units` is None) to a value."""

    name: str
    units: tuple[int, ...] | None
    value: Value


@dataclass(frozen=True, eq=False)
class Clamp(Command):
    """Hold units of a state or gate at a value for `steps` steps; to the end if None."""

    name: str
    units: tuple[int, ...] | None
    value: Value
    steps: int | None


@dataclass(frozen=True, eq=False)
class Transplant(Command):
    """Put states of step t of another branch in the place of those here."""

    names: tuple[str, ...]
    branch: str
    t: int


@dataclass(frozen=True, eq=False)
class Switch(Command):
    """Switch an edit off or on; what came after it is computed anew."""

    edit: int
    on: bool


@dataclass(frozen=True, eq=False)
class Refeed(Command):
    """Feed again what followed this place on a branch, so many steps of it."""

    branch: str
    steps: int | None = None


@dataclass(frozen=True)
class Edit:
    """A change made by hand: `command`, done at the place after step `t`; `number` names it."""

    number: int
    t: int
    command: Poke | Clamp | Transplant

    def holds(self, t: int) -> bool:
        """Whether it still acts on the step from t to t + 1."""
        steps = getattr(self.command, "steps", 0)
        return self.t <= t and (steps is None or t < self.t + steps)

    def describe(self) -> dict[str, Any]:
        """As a Trace tells it: plain values, `t` counted in steps."""
        command = self.command
        found: dict[str, Any] = {"t": self.t, "kind": type(command).__name__.lower()}
        if isinstance(command, Transplant):
            return found | {"names": command.names, "branch": command.branch, "from": command.t}
        found |= {"name": command.name, "units": command.units, "value": command.value}
        return found | ({"steps": command.steps} if isinstance(command, Clamp) else {})

    def title(self) -> str:
        """A few words for the name of a branch: `0.h[3]=0.5`."""
        command = self.command
        if isinstance(command, Transplant):
            return f"{'+'.join(command.names)} from {command.branch}@{command.t}"
        units = "" if command.units is None else f"[{','.join(map(str, command.units[:3]))}"
        units += "" if not units else ",…]" if len(command.units or ()) > 3 else "]"
        plain = isinstance(command.value, (int, float))
        value = f"={command.value:.4g}" if plain else " edited"
        steps = getattr(command, "steps", 0)
        held = "" if steps == 0 else " held" if steps is None else f" for {steps}"
        return f"{command.name}{units}{value}{held}"


def check(command: Step | Run) -> None:
    """Refuse a command whose inputs and labels are not what its kind has."""
    run, inputs = isinstance(command, Run), command.inputs
    labels: Any = command.labels if isinstance(command, Run) else (command.label,)
    good = isinstance(inputs, tuple) and len(inputs) > 0
    good = good and (not run or all(map(_is_column, inputs)))
    if not good or not isinstance(labels, (tuple, list, type(None))):
        each = "a tensor (T, …), or a tuple," if run else "a value"
        raise RnnlabError(
            f"Session: a {type(command).__name__} has a tuple with {each} for each input of the "
            f"model{', and such a tuple of labels, or None' if run else ''}; got {command!r}."
        )
    if run:
        lengths = [len(part) for part in (*inputs, labels) if part is not None]
        if len({*lengths}) > 1 or not lengths[0]:
            raise RnnlabError(
                "Session: the inputs and labels of a Run are of one length, at least 1; got "
                f"{', '.join(map(str, lengths))}."
            )
    for label in labels or ():
        check_label(label)


def _is_column(x: Any) -> bool:
    return x.dim() > 0 if isinstance(x, Tensor) else isinstance(x, tuple)


def check_label(label: Any) -> None:
    """Refuse a label that is no text."""
    if label is not None and not isinstance(label, str):
        raise RnnlabError(f"Session: a label is text, or None; got {describe(label)}.")


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same, numbers by type and tensors bit for bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape and a.device == b.device
        return alike and bits(a) == bits(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return bool(a == b)


def bits(value: Tensor) -> bytes:
    """The bytes of a tensor."""
    import torch

    data = value.detach().cpu().contiguous()
    return data.reshape(-1).view(torch.uint8).numpy().tobytes() if data.numel() else b""


def plain(value: Any) -> Any:
    """A tensor or array as a number or nested tuples of numbers; exact for every float."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    elif isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return tuple(plain(part) for part in value) if isinstance(value, (list, tuple)) else value


COMMANDS: dict[str, type[Command]] = {
    kind.__name__: kind
    for kind in (
        Step, Run, Reset, Rewind, MakeBranch, Checkout, Poke, Clamp, Transplant, Switch, Refeed,
    )
}  # fmt: skip
"""Every kind of command by its name."""


def parts(command: Command) -> Iterator[tuple[str, Any]]:
    """The fields of a command."""
    return ((f.name, getattr(command, f.name)) for f in fields(command))
