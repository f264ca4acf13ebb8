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
    assert str(error.value) == (
        "plots: theme must be 'light', 'dark' or a template "
        "(plotly.io.templates['plotly_white']), got 'sepia'."
    )


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("named", ["plotly_white", "plotly_dark", "seaborn", "presentation"])
def test_a_template_as_a_value(results, name, named):
    import plotly.io

    given = plotly.io.templates[named]
    fig = getattr(plots, name)(results[name], theme=given)
    assert fig.layout.template.to_plotly_json() == given.to_plotly_json()
    own = getattr(plots, name)(results[name], theme=plots.template("dark"))
    assert own.to_json() == getattr(plots, name)(results[name], theme="dark").to_json()


def test_colours_suit_the_ground_of_a_template():
    from rnnlab.plots import theme

    def template(**layout):
        return go.layout.Template(layout=layout)

    dark = template(paper_bgcolor="rgb(17,17,17)", colorway=["red"])
    assert theme.ink(dark) == theme.ink("dark")
    assert list(theme.colors(dark)) == list(theme.colors("dark"))
    assert theme.diverging(dark)[2] == [0.5, "rgb(17,17,17)"]
    assert theme.faint(template(plot_bgcolor="white")) == theme.faint("light")
    assert theme.faint(template(plot_bgcolor="black")) == theme.faint("dark")
    assert theme.faint(template(plot_bgcolor="rgba(0,0,0,0)")) == theme.faint("light")
    assert theme.ink(template(font={"color": "teal"})) == "teal"
    assert theme.greys(template()) == theme.greys("light")


@pytest.mark.parametrize("name", FIGURES)
def test_the_result_of_another_analysis(results, name):
    other = "flow" if name != "flow" else "jacobian"
    for wrong in (results[other], 3):
        with pytest.raises(rl.RnnlabError) as error:
            getattr(plots, name)(wrong)
        assert str(error.value) == (
            f"plots.{name}: draws what analysis.{name} returns, a "
            f"{type(results[name]).__name__}; got a {type(wrong).__name__}."
        )


def test_many_negative_values_are_marked():
    """Signs of a heat map too large for numbers do not hang on hue."""
    total = rl.Recur(lambda h, x: (h + x[0] - x[1], h + x[0] - x[1]), torch.zeros((), dtype=F64))
    fig = plots.attribution(analysis.attribution(total, np.ones((40, 2))))
    marks = next(trace for trace in fig.data if trace.name == "negative")
    assert sorted(marks.x) == list(range(1, 41))
    assert set(marks.y) == {1}
    assert marks.marker.symbol == "line-ew"
    small = plots.attribution(analysis.attribution(total, np.ones((9, 2))))
    assert [trace.name for trace in small.data] == [None, "norm over the features"]
    assert small.data[0].texttemplate == "%{z:.2g}"


def test_the_axis_of_one_unit_is_drawn_over_the_steps():
    h = np.array([[1.0], [3.0], [2.0]])
    found = analysis.pca(rl.Trace({"h": h}, initial={"h": np.zeros(1)}), "h")
    fig = plots.pca(found, others={"later": h + 1})
    assert fig.layout.xaxis.title.text == "step"
    assert fig.layout.yaxis.title.text == "PC1 (100.0% of the variance)"
    np.testing.assert_allclose(fig.data[0].x, [0, 1, 2, 3])
    np.testing.assert_allclose(fig.data[0].y, [-2, -1, 1, 0])
    np.testing.assert_allclose(fig.data[2].x, [1, 2, 3])
    np.testing.assert_allclose(fig.data[2].y, [0, 2, 1])


def test_places_that_are_not_finite_are_not_called_unsettled():
    model = rl.Recur(
        lambda h, x: (torch.where(h[..., :1] > 0, torch.nan, 0.5) * h, h),
        torch.zeros(2, dtype=F64),
    )
    found = analysis.basins(model, PLANE, grid=4, extent=((-1, 1), (-1, 1)))
    title = plots.basins(found).layout.title.text
    assert title == "Basins of 1 attractor · 50% of the places not finite (blank)"


def test_a_waterfall_of_nan():
    v = np.full((2, 1), np.nan)
    trace = rl.Trace(dict.fromkeys("cifgo", v), initial={"c": np.zeros(1)})
    fig = plots.waterfall(analysis.waterfall(trace, "c", 0, 2))
    assert "not finite" in fig.layout.title.subtitle.text


def test_one_step_is_singular():
    forgets = rl.Recur(lambda h, x: (x, h), torch.zeros(1, dtype=F64))
    title = plots.memory(analysis.memory(forgets, np.ones((9, 1)))).layout.title.text
    assert "1 % horizon 1 step ·" in title


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
