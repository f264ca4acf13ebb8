"""What all figures share: two templates, symbols and dashes that do without colour."""

from __future__ import annotations

import re
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

Theme = Literal["light", "dark"] | go.layout.Template
"""A word, or a template as a value: this module's, plotly's or one's own."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond-open", "square", "triangle-up-open", "cross", "star-open")
_DIVERGING = {
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
_COLORS = {"light": _LIGHT, "dark": _DARK}
_PAPER = {"light": "#ffffff", "dark": "#111418"}
_INK = {"light": "#1f2328", "dark": "#e6e8eb"}
_GRID = {"light": "#e3e6ea", "dark": "#2c3238"}
_LINE = {"light": "#6e7781", "dark": "#8b949e"}
_GREY = {"light": "#b8bec6", "dark": "#5a636d"}


def template(theme: Theme = "light") -> go.layout.Template:
    """The plotly template of a theme, as a value: no global default is touched.

    Args:
        theme: "light", "dark", or a template, which is returned as it is.

    Raises:
        RnnlabError: anything else.

    Example:
        >>> template("dark").layout.paper_bgcolor
        '#111418'
    """
    if isinstance(theme, go.layout.Template):
        return theme
    if not isinstance(theme, str) or theme not in _PAPER:
        raise RnnlabError(
            "plots: theme must be 'light', 'dark' or a template "
            f"(plotly.io.templates['plotly_white']), got {theme!r}."
        )
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
        "colorway": _COLORS[theme],
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
    return _layout(theme).get("font", {}).get("color") or _INK[_ground(theme)]


def faint(theme: Theme) -> str:
    """The colour of guide lines."""
    return _LINE[_ground(theme)]


def colors(theme: Theme) -> Sequence[str]:
    """The line colours, six or more."""
    own = _layout(theme).get("colorway") or ()
    return own if len(own) >= 6 else _COLORS[_ground(theme)]


def diverging(theme: Theme) -> list[list[Any]]:
    """For signed values: blue below zero, red above, zero like the ground."""
    low, below, _, above, high = _DIVERGING[_ground(theme)]
    return [low, below, [0.5, _plane(theme)], above, high]


def greys(theme: Theme) -> list[list[Any]]:
    """For shares: from the ground to grey."""
    return [[0, _plane(theme)], [1, _GREY[_ground(theme)]]]


def _layout(theme: Theme) -> dict[str, Any]:
    return template(theme).to_plotly_json().get("layout", {})


def _plane(theme: Theme) -> str:
    """The colour of the ground that is drawn on."""
    layout = _layout(theme)
    return layout.get("plot_bgcolor") or layout.get("paper_bgcolor") or _PAPER["light"]


def _ground(theme: Theme) -> str:
    """Whether a template's ground is "light" or "dark"."""
    color = _plane(theme).lower().strip()
    if color.startswith("#") and len(color) >= 7:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    elif found := re.fullmatch(r"rgba?\(([^)]*)\)", color):
        *rgb, alpha = ([float(v) for v in found[1].split(",")] + [1.0])[:4]
        rgb = rgb if alpha > 0.5 else [255.0] * 3  # what shines through is not known
    else:
        rgb = [0.0 if color == "black" else 255.0] * 3
    return "dark" if 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 128 else "light"


def expect(name: str, result: Any, kind: type) -> None:
    """Refuse what another analysis returned."""
    if not isinstance(result, kind):
        raise RnnlabError(
            f"plots.{name}: draws what analysis.{name} returns, a {kind.__name__}; "
            f"got a {type(result).__name__}."
        )


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
