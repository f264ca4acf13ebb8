"""The tabs Memory and Dynamics: right numbers, on a copy of the model, by request."""

import asyncio

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.widgets.studies import Subject


class Asked:
    """Asks an explorer's page the long questions and waits for the end of each."""

    def __init__(self, page):
        self.page = page
        self.count = 0

    async def ask(self, topic, **detail):
        self.count += 1
        before = len(self.page.sent)
        self.page.press(topic, request=self.count, **detail)
        while True:
            found = [m for m in self.page.sent[before:] if m.get("request") == self.count]
            if any(m["state"] in ("done", "error", "stopped") for m in found):
                return found
            await asyncio.sleep(0.005)

    def __call__(self, topic, **detail):
        return asyncio.run(self.ask(topic, **detail))


def part(messages, name):
    assert messages[-1]["state"] == "done", messages[-1]["error"]
    return [m for m in messages if m.get("part") == name][-1]


@pytest.fixture
def lstm(open_page):
    torch.manual_seed(0)
    xs = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    page = open_page(lambda: rl.explore(rl.Chain(rl.LSTM(3, 4), rl.Dense(4, 2)), xs))
    page.explorer.session.run(xs, progress=False)
    return page


@pytest.mark.parametrize("method", ["gradient", "integrated", "input_x_gradient"])
def test_an_output_is_attributed_to_the_inputs_before_the_step(lstm, method):
    session = lstm.explorer.session
    found = Asked(lstm)("memory", step=7, target={"y": 1}, method=method)
    values = part(found, "values")
    trace = session.trace()
    wanted = rl.analysis.attribution(session.model, trace["x"][:7], 1, method)
    sums = wanted.magnitude if method == "gradient" else wanted.values.sum(axis=1)
    np.testing.assert_allclose(values["rows"], sums, rtol=1e-5)
    assert values["start"] == 0
    assert values["value"] == pytest.approx(float(trace["y"][6, 1]), rel=1e-5)
    memory = rl.analysis.memory(session.model, trace["x"][:7], progress=False)
    fading = part(found, "fading")
    assert (fading["steps"], fading["horizon"], fading["reached"]) == (
        7,
        memory.horizon,
        memory.horizon_reached,
    )
    assert fading["e_folding"] == pytest.approx(memory.e_folding)


