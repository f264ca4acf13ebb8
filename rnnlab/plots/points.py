"""Figures of fixed points and cycles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rnnlab.analysis import Cycles, FixedPoints
from rnnlab.errors import RnnlabError
from rnnlab.plots.theme import Theme, colors, expect, faint, go, panels, unit_circle

_KINDS = {
    "stable": ("circle", 0),
    "unstable": ("diamond-open", 1),
    "marginal": ("triangle-up-open", 2),
    "continuum": ("square", 3),
}


def fixed_points(result: FixedPoints, *, units: Any = None, theme: Theme = "light") -> go.Figure:
    """The fixed points in two dimensions, and the eigenvalues of all of them.

    Filled circles are stable, open diamonds unstable, open triangles marginal; a square stands for
    a continuum, whose samples are small crosses.

    Args:
        result: what `analysis.fixed_points` returned.
        units: two units to draw, as `(("0.h", 0), ("0.h", 3))`; left out, the state itself up to
            two units, else the two principal axes of the points.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme, or units that are not there.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import fixed_points as analyse
        >>> fixed_points(analyse(rl.RNN(1, 2))).layout.xaxis.title.text
        'h[0]'
    """
    expect("fixed_points", result, FixedPoints)
    sums = {True: "index sum +1", False: "INCOMPLETE by the index sum", None: "no index check"}
    count = len(result.points)
    each = ", ".join(f"{number} {kind}" for kind, number in Counter(result.kinds).items())
    title = f"{count} fixed point{'s' * (count != 1)}{': ' * bool(count)}{each}"
    title += f" · {sums[result.complete]}"
    columns = {"columns": 2, "subplot_titles": ("states", "eigenvalues")}
    fig = panels(theme, title, result, **columns)
    place, labels = _axes(result, np.concatenate([result.points, result.samples]), units)
    if len(result.samples):
        marker = {"symbol": "x-thin", "size": 4, "line": {"width": 1, "color": faint(theme)}}
        fig.add_scatter(
            **place(result.samples), mode="markers", marker=marker, name="on a continuum"
        )
    unit_circle(fig, theme, row=1, col=2)
    for kind, (symbol, color) in _KINDS.items():
        rows = [k for k, word in enumerate(result.kinds) if word.startswith(kind)]
        if not rows:
            continue
        values = result.eigenvalues[rows]
        style = {"symbol": symbol, "color": colors(theme)[color], "line": {"width": 2}}
        text = [
            f"point {k}: {result.kinds[k]}, {result.index[k]} unstable directions<br>"
            f"residual {result.residual[k]:.1e}, error ≤ {result.error_radius[k]:.1e}"
            for k in rows
        ]
        fig.add_scatter(
            **place(result.points[rows]),
            mode="markers",
            marker={**style, "size": 10},
            name=kind,
            legendgroup=kind,
            text=text,
            hoverinfo="text",
            row=1,
            col=1,
        )
        fig.add_scatter(
            x=np.real(values).ravel(),
            y=np.imag(values).ravel(),
            mode="markers",
            marker={**style, "size": 6},
            legendgroup=kind,
            showlegend=False,
            text=[f"point {k}" for k in rows for _ in range(values.shape[1])],
            hoverinfo="text+x+y",
            row=1,
            col=2,
        )
    _label(fig, labels, place(np.concatenate([result.points, result.samples])))
    return fig


def cycles(result: Cycles, *, units: Any = None, theme: Theme = "light") -> go.Figure:
    """Every orbit as a closed line with its phases numbered, and the multipliers.

    Solid lines with filled circles attract; dotted ones with open diamonds do not.

    Args:
        result: what `analysis.cycles` returned.
        units: two units to draw, as for `fixed_points`.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme, or units that are not there.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import cycles as analyse
        >>> cell = rl.RNNCell(1, 1)
        >>> with torch.no_grad(): _ = cell.weight_hh.fill_(-2.0)
        >>> len(cycles(analyse(cell, period=2)).data)
        3
    """
    expect("cycles", result, Cycles)
    orbits, period, n = result.points.shape
    title = f"{orbits} orbit{'s' * (orbits != 1)} of period {period}"
    columns = {"columns": 2, "subplot_titles": ("states", "multipliers")}
    fig = panels(theme, title, result, **columns)
    place, labels = _axes(result, result.points.reshape(-1, n), units)
    unit_circle(fig, theme, row=1, col=2)
    for k in range(orbits):
        stable = bool(result.stable[k])
        color = colors(theme)[k % 6]
        symbol = "circle" if stable else "diamond-open"
        closed = np.concatenate([result.points[k], result.points[k, :1]])
        fig.add_scatter(
            **place(closed),
            mode="lines+markers+text",
            line={"dash": "solid" if stable else "dot", "color": color, "width": 1.5},
            marker={"symbol": symbol, "size": 9, "line": {"width": 2}},
            text=[*(str(phase) for phase in range(period)), ""],
            textposition="top center",
            name=f"orbit {k}: {result.kinds[k]}",
            legendgroup=str(k),
            showlegend=k < 8,
            row=1,
            col=1,
        )
        fig.add_scatter(
            x=np.real(result.multipliers[k]),
            y=np.imag(result.multipliers[k]),
            mode="markers",
            marker={"symbol": symbol, "color": color, "size": 7, "line": {"width": 2}},
            name=f"orbit {k}",
            legendgroup=str(k),
            showlegend=False,
            row=1,
            col=2,
        )
    _label(fig, labels, place(result.points.reshape(-1, n)))
    return fig


def _label(fig: go.Figure, labels: tuple[str, str], drawn: dict[str, np.ndarray]) -> None:
    """The names of the axes; an axis on which all is the same to rounding is not blown up."""
    fig.update_xaxes(title_text=labels[0], row=1, col=1)
    fig.update_yaxes(title_text=labels[1], row=1, col=1)
    for axis, update in (("x", fig.update_xaxes), ("y", fig.update_yaxes)):
        values = drawn[axis]
        if len(values) and np.ptp(values) < 1e-9:
            update(range=[values[0] - 1, values[0] + 1], row=1, col=1)


def _axes(result: Any, states: np.ndarray, units: Any) -> tuple[Any, tuple[str, str]]:
    """A function from states `(M, n)` to x and y of a figure, and the names of the two."""
    n = len(result.units)
    names = [f"{name}[{unit}]" for name, unit in result.units]
    if units is not None:
        try:
            first, second = (result.units.index(tuple(unit)) for unit in units)
        except (ValueError, TypeError):
            raise RnnlabError(
                f"plots: units must be two of the state's, as {result.units[:2]!r}; got {units!r}."
            ) from None
        return lambda s: {"x": s[:, first], "y": s[:, second]}, (names[first], names[second])
    if n == 1:
        return lambda s: {"x": s[:, 0], "y": np.zeros(len(s))}, (names[0], "")
    if n == 2:
        return lambda s: {"x": s[:, 0], "y": s[:, 1]}, (names[0], names[1])
    middle = states.mean(axis=0) if len(states) else np.zeros(n)
    values, axes = np.linalg.svd(states - middle, full_matrices=False)[1:]
    if len(states) <= 2 or values[1] <= 1e-6 * values[0]:  # on a line: no second axis
        return lambda s: {"x": s[:, 0], "y": s[:, 1]}, (names[0], names[1])
    axes = axes[:2]
    largest = np.argmax(np.abs(axes).round(9), axis=1)
    axes = axes * np.sign(axes[np.arange(2), largest])[:, None]
    labels = ("PC1 of the points", "PC2 of the points")
    return lambda s: {"x": (s - middle) @ axes[0], "y": (s - middle) @ axes[1]}, labels
