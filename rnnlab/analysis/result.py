"""What every result of an analysis keeps to: frozen, numpy arrays with named axes, a short repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

Units = tuple[tuple[str, int], ...]
"""Name and position of every entry of a state vector: `(("0.h", 0), ("0.h", 1), …)`."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result:
    """A finished analysis. Its arrays are read-only.

    Attributes:
        failed: what went wrong on the way, in words; empty if nothing did. What the arrays then
            hold is still valid unless the text says otherwise.
        axes: name of an array → names of its axes.

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

    failed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, f.name, _frozen(value))
            elif isinstance(value, dict):
                kept = {k: _frozen(v) if isinstance(v, np.ndarray) else v for k, v in value.items()}
                object.__setattr__(self, f.name, kept)

    def _says(self) -> str:
        """The content of the repr."""
        raise NotImplementedError

    def __repr__(self) -> str:
        failed = f"; FAILED: {' '.join(self.failed)}" if self.failed else ""
        return f"{type(self).__name__}({self._says()}{failed})"


def _frozen(value: np.ndarray) -> np.ndarray:
    view = value.view()
    view.flags.writeable = False
    return view


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