def test_a_unit_of_the_state_is_attributed_too(lstm):
    session = lstm.explorer.session
    found = Asked(lstm)("memory", step=5, target={"name": "0.c", "unit": 2}, method="gradient")
    xs = torch.tensor(session.trace()["x"][:5], requires_grad=True)
    cell = rl.as_cell(session.model)
    states = cell.initial_state()
    for x in xs:
        states, _ = cell(states, x)
    (gradient,) = torch.autograd.grad(states["0.c"][2], xs)
    np.testing.assert_allclose(part(found, "values")["rows"], gradient.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("whole", ["state", "output"])
def test_the_whole_state_and_output_have_norms(lstm, whole):
    session = lstm.explorer.session
    found = Asked(lstm)("memory", step=12, target={"all": whole}, method="gradient")
    wanted = rl.analysis.memory(session.model, session.trace(), progress=False)
    norms = wanted.state if whole == "state" else wanted.output
    np.testing.assert_allclose(part(found, "values")["rows"], norms, rtol=1e-5)


@pytest.mark.parametrize("step", [1, 7, 12])
def test_a_cell_value_is_split_into_what_was_written(lstm, step):
    session = lstm.explorer.session
    target = {"name": "0.c", "unit": 2}
    values = part(Asked(lstm)("memory", step=step, target=target, method="written"), "values")
    trace = rl.derive(session.model, session.trace())
    wanted = rl.analysis.waterfall(trace, "0.c", 2, step)
    np.testing.assert_allclose(values["rows"], wanted.contributions, rtol=1e-6)
    assert values["value"] == float(trace["0.c"][step - 1, 2])
    total = sum(values["rows"]) + values["before"]
    assert total == pytest.approx(values["value"], abs=1e-6)


def test_of_an_edited_run_what_was_written_since(open_page):
    page = open_page(lambda: rl.explore(rl.GRU(1, 3)))
    session = page.explorer.session
    session.run(torch.ones(2, 2, 1), progress=False)
    session.poke("h", None, torch.tensor([0.5, -0.5, 0.1]).expand(2, 3))
    session.run(torch.tensor([1.0, -2.0]).expand(3, 2).unsqueeze(-1), progress=False)
    page.explorer.row = 1
    target = {"name": "h", "unit": 1}
    values = part(Asked(page)("memory", step=5, target=target, method="written"), "values")
    assert (values["start"], values["edited"], len(values["rows"])) == (2, True, 3)
    z = rl.derive(session.model, session.trace())["z"][2:, 1, 1]
    assert values["before"] == pytest.approx(-0.5 * float(z.prod()), rel=1e-5)


def test_what_cannot_be_split_is_refused(lstm):
    ask = Asked(lstm)
    found = ask("memory", step=5, target={"name": "0.h", "unit": 0}, method="written")
    assert "States that can be split: 0.c." in found[-1]["error"]
    found = ask("memory", step=5, target={"y": 0}, method="written")
    assert found[-1]["error"].endswith("is told of one unit of a state; select a unit.")


def test_what_was_set_by_hand_depends_on_no_input_before(open_page):
    """y = h: after h is set at step 2, only steps 3 to 5 are left to depend on."""
    page = open_page(lambda: rl.explore(rl.Recur(rl.RNNCell(1, 3))))
    session = page.explorer.session
    session.run(torch.ones(2, 1), progress=False)
    session.poke("h", None, [0.5, -0.5, 0.1])
    session.run(torch.ones(3, 1), progress=False)
    values = part(Asked(page)("memory", step=5, target={"y": 0}, method="integrated"), "values")
    assert (values["start"], values["edited"], len(values["rows"])) == (2, True, 3)
    assert values["value"] == pytest.approx(float(session.trace()["y"][4, 0]), rel=1e-5)
    at = Asked(page)("memory", step=2, target={"all": "state"}, method="gradient")
    assert at[-1]["error"].startswith("Explorer: at step 2 the state was set or held by hand")
    session.clamp("h", 1, 0.0, 2)
    session.run(torch.ones(3, 1), progress=False)
    values = part(Asked(page)("memory", step=8, target={"y": 0}, method="gradient"), "values")
    assert (values["start"], len(values["rows"])) == (7, 1)
    session.rewind(1)
    before = Asked(page)("memory", step=1, target={"y": 0}, method="gradient")
    assert part(before, "values")["edited"] is False


def test_a_long_past_is_asked_only_about_its_newest_part(open_page, monkeypatch):
    monkeypatch.setattr("rnnlab.widgets.studies.LONGEST", 8)
    page = open_page(lambda: rl.explore(rl.RNN(1, 2)))
    page.explorer.session.run(torch.ones(20, 1), progress=False)
    values = part(Asked(page)("memory", step=18, target={"all": "state"}, method="x"), "values")
    assert (values["start"], len(values["rows"])) == (10, 8)
    whole = rl.analysis.memory(page.explorer.session.model, torch.ones(18, 1), progress=False)
    np.testing.assert_allclose(values["rows"], whole.state[10:], rtol=1e-5)


def test_tokens_count_by_their_vectors(open_page):
    torch.manual_seed(0)
    model = rl.Chain(torch.nn.Embedding(5, 3), rl.GRU(3, 4), rl.Dense(4, 5))
    page = open_page(lambda: rl.explore(rl.Session(model)))
    tokens = torch.tensor([1, 4, 2])
    for token in tokens:
        page.explorer.session.step(token)
    target = {"name": "1.h", "unit": 0}
    found = Asked(page)("memory", step=3, target=target, method="gradient")
    cell = rl.as_cell(rl.Chain(*list(model)[1:]))
    xs = model[0](tokens).detach().requires_grad_()
    states = cell.initial_state()
    for x in xs:
        states, _ = cell(states, x)
    (gradient,) = torch.autograd.grad(states["0.h"][0], xs)
    np.testing.assert_allclose(part(found, "values")["rows"], gradient.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("row", [0, 1])
def test_of_a_batch_the_row_shown_is_meant(open_page, row):
    page = open_page(lambda: rl.explore(rl.RNN(2, 3), input_names="ab"))
    xs = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0))
    for x in xs:
        page.explorer.session.step(x)
    page.explorer.row = row
    found = Asked(page)("memory", step=4, target={"all": "state"}, method="gradient")
    wanted = rl.analysis.memory(page.explorer.session.model, xs[:, row], progress=False)
    np.testing.assert_allclose(part(found, "values")["rows"], wanted.state, rtol=1e-5)


