"""python -m rnnlab.bench: what it prints and writes. How fast anything is, is not tested here."""

import importlib
import json
import re
import sys

import pytest
import torch

pytest.importorskip("tqdm", reason="pip install tqdm runs this")
from rnnlab.bench import __main__ as bench
from rnnlab.bench import explorer, sections
from rnnlab.bench.timing import Row, compare
from rnnlab.cells.registry import CELLS

ANALYSES = "Analyses, beside the limit in seconds"


def run(capsys, *arguments):
    status = bench.main([*arguments, "--quiet"])
    return status, capsys.readouterr().out


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick run: what it wrote."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    assert bench.main(["--quick", "--quiet", "--rounds", "2", "--json", str(file)]) == 0
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_section_has_its_rows(quick):
    found = [row["section"] for row in quick["rows"]]
    assert list(dict.fromkeys(found))[:6] == [
        "Stateful step, inference",
        "A whole sequence, beside torch.nn",
        "A whole sequence, beside the loop over the same cell",
        "Every state and every gate of a run",
        "Session, everything recorded",
        ANALYSES,
    ]
    assert {row["section"] for row in quick["rows"][-1:]} - {ANALYSES} == (
        {f"GPU: {torch.cuda.get_device_name()}"} if torch.cuda.is_available() else set()
    )
    assert re.fullmatch(r"torch \S+, Python \S+, \d+ cores \(\w+\).*; one thread", quick["machine"])


def test_every_row_is_whole(quick):
    for row in quick["rows"]:
        assert row.keys() == {*Row.__dataclass_fields__, "reached"}
        assert row["ours"] > 0
        assert row["theirs"] > 0
        assert row["low"] <= row["ratio"] <= row["high"] or row["low"] > 0
        assert (row["target"], row["reached"]) == (None, None)
    names = [(row["section"], row["what"]) for row in quick["rows"]]
    assert len(set(names)) == len(names)
    steps = [row for row in quick["rows"] if row["section"] == "Stateful step, inference"]
    assert {row["against"] for row in steps} == {"nn.LSTMCell", "nn.GRUCell", "nn.RNNCell"}


def test_the_full_run_has_the_sizes_and_targets_of_the_table(monkeypatch):
    """What is measured in full, without measuring it."""
    asked = []

    def noted(section, what, against, ours, theirs, *, rounds, target=None, settle=None):
        asked.append((section, what, target))
        return Row(section, what, against, 1.0, 1.0, 1.0, 1.0, 1.0, target)

    monkeypatch.setattr(sections, "compare", noted)
    settings = sections.Settings(rounds=1)
    list(sections.steps(settings))
    steps = {what: target for _, what, target in asked}
    assert steps["LSTMCell 64, batch 1"] == steps["GRUCell 8, unbatched"] == 0.75
    assert steps["RNNCell 64, unbatched"] == 0.60
    assert steps["RNNCell 256, batch 32"] == 1.02
    asked.clear()
    list(sections.cells(settings))
    for kind in CELLS:
        mine = {what: target for _, what, target in asked if what.startswith(f"{kind.__name__} ")}
        assert len(mine) == (0 if kind in sections.FUSED else 4)
        for what, target in mine.items():
            assert target == (0.75 if "batch 1," in what else 1.0)
    asked.clear()
    list(sections.gates(settings))
    assert [target for _, _, target in asked] == [3.0, 3.0]
    assert "T 2048" in asked[0][1]


def test_the_analyses_are_measured_against_their_limits(monkeypatch):
    asked = []

    def noted(what, limit, run, want, *, rounds):
        asked.append((what, limit, want))
        return Row(ANALYSES, what, f"at most {limit} s", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)

    monkeypatch.setattr(sections.analyses, "within", noted)
    list(sections.analyses.analysis(sections.Settings(rounds=1)))
    assert [(limit, want) for _, limit, want in asked] == [(3.0, 27), (20.0, 243), (20.0, 300)]


