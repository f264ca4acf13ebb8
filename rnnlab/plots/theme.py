"""What all figures share: two templates, symbols and dashes that do without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rnnlab.errors import RnnlabError

try:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots
except ImportError as error:
    raise ImportError(
        'rnnlab.plots needs plotly. Install it with: pip install "rnnlab[plots]"'
    ) from error

Theme = Literal["light", "dark"]

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond-open", "square", "triangle-up-open", "cross", "star-open")
DIVERGING = {
    "light": [
        [0, "#2166ac"],
        [0.25, "#92c5de"],
        [0.5, "#ffffff"],
        [0.75, "#f4a582"],
        [1, "#b2182b"],
    ],
    "dark": [
        [0, "#7fbfff"],
        [0.25, "#2f5f8f"],
        [0.5, "#111418"],
        [0.75, "#994a2a"],
        [1, "#ffa072"],
    ],
}
"""For signed values: blue below zero, red above, zero like the paper; told apart by the
colour-blind."""

# Okabe & Ito 2008: told apart by the colour-blind
_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9")
_DARK = ("#56B4E9", "#E69F00", "#00C28C", "#E394C0", "#F0E442", "#9BB7FF")
_PAPER = {"light": "#ffffff", "dark": "#111418"}
_INK = {"light": "#1f2328", "dark": "#e6e8eb"}
_GRID = {"light": "#e3e6ea", "dark": "#2c3238"}
_LINE = {"light": "#6e7781", "dark": "#8b949e"}


def template(theme: Theme = "light") -> go.layout.Template:
    """The plotly template of a theme, as a value: no global default is touched.

    Raises:
        RnnlabError: a theme other than "light" and "dark".

    Example:
        >>> template("dark").layout.paper_bgcolor
        '#111418'
    """
    if theme not in _PAPER:
        raise RnnlabError(f"plots: theme must be 'light' or 'dark', got {theme!r}.")
    axis = {
        "gridcolor": _GRID[theme],
        "linecolor": _LINE[theme],
        "zerolinecolor": _LINE[theme],
        "zerolinewidth": 1,
        "showline": True,
        "ticks": "outside",
        "tickcolor": _LINE[theme],
        "title": {"standoff": 8},
        "automargin": True,
    }
    layout = {
        "paper_bgcolor": _PAPER[theme],
        "plot_bgcolor": _PAPER[theme],
        "font": {"color": _INK[theme], "size": 13},
        "colorway": _LIGHT if theme == "light" else _DARK,
        "xaxis": axis,
        "yaxis": axis,
        "legend": {"bgcolor": "rgba(0,0,0,0)"},
        "margin": {"l": 60, "r": 20, "t": 70, "b": 90},
        "hoverlabel": {"font": {"size": 12}},
        "title": {"x": 0, "xref": "paper", "font": {"size": 15}},
    }
    return go.layout.Template(layout=layout)


def ink(theme: Theme) -> str:
    """The colour of text."""
    return _INK[theme]


def faint(theme: Theme) -> str:
    """The colour of guide lines."""
    return _LINE[theme]


def colors(theme: Theme) -> Sequence[str]:
    """The line colours."""
    return _LIGHT if theme == "light" else _DARK


def panels(
    theme: Theme, title: str, result: Any, *, rows: int = 1, columns: int = 1, **options: Any
) -> go.Figure:
    """An empty figure; what failed in the result stands below the title."""
    fig = make_subplots(rows=rows, cols=columns, **options)
    failed = getattr(result, "failed", ())
    fig.update_layout(
        template=template(theme),
        title={"text": title},
        height=440 if rows == 1 else 300 * rows,
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0, "xanchor": "left"},
    )
    fig.update_annotations(font_size=13)
    if failed:
        fig.update_layout(title={"subtitle": {"text": "⚠ " + wrapped(" ".join(failed))}})
        fig.update_layout(margin={"t": 110})
    return fig


def wrapped(text: str, width: int = 110) -> str:
    """Text in lines, for a title; what could be read as a tag is not.

    Example:
        >>> wrapped("one two three", 8)
        'one two<br>three'
    """
    lines = [""]
    for word in text.replace("<", "‹").replace(">", "›").split():
        if len(lines[-1]) + len(word) >= width and lines[-1]:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "<br>".join(lines)


def unit_circle(fig: go.Figure, theme: Theme, **place: Any) -> None:
    """The circle |λ| = 1, dashed, with equal scales."""
    angle = np.linspace(0, 2 * np.pi, 181)
    line = {"color": faint(theme), "dash": "dash", "width": 1.5}
    fig.add_scatter(
        x=np.cos(angle),
        y=np.sin(angle),
        mode="lines",
        line=line,
        name="|λ| = 1",
        hoverinfo="skip",
        **place,
    )
    fig.update_xaxes(title_text="Re λ", **place)
    fig.update_yaxes(title_text="Im λ", **place)
    number = (place.get("col", 1) - 1) + 1
    fig.update_yaxes(scaleanchor=f"x{number if number > 1 else ''}", scaleratio=1, **place)


def shown(values: Any) -> np.ndarray:
    """Values for a figure: infinite ones are left out of lines."""
    given = np.asarray(values, dtype=float)
    return np.where(np.isfinite(given), given, np.nan)