def test_what_cannot_be_told_is_an_error_of_the_request(lstm):
    ask = Asked(lstm)
    before = ask("memory", step=0, target={"all": "state"}, method="gradient")
    assert before[-1]["error"] == "Explorer: no input has been fed before the initial state."
    gone = ask("memory", step=3, target={"name": "9.h", "unit": 0}, method="gradient")
    assert gone[-1]["error"] == "Explorer: there is no state '9.h'."
    assert lstm.explorer.error == ""


def test_a_study_has_a_model_of_its_own(lstm):
    session = lstm.explorer.session
    subject = Subject.of(session, 3, 3, 0)
    weights = {n: w.clone() for n, w in session.model.state_dict().items()}
    with torch.no_grad():
        for parameter in session.model.parameters():
            parameter.add_(1.0)
    for name, weight in subject.model.state_dict().items():
        assert torch.equal(weight, weights[name])
    trace = session.trace()
    before = np.concatenate([trace["0.h"][2], trace["0.c"][2]])
    np.testing.assert_array_equal(subject.state, before.astype(float))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def bistable(open_page, request):
    """h' = tanh(2h + x) in two independent units: nine fixed points at x = 0, one at x = 1."""
    model = rl.RNN(1, 2)
    with torch.no_grad():
        model.cell.weight_hh.copy_(2 * torch.eye(2))
        model.cell.weight_ih.fill_(1.0)
        model.cell.bias.zero_()
    model.to(request.param)
    page = open_page(lambda: rl.explore(model, input_names=["push"]))
    xs = torch.tensor([[0.3], [-0.8], [0.1], [1.0], [0.2]], device=request.param)
    page.explorer.session.run(xs, progress=False)
    page.explorer.session.poke("h", 0, 0.3)  # else both units go the same way
    page.explorer.session.run(xs, progress=False)
    return page


def test_fixed_points_appear_and_annihilate_with_the_input(bistable):
    ask, counts = Asked(bistable), []
    for x in (0.0, 1.0, 0.0):
        found = ask("dynamics", name="h", step=10, x=[x], basins=False)
        points = part(found, "points")
        assert points["thorough"] is True, "a small state is searched everywhere"
        counts.append([points["count"], points["complete"], points["index_sum"]])
    assert counts == [[9, True, 1], [1, True, 1], [9, True, 1]]
    kinds = [point["kind"] for point in points["listed"]]
    assert sorted(kinds) == ["saddle"] * 4 + ["stable"] * 4 + ["unstable"]
    slope = 0.166372087751674
    stable = points["listed"][kinds.index("stable")]
    assert (stable["tau"], stable["grows"]) == (pytest.approx(-1 / np.log(slope)), False)
    assert max(point["residual"] for point in points["listed"]) < 1e-12


def test_points_and_flow_lie_in_the_plane_of_the_trajectory(bistable):
    found = Asked(bistable)("dynamics", name="h", step=10, x=[0.0], basins=False)
    plane = next(m for m in bistable.sent if m["kind"] == "plane")
    mean, axes = np.array(plane["mean"]), np.array(plane["axes"])
    root = 0.957504024077269
    corners = np.array([[a, b] for a in (-root, root) for b in (-root, root)])
    stable = [p["at"] for p in part(found, "points")["listed"] if p["kind"] == "stable"]
    wanted = (corners - mean) @ axes.T
    for place in wanted:
        assert np.abs(np.array(stable) - place).max(axis=1).min() < 1e-6
    flow = part(found, "flow")
    a, b = flow["window"]
    assert all(np.abs(wanted[:, 0]) <= a)
    assert all(np.abs(wanted[:, 1]) <= b), "the window has grown to hold what was found"
    grid = flow["grid"]
    velocity = flow["rows"][: 2 * grid * grid].reshape(grid, grid, 2)
    z = np.array([np.linspace(-a, a, grid)[3], np.linspace(-b, b, grid)[11]])
    s = mean + z @ axes
    np.testing.assert_allclose(velocity[11, 3], axes @ (np.tanh(2 * s) - s), atol=1e-5)
    out = flow["rows"][3 * grid * grid :]
    assert np.abs(out).max() < 1e-5, "two units: nothing leaves their plane"


