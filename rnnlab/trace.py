"""Trace: what a run recorded, as numpy arrays with named axes. No torch, no model kept alive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from rnnlab.archive import read_file, write_file
from rnnlab.errors import RnnlabError

SCHEMA = 2
"""Version of the file format; a file of a newer version is refused, not guessed at. Before 2 the
weights were one fingerprint, and not known by their steps; such a file is still read."""


class Trace:
    """The recording of a run: inputs, states and outputs, one row per step.

    Args:
        arrays: name → array `(T, …)`: `"x"`, the states by their path (`"0.h"`), `"y"`. Row t is
            what step t + 1 left behind, so a state's row is the state *after* the step. They are
            not copied: leave them as they are afterwards.
        initial: name → the state before the first step, `(…)`, for the names that are states.
        labels: one text per step (tokens, times), or none.
        outputs: names of the units of `"y"`, or none.
        weights: fingerprint of the weights that made the run (parameter → hash), or none. Where
            they changed on the way, pairs `(t, fingerprint)`: of step t + 1 and those after it.
        edits: what was changed by hand along the run, oldest first: dictionaries of plain values
            with `t`, the step whose states were changed, and with `steps` if the change was held
            for a while.

    Attributes:
        names: the names of all arrays, in the order inputs, states, outputs.
        axes: name → names of the array's axes: `("step", "unit")` or `("step", "batch", "unit")`.
        weights: the fingerprint; of what changed on the way it says before which step.

    Indexing: `trace["0.h"]` is an array (read-only), `trace[3:10]` the Trace of those steps,
    `trace["0.h", 3:10]` and `trace["0.h", 3:10, [4, 7]]` steps and units of one array.

    An array is the recording itself, not a copy, so looking at it costs nothing. Who wants to
    change it, or a tensor of it, takes a copy: `trace["0.h"].copy()`, `torch.tensor(trace["0.h"])`.
    `torch.as_tensor` and `torch.from_numpy` would share the memory, which torch warns of.

    Raises:
        RnnlabError: an unknown name, arrays of unequal length, names of outputs or labels that are
            not as many as there are, an edit that a file cannot hold.

    Example:
        >>> h = np.arange(6.0).reshape(3, 2)
        >>> trace = Trace({"x": np.ones((3, 1)), "h": h}, initial={"h": np.zeros(2)})
        >>> trace
        Trace(3 steps: x (1), h (2))
        >>> trace["h"][-1], trace.before("h")[0]
        (array([4., 5.]), array([0., 0.]))
        >>> trace[1:]["h"].tolist()
        [[2.0, 3.0], [4.0, 5.0]]
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        *,
        initial: Mapping[str, Any] | None = None,
        labels: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        weights: Mapping[str, str] | Sequence[tuple[int, Mapping[str, str]]] | None = None,
        edits: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._arrays = {name: _frozen(array) for name, array in arrays.items()}
        for name, array in self._arrays.items():
            if not array.ndim:
                raise RnnlabError(f"Trace: {name} has no step axis; give an array (T, …).")
        lengths = {name: len(array) for name, array in self._arrays.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name}: {n}" for name, n in lengths.items())
            raise RnnlabError(f"Trace: all arrays must have the same number of steps ({said}).")
        self._steps = next(iter(lengths.values()), 0)
        self.initial: Mapping[str, np.ndarray] = MappingProxyType(
            {name: _frozen(value) for name, value in (initial or {}).items()}
        )
        unknown = [name for name in self.initial if name not in self._arrays]
        if unknown:
            raise RnnlabError(f"Trace: initial states without an array: {', '.join(unknown)}.")
        self.labels = None if labels is None else tuple(map(str, labels))
        if self.labels is not None and len(self.labels) != self._steps:
            raise RnnlabError(f"Trace: {len(self.labels)} labels for {self._steps} steps.")
        self.outputs = None if outputs is None else tuple(map(str, outputs))
        y = self._arrays.get("y")
        if self.outputs is not None and y is not None:
            units = 1 if y.ndim == 1 else y.shape[-1]
            if len(self.outputs) != units:
                raise RnnlabError(
                    f"Trace: {len(self.outputs)} names of outputs for y of shape {y.shape}; "
                    f"give one for each of its {units} units."
                )
        marks = [(0, weights)] if isinstance(weights, Mapping) else weights or ()
        self.weight_marks = tuple((int(t), MappingProxyType(dict(made))) for t, made in marks)
        self.edits = tuple(map(_edit, edits))

    @property
    def weights(self) -> Mapping[str, str] | None:
        if not self.weight_marks:
            return None
        merged = dict(self.weight_marks[0][1])
        for t, made in self.weight_marks[1:]:
            for name in merged:
                if made.get(name) != merged[name] and "changed" not in merged[name]:
                    merged[name] = f"changed before step {t + 1}"
        return MappingProxyType(merged)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    @property
    def states(self) -> tuple[str, ...]:
        """The names that are states: those with a value before the first step."""
        return tuple(name for name in self._arrays if name in self.initial)

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        return {name: _axes(array) for name, array in self._arrays.items()}

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                return self._arrays[key]
            except KeyError:
                raise RnnlabError(
                    f"Trace: no array {key!r}. It has: {', '.join(self._arrays) or 'none'}."
                ) from None
        if isinstance(key, slice):
            return self._between(key)
        if isinstance(key, tuple) and len(key) > 1 and isinstance(key[0], str):
            name, steps, *units = key
            if len(units) > 1:
                raise RnnlabError("Trace: index one array as trace[name, steps] or …, units].")
            rows = self[name]
            try:
                rows = rows[steps]
                return rows[..., units[0]] if units else rows
            except IndexError as error:
                shape = " × ".join(map(str, rows.shape[1:])) or "a number"
                raise RnnlabError(
                    f"Trace: {name} has {self._steps} steps of {shape}; cannot take "
                    f"{key[1:]!r} ({error})."
                ) from error
        raise RnnlabError(
            f"Trace: index by a name, a slice of steps, or (name, steps, units), not {key!r}."
        )

    def _between(self, steps: slice) -> Trace:
        try:
            start, stop, stride = steps.indices(self._steps)
        except TypeError as error:
            raise RnnlabError(f"Trace: {steps!r} is no slice of steps: {error}.") from None
        if stride != 1:
            raise RnnlabError("Trace: a slice of steps must be contiguous (no stride).")
        stop = max(start, stop)
        before = self.initial
        if start:
            before = {name: self._arrays[name][start - 1] for name in self.states}
        return Trace(
            {name: array[start:stop] for name, array in self._arrays.items()},
            initial=before,
            labels=None if self.labels is None else self.labels[start:stop],
            outputs=self.outputs,
            weights=self._marks_between(start, stop),
            edits=[
                {**edit, "t": edit["t"] - start}
                for edit in self.edits
                if edit["t"] <= stop and (edit["t"] >= start or edit["t"] + _held(edit) > start)
            ],
        )

    def _marks_between(self, start: int, stop: int) -> list[tuple[int, Mapping[str, str]]]:
        """The weights that made some of these steps, counted from the first of them."""
        marks = self.weight_marks
        ends = [t for t, _ in marks[1:]] + [self._steps + 1]
        return [
            (max(0, t - start), made)
            for (t, made), end in zip(marks, ends, strict=False)
            if end > start and (t < stop or t <= start)
        ]

    def before(self, name: str) -> np.ndarray:
        """The state *before* each step: the initial one, then all rows but the last."""
        rows = self[name]
        if name not in self.initial:
            raise RnnlabError(f"Trace: {name!r} is not a state; states: {', '.join(self.states)}.")
        first = np.broadcast_to(self.initial[name], (1, *rows.shape[1:]))
        return np.concatenate([first, rows[:-1]]) if len(rows) else rows

    def __reduce__(self) -> Any:
        # copies and pickles are made anew, so that their arrays are read-only too
        kept = ("labels", "outputs", "edits")
        options = {
            "initial": dict(self.initial),
            "weights": [(t, dict(made)) for t, made in self.weight_marks],
            **{name: getattr(self, name) for name in kept},
        }
        return _remade, (self._arrays, options)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name} ({' × '.join(map(str, array.shape[1:])) or 'number'})"
            for name, array in self._arrays.items()
        )
        return f"Trace({self._steps} steps: {shown})"

    def _one_batch(self) -> int | None:
        """The rows of the batch; None without one."""
        batches = {a.shape[1] for n, a in self._arrays.items() if "batch" in self.axes[n]}
        if len(batches) > 1:
            raise RnnlabError(f"Trace: the arrays have different batches ({sorted(batches)}).")
        return batches.pop() if batches else None

    def to_xarray(self) -> Any:
        """An `xarray.Dataset`: dimensions step, batch and one unit dimension per array.

        Steps are counted from 1: row `step=t` is the state after step t.
        """
        import xarray

        self._one_batch()
        if clash := {"step", "batch", "label"} & set(self._arrays):
            raise RnnlabError(
                f"Trace: an array named {sorted(clash)[0]!r} cannot go into a Dataset, where it "
                "is the name of an axis."
            )
        coords: dict[str, Any] = {"step": np.arange(1, self._steps + 1)}
        if self.labels is not None:
            coords["label"] = ("step", list(self.labels))
        if self.outputs is not None:
            coords["y_unit"] = list(self.outputs)
        variables = {
            name: (tuple(_unique(name, axis) for axis in self.axes[name]), array)
            for name, array in self._arrays.items()
        }
        return xarray.Dataset(variables, coords=coords)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`: a row per step (and batch row), a column per unit, `("0.h", 3)`.

        The index counts steps from 1; labels, if there are any, are its second level.
        """
        import pandas

        batch = self._one_batch()
        columns: dict[tuple[str, int], np.ndarray] = {}
        for name, array in self._arrays.items():
            rows = array
            if batch is not None and "batch" not in self.axes[name]:
                rows = np.repeat(array[:, None], batch, axis=1)
            units = prod(rows.shape[1 if batch is None else 2 :])
            flat = rows.reshape(self._steps * (1 if batch is None else batch), units)
            columns |= {(name, unit): flat[:, unit] for unit in range(units)}
        repeat = 1 if batch is None else batch
        levels = {"step": np.repeat(np.arange(1, self._steps + 1), repeat)}
        if self.labels is not None:
            levels["label"] = np.repeat(np.asarray(self.labels, dtype=object), repeat)
        if batch is not None:
            levels["batch"] = np.tile(np.arange(batch), self._steps)
        index: Any = pandas.Index(levels["step"], name="step")
        if len(levels) > 1:
            index = pandas.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
        frame = pandas.DataFrame(columns, index=index)
        frame.columns = pandas.MultiIndex.from_tuples(list(columns), names=["name", "unit"])
        return frame

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to `path`, replacing a file only when done.

        The format is numpy's npz without pickle, or safetensors if the name ends in `.safetensors`.
        """
        header = {
            "kind": "Trace",
            "schema": SCHEMA,
            "names": list(self._arrays),
            "initial": list(self.initial),
            "labels": self.labels,
            "outputs": self.outputs,
            "weights": [(t, dict(made)) for t, made in self.weight_marks],
            "edits": self.edits,
        }
        arrays = {f"array/{i}": array for i, array in enumerate(self._arrays.values())}
        arrays |= {f"initial/{i}": value for i, value in enumerate(self.initial.values())}
        write_file(path, arrays, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read what `save` wrote.

        Raises:
            RnnlabError: the file is not a trace, or of a newer version.
        """
        header, stored = read_file(path, "Trace", SCHEMA)
        arrays = [stored[f"array/{i}"] for i in range(len(header["names"]))]
        initial = [stored[f"initial/{i}"] for i in range(len(header["initial"]))]
        return cls(
            dict(zip(header["names"], arrays, strict=True)),
            initial=dict(zip(header["initial"], initial, strict=True)),
            labels=header["labels"],
            outputs=header["outputs"],
            weights=header["weights"],
            edits=header["edits"],
        )


def _remade(arrays: dict[str, np.ndarray], options: dict[str, Any]) -> Trace:
    return Trace(arrays, **options)


def _edit(edit: Any) -> dict[str, Any]:
    """An edit as a Trace keeps it: of values that a file can hold, with the step that it was at."""
    if not isinstance(edit, Mapping) or not isinstance(edit.get("t"), (int, np.integer)):
        raise RnnlabError(
            f"Trace: an edit is a dictionary with the step 't' that it was made at, got {edit!r}."
        )
    return _plain(edit)


def _plain(value: Any) -> Any:
    """A value of an edit; lists, which are all that a file knows, are the tuples they were."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    raise RnnlabError(
        f"Trace: an edit has {value!r}, which is no plain value. Give numbers, text, None, lists "
        "of these, and dictionaries with text as keys."
    )


def _held(edit: Mapping[str, Any]) -> float:
    """How many steps an edit was held; it lasts to the end if `steps` is None."""
    steps = edit.get("steps", 0)
    return float("inf") if steps is None else steps


def _frozen(value: Any) -> np.ndarray:
    array = np.asarray(value).view()
    if array.dtype.kind not in "biufc":
        raise RnnlabError(f"Trace: only numbers can be recorded, got {value!r}.")
    array.flags.writeable = False
    return array


def _axes(array: np.ndarray) -> tuple[str, ...]:
    named = {1: ("step",), 2: ("step", "unit"), 3: ("step", "batch", "unit")}
    extra = tuple(f"axis{i}" for i in range(2, array.ndim - 1))
    return named.get(array.ndim, ("step", "batch", *extra, "unit"))


def _unique(name: str, axis: str) -> str:
    return axis if axis in ("step", "batch") else f"{name}_{axis}"
