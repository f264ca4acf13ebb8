"""Figures of spectra: a Jacobian's eigenvalues, Lyapunov exponents."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.analysis import Jacobian, Lyapunov, Timescales
from rnnlab.plots.theme import (
    DASHES,
    SYMBOLS,
    Theme,
    colors,
    expect,
    faint,
    go,
    panels,
    shown,
    unit_circle,
)


def jacobian(result: Jacobian, *, theme: Theme = "light") -> go.Figure:
    """Eigenvalues in the complex plane, and the time constant of each mode.

    Circles lie within |λ| = 1 (decay), open diamonds outside (growth).

    Args:
        result: what `analysis.jacobian` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import jacobian as analyse
        >>> len(jacobian(analyse(rl.RNN(2, 3))).data) > 2
        True
    """
    expect("jacobian", result, Jacobian)
    n = len(result.state)
    titles = ("eigenvalues of one step", "time constants")
    fig = panels(theme, f"Jacobian, {n} × {n}", result, columns=2, subplot_titles=titles)
    unit_circle(fig, theme, row=1, col=1)
    modulus = np.abs(result.eigenvalues)
    for grows, name, symbol in ((False, "decays", "circle"), (True, "grows", "diamond-open")):
        chosen = np.flatnonzero((modulus > 1) == grows)
        text = [
            f"mode {k}: |λ| = {modulus[k]:.4g}, τ = {result.time_constants[k]:.4g} steps, "
            f"{result.frequencies[k]:.4g} cycles per step"
            for k in chosen
        ]
        line = {"symbol": symbol, "size": 9, "line": {"width": 2}, "color": colors(theme)[grows]}
        values = result.eigenvalues[chosen]
        places = (
            (np.real(values), np.imag(values)),
            (chosen, np.abs(result.time_constants)[chosen]),
        )
        for column, (x, y) in enumerate(places, start=1):
            fig.add_scatter(
                x=x,
                y=shown(y),
                mode="markers",
                marker=line,
                name=name,
                legendgroup=name,
                showlegend=column == 1 and bool(len(chosen)),
                text=text,
                hoverinfo="text",
                row=1,
                col=column,
            )
    fig.update_xaxes(title_text="mode", row=1, col=2)
    fig.update_yaxes(title_text="|τ| in steps", type="log", dtick="D2", row=1, col=2)
    return fig


def lyapunov(result: Lyapunov, *, theme: Theme = "light") -> go.Figure:
    """The exponents with their standard errors, and how their running means settled.

    Args:
        result: what `analysis.lyapunov` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import lyapunov as analyse
        >>> found = analyse(rl.RNN(1, 2), np.zeros((40, 1)))
        >>> lyapunov(found, theme="dark").layout.yaxis.title.text
        'nats per step'
    """
    expect("lyapunov", result, Lyapunov)
    dead = int(np.isneginf(result.exponents).sum())
    title = f"Lyapunov exponents, {result.steps:,} steps"
    title += "" if np.isnan(result.dimension) else f" · Kaplan–Yorke {result.dimension:.3g}"
    title += f" · {dead} dead (−∞, not drawn)" if dead else ""
    titles = ("spectrum", "running mean")
    fig = panels(theme, title, result, columns=2, subplot_titles=titles)
    k = np.arange(1, len(result.exponents) + 1)
    fig.add_scatter(
        x=k,
        y=shown(result.exponents),
        error_y={"array": shown(result.standard_error), "thickness": 1},
        mode="markers",
        name="exponent ± standard error",
        showlegend=False,
        row=1,
        col=1,
    )
    steps = np.arange(1, len(result.running) + 1)
    for i in range(min(4, len(k))):
        fig.add_scatter(
            x=steps,
            y=shown(result.running[:, i]),
            mode="lines",
            line={"dash": DASHES[i], "color": colors(theme)[i]},
            name=f"λ{i + 1}",
            row=1,
            col=2,
        )
    for column in (1, 2):
        place: dict[str, Any] = {"row": 1, "col": column}
        fig.add_hline(y=0, line={"color": faint(theme), "dash": "dash"}, **place)
    fig.update_xaxes(title_text="exponent", row=1, col=1)
    fig.update_xaxes(title_text="step after the transient", row=1, col=2)
    fig.update_yaxes(title_text="nats per step", row=1, col=1)
    return fig


def timescales(result: Timescales, *, theme: Theme = "light") -> go.Figure:
    """The time constant of every unit, sorted, one symbol a state.

    Args:
        result: what `analysis.timescales` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> from rnnlab import Trace
        >>> from rnnlab.analysis import timescales as analyse
        >>> z = np.full((3, 2), 0.5)
        >>> len(timescales(analyse(Trace({"r": z, "z": z, "n": z}))).data)
        1
    """
    expect("timescales", result, Timescales)
    names = [name for name, _ in result.units]
    endless = int(np.isinf(result.tau).sum())
    title = "Time constants of the units" + (f" · {endless} endless, not drawn" if endless else "")
    fig = panels(theme, title, result)
    for i, name in enumerate(dict.fromkeys(names)):
        rows = np.flatnonzero(np.array(names) == name)
        rows = rows[np.argsort(-result.tau[rows], kind="stable")]
        fig.add_scatter(
            x=np.arange(1, len(rows) + 1),
            y=shown(result.tau[rows]),
            mode="lines+markers",
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8},
            line={"dash": DASHES[i % len(DASHES)], "width": 1},
            name=name,
            showlegend=True,
            text=[f"{name}[{result.units[r][1]}]: {result.tau[r]:.4g} steps" for r in rows],
            hoverinfo="text",
        )
    fig.update_xaxes(title_text="units, longest first")
    fig.update_yaxes(title_text="τ in steps", type="log")
    return fig
