"""Figures in a plane of states: flow, basins, the path of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnlab.analysis import PCA, Basins, Flow
from rnnlab.analysis.basins import LOST, UNSETTLED
from rnnlab.errors import RnnlabError
from rnnlab.plots.theme import (
    DASHES,
    SYMBOLS,
    Theme,
    colors,
    expect,
    faint,
    go,
    greys,
    ink,
    panels,
)


def flow(result: Flow, *, points: Any = None, theme: Theme = "light") -> go.Figure:
    """Arrows along which a step moves the states of the plane; grey where the speed leaves it.

    Arrows have lengths by the square root of the velocity. Where the ground is dark, a short arrow
    is no sign of a fixed point.

    Args:
        result: what `analysis.flow` returned.
        points: fixed points to draw as well (`analysis.fixed_points`), projected: filled if stable;
            small and open if they lie off the plane.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme, or points of another state.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import flow as analyse
        >>> found = analyse(rl.RNN(1, 2), (("h", 0), ("h", 1)), grid=4)
        >>> flow(found).layout.xaxis.title.text
        'h[0]'
    """
    expect("flow", result, Flow)
    speed = result.speed[np.isfinite(result.speed)]
    said = f" · speed up to {speed.max():.3g}" if len(speed) else ""
    fig = panels(theme, f"Flow in the plane{said}", result)
    fig.add_heatmap(
        x=result.a,
        y=result.b,
        z=result.out_of_plane,
        zmin=0,
        zmax=1,
        zsmooth="best",
        colorscale=greys(theme),
        colorbar={"title": {"text": "share of speed<br>out of the plane"}, "tickformat": ".0%"},
        hovertemplate="%{x:.3g}, %{y:.3g}: %{z:.0%} out of the plane<extra></extra>",
    )
    x, y = _arrows(result)
    fig.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": colors(theme)[0], "width": 1.3},
        name="velocity in the plane",
        hoverinfo="skip",
    )
    if points is not None:
        _overlay(fig, result.plane, points, theme)
    _label(fig, result.plane)
    return fig


def basins(result: Basins, *, theme: Theme = "light") -> go.Figure:
    """The plane by attractor: each basin outlined and numbered, each attractor marked.

    Args:
        result: what `analysis.basins` returned.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme.

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.analysis import basins as analyse
        >>> found = analyse(rl.RNN(1, 2), (("h", 0), ("h", 1)), grid=4)
        >>> len(basins(found).data) >= 2
        True
    """
    expect("basins", result, Basins)
    count = len(result.share)
    title = f"Basins of {count} attractor{'s' * (count != 1)}"
    blank = ((UNSETTLED, "not settled"), (LOST, "not finite"))
    shares = [(float((result.label == code).mean()), word) for code, word in blank]
    words = [f"{share:.0%} of the places {word}" for share, word in shares if share]
    title += f" · {', '.join(words)} (blank)" if words else ""
    fig = panels(theme, title, result)
    palette = colors(theme)
    shades = [palette[k % len(palette)] for k in range(max(count, 1))]
    scale = [
        [edge, shade]
        for k, shade in enumerate(shades)
        for edge in (k / len(shades), (k + 1) / len(shades))
    ]
    label = np.where(result.label < 0, np.nan, result.label)
    fig.add_heatmap(
        x=result.a,
        y=result.b,
        z=label,
        zmin=-0.5,
        zmax=max(count, 1) - 0.5,
        colorscale=scale,
        opacity=0.45,
        showscale=False,
        hovertemplate="%{x:.3g}, %{y:.3g}: attractor %{z}<extra></extra>",
    )
    x, y = _borders(result)
    fig.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": ink(theme), "width": 1.5},
        name="border",
        hoverinfo="skip",
        showlegend=False,
    )
    places = result.plane.place(result.attractors)
    kinds = ["fixed point" if p == 1 else f"{p}-cycle" for p in result.period]
    inside = [k for k in range(count) if result.share[k] >= 0.002][:30]
    fig.add_scatter(
        x=places[inside, 0],
        y=places[inside, 1],
        mode="markers+text",
        marker={"symbol": "circle", "size": 9, "color": ink(theme)},
        cliponaxis=False,
        name="attractor (projected)",
        text=[str(k) for k in inside],
        textposition=["bottom center" if y > 0 else "top center" for y in places[inside, 1]],
        hovertext=[f"{k}: {kinds[k]}, {result.share[k]:.1%} of the places" for k in inside],
        hoverinfo="text",
        showlegend=True,
    )
    for k in inside:
        rows, columns = np.nonzero(result.label == k)
        middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        fig.add_annotation(
            x=result.a[columns[middle]],
            y=result.b[rows[middle]],
            text=f"<b>{k}</b> {kinds[k]}",
            showarrow=False,
            font={"color": ink(theme)},
            yshift=16,
        )
    _label(fig, result.plane)
    return fig


def pca(
    result: PCA, *, others: Mapping[str, Any] | None = None, theme: Theme = "light"
) -> go.Figure:
    """The path of the run in its first two principal axes, and other runs on the same axes.

    A square marks the beginning, a star the end. With one axis (one unit, or `components=1`) the
    path is drawn over the steps.

    Args:
        result: what `analysis.pca` returned; for a batch, its first rows.
        others: name → Trace or states `(T, n)` to place on the stored axes.
        theme: "light", "dark" or a plotly template.

    Raises:
        RnnlabError: the result of another analysis, another theme, or states of other units.

    Example:
        >>> from rnnlab import Trace
        >>> from rnnlab.analysis import pca as analyse
        >>> h = np.array([[0.0, 1.0], [1.0, 2.0], [0.0, 6.0]])
        >>> len(pca(analyse(Trace({"h": h}), "h"), others={"again": h}).data)
        4
    """
    expect("pca", result, PCA)
    fig = panels(theme, f"{', '.join(result.names)} · fitted to {result.fitted}", result)
    paths = {"run": _joined(result.initial, result.scores)}
    paths |= {name: _path(result, states) for name, states in (others or {}).items()}
    for i, (name, (first, path)) in enumerate(paths.items()):
        rows = path[:, None] if path.ndim == 2 else path[:, :6]
        for r in range(rows.shape[1]):
            places = rows[:, r, :2]
            if places.shape[1] == 1:
                places = np.column_stack([np.arange(first, first + len(places)), places])
            x, y = places.T
            color = colors(theme)[(i + r) % 6]
            title = name if rows.shape[1] == 1 else f"{name}, row {r}"
            fig.add_scatter(
                x=x,
                y=y,
                mode="lines+markers",
                line={"dash": DASHES[(i + r) % 6], "color": color, "width": 1.5},
                marker={"size": 4},
                name=title,
                text=[f"{title}, row {t}" for t in range(len(x))],
                hoverinfo="text+x+y",
            )
            fig.add_scatter(
                x=x[[0, -1]],
                y=y[[0, -1]],
                mode="markers",
                marker={"symbol": ["square", "star"], "size": 13, "color": color},
                showlegend=False,
                text=["begins", "ends"],
                hoverinfo="text",
            )
    titles = [
        f"PC{k + 1} ({share:.1%} of the variance)"
        for k, share in enumerate(result.variance_ratio[:2])
    ]
    across, up = titles if len(titles) == 2 else ("step", titles[0])
    fig.update_xaxes(title_text=across)
    fig.update_yaxes(title_text=up)
    return fig


def _path(result: PCA, states: Any) -> tuple[int, np.ndarray]:
    """Another run on the stored axes, from the state before its first step on if it has one."""
    before = getattr(states, "initial", {})
    known = all(name in before for name in result.names)
    return _joined(result.place(before) if known else None, result.place(states))


def _joined(initial: np.ndarray | None, scores: np.ndarray) -> tuple[int, np.ndarray]:
    """A path, and the step after which its first state stood."""
    if initial is None:
        return 1, scores
    return 0, np.concatenate([np.broadcast_to(initial, scores.shape[1:])[None], scores])


def _label(fig: go.Figure, plane: Any) -> None:
    (a0, a1), (b0, b1) = plane.extent
    fig.update_xaxes(title_text=plane.labels[0], range=[a0, a1])
    fig.update_yaxes(title_text=plane.labels[1], range=[b0, b1])
    fig.update_layout(height=520)


def _arrows(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """All arrows as one line, pen lifted between them."""
    a, b = np.meshgrid(result.a, result.b)
    step = (
        np.array([np.diff(result.a).mean(), np.diff(result.b).mean()]) if len(result.a) > 1 else 1
    )
    v = result.velocity / step
    length = np.linalg.norm(v, axis=-1)
    most = np.nanmax(length) if np.isfinite(length).any() else 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(length[..., None] > 0, v / length[..., None], 0.0)
    size = 0.9 * np.sqrt(length / most) if most > 0 else np.zeros_like(length)
    along = unit * size[..., None]
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    tail = np.stack([a, b], axis=-1)
    tip = tail + along * step
    left, right = (tip - (0.35 * along + side * 0.18 * across) * step for side in (1, -1))
    lifted = np.full_like(tip, np.nan)
    line = np.stack([tail, tip, left, tip, right, lifted], axis=2).reshape(-1, 2)
    return line[:, 0], line[:, 1]


def _borders(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """The lines between places of different basins."""
    da, db = (np.diff(axis).mean() / 2 if len(axis) > 1 else 0.5 for axis in (result.a, result.b))
    x: list[float] = []
    y: list[float] = []
    rows, columns = np.nonzero(result.label[:, 1:] != result.label[:, :-1])
    for r, c in zip(rows, columns, strict=True):
        x += [result.a[c] + da, result.a[c] + da, np.nan]
        y += [result.b[r] - db, result.b[r] + db, np.nan]
    rows, columns = np.nonzero(result.label[1:] != result.label[:-1])
    for r, c in zip(rows, columns, strict=True):
        x += [result.a[c] - da, result.a[c] + da, np.nan]
        y += [result.b[r] + db, result.b[r] + db, np.nan]
    return np.array(x), np.array(y)


def _overlay(fig: go.Figure, plane: Any, points: Any, theme: Theme) -> None:
    if points.points.shape[1] != len(plane.origin):
        raise RnnlabError(
            f"plots.flow: the points are of {points.points.shape[1]} units, the plane of "
            f"{len(plane.origin)}."
        )
    places = plane.place(points.points)
    off = np.linalg.norm(points.points - plane.states(places), axis=1)
    size = np.ptp(plane.extent, axis=1).max()
    for stable, name, full in ((True, "stable", 0), (False, "not stable", 1)):
        rows = np.flatnonzero(points.stable == stable)
        away = off[rows] > 0.01 * size
        symbols = [
            SYMBOLS[full] if not far else f"{SYMBOLS[full].split('-')[0]}-open-dot" for far in away
        ]
        fig.add_scatter(
            x=places[rows, 0],
            y=places[rows, 1],
            mode="markers",
            marker={
                "symbol": symbols,
                "size": np.where(away, 8, 13),
                "color": faint(theme) if not stable else ink(theme),
                "line": {"width": 2, "color": ink(theme)},
            },
            name=f"{name} fixed point (dotted ring: off the plane)",
            showlegend=bool(len(rows)),
            cliponaxis=False,
            text=[f"point {k}: {points.kinds[k]}, {off[k]:.3g} off the plane" for k in rows],
            hoverinfo="text",
        )
