"""Which recorded gates make a cell, what they keep of the old state and what they write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace

Gates = dict[str, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """A family of cells, told by the names of its gates.

        new = keep ∘ old + write,   old and new of the state `carried`

    `sigmoid` are the gates between 0 and 1.
    """

    gates: frozenset[str]
    carried: str
    sigmoid: tuple[str, ...]
    keep: Callable[[Gates], np.ndarray]
    write: Callable[[Gates], np.ndarray]


def _kind(
    gates: str,
    carried: str,
    sigmoid: str,
    keep: Callable[[Gates], np.ndarray],
    write: Callable[[Gates], np.ndarray],
) -> Kind:
    return Kind(frozenset(gates.split()), carried, tuple(sigmoid.split()), keep, write)


KINDS = (
    # LSTM, peephole LSTM
    _kind("i f g o", "c", "i f o", lambda v: v["f"], lambda v: v["i"] * v["g"]),
    # GRU, GRUv3
    _kind("r z n", "h", "r z", lambda v: v["z"], lambda v: (1 - v["z"]) * v["n"]),
    # JANET
    _kind("f i g", "h", "f i", lambda v: v["f"], lambda v: v["i"] * v["g"]),
    # minLSTM
    _kind("f i n", "h", "f i", lambda v: v["f"], lambda v: v["i"] * v["n"]),
    # MGU, Light-RU
    _kind("f n", "h", "f", lambda v: 1 - v["f"], lambda v: v["f"] * v["n"]),
    # UGRNN
    _kind("g c", "h", "g", lambda v: v["g"], lambda v: (1 - v["g"]) * v["c"]),
    # minGRU
    _kind("z n", "h", "z", lambda v: 1 - v["z"], lambda v: v["z"] * v["n"]),
)
"""The cells of the library whose state is a weighted sum of the old one and what is written."""


def kind_of(gates: Iterable[str]) -> Kind | None:
    """The family that has these gates, if one has."""
    names = frozenset(gates)
    return next((kind for kind in KINDS if kind.gates == names), None)


@dataclass(frozen=True)
class Layer:
    """One cell's gates in a trace, in float64."""

    path: str
    kind: Kind
    gates: Gates
    fits: bool
    """Whether the gates make the recorded states (all but those edited by hand); true if these are
    not recorded."""

    @property
    def carried(self) -> str:
        """The full name of the state that the gates write into."""
        return join(self.path, self.kind.carried)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def layers(trace: Trace) -> list[Layer]:
    """Every cell whose gates are in the trace and whose kind is known.

    Example:
        >>> one = np.ones((2, 1))
        >>> gates = {name: one for name in ("0.i", "0.f", "0.g", "0.o")}
        >>> [layer.carried for layer in layers(Trace(gates))]
        ['0.c']
    """
    by_path: dict[str, list[str]] = {}
    for name in trace:
        path, _, last = name.rpartition(".")
        if name not in trace.initial and name.split(".")[0] not in ("x", "y"):
            by_path.setdefault(path, []).append(last)
    found = []
    for path, names in by_path.items():
        kind = kind_of(names)
        if kind is not None:
            values = {
                name: np.asarray(trace[join(path, name)], dtype=np.float64) for name in kind.gates
            }
            found.append(Layer(path, kind, values, _fits(trace, path, kind, values)))
    return found


def _fits(trace: Trace, path: str, kind: Kind, gates: Gates) -> bool:
    name = join(path, kind.carried)
    if name not in trace or name not in trace.initial or not len(trace):
        return True
    made = kind.keep(gates) * trace.before(name) + kind.write(gates)
    slack = 64 * np.finfo(trace[name].dtype).eps * (1 + np.abs(made))
    off = np.abs(made - trace[name]) > slack
    return bool(off.mean() <= 0.5)


def gated(owner: str, trace: Trace) -> list[Layer]:
    """The same; raises if there is none."""
    if not isinstance(trace, Trace):
        raise RnnlabError(f"{owner}: expected a Trace, got {type(trace).__name__}.")
    found = layers(trace)
    if not found:
        raise RnnlabError(
            f"{owner}: the trace has no gates of a known cell; it has: {', '.join(trace)}. "
            "rnnlab.derive(model, trace) adds them."
        )
    return found


def kept(owner: str, trace: Trace) -> list[Layer]:
    """The cells of which it is known what they keep; raises if there is none."""
    found = gated(owner, trace)
    known = [layer for layer in found if layer.fits]
    if not known:
        raise RnnlabError(
            f"{owner}: the gates do not make the recorded {found[0].carried}: they are of another "
            "run, or of a cell that does not weigh its old state by a gate."
        )
    return known


def valid_steps(owner: str, trace: Trace, mask: np.ndarray | None) -> np.ndarray | None:
    """A mask of the steps that are no padding, `(T,)` or `(T, B)`, checked."""
    if mask is None:
        return None
    given = np.asarray(mask)
    batch = next((a.shape[1] for n, a in _items(trace) if "batch" in trace.axes[n]), None)
    shapes = [(len(trace),)] + ([(len(trace), batch)] if batch is not None else [])
    if given.dtype != bool or given.shape not in shapes:
        said = " or ".join(map(str, shapes))
        raise RnnlabError(
            f"{owner}: mask must be boolean of shape {said}, true for steps that count; got "
            f"{given.dtype} of shape {given.shape}."
        )
    return given


def _items(trace: Trace) -> list[tuple[str, np.ndarray]]:
    return [(name, trace[name]) for name in trace]


def rows(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The values of all steps (and batch rows) that count, `(N, H)`."""
    if mask is not None:
        values = values[mask]
    return values.reshape(-1, values.shape[-1])
