"""Every figure: both themes, readable without colour, nothing global touched."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab import analysis
from rnnlab.derive import derive
from tests.analysis.helpers import inputs, rnn, rotation, varied

go = pytest.importorskip("plotly.graph_objects", reason='pip install "rnnlab[plots]"')
plots = pytest.importorskip("rnnlab.plots")

F64 = torch.float64
PLANE = (("h", 0), ("h", 1))


@pytest.fixture(scope="module")
def results():
    model = varied(rl.LSTM(2, 4, dtype=F64))
    session = rl.Session(model)
    xs = inputs(12, 2)
    session.run(torch.as_tensor(xs))
    session.rewind(5)
    session.poke("c", 0, 2.0)
    session.refeed()
    trace = derive(model, session.trace("main"))
    cell = rnn(2 * np.eye(2))
    return {
        "jacobian": analysis.jacobian(rnn(1.2 * rotation(0.5))),
        "fixed_points": analysis.fixed_points(rnn(2 * np.eye(3))),
        "cycles": analysis.cycles(rnn(-2 * np.eye(2)), period=2),
        "flow": analysis.flow(cell, PLANE, grid=5),
        "basins": analysis.basins(cell, PLANE, grid=6),
        "lyapunov": analysis.lyapunov(model, xs),
        "attribution": analysis.attribution(model, xs, 0, "integrated"),
        "memory": analysis.memory(model, xs),
        "waterfall": analysis.waterfall(trace, "c", 1, 9),
        "pca": analysis.pca(trace, "h"),
        "saturation": analysis.saturation(trace),
        "timescales": analysis.timescales(trace),
        "divergence": analysis.divergence(session, "main", session.branch_name),
    }


FIGURES = [name for name in getattr(plots, "__all__", ()) if name != "template"]


def test_every_analysis_has_a_figure():
    functions = {name for name in analysis.__all__ if inspect.isfunction(getattr(analysis, name))}
    assert set(FIGURES) == functions


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_figure_in_both_themes(results, name, theme):
    fig = getattr(plots, name)(results[name], theme=theme)
    assert isinstance(fig, go.Figure)
    assert (
        fig.layout.template.layout.paper_bgcolor == {"light": "#ffffff", "dark": "#111418"}[theme]
    )
    assert fig.layout.title.text
    axes = json.loads(fig.to_json())["layout"]
    for letter in "xy":
        titles = [axes[key].get("title", {}) for key in axes if key.startswith(f"{letter}axis")]
        assert any("text" in title for title in titles)
    assert len(json.loads(fig.to_json())["data"]) == len(fig.data)


@pytest.mark.parametrize("name", FIGURES)
def test_pure(results, name):
    one, two = (getattr(plots, name)(results[name]) for _ in range(2))
    assert one is not two
    assert one.to_json() == two.to_json()


@pytest.mark.parametrize("name", FIGURES)
def test_lines_and_marks_differ_without_colour(results, name):
    """What the legend tells apart differs in more than its colour."""
    fig = getattr(plots, name)(results[name])
    seen = set()
    for trace in fig.data:
        if trace.type != "scatter" or trace.showlegend is False or not trace.name:
            continue
        symbol = trace.marker.symbol if "markers" in trace.mode else None
        symbol = tuple(symbol) if isinstance(symbol, (tuple, list, np.ndarray)) else symbol
        dash = trace.line.dash if "lines" in trace.mode else None
        look = (trace.mode, symbol, dash)
        if name == "cycles" and trace.name.startswith("orbit"):
            continue  # orbits are told apart by place; attracting or not by dash and symbol
        assert look not in seen, f"{trace.name} looks like another trace"
        seen.add(look)


@pytest.mark.parametrize("name", FIGURES)
def test_unknown_theme(results, name):
    with pytest.raises(rl.RnnlabError) as error:
        getattr(plots, name)(results[name], theme="sepia")
    assert str(error.value) == "plots: theme must be 'light' or 'dark', got 'sepia'."


def test_what_failed_is_on_the_figure():
    model = rl.Recur(lambda h, x: (h * x, h), torch.ones(1, dtype=F64))
    xs = np.full((40, 1), 0.5)
    xs[30] = np.nan
    fig = plots.lyapunov(analysis.lyapunov(model, xs))
    assert "not finite after step 31" in fig.layout.title.subtitle.text.replace("<br>", " ")


@pytest.mark.parametrize(
    "name",
    ["jacobian", "fixed_points", "cycles", "flow", "basins", "lyapunov", "attribution", "memory"],
)
def test_where_nothing_is_finite_the_figure_says_so(name):
    options = {
        "fixed_points": {"starts": 6, "rounds": 1},
        "cycles": {"period": 2, "starts": 6, "rounds": 1},
        "flow": {"plane": PLANE, "grid": 3},
        "basins": {"plane": PLANE, "grid": 3},
        **{key: {"xs": np.zeros((9, 1))} for key in ("lyapunov", "attribution", "memory")},
    }
    model = rl.Recur(lambda h, x: (h * torch.nan, h), torch.zeros(2, dtype=F64))
    result = getattr(analysis, name)(model, **options.get(name, {}))
    assert result.failed
    fig = getattr(plots, name)(result)
    assert "finite" in fig.layout.title.subtitle.text


def test_no_failure_no_warning(results):
    assert plots.lyapunov(results["lyapunov"]).layout.title.subtitle.text is None


def test_text_from_names_is_no_markup():
    from rnnlab.plots.theme import wrapped

    assert "<b>" not in wrapped("<b>bold</b>")


def test_an_incomplete_search_says_so():
    for seed in range(9):
        found = analysis.fixed_points(rnn([[2.0]]), starts=1, rounds=1, seed=seed)
        text = plots.fixed_points(found).layout.title.text
        assert ("INCOMPLETE" in text) == (found.complete is False)


def test_fixed_points_of_one_to_many_units():
    for n in (1, 2, 3, 4):
        found = analysis.fixed_points(rnn(1.5 * np.eye(n)))
        fig = plots.fixed_points(found)
        drawn = sum(len(t.x) for t in fig.data if t.name in ("stable", "unstable"))
        assert drawn == len(found.points)
    fig = plots.fixed_points(found, units=(("h", 3), ("h", 0)))
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("h[3]", "h[0]")
    with pytest.raises(rl.RnnlabError, match="units must be two of the state's"):
        plots.fixed_points(found, units=(("h", 9), ("h", 0)))


def test_no_points_at_all():
    found = analysis.fixed_points(
        rl.Recur(lambda h, x: (h + 1 + h * h, h), torch.zeros(3)), starts=9, rounds=1
    )
    assert len(plots.fixed_points(found).data) >= 1


def test_a_continuum_is_drawn():
    fig = plots.fixed_points(analysis.fixed_points(rnn(np.diag([1.0, 0.5]), "relu")))
    assert {"on a continuum", "continuum"} <= {trace.name for trace in fig.data}


def test_flow_arrows_and_points(results):
    found = results["flow"]
    points = analysis.fixed_points(rnn(2 * np.eye(2)))
    fig = plots.flow(found, points=points)
    heat, arrows, stable, other = fig.data
    assert len(arrows.x) == 25 * 6
    assert np.asarray(heat.z).max() < 1e-9
    assert len(stable.x) == 4
    assert len(other.x) == 5
    tails = np.stack([arrows.x[::6], arrows.y[::6]], axis=1)
    tips = np.stack([arrows.x[1::6], arrows.y[1::6]], axis=1)
    moved = (tips - tails).reshape(5, 5, 2)
    assert (np.sign(moved.round(12)) == np.sign(found.velocity.round(12))).all()
    with pytest.raises(rl.RnnlabError) as error:
        plots.flow(found, points=analysis.fixed_points(rnn(np.eye(3) / 2)))
    assert str(error.value) == "plots.flow: the points are of 3 units, the plane of 2."


def test_basins_are_numbered(results):
    fig = plots.basins(results["basins"])
    texts = [note.text for note in fig.layout.annotations]
    assert [text.split()[0] for text in texts] == ["<b>0</b>", "<b>1</b>", "<b>2</b>", "<b>3</b>"]


def test_waterfall_adds_up(results):
    found = results["waterfall"]
    fig = plots.waterfall(found)
    *parts, total = fig.data[0].y
    assert sum(parts) == pytest.approx(total)
    assert total == pytest.approx(found.value)
    few = plots.waterfall(found, most=3).data[0]
    assert few.x[1] == "1 … 6"
    assert sum(few.y[:-1]) == pytest.approx(total)


def test_others_on_the_same_axes(results):
    found = results["pca"]
    moved = found.place(found.mean[None] + found.components[:1])
    fig = plots.pca(found, others={"one step along PC1": found.mean[None] + found.components[:1]})
    assert fig.data[2].name == "one step along PC1"
    np.testing.assert_allclose(fig.data[2].x, moved[:, 0], atol=1e-12)


def test_another_run_begins_where_it_began(results):
    """Both paths from the state before the first step, not one from the state after it."""
    session = rl.Session(varied(rl.LSTM(2, 4, dtype=F64)))
    session.run(torch.as_tensor(inputs(12, 2)))
    found = results["pca"]
    fig = plots.pca(found, others={"again": session.trace()})
    np.testing.assert_allclose(fig.data[2].x, fig.data[0].x, atol=1e-9)
    assert len(fig.data[2].x) == 13


def test_labels_are_one_for_each_step(results):
    found = results["attribution"]
    fig = plots.attribution(found, labels=list("abcdefghijkl"))
    assert fig.layout.xaxis2.ticktext == tuple("abcdefghijkl")
    with pytest.raises(rl.RnnlabError) as error:
        plots.attribution(found, labels=["a", "b"])
    assert str(error.value) == "plots.attribution: 2 labels for 12 steps; one is for each."


def test_only_what_counts_is_labelled(results):
    bars = plots.waterfall(results["waterfall"]).data[0]
    most = np.abs(bars.y).max()
    for text, value in zip(bars.text, bars.y, strict=True):
        assert bool(text) == (abs(value) >= 0.01 * most)


def test_the_title_counts_the_kinds(results):
    title = plots.fixed_points(results["fixed_points"]).layout.title.text
    assert title == "27 fixed points: 8 stable, 19 unstable · index sum +1"


def test_memory_is_on_an_absolute_log_scale():
    leak = rl.Recur(lambda h, x: (1e-9 * h + x, h), torch.zeros(1, dtype=F64))
    fig = plots.memory(analysis.memory(leak, np.ones((50, 1))))
    assert fig.data[0].y[-1] == pytest.approx(-9 * 49)


def test_dead_exponents_are_counted():
    fig = plots.lyapunov(analysis.lyapunov(rnn(np.zeros((2, 2)), "identity"), np.zeros((30, 1))))
    assert "2 dead" in fig.layout.title.text


def test_without_plotly_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['plotly'] = None\n"
        "try:\n    import rnnlab.plots\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        'rnnlab.plots needs plotly. Install it with: pip install "rnnlab[plots]"'
    )


def test_no_global_template_is_set():
    import plotly.io

    before = plotly.io.templates.default
    plots.jacobian(analysis.jacobian(rnn(np.eye(2))), theme="dark")
    assert plotly.io.templates.default == before