def test_points_tell_how_far_they_lie_off_the_plane(open_page):
    """The third unit rests at 0 in this run; of 27 points 18 have it at ±0.96."""
    model = rl.RNN(1, 3)
    with torch.no_grad():
        model.cell.weight_hh.copy_(2 * torch.eye(3))
        model.cell.weight_ih.copy_(torch.tensor([[1.0], [1.0], [0.0]]))
        model.cell.bias.zero_()
    page = open_page(lambda: rl.explore(model))
    page.explorer.session.run(torch.tensor([[0.3], [-0.8], [0.1]]), progress=False)
    page.explorer.session.poke("h", 0, 0.3)
    page.explorer.session.run(torch.tensor([[1.0], [0.2], [0.5]]), progress=False)
    found = Asked(page)("dynamics", name="h", step=6, x=[0.0], basins=False)
    away = [point["away"] for point in part(found, "points")["listed"]]
    near = [distance for distance in away if distance < 1e-6]
    assert (len(near), len(away)) == (9, 27)
    assert sorted(away)[9:] == pytest.approx([0.957504024077269] * 18)


def test_a_larger_state_is_followed_first_and_searched_when_asked(bistable, monkeypatch):
    monkeypatch.setattr("rnnlab.widgets.portrait.LITTLE", 1)
    ask = Asked(bistable)
    points = part(ask("dynamics", name="h", step=10, x=[0.0], basins=False), "points")
    assert points["thorough"] is False
    assert {"stable", "saddle"} <= {point["kind"] for point in points["listed"]}
    found = ask("dynamics", name="h", step=10, x=[0.0], basins=False, thorough=True)
    told = [m["thorough"] for m in found if m.get("part") == "points"]
    assert told == [False, True]
    assert part(found, "points")["count"] == 9


def test_basins_respond_to_the_input(bistable):
    ask, shares = Asked(bistable), []
    for x in (0.0, 1.0, 0.0):
        found = ask("dynamics", name="h", step=10, x=[x], basins=True)
        basins, points = part(found, "basins"), part(found, "points")
        shares.append([round(end["share"], 3) for end in basins["attractors"]])
        assert basins["failed"] == ()
    assert len(shares[0]) == 4
    assert sum(shares[0]) == pytest.approx(1, abs=0.01)
    assert shares[1] == [1.0]
    assert shares[2] == shares[0]
    numbers = [p["attractor"] for p in points["listed"] if p["kind"] == "stable"]
    assert sorted(numbers) == [0, 1, 2, 3], "each end is a point of the list"
    for point in points["listed"]:
        if point["attractor"] >= 0:
            end = basins["attractors"][point["attractor"]]["at"]
            np.testing.assert_allclose(end, [point["at"]], atol=1e-7)


def test_a_place_is_shaded_by_the_point_it_runs_to(bistable):
    found = Asked(bistable)("dynamics", name="h", step=10, x=[0.0], basins=True)
    plane = next(m for m in bistable.sent if m["kind"] == "plane")
    mean, axes = np.array(plane["mean"]), np.array(plane["axes"])
    basins = part(found, "basins")
    grid, (a, b) = basins["grid"], basins["window"]
    labels = np.asarray(basins["rows"]).reshape(grid, grid)
    places = np.stack(np.meshgrid(np.linspace(-a, a, grid), np.linspace(-b, b, grid)), axis=-1)
    states = mean + places @ axes
    clear = (np.abs(states) > 1e-3).all(axis=-1)
    for k, end in enumerate(basins["attractors"]):
        root = mean + np.array(end["at"][0]) @ axes
        here = (np.sign(states) == np.sign(root)).all(axis=-1)
        assert (labels[clear & here] == k).all()


@pytest.fixture
def alternating(open_page):
    """h' = tanh(−2h) in two independent units: two cycles of two steps."""
    model = rl.RNN(1, 2)
    with torch.no_grad():
        model.cell.weight_hh.copy_(-2 * torch.eye(2))
        model.cell.weight_ih.copy_(torch.tensor([[1.0], [0.2]]))
        model.cell.bias.zero_()
    page = open_page(lambda: rl.explore(model))
    page.explorer.session.run(torch.tensor([[0.1], [-0.2], [0.1], [0.05]]), progress=False)
    return page


def test_basins_of_cycles_have_all_their_states_within_the_window(alternating):
    basins = part(Asked(alternating)("dynamics", name="h", step=4, x=[0.0], basins=True), "basins")
    plane = next(m for m in alternating.sent if m["kind"] == "plane")
    mean, axes = np.array(plane["mean"]), np.array(plane["axes"])
    assert [end["period"] for end in basins["attractors"]] == [2, 2]
    root = 0.957504024077269
    found = set()
    for end in basins["attractors"]:
        at = np.array(end["at"])
        assert (np.abs(at) <= basins["window"]).all()
        first, second = mean + at @ axes
        np.testing.assert_allclose(np.abs(first), root, atol=1e-8)
        np.testing.assert_allclose(second, -first, atol=1e-8)
        found.add(bool(np.prod(first) > 0))
    assert found == {True, False}


