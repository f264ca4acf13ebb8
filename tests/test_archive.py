"""Where nothing can be written: the path that was given is named, and no draft is left."""

import os

import numpy as np
import pytest

import rnnlab as rl

SAVE = {
    "Session.save": lambda path: rl.Session(rl.RNN(2, 3)).save(path),
    "Trace.save": lambda path: rl.Trace({"h": np.ones((2, 3))}).save(path),
    "save": lambda path: rl.save(rl.RNN(2, 3), path),
}


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("caller", SAVE)
class TestNowhereToWrite:
    def refused(self, caller, path, text, here):
        before = sorted(here.rglob("*"))
        with pytest.raises(rl.RnnlabError) as caught:
            SAVE[caller](path)
        assert str(caught.value) == f"{caller}: {text}"
        assert sorted(here.rglob("*")) == before

    def test_a_folder(self, caller, ending, tmp_path):
        path = tmp_path / f"run{ending}"
        path.mkdir()
        text = f"{path} is a folder; give the name of a file."
        self.refused(caller, path, text, tmp_path)

    def test_no_folder(self, caller, ending, tmp_path):
        path = tmp_path / "runs" / f"run{ending}"
        text = f"there is no folder {path.parent}. Make it first, or give another path."
        self.refused(caller, str(path), f"cannot write {path}: {text}", tmp_path)

    def test_in_a_file(self, caller, ending, tmp_path):
        path = tmp_path / "runs" / f"run{ending}"
        path.parent.write_text("no folder")
        text = f"{path.parent} is a file, no folder. Give another path."
        self.refused(caller, path, f"cannot write {path}: {text}", tmp_path)

    @pytest.mark.parametrize("call", ["open", "replace"])
    def test_no_permission(self, caller, ending, call, tmp_path, monkeypatch):
        def denied(path, *_):
            raise PermissionError(13, "Permission denied", os.fspath(path))

        path = tmp_path / f"run{ending}"
        text = f"you have no permission to write in the folder {tmp_path}. Give another path."
        with monkeypatch.context() as patched:
            patched.setattr(os, call, denied)  # root may write anywhere
            self.refused(caller, path, f"cannot write {path}: {text}", tmp_path)
        SAVE[caller](path)
        assert os.listdir(tmp_path) == [path.name]

    def test_no_room(self, caller, ending, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        path = tmp_path / f"run{ending}"
        monkeypatch.setattr(os, "replace", full)
        text = "No space left on device. Give another path, or make room for the file."
        self.refused(caller, path, f"cannot write {path}: {text}", tmp_path)

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            (3, "the path is text or a Path, got 3."),
            ("", "'' is a folder; give the name of a file."),
            ("a\0b", "a null character is in no path; got 'a\\x00b'."),
        ],
    )
    def test_no_path(self, caller, ending, path, text, tmp_path):
        self.refused(caller, path, text, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permissions of this kind are POSIX's")
@pytest.mark.parametrize("caller", SAVE)
def test_a_file_keeps_its_permissions(caller, tmp_path):
    path = tmp_path / "run"
    SAVE[caller](path)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    path.chmod(0o640)
    SAVE[caller](path)
    assert path.stat().st_mode & 0o777 == 0o640


LOAD = {
    "Session.load": lambda path: rl.Session.load(path, rl.RNN(2, 3)),
    "Trace.load": rl.Trace.load,
    "load": lambda path: rl.load(rl.RNN(2, 3), path),
}


@pytest.mark.parametrize("caller", LOAD)
def test_nothing_to_read(caller, tmp_path):
    path = tmp_path / "run"
    for given, text in (
        (path, f"{path}: there is no such file."),
        (str(tmp_path), f"{tmp_path} is a folder; give the name of a file."),
        (None, "the path is text or a Path, got None."),
    ):
        with pytest.raises(rl.RnnlabError) as caught:
            LOAD[caller](given)
        assert str(caught.value) == f"{caller}: {text}"


@pytest.mark.parametrize("caller", ["Session.load", "Trace.load"])
def test_a_file_that_may_not_be_read(caller, tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "run").write_bytes(b"PK")
    monkeypatch.setattr("builtins.open", denied)  # root may read anything
    with pytest.raises(
        rl.RnnlabError, match=rf"^{caller}: cannot read .*run: Permission denied\.$"
    ):
        LOAD[caller](tmp_path / "run")
