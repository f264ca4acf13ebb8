"""What the tabs Memory and Dynamics compute, in threads, on a copy of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.analysis import attribution, memory, waterfall
from rnnlab.analysis.attribution import check_real
from rnnlab.derive import derive
from rnnlab.errors import RnnlabError
from rnnlab.functional import ModelCell, as_cell, private_copy
from rnnlab.recur import Recur
from rnnlab.session import Session
from rnnlab.trace import Trace
from rnnlab.widgets.insight import plane, window
from rnnlab.widgets.portrait import Portrait
from rnnlab.widgets.work import Job, Message, Send, Work

LONGEST = 512
"""So many of the steps before the one looked at are asked what is still known of them."""


class Studies:
    """The longer questions of one explorer's page, one of each kind at a time."""

    def __init__(self, session: Session, send: Send, row: Callable[[], int]) -> None:
        self._session = session
        self._send = send
        self._row = row
        self._memory = Work("memory", send)
        self._dynamics = Work("dynamics", send)
        self._portrait: Portrait | None = None

    def close(self) -> None:
        """End what is being computed."""
        self._memory.close()
        self._dynamics.close()

    def stop(self, message: Message) -> None:
        """End one study: `topic` says which."""
        works = {work.topic: work for work in (self._memory, self._dynamics)}
        works[message["topic"]].stop()

    def fit(self, name: str, within: Sequence[int] | None = None) -> Portrait:
        """Fit the plane of a state anew; what was found in the old one is forgotten."""
        found = plane(self._session, name, self._row(), within)
        self._portrait = Portrait(found)
        self._send(found, [])
        return self._portrait

    def remember(self, message: Message) -> None:
        """What the state, an output or a unit after a step still depends on."""

        def prepare() -> Callable[[Job], None]:
            step = int(message["step"])
            if step < 1:
                raise RnnlabError("Explorer: no input has been fed before the initial state.")
            edited = by_hand(self._session, step)
            if edited == step:
                raise RnnlabError(
                    f"Explorer: at step {step} the state was set or held by hand, so it does not "
                    "tell what was fed before. Look at a later step."
                )
            start = max(edited, step - LONGEST, 0)
            row = self._row()
            subject = Subject.of(self._session, start, step, row)
            target, method = message["target"], str(message["method"])
            touched = edited == start > 0
            if method == "written":
                trace = window(self._session, start, step)
                return lambda job: split(job, subject, trace, target, row, edited=touched)
            return lambda job: recall(job, subject, target, method, edited=touched)

        self._memory.start(message["request"], prepare)

    def portray(self, message: Message) -> None:
        """The flow, fixed points and basins of a constant input in the plane of a state."""

        def prepare() -> Callable[[Job], None]:
            session, name, step = self._session, str(message["name"]), int(message["step"])
            portrait = self._portrait
            if portrait is None or portrait.name != name:
                portrait = self.fit(name)
            if "x" not in session.recorded() or "x.1" in session.recorded():
                raise RnnlabError("Explorer: the flow is drawn for models with one input.")
            subject = Subject.of(session, step, step, self._row())
            row = session.read("x", 0, 1)[0]
            shape = row.shape[1:] if subject.batched else row.shape
            # what was fed as whole numbers is drawn for what lies between them, too
            dtype = row.dtype if row.dtype.kind == "f" else float
            x = torch.as_tensor(np.asarray(message["x"], dtype).reshape(shape))
            wanted = {"thorough": bool(message.get("thorough")), "shaded": bool(message["basins"])}
            return lambda job: portrait.draw(job, subject.model, x, subject.state, **wanted)

        self._dynamics.start(message["request"], prepare)


def by_hand(session: Session, step: int) -> int:
    """The last step up to this one at which an edit of the current line acted; 0 if none did."""
    last = 0
    for number in session.active_edits:
        edit = session.edits[number]
        held = getattr(edit.command, "steps", 0)
        if edit.t <= step:
            last = max(last, step if held is None else min(step, edit.t + held))
    return last