def test_places_without_an_end_are_told(open_page):
    model = rl.RNN(1, 2)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    with torch.no_grad():
        model.cell.weight_hh.copy_(1.2 * turn)
        model.cell.weight_ih.fill_(1.0)
        model.cell.bias.zero_()
    page = open_page(lambda: rl.explore(model))
    page.explorer.session.run(torch.randn(6, 1), progress=False)
    basins = part(Asked(page)("dynamics", name="h", step=6, x=[0.0], basins=True), "basins")
    assert set(basins["rows"]) == {-1.0}, "it turns by no part of a circle"
    assert (basins["attractors"], basins["count"]) == ([], 0)
    assert basins["failed"] == ("4096 of 4096 places had not settled after 1000 steps.",)


def test_a_point_that_only_the_basins_find_is_learnt(bistable, monkeypatch):
    from rnnlab.widgets.portrait import Portrait

    near = Portrait._near
    calls = []

    def forgetful(self, *args):
        found = near(self, *args)
        if not calls:  # the first search misses one of the stable points
            keep = np.flatnonzero(found["index"] == 0)[1:]
            found |= {name: found[name][keep] for name in PER_POINT}
            self._known = found["points"]
        calls.append(len(found["points"]))
        return found

    monkeypatch.setattr("rnnlab.widgets.portrait.LITTLE", 1)
    monkeypatch.setattr(Portrait, "_near", forgetful)
    found = Asked(bistable)("dynamics", name="h", step=10, x=[0.0], basins=True)
    assert len(calls) == 2
    listed = part(found, "points")["listed"]
    assert sorted(p["attractor"] for p in listed if p["kind"] == "stable") == [0, 1, 2, 3]


PER_POINT = ("points", "eigenvalues", "index", "marginal", "residual", "radius", "dimension")


def test_a_long_search_is_cancelled_and_the_session_goes_on_meanwhile(lstm, monkeypatch):
    monkeypatch.setattr("rnnlab.widgets.portrait.LITTLE", 1)
    session = lstm.explorer.session
    torch.manual_seed(5)
    drawn = torch.get_rng_state()

    async def main():
        ask = Asked(lstm)
        waiting = asyncio.create_task(
            ask.ask("dynamics", name="", step=12, x=[0.0, 0.0, 0.0], basins=False, thorough=True)
        )
        while not any(m.get("part") == "points" for m in lstm.sent):
            await asyncio.sleep(0.005)
        lstm.press("step")
        lstm.press("cancel", topic="dynamics")
        return await waiting

    found = asyncio.run(main())
    assert found[-1]["state"] == "stopped"
    assert session.t == 13
    assert torch.equal(drawn, torch.get_rng_state())


@pytest.mark.parametrize("method", ["integrated", "gradient"])
def test_an_attribution_is_cancelled(lstm, monkeypatch, method):
    def endless(*_, progress, **__):
        while True:
            progress(0.5)

    monkeypatch.setattr("rnnlab.widgets.studies.attribution", endless)

    async def main():
        ask = Asked(lstm)
        waiting = asyncio.create_task(ask.ask("memory", step=12, target={"y": 1}, method=method))
        while not any(m.get("share") == 0.5 for m in lstm.sent):
            await asyncio.sleep(0.005)
        lstm.press("cancel", topic="memory")
        return await waiting

    assert asyncio.run(main())[-1]["state"] == "stopped"


def test_spans_of_joint_activity_are_found(lstm):
    trace = lstm.explorer.session.trace()
    units = [["0.h", 0], ["0.h", 1]]
    lstm.press("find", units=units, above=0.0, at_least=2)
    told = next(m for m in lstm.sent if m["kind"] == "found")
    both = (trace["0.h"][:, :2] > 0).all(axis=1)
    steps = [t for first, last, _ in told["spans"] for t in range(first, last + 1)]
    assert steps == (np.flatnonzero(both) + 1).tolist()
    assert told["count"] == len(told["spans"])
    lstm.press("find", units=units, above=0.0, at_least=2, span=[3, 6])
    told = [m for m in lstm.sent if m["kind"] == "found"][-1]
    within = [t for first, last, _ in told["spans"] for t in range(first, last + 1)]
    assert told["span"] == [3, 6]
    assert within == [t for t in steps if 3 <= t <= 6] != steps
    lstm.press("find", units=units, above=0.0, at_least=3)
    assert "at_least" in lstm.explorer.error
