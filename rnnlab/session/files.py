"""A session as one file: arrays with a JSON header, no pickle, written atomically."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.archive import read_file, write_file
from rnnlab.errors import RnnlabError
from rnnlab.fingerprint import digest, fingerprint, first_difference
from rnnlab.nested import State, children, is_branch, rebuild
from rnnlab.recur import atomic
from rnnlab.session.columns import Column, as_numpy
from rnnlab.session.commands import COMMANDS, Command, Edit, parts
from rnnlab.session.history import Entry
from rnnlab.session.layout import Layout, filled_like, leaves_of
from rnnlab.session.timeline import Branch
from rnnlab.session.witness import contradiction

SCHEMA = 1
"""Version of the file format; a file of a newer version is refused, not guessed at."""

REMEDY = "Give the model it was made with, or force=True to go on with this one."
MADE_WITH = "Give the model it was made with."


def save(session: Any, path: str | os.PathLike[str]) -> None:
    """Write the whole tree, the place and the log; see `Session.save`."""
    arrays: dict[str, np.ndarray] = {}
    branches = list(session._branches.values())
    number = {id(branch): i for i, branch in enumerate(branches)}
    table: list[dict[str, str]] = []
    saved = [_branch(branch, i, number, table, arrays) for i, branch in enumerate(branches)]
    log = []
    for entry in session._entries:
        if entry.command is not None:
            log.append(_command(entry.command))
        else:
            log.append([number[id(entry.after[0])], entry.start, entry.stop, entry.run])
    header = {
        "kind": "Session",
        "schema": SCHEMA,
        "allow_nonfinite": session.allow_nonfinite,
        "weights": fingerprint(session.model),
        "initial": _initial(session),
        "table": table,
        "branches": saved,
        "edits": [[edit.number, edit.t, _command(edit.command)] for edit in session._edits],
        "place": [number[id(session._branch)], session._t],
        "log": log,
    }
    write_file(path, arrays, header)


@atomic()
def load(
    make: Callable[..., Any],
    path: str | os.PathLike[str],
    model: Any,
    encode: Callable[..., Any] | None,
    decode: Callable[[Any], Any] | None,
    force: bool,
) -> Any:
    """Read what `save` wrote; see `Session.load`. A file that is refused leaves the model alone."""
    header, arrays = read_file(path, "Session", SCHEMA)
    where = os.fspath(path)
    session = make(model, encode, decode, allow_nonfinite=header["allow_nonfinite"])
    initial = _initial(session)
    other = first_difference(header["weights"], fingerprint(session.model))
    if other is None:
        state = first_difference(header.get("initial", initial), initial)
        other = None if state not in initial else f"the initial state {state}"
    if other is not None and not force:
        raise RnnlabError(f"{where} was recorded with another model: {other} differs. {REMEDY}")
    ours: list[Any] = []
    leaves_of(session._branch.names, ours, [])
    templates = session._stepper.initial()
    device = next((w.device for w in session._stepper._weights), torch.device("cpu"))
    edits = [Edit(n, t, _as_command(c)) for n, t, c in header["edits"]]  # type: ignore[arg-type]
    branches: list[Branch] = []
    for i, saved in enumerate(header["branches"]):
        theirs: list[Any] = []
        names = [_structure(s, t, where) for s, t in zip(saved["names"], templates, strict=False)]
        leaves_of(names, theirs, [])
        if theirs != ours and i == 0:
            raise RnnlabError(
                f"{where} has the states {', '.join(theirs)}; this model has {', '.join(ours)}. "
                f"{MADE_WITH}"
            )
        _check_sizes(saved["entry"], session._branch.entry_values(), i, arrays, where)
        branches.append(_rebuilt(saved, i, names, branches, arrays, edits, header, device, where))
    session._branches = {branch.name: branch for branch in branches}
    session._edits = edits
    session._entries = [_entry(line, branches) for line in header["log"]]
    session._sealed = len(session._entries)
    at, t = header["place"]
    session._enter(branches[at], t)
    said = None if force else contradiction(session)
    if said is not None:
        raise RnnlabError(
            f"{where} was recorded with another model: {said}. A function, an activation or the "
            f"mode (train, eval) must be another. {REMEDY}"
        )
    return session


def _initial(session: Any) -> dict[str, str]:
    """A hash of each initial state: that of a function cell may be a number, and no weight."""
    states = session._stepper.initial()
    named: list[Any] = []
    values: list[Any] = []
    leaves_of(session._stepper.names(states), named, [])
    leaves_of(states, values, [])
    found = zip(named, values, strict=True)
    return {n: digest(v) if isinstance(v, Tensor) else repr(v) for n, v in found}


def _branch(
    branch: Branch,
    i: int,
    number: dict[int, int],
    table: list[dict[str, str]],
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:
    entry = []
    for place, (name, value) in enumerate(branch.entry_values().items()):
        if isinstance(value, Tensor):
            arrays[f"entry/{i}/{place}"] = as_numpy(value)
            entry.append([name, _kind(value.dtype), None])
        else:
            entry.append([name, None, value])
    columns = []
    for place, column in enumerate(branch.columns):
        pieces = column.pieces()
        columns.append(len(pieces))
        arrays |= {f"rows/{i}/{place}/{k}": piece for k, piece in enumerate(pieces)}
    marks = []
    for t, weights in branch.weights:
        if weights not in table:
            table.append(weights)
        marks.append([t, table.index(weights)])
    layout = branch.layout
    return {
        "name": branch.name,
        "parent": None if branch.parent is None else number[id(branch.parent)],
        "fork": branch.fork,
        "count": branch.count,
        "names": [_spec(state) for state in branch.names],
        "entry": entry,
        "columns": columns,
        "labels": [[t, text] for t, text in branch.labels.items()],
        "weights": marks,
        "runs": branch.runs,
        "edits": [edit.number for edit in branch.edits],
        "layout": None
        if layout is None or not branch.columns
        else {
            "inputs": layout.inputs,
            "states": [_spec(state) for state in layout.states],
            "leaves": [
                [name, slot.dtype and _kind(slot.dtype), slot.shape]
                for name, slot in layout.slots.items()
            ],
        },
    }


def _rebuilt(
    saved: dict[str, Any],
    i: int,
    names: list[State],
    branches: list[Branch],
    arrays: dict[str, np.ndarray],
    edits: list[Edit],
    header: dict[str, Any],
    device: torch.device,
    where: str,
) -> Branch:
    values = {}
    for place, (name, kind, value) in enumerate(saved["entry"]):
        if kind is not None:
            value = torch.tensor(arrays[f"entry/{i}/{place}"])
            value = value.to(device=device, dtype=getattr(torch, kind))
        values[name] = value
    branch = Branch(
        saved["name"],
        filled_like(names, values),
        names,
        None if saved["parent"] is None else branches[saved["parent"]],
        saved["fork"],
        tuple(edit for n in saved["edits"] for edit in edits if edit.number == n),
    )
    described = saved["layout"]
    if described is not None:
        leaves = [
            0 if kind is None else torch.empty(shape, dtype=getattr(torch, kind), device=device)
            for _, kind, shape in described["leaves"]
        ]
        states = [_structure(s, t, where) for s, t in zip(described["states"], names, strict=True)]
        titles = [name for name, _, _ in described["leaves"]]
        layout = Layout(titles, leaves, states, described["inputs"], None)
        branch.begin(layout)
        likes = layout.pack(leaves)
        for place, (column, count) in enumerate(zip(branch.columns, saved["columns"], strict=True)):
            column.like = likes[place]
            column.paste([arrays[f"rows/{i}/{place}/{k}"] for k in range(count)])
        _check_rows(branch.columns, saved["count"], where)
    branch.count = saved["count"]
    branch.labels = dict(saved["labels"])
    branch.weights = [(t, header["table"][k]) for t, k in saved["weights"]]
    branch.runs = [(a, b) for a, b in saved["runs"]]
    return branch


def _check_sizes(
    entry: list[Any], ours: dict[str, Any], i: int, arrays: dict[str, np.ndarray], where: str
) -> None:
    """Refuse the states of a model with other sizes; a state may have got a batch in front."""
    for place, (name, kind, _) in enumerate(entry):
        own = ours.get(name)
        if kind is None or not isinstance(own, Tensor):
            continue
        saved = arrays[f"entry/{i}/{place}"].shape
        if saved[max(0, len(saved) - own.dim()) :] != tuple(own.shape):
            raise RnnlabError(
                f"{where} has {name} of shape {saved}; this model's is {tuple(own.shape)}. "
                f"{MADE_WITH}"
            )


def _check_rows(columns: list[Column], count: int, where: str) -> None:
    if any(len(column) != count for column in columns):
        raise RnnlabError(f"{where} is not a saved Session (rows are missing).")


def _command(command: Command) -> list[Any]:
    return [type(command).__name__, dict(parts(command))]


def _as_command(saved: list[Any]) -> Command:
    name, values = saved
    return COMMANDS[name](**{key: _tuples(value) for key, value in values.items()})


def _tuples(value: Any) -> Any:
    """The tuples that JSON made lists of."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _entry(saved: list[Any], branches: list[Branch]) -> Entry:
    if isinstance(saved[0], str):
        place = (branches[0], 0)
        return Entry(_as_command(saved), place, place)
    at, start, stop, run = saved
    return Entry(None, (branches[at], start), (branches[at], stop), run)


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _spec(tree: State) -> Any:
    """A structure of names as JSON."""
    if not is_branch(tree):
        return tree
    kind = "named" if hasattr(tree, "_fields") else type(tree).__name__
    return {kind: [[key, _spec(part)] for key, part in children(tree)]}


def _structure(spec: Any, template: State, where: str) -> State:
    """What `_spec` wrote; a named tuple needs the model's own as a template."""
    if isinstance(spec, str):
        return spec
    ((kind, pairs),) = spec.items()
    under = [part for _, part in children(template)] if is_branch(template) else []
    under += [None] * (len(pairs) - len(under))
    made = [_structure(part, like, where) for (_, part), like in zip(pairs, under, strict=False)]
    if kind == "named":
        if not hasattr(template, "_fields") or len(template) != len(made):
            raise RnnlabError(
                f"{where} has a state of {len(made)} named parts, this model has not. {MADE_WITH}"
            )
        return rebuild(template, made)
    if kind == "dict":
        return {key: part for (key, _), part in zip(pairs, made, strict=True)}
    return tuple(made) if kind == "tuple" else list(made)
