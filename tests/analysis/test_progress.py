"""How long analyses say how far they are, and how they are stopped."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch

import rnnlab as rl
from rnnlab import analysis
from rnnlab.analysis.field import Field
from rnnlab.analysis.progress import Ticks
from tests.analysis.helpers import inputs
from tests.analysis.test_untouched import CALLS, XS, global_state, marks, model, same

LONG = [name for name in CALLS if name != "jacobian"] + ["divergence"]


def prepared(name, net):
    """The call as a function of `progress` alone."""
    if name != "divergence":
        return partial(CALLS[name], net)
    session = rl.Session(net)
    session.run(torch.as_tensor(XS))
    session.rewind(3)
    session.poke("0.h", 0, 0.2)
    session.refeed()
    return partial(analysis.divergence, session, "main", session.branch_name)


def test_every_long_function_takes_it():
    for name in LONG:
        default = inspect.signature(getattr(analysis, name)).parameters["progress"].default
        assert default is None, name


class StoppedError(RuntimeError):
    """Even of a kind that the evaluation itself catches from torch."""


@pytest.mark.parametrize("name", LONG)
def test_a_function_hears_the_share_and_stops_the_work(name):
    heard = []
    prepared(name, model())(progress=heard.append)
    assert heard[0] == 0.0
    assert heard[-1] == 1.0
    assert heard == sorted(heard)
    # a search has few rounds, but many places to stop at
    assert len(heard) > (20 if name in ("fixed_points", "cycles", "basins") else 2)
    for when in sorted({1, len(heard) // 2}):
        net, count = model(), 0
        call = prepared(name, net)
        before, world = marks(net), global_state()

        def stop(share, when=when):
            nonlocal count
            count += 1
            if count > when:
                raise StoppedError(f"at {share}")

        with pytest.raises(StoppedError):
            call(progress=stop)
        assert count == when + 1  # not once more: nothing is tried again
        assert same(before, marks(net))
        assert same(world, global_state())


def test_a_model_called_row_by_row_can_be_stopped_at_each():
    beats = []
    field = Field(lambda s: s * float(s.sum()), beat=lambda: beats.append(1))
    field(torch.ones(20, 2))
    assert len(beats) >= 20


@pytest.mark.parametrize("name", ["fixed_points", "lyapunov", "attribution", "flow"])
def test_a_bar_when_asked_for(name, capfd):
    prepared(name, model())(progress=True)
    said = capfd.readouterr().err
    assert name in said
    assert "100%" in said


@pytest.mark.parametrize("progress", [None, False])
def test_short_work_is_silent(progress, capfd, monkeypatch):
    monkeypatch.setattr("rnnlab.analysis.progress.DELAY", 600.0)  # short on any machine
    for name in ("basins", "memory", "divergence"):
        prepared(name, model())(progress=progress)
    assert capfd.readouterr().err == ""


def test_a_bar_for_what_takes_long(capfd, monkeypatch):
    monkeypatch.setattr("rnnlab.analysis.progress.DELAY", 0.0)
    analysis.lyapunov(model(), XS)
    assert "lyapunov" in capfd.readouterr().err
    analysis.lyapunov(model(), XS, progress=False)
    assert capfd.readouterr().err == ""


def test_one_that_is_none_of_them():
    with pytest.raises(rl.RnnlabError) as error:
        analysis.lyapunov(model(), XS, progress="yes")
    assert str(error.value) == (
        "lyapunov: progress must be True, False, None or a function of the share done, got 'yes'."
    )


def test_the_share_never_passes_one():
    heard = []
    with Ticks(2, "work", heard.append) as ticks:
        ticks.update(5)
    assert heard == [0.0, 1.0, 1.0]


def test_small_states_take_one_thread_and_give_the_rest_back():
    seen = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        analysis.memory(
            model(), inputs(4, 2), progress=lambda _: seen.append(torch.get_num_threads())
        )
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        big = rl.RNN(2, 200)
        seen.clear()
        analysis.flow(
            big,
            (("h", 0), ("h", 1)),
            grid=2,
            progress=lambda _: seen.append(torch.get_num_threads()),
        )
        assert set(seen) == {2}
    finally:
        torch.set_num_threads(before)