@dataclass(frozen=True)
class Subject:
    """A model of its own, which no later training or step reaches, and a stretch of a recording.

    Attributes:
        model: the copy.
        cell: it as a function of vectors, in float64.
        xs: `(T, …)`, the inputs; of a batch, those of one row.
        state: `(S,)`, the whole state before them.
        start: the step after which they come.
        batched: whether the recording is one of a batch.
    """

    model: nn.Module
    cell: ModelCell
    xs: np.ndarray | None
    state: np.ndarray
    start: int
    batched: bool

    @classmethod
    def of(cls, session: Session, start: int, stop: int, row: int) -> Subject:
        """The steps start + 1 … stop of the current branch; of a batch, one row."""
        model = private_copy(session.model, _own)
        cell = as_cell(model, dtype=torch.float64)
        trace = window(session, start, stop)
        recorded, initial = session.recorded(), session.initial()
        batched = any(len(recorded.get(name, ())) > len(cell.shapes[name]) for name in cell.names)
        parts = []
        for name, shape in cell.shapes.items():
            before = np.asarray(trace.initial.get(name, initial[name]))
            rows = before.reshape(-1, *shape)
            parts.append(rows[min(row, len(rows) - 1)].ravel())
        xs = trace["x"] if "x" in trace and "x.1" not in trace else None
        if xs is not None and batched:
            xs = xs[:, row]
        return cls(model, cell, xs, np.concatenate(parts).astype(float), start, batched)

    def place(self, name: str, unit: int) -> int:
        """Where a unit stands in the vector of the whole state."""
        if name not in self.cell.slices:
            raise RnnlabError(f"Explorer: there is no state {name!r}.")
        return self.cell.slices[name].start + unit


def _own(value: Any) -> Any:
    """A copy in main memory: the analyses compute in float64, which not every device has."""
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def recall(
    job: Job, subject: Subject, target: Message, method: str, *, edited: bool = False
) -> None:
    """What an output or a unit at the end depends on, then how the dependence fades.

    `edited` says that the stretch begins at a change made by hand.

    The target is `{"y": 3}`, `{"name": "0.h", "unit": 17}`, or `{"all": "state"}` or "output".
    """
    if subject.xs is None:
        raise RnnlabError("Explorer: memory is about models with one input.")
    model, cell, xs = _behind_embedding(subject)
    check_real("memory", torch.as_tensor(np.array(xs)), ())
    whole = target.get("all")
    if not whole:
        traced: Any = model
        if "y" in target:
            chosen = int(target["y"])
        else:  # the places of states are those of the whole model: what is left out has none
            traced = Recur(_shown(cell), torch.as_tensor(subject.state))
            chosen = subject.place(str(target["name"]), int(target["unit"]))
        found = attribution(
            traced,
            xs,
            chosen,
            method,  # type: ignore[arg-type]
            state=subject.state,
            progress=job.tell,
        )
        sums = found.magnitude if method == "gradient" else found.values.sum(axis=1)
        job.part(
            "values",
            {
                "start": subject.start,
                "edited": edited,
                "value": found.output,
                "method": method,
                "failed": found.failed,
            },
            [sums.astype("<f4")],
        )
    faded = memory(model, xs, state=subject.state, progress=job.tell)
    if whole:
        logs = faded.log_output if whole == "output" else faded.log_state
        job.part(
            "values",
            {
                "start": subject.start,
                "edited": edited,
                "value": None,
                "method": "norm",
                "failed": faded.failed,
            },
            [np.exp(logs).astype("<f4")],
        )
    job.part(
        "fading",
        {
            "steps": len(faded.log_lag),
            "horizon": faded.horizon,
            "reached": faded.horizon_reached,
            "e_folding": faded.e_folding if np.isfinite(faded.e_folding) else None,
            "endless": bool(np.isposinf(faded.e_folding)),
        },
    )


def split(
    job: Job, subject: Subject, trace: Trace, target: Message, row: int, *, edited: bool = False
) -> None:
    """What each step wrote into a unit, as much of it as is left: it adds up to the value."""
    if "name" not in target:
        raise RnnlabError(
            "Explorer: what was written is told of one unit of a state; select a unit."
        )
    derived = derive(subject.model, trace, force=True)
    found = waterfall(derived, str(target["name"]), int(target["unit"]), len(trace), batch=row)
    job.part(
        "values",
        {
            "start": subject.start,
            "edited": edited,
            "value": found.value,
            "before": found.initial,
            "method": "written",
            "failed": found.failed,
        },
        [found.contributions.astype("<f4")],
    )


def _shown(cell: ModelCell) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The model with its whole state for an output."""

    def step(s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        after = cell.flat_step(s, x)[0]
        return after, after

    return step


def _behind_embedding(subject: Subject) -> tuple[Any, ModelCell, Any]:
    """The part of the model that has derivatives, and its inputs: tokens become their vectors."""
    model, xs = subject.model, subject.xs
    first, *others = model if isinstance(model, nn.Sequential) and len(model) else [model]
    if not isinstance(first, nn.Embedding):
        return model, subject.cell, xs
    with torch.no_grad():
        vectors = first(torch.as_tensor(np.array(xs), dtype=torch.long)).cpu().numpy()
    rest = type(model)(*others)
    return rest, as_cell(rest, dtype=torch.float64), vectors
