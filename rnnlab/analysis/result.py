"""What every result of an analysis keeps to: frozen, numpy arrays with named axes, a short repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Units = tuple[tuple[str, int], ...]
"""Name and position of every entry of a state vector: `(("0.h", 0), ("0.h", 1), …)`."""


class Frozen:
    """The base of frozen dataclasses whose arrays and dictionaries cannot be written to either.

    Nor those of a copy or of what was pickled.
    """

    def __post_init__(self) -> None:
        self._freeze()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()

    def _freeze(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                self.__dict__[name] = _read_only(value)
            elif isinstance(value, dict):
                self.__dict__[name] = ReadOnly(value)


def _read_only(value: np.ndarray) -> np.ndarray:
    view = value.view()
    view.flags.writeable = False
    return view


class ReadOnly(dict[Any, Any]):
    """A dictionary that refuses to be changed."""

    def __reduce__(self) -> tuple[type, tuple[dict[Any, Any]]]:
        return type(self), (dict(self),)


def _refuse(self: ReadOnly, *_: Any, **__: Any) -> Any:
    raise TypeError("A result is read-only; dict(…) makes a copy that is not.")


_CHANGES = "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update"
for _name in _CHANGES.split():
    setattr(ReadOnly, _name, _refuse)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result(Frozen):
    """A finished analysis. Its arrays are read-only.

    Attributes:
        failed: what went wrong on the way, in words; empty if nothing did. What the arrays then
            hold is still valid unless the text says otherwise.
        axes: name of an array → names of its axes.
        measures: name of an array → the unit that its values are measured in; "" for a number
            without one (a count, a share, a place in a list).

    Example:
        >>> @dataclass(frozen=True, eq=False, repr=False, kw_only=True)
        ... class Squares(Result):
        ...     axes = {"values": ("number",)}
        ...     values: np.ndarray
        ...     def _says(self): return f"{len(self.values)} numbers"
        >>> result = Squares(values=np.arange(3) ** 2)
        >>> result, result.axes, result.values.flags.writeable
        (Squares(3 numbers), {'values': ('number',)}, False)
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {}
    measures: ClassVar[dict[str, str]] = {}

    failed: tuple[str, ...] = ()

    def _says(self) -> str:
        """The content of the repr."""
        raise NotImplementedError

    def __repr__(self) -> str:
        failed = f"; FAILED: {' '.join(self.failed)}" if self.failed else ""
        return f"{type(self).__name__}({self._says()}{failed})"


def number(value: float, digits: int = 4) -> str:
    """A number as a repr shows it.

    Example:
        >>> number(0.123456), number(float("inf")), number(-0.0)
        ('0.1235', '∞', '0')
    """
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value + 0.0:.{digits}g}".replace("-", "−")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "point"), counted(1200, "point")
        ('1 point', '1,200 points')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def unit_name(unit: tuple[str, int]) -> str:
    """How a unit is written in tables and figures.

    Example:
        >>> unit_name(("0.h", 3))
        '0.h[3]'
    """
    return f"{unit[0]}[{unit[1]}]"


def frame(
    columns: Mapping[Any, Any], index: Any = None, name: str | None = None, levels: Any = None
) -> Any:
    """A `pandas.DataFrame`; tuples as column names become levels called `levels`."""
    import pandas

    made = pandas.DataFrame(dict(columns), index=index)
    if levels is not None:
        made.columns = pandas.MultiIndex.from_tuples(list(columns), names=list(levels))
    if name is not None:
        made.index.name = name
    return made