def test_the_table_is_markdown(capsys):
    status, out = run(capsys, "--quick", "--rounds", "1", "--only", "steps", "gates")
    assert status == 0
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {9}
    assert len(lines) == 2 * 2 + 6 + 2
    assert out.count("### ") == 2


def test_missed_targets_are_said_and_can_fail_the_run(capsys, monkeypatch):
    def slow(settings):
        yield Row("Steps", "this", "that", 30.0, 10.0, 3.0, 2.9, 3.1, target=0.75)

    monkeypatch.setitem(bench.SECTIONS, "steps", slow)
    status, out = run(capsys, "--only", "steps")
    assert status == 0
    assert "| this | that | 30.0 | 10.0 | 3.00 | 2.90–3.10 | 0.75 | missed |" in out
    assert run(capsys, "--only", "steps", "--check")[0] == 1


def test_a_section_is_in_its_own_unit():
    rows = [
        Row("Steps", "a", "b", 5.0, 10.0, 0.5, 0.5, 0.5),
        Row("Wire", "c", "allowed", 5.0, 10.0, 0.5, 0.5, 0.5, unit="bytes"),
    ]
    head = [line for line in bench.table(rows).splitlines() if "theirs" in line]
    assert [line.split(" | ")[2:4] for line in head] == [
        ["µs", "theirs, µs"],
        ["bytes", "theirs, bytes"],
    ]


@pytest.mark.parametrize("gone", ["playwright", "chromium"])
def test_without_a_browser_the_explorer_is_left_out_and_that_is_said(gone, capsys, monkeypatch):
    if gone == "chromium":
        monkeypatch.setattr(explorer, "find_chromium", lambda: None)
    else:
        monkeypatch.setattr(explorer.importlib.util, "find_spec", lambda name: None)
    assert bench.main(["--only", "explorer", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert (
        f"The explorer is left out: it needs {gone.title() if gone == 'chromium' else gone}" in err
    )
    assert "|" not in out


def test_the_explorer_is_held_against_a_widget_or_what_is_allowed():
    paired = explorer._paired("a", "b", [2.0, 9.0, 4.0], [1.0, 3.0, 4.0], 1.3)
    assert (paired.ratio, paired.ours, paired.theirs) == (2.0, 4.0, 3.0)
    assert paired.reached is False
    allowed = explorer._allowed(explorer.BYTES, "a", [50.0, 90.0, 70.0], 100.0)
    assert (allowed.ratio, allowed.ours, allowed.unit) == (0.7, 70.0, "bytes")
    assert allowed.reached is True


def test_the_two_are_timed_in_turns(monkeypatch):
    """Each first in every other round, with the clock running only for the one that is timed."""
    calls, now = [], [0.0]

    def way(name, seconds):
        def call():
            calls.append(name)
            now[0] += seconds

        return call

    for clock in ("thread_time", "perf_counter"):
        monkeypatch.setattr(f"rnnlab.bench.timing.time.{clock}", lambda: now[0])
    row = compare("s", "a", "b", way("a", 3e-3), way("b", 1e-3), rounds=4, target=2.0)
    assert calls[-8:] == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert row.ratio == pytest.approx(3)
    assert (row.ours, row.theirs) == (pytest.approx(3000), pytest.approx(1000))
    assert row.reached is False


def test_threads_are_put_back():
    before = torch.get_num_threads()
    seen = []
    compare("s", "a", "b", lambda: seen.append(torch.get_num_threads()), lambda: 1, rounds=1)
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "x"], ["--only", "what"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert "usage: python -m rnnlab.bench" in capsys.readouterr().err


def test_a_silent_run_does_without_tqdm(monkeypatch, capsys):
    """Beside a GPU there may be torch and numpy, and no more."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert importlib.reload(bench).main(["--only", "gpu", "--quick", "--quiet"]) == 0
    assert "torch" in capsys.readouterr().out
