"""Trace: arrays with names and axes, cut, converted, saved and loaded."""

import copy
import os
import pickle
import signal
import warnings

import numpy as np
import pytest
import torch

from rnnlab.archive import write_file
from rnnlab.errors import RnnlabError
from rnnlab.trace import SCHEMA, Trace

T, H = 5, 3


def made(**options) -> Trace:
    arrays = {
        "x": np.arange(T, dtype=np.float32)[:, None] + 0.5,
        "0.h": np.arange(T * H, dtype=np.float64).reshape(T, H),
        "y": -np.arange(T * 2, dtype=np.float32).reshape(T, 2),
    }
    return Trace(arrays, **{"initial": {"0.h": np.array([7.0, 8, 9])}, **options})


def batched() -> Trace:
    h = np.arange(T * 2 * H, dtype=np.float64).reshape(T, 2, H)
    return Trace({"h": h, "n": np.arange(T)}, initial={"h": np.zeros((2, H))})


def refused(text: str):
    return pytest.raises(RnnlabError, match=f"^{text}$")


class TestReading:
    def test_names_axes_states(self):
        trace = made()
        assert trace.names == ("x", "0.h", "y")
        assert trace.states == ("0.h",)
        assert trace.axes == dict.fromkeys(trace.names, ("step", "unit"))
        assert batched().axes == {"h": ("step", "batch", "unit"), "n": ("step",)}
        image = Trace({"x": np.zeros((2, 3, 4, 5, 6))})
        assert image.axes["x"] == ("step", "batch", "axis2", "axis3", "unit")
        assert len(trace) == T
        assert list(trace) == ["x", "0.h", "y"]
        assert "0.h" in trace
        assert "h" not in trace

    def test_repr(self):
        assert repr(made()) == "Trace(5 steps: x (1), 0.h (3), y (2))"
        assert repr(batched()) == "Trace(5 steps: h (2 × 3), n (number))"
        assert repr(Trace({})) == "Trace(0 steps: )"

    def test_arrays_are_read_only(self):
        with pytest.raises(ValueError, match="read-only"):
            made()["0.h"][0] = 1
        with pytest.raises(ValueError, match="read-only"):
            made().initial["0.h"][0] = 1

    def test_a_tensor_of_an_array_is_a_copy_without_a_warning(self):
        trace = made()
        torch.tensor(trace["0.h"])[0] = -1
        assert trace["0.h"][0].tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        "way", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
    )
    def test_copies(self, way):
        trace = made(
            labels="abcde",
            outputs=["no", "yes"],
            weights={"w": "1"},
            edits=[{"t": 2, "kind": "poke"}],
        )
        other = way(trace)
        assert (other.labels, other.outputs) == (trace.labels, trace.outputs)
        assert (other.weights, other.edits) == (trace.weights, trace.edits)
        assert other.initial["0.h"].tolist() == [7, 8, 9]
        for name in trace:
            assert other[name].tobytes() == trace[name].tobytes()
            assert not other[name].flags.writeable

    def test_before(self):
        before = made().before("0.h")
        assert before.tolist() == [[7, 8, 9], [0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
        assert before.dtype == np.float64
        assert batched().before("h").shape == (T, 2, H)
        assert made()[2:2].before("0.h").shape == (0, H)

    def test_steps_and_units(self):
        trace = made()
        assert trace["0.h", 1:3].tolist() == [[3, 4, 5], [6, 7, 8]]
        assert trace["0.h", 1:3, [0, 2]].tolist() == [[3, 5], [6, 8]]
        assert trace["0.h", 4, 1] == 13
        assert trace["0.h", :, 1].tolist() == [1, 4, 7, 10, 13]
        assert batched()["h", 0, :].shape == (2, H)

    def test_errors(self):
        trace = made()
        with refused(r"Trace: no array 'h'. It has: x, 0.h, y\."):
            trace["h"]
        with refused(r"Trace: no array 'h'. It has: none\."):
            Trace({})["h"]
        with refused(r"Trace: 'y' is not a state; states: 0.h\."):
            trace.before("y")
        with refused(r"Trace: a slice of steps must be contiguous \(no stride\)\."):
            trace[::2]
        with refused(
            r"Trace: index by a name, a slice of steps, or \(name, steps, units\), not 3\."
        ):
            trace[3]
        with refused(r"Trace: index one array as trace\[name, steps\] or …, units\]\."):
            trace["x", 1, 2, 3]


class TestBuilding:
    def test_unequal_lengths(self):
        with refused(r"Trace: all arrays must have the same number of steps \(a: 1, b: 2\)\."):
            Trace({"a": [1], "b": [1, 2]})

    def test_initial_without_array(self):
        with refused("Trace: initial states without an array: c."):
            Trace({"a": [1]}, initial={"c": 0})

    def test_labels_of_another_length(self):
        with refused("Trace: 2 labels for 1 steps."):
            Trace({"a": [1]}, labels=["u", "v"])

    @pytest.mark.parametrize("value", [["word"], [None], [object()]])
    def test_only_numbers(self, value):
        with pytest.raises(RnnlabError, match=r"^Trace: only numbers can be recorded, got "):
            Trace({"a": value})

    def test_a_number_is_not_an_array(self):
        with refused(r"Trace: a has no step axis; give an array \(T, …\)\."):
            Trace({"a": 3})


class TestSlicing:
    def test_the_state_before_the_cut_is_kept(self):
        cut = made(labels="abcde", outputs=["p", "q"], weights={"w": "1"})[2:4]
        assert len(cut) == 2
        assert cut["0.h"].tolist() == [[6, 7, 8], [9, 10, 11]]
        assert cut.initial["0.h"].tolist() == [3, 4, 5]
        assert cut.labels == ("c", "d")
        assert cut.outputs == ("p", "q")
        assert cut.weights == {"w": "1"}
        assert made()[:3].initial["0.h"].tolist() == [7, 8, 9]
        assert made()[-2:].initial["0.h"].tolist() == [6, 7, 8]

    def test_an_empty_cut(self):
        cut = made()[5:]
        assert len(cut) == 0
        assert cut.names == ("x", "0.h", "y")
        assert cut.initial["0.h"].tolist() == [12, 13, 14]

    def test_of_weights_that_changed_a_slice_has_those_of_its_steps(self):
        whole = made(weights=[(0, {"a": "1", "b": "1"}), (2, {"a": "2", "b": "1"})])
        assert whole.weights == {"a": "changed before step 3", "b": "1"}
        assert whole[:2].weights == {"a": "1", "b": "1"}
        assert whole[2:].weights == {"a": "2", "b": "1"}
        assert whole[1:4].weights == {"a": "changed before step 2", "b": "1"}
        assert whole[1:4][1:].weights == {"a": "2", "b": "1"}
        assert whole[3:3].weights == {"a": "2", "b": "1"}
        assert pickle.loads(pickle.dumps(whole)).weights == whole.weights

    @pytest.mark.parametrize("key", [("h", 99), ("h", slice(0, 2), [9])])
    def test_what_is_not_there(self, key):
        trace = Trace({"h": np.zeros((5, 2))})
        with pytest.raises(RnnlabError, match=r"^Trace: h has 5 steps of 2; cannot take"):
            trace[key]
        with pytest.raises(RnnlabError, match=r"^Trace: index by a name"):
            trace[("h",)]
        with pytest.raises(RnnlabError, match=r"^Trace: slice\('a', None, None\) is no slice of "):
            trace["a":]  # type: ignore[misc]

    def test_a_file_with_one_fingerprint_is_read(self, tmp_path):
        """As they were before the weights were known by their steps."""
        header = {"kind": "Trace", "schema": 1, "names": ["h"], "initial": [], "labels": None}
        header |= {"outputs": None, "weights": {"w": "1"}, "edits": []}
        write_file(tmp_path / "old.npz", {"array/0": np.zeros((4, 2))}, header)
        old = Trace.load(tmp_path / "old.npz")
        assert (old.weights, old[2:].weights) == ({"w": "1"}, {"w": "1"})

    def test_edits_move_along(self):
        edits = [{"t": t, "kind": "poke"} for t in (0, 2, 3, 5)]
        assert [edit["t"] for edit in made(edits=edits)[2:4].edits] == [0, 1]
        assert [edit["t"] for edit in made(edits=edits)[:3].edits] == [0, 2, 3]
        held = [{"t": 1, "kind": "clamp", "steps": 2}, {"t": 1, "kind": "clamp", "steps": None}]
        assert [edit["t"] for edit in made(edits=held)[2:4].edits] == [-1, -1]
        assert [edit["t"] for edit in made(edits=held)[4:].edits] == [-3]

    def test_cuts_of_cuts(self):
        assert made()[1:][1:]["0.h"].tolist() == made()[2:]["0.h"].tolist()
        assert made()[1:][1:].initial["0.h"].tolist() == made()[2:].initial["0.h"].tolist()


class TestConversions:
    def test_xarray(self):
        pytest.importorskip("xarray", reason="xarray is in rnnlab[test]")
        data = made(labels="abcde", outputs=["p", "q"]).to_xarray()
        assert data["0.h"].dims == ("step", "0.h_unit")
        assert data["0.h"].sel(step=2).values.tolist() == [3, 4, 5]
        assert data["label"].values.tolist() == list("abcde")
        assert data["y"].sel(y_unit="q", step=5).item() == -9
        assert batched().to_xarray()["h"].dims == ("step", "batch", "h_unit")
        number = Trace({"y": np.arange(2.0)}, outputs=["p"]).to_xarray()
        assert number["y"].dims == ("step",)
        with refused(r"Trace: 3 names of outputs for y of shape \(5, 2\); .* its 2 units\."):
            made(outputs=["p", "q", "r"])
        unlike = Trace({"a": np.zeros((2, 3, 1)), "b": np.zeros((2, 4, 1))})
        with refused(r"Trace: the arrays have different batches \(\[3, 4\]\)\."):
            unlike.to_xarray()
        with refused(r"Trace: an array named 'step' cannot go into a Dataset, .*"):
            Trace({"step": np.zeros((2, 1))}).to_xarray()

    def test_pandas(self):
        pytest.importorskip("pandas", reason="pandas is in rnnlab[test]")
        frame = made().to_pandas()
        assert frame.shape == (T, 6)
        assert frame.index.name == "step"
        assert frame.loc[2, ("0.h", 1)] == 4
        assert frame.columns.names == ["name", "unit"]

    @pytest.mark.parametrize("trace", [made()[:0], batched()[:0]], ids=["plain", "batch"])
    def test_pandas_without_steps(self, trace):
        frame = trace.to_pandas()
        assert len(frame) == 0
        assert list(frame.columns) == list((made() if "x" in trace else batched()).to_pandas())

    def test_pandas_with_labels(self):
        pytest.importorskip("pandas", reason="pandas is in rnnlab[test]")
        frame = made(labels="abcde").to_pandas()
        assert frame.index.names == ["step", "label"]
        assert frame.loc[(2, "b"), ("0.h", 1)] == 4

    def test_pandas_of_a_batch(self):
        pytest.importorskip("pandas", reason="pandas is in rnnlab[test]")
        frame = batched().to_pandas()
        assert frame.index.names == ["step", "batch"]
        assert frame.loc[(2, 1), ("h", 0)] == batched()["h"][1, 1, 0]
        assert frame.loc[(3, 1), ("n", 0)] == 2

    def test_pandas_of_unlike_batches(self):
        pytest.importorskip("pandas", reason="pandas is in rnnlab[test]")
        trace = Trace({"a": np.zeros((1, 2, 3)), "b": np.zeros((1, 4, 3))})
        with refused(r"Trace: the arrays have different batches \(\[2, 4\]\)\."):
            trace.to_pandas()


class TestFiles:
    @pytest.mark.parametrize("file", ["run", "run.npz", "run.safetensors"])
    def test_round_trip(self, tmp_path, file):
        edits = [{"t": 2, "kind": "poke", "name": "0.h", "units": (1,), "value": 0.5}]
        weights = [(0, {"w": "1"}), (3, {"w": "2"})]
        trace = made(labels="abcde", outputs=["p", "q"], weights=weights, edits=edits)
        trace.save(tmp_path / file)
        assert os.listdir(tmp_path) == [file]
        back = Trace.load(tmp_path / file)
        assert back.names == trace.names
        for name in trace:
            assert back[name].dtype == trace[name].dtype
            assert back[name].tobytes() == trace[name].tobytes()
        assert back.initial["0.h"].tolist() == [7, 8, 9]
        assert (back.labels, back.outputs) == (trace.labels, trace.outputs)
        assert (back.weights, back.edits) == (trace.weights, trace.edits)

    @pytest.mark.parametrize("file", ["run.npz", "run.safetensors"])
    def test_numbers_of_every_kind_in_edits(self, tmp_path, file):
        values = (2 + 1j, (1j, 0.5), np.complex64(1j), np.arange(2), {"re": 1.0, "of": (3, None)})
        trace = made(edits=[{"t": 1, "value": value} for value in values])
        trace.save(tmp_path / file)
        back = Trace.load(tmp_path / file)
        assert back.edits == trace.edits
        assert [edit["value"] for edit in back.edits[:3]] == [2 + 1j, (1j, 0.5), 1j]

    def test_edits_that_no_file_can_hold(self):
        for value in ({1, 2}, {3: 4}, object()):
            with refused(r"Trace: an edit has .*, which is no plain value\. Give .*"):
                made(edits=[{"t": 1, "value": (value,)}])
        for edit in ({"kind": "poke"}, "poke", {"t": 0.5}):
            with refused(r"Trace: an edit is a dictionary with the step 't' .*, got .*"):
                made(edits=[edit])

    def test_nothing_but_arrays(self, tmp_path):
        Trace({}).save(tmp_path / "empty.npz")
        back = Trace.load(tmp_path / "empty.npz")
        assert (len(back), back.names, back.labels, back.weights) == (0, (), None, None)

    def test_safetensors_is_what_the_name_says(self, tmp_path):
        safe_open = pytest.importorskip("safetensors").safe_open
        made().save(tmp_path / "run.safetensors")
        with safe_open(tmp_path / "run.safetensors", "np") as file:
            assert file.get_tensor("array/0").tolist() == made()[made().names[0]].tolist()
        spin = Trace({"h": np.ones((2, 1), np.complex64)})
        with pytest.raises(RnnlabError, match=r"spin.safetensors: safetensors has no complex64"):
            spin.save(tmp_path / "spin.safetensors")
        assert os.listdir(tmp_path) == ["run.safetensors"]

    @pytest.mark.parametrize("file", ["new", "new.safetensors"])
    def test_a_newer_file(self, tmp_path, file):
        write_file(tmp_path / file, {}, {"kind": "Trace", "schema": SCHEMA + 1})
        text = f"{file} has schema {SCHEMA + 1}, this rnnlab reads up to {SCHEMA}: update rnnlab."
        with pytest.raises(RnnlabError, match=text):
            Trace.load(tmp_path / file)

    @pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 but broken"])
    def test_another_file(self, tmp_path, content):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(RnnlabError, match=r"other is not a saved Trace \("):
            Trace.load(tmp_path / "other")

    @pytest.mark.parametrize("file", ["run.npz", "run.safetensors"])
    def test_a_damaged_file(self, tmp_path, file):
        """Wherever a byte is another, in the numbers or in what is said of them."""
        path = tmp_path / file
        made(labels="abcde").save(path)
        good = path.read_bytes()
        changed = 0
        for at in range(0, len(good), 3):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            try:
                back = Trace.load(path)
            except RnnlabError:
                changed += 1
            else:  # of the time at which it was packed, for example
                assert all(back[name].tobytes() == made()[name].tobytes() for name in made())
                assert back.labels == tuple("abcde")
        assert changed > len(good) / 3 / 2

    def test_an_npz_of_something_else(self, tmp_path):
        np.savez(tmp_path / "other.npz", a=np.ones(2))
        with pytest.raises(RnnlabError, match=r"other.npz is not a saved Trace \("):
            Trace.load(tmp_path / "other.npz")
        write_file(tmp_path / "other", {}, {"kind": "Session", "schema": 1})
        text = r"other is not a saved Trace \(it is a saved Session\)\."
        with pytest.raises(RnnlabError, match=text):
            Trace.load(tmp_path / "other")

    def test_no_file(self, tmp_path):
        with pytest.raises(RnnlabError, match="there is no such file"):
            Trace.load(tmp_path / "absent")

    def test_nobody_is_advised_to_unpickle(self, tmp_path):
        (tmp_path / "run").write_bytes(b"PK, but no archive")
        with pytest.raises(RnnlabError, match="is not a saved Trace") as caught:
            Trace.load(tmp_path / "run")
        assert "pickle" not in str(caught.value)

    def test_a_good_file_survives_a_failing_write(self, tmp_path, monkeypatch):
        path = tmp_path / "run"
        made().save(path)
        good = path.read_bytes()

        def half(file, **_):
            file.write(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(np, "savez", half)
        with pytest.raises(RnnlabError, match="disk full"):
            made()[1:].save(path)
        assert path.read_bytes() == good
        assert os.listdir(tmp_path) == ["run"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is POSIX's")
    def test_a_good_file_survives_a_writer_that_is_killed(self, tmp_path, monkeypatch):
        path = tmp_path / "run"
        made().save(path)
        good = path.read_bytes()

        def killed(file, **_):
            file.write(good[: len(good) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(np, "savez", killed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if not child:
            try:
                made()[1:].save(path)
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert path.read_bytes() == good
        assert len(Trace.load(path)) == T

    @pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
    def test_it_can_be_read_by_those_who_read_other_files(self, tmp_path):
        (tmp_path / "plain").write_text("")
        made().save(tmp_path / "run")
        assert (tmp_path / "run").stat().st_mode == (tmp_path / "plain").stat().st_mode
        (tmp_path / "run").chmod(0o640)
        made().save(tmp_path / "run")
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o640

    def test_a_folder_may_be_given_as_text_and_tilde_is_not_special(self, tmp_path):
        made().save(str(tmp_path / "run.npz"))
        assert len(Trace.load(str(tmp_path / "run.npz"))) == T
