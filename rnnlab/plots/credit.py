"""Figures of what the past counts for: attribution, memory, waterfall, divergence, saturation."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.analysis import Attribution, Divergence, Memory, Saturation, Waterfall
from rnnlab.analysis.result import counted
from rnnlab.errors import RnnlabError
from rnnlab.plots.theme import (
    DASHES,
    SYMBOLS,
    Theme,
    colors,
    diverging,
    expect,
    faint,
    go,
    ink,
    panels,
    shown,
)

_LN10 = float(np.log(10))
BARS = 4000
"""At most so many negative cells of a heat map are marked."""


def attribution(result: Attribution, *, labels: Any = None, theme: Theme = "light") -> go.Figure:
    """The signed values by step and feature, and their norm on an absolute log scale.

    Small ones are written into their cells; of more, the negative ones are marked with a bar, down
    to 5 % of the largest.

    Args:
        result: what `analysis.attribution` returned.
        labels: a text per step (tokens), or none.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme, or labels that are not one per
            step.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import attribution as analyse
        >>> found = analyse(rl.RNN(2, 3), np.ones((5, 2)))
        >>> attribution(found).layout.yaxis2.title.text
        'log₁₀ of the norm'
    """
    expect("attribution", result, Attribution)
    t, features = result.values.shape
    if labels is not None and len(labels) != t:
        raise RnnlabError(
            f"plots.attribution: {len(labels)} labels for {t} steps; one is for each."
        )
    names = {"gradient": "Gradient", "integrated": "Integrated gradients"}
    title = f"{names.get(result.method, 'Input × gradient')} of {result.target}"
    title += f" = {result.output:.4g} at step {result.at}"
    fig = panels(theme, title, result, rows=2, shared_xaxes=True, vertical_spacing=0.08)
    steps = np.arange(1, t + 1)
    most = np.nanmax(np.abs(result.values), initial=0.0) or 1.0
    few = t <= 16 and features <= 8  # else the numbers in the cells cannot be read
    fig.add_heatmap(
        x=steps,
        y=np.arange(features),
        z=result.values.T,
        zmin=-most,
        zmax=most,
        colorscale=diverging(theme),
        texttemplate="%{z:.2g}" if few else None,
        xgap=1 if few else 0,
        ygap=1,
        colorbar={"title": {"text": "value"}, "len": 0.5, "y": 0.78},
        hovertemplate="step %{x}, feature %{y}: %{z:.4g}<extra></extra>",
        row=1,
        col=1,
    )
    if not few:
        step, feature = np.nonzero(result.values <= -0.05 * most)
        heaviest = np.argsort(result.values[step, feature], kind="stable")[:BARS]
        size = float(np.clip(0.5 * min(900 / t, 200 / features), 2, 10))
        fig.add_scatter(
            x=steps[step[heaviest]],
            y=feature[heaviest],
            mode="markers",
            marker={"symbol": "line-ew", "size": size, "line": {"width": 1, "color": ink(theme)}},
            name="negative",
            hoverinfo="skip",
            row=1,
            col=1,
        )
    fig.add_scatter(
        x=steps,
        y=shown(result.log10_magnitude),
        mode="lines+markers",
        line={"color": colors(theme)[0]},
        name="norm over the features",
        showlegend=False,
        row=2,
        col=1,
    )
    fig.update_xaxes(showgrid=False, zeroline=False, row=1, col=1)
    fig.update_xaxes(zeroline=False, row=2, col=1)
    rows: dict[str, Any] = {"title_text": "feature", "showgrid": False, "zeroline": False}
    rows |= {"tickmode": "linear", "dtick": 1} if features <= 12 else {"tickformat": "d"}
    fig.update_yaxes(**rows, row=1, col=1)
    fig.update_yaxes(title_text="log₁₀ of the norm", row=2, col=1)
    fig.update_xaxes(title_text="step", row=2, col=1)
    if labels is not None:
        fig.update_xaxes(tickvals=steps, ticktext=[str(label) for label in labels], row=2, col=1)
    return fig


def memory(result: Memory, *, theme: Theme = "light") -> go.Figure:
    """How dependence on an input fades with the steps since, on an absolute log scale.

    Args:
        result: what `analysis.memory` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import memory as analyse
        >>> len(memory(analyse(rl.RNN(2, 3), np.ones((9, 2)))).data)
        3
    """
    expect("memory", result, Memory)
    t = len(result.log_state)
    least = "" if result.horizon_reached else "at least "
    title = f"Memory · 1 % horizon {least}{counted(result.horizon, 'step')}"
    title += f" · e-folding time {result.e_folding:.3g} steps".replace("inf", "∞")
    fig = panels(theme, title, result)
    ago = np.arange(t)
    lines = (
        ("mean over the run, ‖∂s(t+k)/∂x(t)‖", result.log_lag),
        ("last state, ‖∂s(T)/∂x(T−k)‖", result.log_state[::-1]),
        ("last output, ‖∂y(T)/∂x(T−k)‖", result.log_output[::-1]),
    )
    for i, (name, values) in enumerate(lines):
        fig.add_scatter(
            x=ago,
            y=shown(values) / _LN10,
            mode="lines+markers",
            line={"dash": DASHES[i]},
            marker={"symbol": SYMBOLS[i], "size": 6},
            name=name,
        )
    if t and np.isfinite(result.log_lag[0]):
        guide = {"color": faint(theme), "dash": "dash"}
        fig.add_hline(
            y=result.log_lag[0] / _LN10 - 2,
            line=guide,
            annotation_text="1 % of the mean at k = 0",
            annotation_position="top right",
        )
        if result.horizon_reached:
            fig.add_vline(x=result.horizon, line=guide, annotation_text="1 % horizon")
    fig.update_xaxes(title_text="k, steps ago")
    fig.update_yaxes(title_text="log₁₀ of the norm")
    return fig


def waterfall(result: Waterfall, *, most: int = 40, theme: Theme = "light") -> go.Figure:
    """What each past step contributes to a cell value, up to the value itself.

    Args:
        result: what `analysis.waterfall` returned.
        most: of more steps than this, the oldest are shown as one bar.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> from rnnlab import Trace
        >>> from rnnlab.analysis import waterfall as analyse
        >>> v = np.array([[0.5], [0.5]])
        >>> trace = Trace({"c": np.array([[0.25], [0.375]]), "i": v, "f": v, "g": v, "o": v},
        ...               initial={"c": np.zeros(1)})
        >>> waterfall(analyse(trace, "c", 0, 2)).data[0].y
        (0.0, 0.125, 0.25, 0.375)
    """
    expect("waterfall", result, Waterfall)
    split = max(0, result.t - most)
    names, values = ["before"], [result.initial]
    if split:
        names.append(f"1 … {split}")
        values.append(float((result.contributions + result.edited)[:split].sum()))
    for s in range(split, result.t):
        label = f" {result.labels[s]}" if result.labels else ""
        names.append(f"{s + 1}{label}")
        values.append(float(result.contributions[s]))
        if result.edited[s]:
            names.append(f"{s + 1} edit")
            values.append(float(result.edited[s]))
    title = f"{result.name}[{result.unit}] = {result.value:.4g} after step {result.t}"
    fig = panels(theme, title, result)
    palette = colors(theme)
    few = len(values) <= 20
    told = 0.01 * np.nanmax(np.abs([*values, result.value, 0.0]))
    fig.add_waterfall(
        x=[*names, "value"],
        y=[*values, result.value],
        measure=["relative"] * len(values) + ["total"],
        increasing={"marker": {"color": palette[0]}},
        decreasing={"marker": {"color": palette[1]}},
        totals={"marker": {"color": faint(theme)}},
        connector={"line": {"color": faint(theme), "width": 1}},
        text=[f"{v:+.2g}" if abs(v) >= told else "" for v in values] + [f"{result.value:.3g}"]
        if few
        else None,
        textposition="outside",
        constraintext="none",
        textfont={"color": ink(theme), "size": 11},
        showlegend=False,
    )
    fig.update_xaxes(title_text="written in step", type="category")
    fig.update_yaxes(title_text=f"{result.name}[{result.unit}]")
    return fig


def divergence(result: Divergence, *, theme: Theme = "light") -> go.Figure:
    """The distance of two branches and its prediction by the Jacobian, on a log scale.

    Args:
        result: what `analysis.divergence` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import divergence as analyse
        >>> s = rl.Session(rl.Recur(lambda h, x: (2 * h + x, h), torch.zeros(1)))
        >>> ys = s.run(torch.ones(3, 1))
        >>> s.rewind(1)
        >>> ys = s.run(torch.ones(2, 1) / 2)
        >>> len(divergence(analyse(s, "main", s.branch_name)).data)
        3
    """
    expect("divergence", result, Divergence)
    growth = "growth not known" if np.isnan(result.growth) else f"{result.growth:.3g} nats per step"
    title = f"{result.a} and {result.b} · {growth}"
    title += " · edited on the way" if result.edited else ""
    fig = panels(theme, title, result)
    lines = (
        ("distance", result.distance),
        ("predicted by the Jacobian", result.predicted),
        ("error of the prediction", result.error),
    )
    for i, (name, values) in enumerate(lines):
        fig.add_scatter(
            x=result.steps,
            y=np.where(values > 0, values, np.nan),
            mode="lines+markers",
            line={"dash": DASHES[i]},
            marker={"symbol": SYMBOLS[i]},
            name=name,
        )
    guide = {"color": faint(theme), "dash": "dash"}
    fig.add_vline(x=result.linear_until, line=guide, annotation_text="linear until here")
    fig.update_xaxes(title_text="step")
    fig.update_yaxes(title_text="norm, state units", type="log", exponentformat="power")
    return fig


def saturation(result: Saturation, *, theme: Theme = "light") -> go.Figure:
    """Every gate of every unit by the shares of steps in which it is open and shut.

    Each kind of gate has its symbol. Units near the diagonal are binary, units near the origin
    never saturate.

    Args:
        result: what `analysis.saturation` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> from rnnlab import Trace
        >>> from rnnlab.analysis import saturation as analyse
        >>> z = np.full((3, 2), 0.5)
        >>> len(saturation(analyse(Trace({"r": z, "z": z, "n": z}))).data)
        3
    """
    expect("saturation", result, Saturation)
    fig = panels(theme, f"Gate saturation, {result.steps:,} steps", result)
    fig.add_scatter(
        x=[0, 1],
        y=[1, 0],
        mode="lines",
        line={"color": faint(theme), "dash": "dash"},
        name="always one or the other",
        hoverinfo="skip",
    )
    gates = np.array(result.gates)
    for i, name in enumerate(dict.fromkeys(result.gates)):
        rows = np.flatnonzero(gates == name)
        fig.add_scatter(
            x=result.high[rows],
            y=result.low[rows],
            mode="markers",
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 9, "line": {"width": 1.5}},
            opacity=0.8,
            name=name,
            text=[f"{name}[{result.units[r]}], mean {result.mean[r]:.2f}" for r in rows],
            hoverinfo="text+x+y",
        )
    fig.update_xaxes(title_text="share of steps open (> 0.9)", range=[-0.03, 1.03])
    fig.update_yaxes(title_text="share of steps shut (< 0.1)", range=[-0.03, 1.03])
    fig.update_layout(height=480)
    return fig
