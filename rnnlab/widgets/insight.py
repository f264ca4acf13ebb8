"""What the page asks of a recording: the gates of a step, an order of units, a principal plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnlab.analysis.gating import kind_of, layers
from rnnlab.derive import derive
from rnnlab.errors import RnnlabError
from rnnlab.recur import recurs
from rnnlab.session import Session, find
from rnnlab.trace import Trace
from rnnlab.widgets.lanes import batch, flat_rows
from rnnlab.widgets.meanings import meaning

ORDERS = ("index", "first activity", "principal component", "time constant")
PIECE = 65_536
"""So many steps are read at once where only a few units of them are kept."""
WINDOW = 4096
"""So many of the newest steps are looked at when units are put in order or a plane is fitted."""


def window(session: Session, start: int, stop: int) -> Trace:
    """The steps start + 1 … stop of the current branch as a Trace, without reading the rest."""
    names = session.recorded()
    initial = session.initial()
    before: dict[str, Any] = {}
    for name in initial:
        if start and name in names:
            before[name] = session.read(name, start - 1, start)[0]
        else:
            before[name] = initial[name]
    arrays = {name: session.read(name, start, stop) for name in names}
    return Trace(arrays, initial={n: v for n, v in before.items() if n in arrays})


def gates(session: Session, step: int, row: int = 0) -> dict[str, dict[str, dict[str, Any]]]:
    """The gates of one step: layer → gate → its values, what it means, where it saturates.

    Of a batch, one row. Layers are named by the path of their Recur ("" for a model that is one).
    What is not a cell of the library has none. Where the gates say so, "kept" is the share of the
    old state that stays.
    """
    if not 1 <= step <= session.length():
        raise RnnlabError(f"Explorer: there are steps 1 to {session.length()}, no {step}.")
    seen = window(session, step - 1, step)
    derived = derive(session.model, seen, force=True)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path, recur in recurs(session.model):
        for gate in getattr(recur.cell, "gate_names", ()):
            name = f"{path}.{gate}" if path else gate
            if name in derived:
                values = flat_rows(derived[name], row)[0]
                entry = {"values": _told(values), **meaning(recur.cell, gate)}
                found.setdefault(path, {})[gate] = entry
    for layer in layers(derived):
        if layer.fits and layer.path in found:
            share = flat_rows(layer.kind.keep(layer.gates), row)[0]
            found[layer.path]["kept"] = {"values": _told(share), "state": layer.kind.carried}
    return found


def _told(values: np.ndarray) -> list[float | None]:
    """Numbers as JSON has them: None for what is not finite."""
    return [float(value) if np.isfinite(value) else None for value in values]


def spans(
    session: Session,
    units: Sequence[Any],
    above: float,
    at_least: int,
    row: int = 0,
    within: Sequence[int] | None = None,
) -> list[tuple[int, int, float]]:
    """Where chosen units of a row of the batch are active together: first, last step, strength.

    Looked at are the steps `within` a first and a last one; left out, all.
    """
    chosen: dict[str, list[int]] = {}
    for name, unit in units:
        chosen.setdefault(str(name), []).append(int(unit))
    before, stop = _steps(session, within)
    if within is not None and before >= stop:
        return []
    columns = {
        name: np.concatenate(
            [
                flat_rows(session.read(name, start, min(start + PIECE, stop)), row)[:, numbers]
                for start in range(before, stop, PIECE)
            ]
        )
        for name, numbers in chosen.items()
        if before < stop and name in session.recorded()
    }
    found = find(
        Trace(columns),
        [(name, k) for name, numbers in chosen.items() for k in range(len(numbers))],
        above=above,
        at_least=at_least,
    )
    return [(before + span.start + 1, before + span.stop, span.strength) for span in found]


def _steps(session: Session, within: Sequence[int] | None) -> tuple[int, int]:
    """The steps of the current branch that lie within a span: those before it, and its last."""
    first, last = (1, session.length()) if within is None else within
    return max(first, 1) - 1, min(last, session.length())


def offered_orders(model: Any) -> list[str]:
    """The orders that units of a model can have: by time constant where gates tell one.

    Example:
        >>> import rnnlab as rl
        >>> offered_orders(rl.RNN(2, 3))
        ['index', 'first activity', 'principal component']
    """
    cells = [recur.cell for _, recur in recurs(model)]
    gated = any(kind_of(getattr(cell, "gate_names", ())) for cell in cells)
    return [by for by in ORDERS if gated or by != "time constant"]


def order(session: Session, by: str, row: int = 0) -> dict[str, list[int]]:
    """For every state the order in which to draw its units; empty for the order by index.

    Raises:
        RnnlabError: an unknown order, too short a recording, or no forget gate to go by.
    """
    if by not in ORDERS:
        raise RnnlabError(f"Explorer: order units by one of {', '.join(ORDERS)}, not {by!r}.")
    if by == "index":
        return {}
    length = session.length()
    if length < 2:
        raise RnnlabError(f"Explorer: an order by {by} needs at least 2 recorded steps.")
    start = max(0, length - WINDOW)
    if by == "time constant":
        return _by_memory(session, start, length, row)
    orders: dict[str, list[int]] = {}
    for name in session.initial():
        rows = flat_rows(session.read(name, start, length), row).astype(float)
        key = _first_active(rows) if by == "first activity" else _loading(rows)
        orders[name] = np.argsort(key, kind="stable").tolist()
    return orders


def _first_active(rows: np.ndarray) -> np.ndarray:
    """The row in which each unit first exceeds half of its largest magnitude."""
    size = np.abs(rows)
    return (size >= 0.5 * size.max(axis=0)).argmax(axis=0)


def _loading(rows: np.ndarray) -> np.ndarray:
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        return np.zeros(rows.shape[1])
    _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    first = axes[0]
    return first * np.sign(first[np.abs(first).argmax()])


def _by_memory(session: Session, start: int, length: int, row: int) -> dict[str, list[int]]:
    """Units by the time constant −1 / mean ln k, k the share they keep a step, fastest first."""
    derived = derive(session.model, window(session, start, length), force=True)
    cells = {path: recur.cell for path, recur in recurs(session.model)}
    orders: dict[str, list[int]] = {}
    for layer in layers(derived):
        if not layer.fits:
            continue
        kept = np.clip(flat_rows(layer.kind.keep(layer.gates), row), 1e-12, 1 - 1e-12)
        slowest_last = np.argsort(-1 / np.log(kept).mean(axis=0), kind="stable").tolist()
        for name in getattr(cells.get(layer.path), "state_names", (layer.kind.carried,)):
            orders[f"{layer.path}.{name}" if layer.path else name] = slowest_last
    if not orders:
        raise RnnlabError(
            "Explorer: no layer of this model has gates that say how much of its state it keeps."
        )
    return orders


def plane(
    session: Session, name: str, row: int = 0, within: Sequence[int] | None = None
) -> dict[str, Any]:
    """The principal plane of one state over the current branch: centre, axes, explained variance.

    It is fitted to the steps `within` a first and a last one, or to all; of these to the newest
    WINDOW. The sign of each axis is such that its largest loading is positive. The name "" stands
    for the whole state: all of them side by side.
    """
    states = list(session.initial())
    if name and name not in states:
        raise RnnlabError(f"Explorer: there is no state {name!r}.")
    start, stop = _steps(session, within)
    start = max(start, stop - WINDOW)
    if stop - start < 3:
        raise RnnlabError("Explorer: a plane needs at least 3 recorded steps.")
    names = [name] if name else states
    read = [flat_rows(session.read(one, start, stop), row) for one in names]
    rows = np.concatenate(read, axis=1).astype(float)
    if rows.shape[1] < 2:
        raise RnnlabError("Explorer: a plane needs a state of at least 2 units.")
    finite = np.isfinite(rows).all(axis=1)
    lost = len(rows) - int(finite.sum())
    rows = rows[finite]
    if len(rows) < 3:
        raise RnnlabError("Explorer: a plane needs at least 3 steps whose states are finite.")
    mean = rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(rows - mean, full_matrices=False)
    axes = axes[:2] * np.sign(np.take_along_axis(axes[:2], np.abs(axes[:2]).argmax(1)[:, None], 1))
    power = sizes**2
    share = power[:2] / power.sum() if power.sum() else np.zeros(2)
    reach = np.abs((rows - mean) @ axes.T).max(axis=0)
    return {
        "kind": "plane",
        "name": name,
        "mean": mean.tolist(),
        "axes": axes.tolist(),
        "variance": share.tolist(),
        "reach": np.maximum(reach, 1e-9).tolist(),
        "fit": f"steps {start + 1} to {stop} of {session.branch_name}"
        + (f", {lost} that are not finite left out" if lost else "")
        + (f", row {row + 1} of the batch" if batch(session) > 1 else ""),
    }


class Gates:
    """The gates of the current branch, derived when they are asked for and kept until it changes.

    At most the WINDOW newest steps are looked at.

    Attributes:
        names: every gate that can be asked for, as "0.f".
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: tuple[tuple[str, int], Trace] | None = None
        self._cells = {
            f"{path}.{gate}" if path else gate: recur.cell
            for path, recur in recurs(session.model)
            for gate in getattr(recur.cell, "gate_names", ())
        }
        self.names = list(self._cells)

    def forget(self) -> None:
        """The recording has changed."""
        self._known = None

    def signal(self, name: str, unit: int, row: int = 0) -> dict[str, Any]:
        """One unit of a gate at the steps of the branch, as the page is told it.

        Raises:
            RnnlabError: there is no such gate or unit.
        """
        if name not in self.names:
            raise RnnlabError(f"Explorer: there is no gate {name!r}.")
        session = self._session
        key = (session.branch_name, session.length())
        start = max(0, key[1] - WINDOW)
        values = np.zeros((0, unit + 1))
        if key[1]:
            if self._known is None or self._known[0] != key:
                derived = derive(session.model, window(session, start, key[1]), force=True)
                self._known = (key, derived)
            values = flat_rows(self._known[1][name], row)
        if not 0 <= unit < values.shape[1]:
            raise RnnlabError(f"Explorer: {name} has units 0 to {values.shape[1] - 1}, no {unit}.")
        return {
            "kind": "signal",
            "name": name,
            "unit": unit,
            "branch": key[0],
            "length": key[1],
            "start": start + 1,
            "sigmoid": meaning(self._cells[name], name.rpartition(".")[2])["sigmoid"],
            "values": _told(values[:, unit]),
        }
