"""The command `rnnlab`: what it copies, what it starts, and JupyterLab really started by it."""

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnlab import cli
from rnnlab.errors import RnnlabError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two notebooks, a picture and what Jupyter leaves lying about."""
    folder = tmp_path / "source"
    for name, text in {
        "00_start_here.ipynb": '{"cells": []}',
        "01_recurrence.ipynb": '{"cells": [1]}',
        "img/picture.png": "pixels",
        ".ipynb_checkpoints/00_start_here-checkpoint.ipynb": "old",
        "__pycache__/helper.pyc": "bytes",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def packaged(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if `source` were the notebooks of this installation."""
    monkeypatch.setattr(cli, "notebooks_folder", lambda: source)
    return source


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


class Recorder:
    """Stands in for the start of JupyterLab."""

    def __init__(self, code: int = 0):
        self.code, self.commands = code, []

    def __call__(self, command):
        self.commands.append(list(command))
        return self.code


class TestCopy:
    def test_copies_the_visible_files(self, source, tmp_path):
        copied = cli.copy_notebooks(source, tmp_path / "mine")
        expected = {"00_start_here.ipynb", "01_recurrence.ipynb", "img/picture.png"}
        assert files(tmp_path / "mine") == expected
        assert {p.as_posix() for p in copied.new} == expected
        assert (tmp_path / "mine/img/picture.png").read_text() == "pixels"

    def test_keeps_what_the_user_changed_and_restores_what_is_missing(self, source, tmp_path):
        mine = tmp_path / "mine"
        cli.copy_notebooks(source, mine)
        (mine / "01_recurrence.ipynb").write_text("my edit")
        (mine / "notes.txt").write_text("my notes")
        (mine / "img/picture.png").unlink()
        copied = cli.copy_notebooks(source, mine)
        assert (mine / "01_recurrence.ipynb").read_text() == "my edit"
        assert (mine / "notes.txt").read_text() == "my notes"
        assert copied.kept == [Path("01_recurrence.ipynb")]
        assert copied.same == [Path("00_start_here.ipynb")]
        assert copied.new == [Path("img/picture.png")]

    def test_does_not_write_through_a_link(self, source, tmp_path):
        mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere.ipynb"
        mine.mkdir()
        (mine / "00_start_here.ipynb").symlink_to(elsewhere)
        assert Path("00_start_here.ipynb") in cli.copy_notebooks(source, mine).kept
        assert not elsewhere.exists()

    def test_the_report_names_every_copied_and_every_kept_file(self, source, tmp_path):
        mine = tmp_path / "mine"
        report = cli.describe(cli.copy_notebooks(source, mine), mine)
        assert str(mine) in report
        assert "copied     00_start_here.ipynb" in report
        assert "copied     img/picture.png" in report
        (mine / "00_start_here.ipynb").write_text("my edit")
        report = cli.describe(cli.copy_notebooks(source, mine), mine)
        assert "kept       00_start_here.ipynb" in report
        assert "unchanged  2 files" in report
        assert "rename or delete yours" in report

    def test_refuses_a_file_as_folder(self, source, tmp_path):
        (tmp_path / "mine").write_text("a file")
        with pytest.raises(RnnlabError, match="is a file, not a folder"):
            cli.copy_notebooks(source, tmp_path / "mine")


class TestWhereTheNotebooksAre:
    def test_inside_an_installed_package(self, source, tmp_path):
        package = tmp_path / "site-packages" / "rnnlab"
        package.mkdir(parents=True)
        source.rename(package / "notebooks")
        assert cli.notebooks_folder(package) == package / "notebooks"

    def test_beside_the_package_in_a_checkout(self, source, tmp_path):
        package = tmp_path / "clone" / "rnnlab"
        package.mkdir(parents=True)
        (tmp_path / "clone" / "pyproject.toml").touch()
        source.rename(tmp_path / "clone" / "notebooks")
        assert cli.notebooks_folder(package) == tmp_path / "clone" / "notebooks"

    def test_a_stranger_beside_an_installed_package_is_not_ours(self, source, tmp_path):
        package = tmp_path / "site-packages" / "rnnlab"
        package.mkdir(parents=True)
        source.rename(tmp_path / "site-packages" / "notebooks")
        with pytest.raises(RnnlabError, match="no notebooks"):
            cli.notebooks_folder(package)

    def test_this_installation_has_the_first_one(self):
        assert (cli.notebooks_folder() / cli.FIRST_NOTEBOOK).is_file()


class TestCommandLine:
    def started(self, *argv: str) -> list[str]:
        run = Recorder()
        assert cli.main(["lab", *argv], run=run) == 0
        (command,) = run.commands
        return command

    def test_default_folder(self, packaged, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        self.without(monkeypatch, cli.SERVER_EXTENSION)
        assert self.started() == [
            sys.executable,
            "-P",
            "-m",
            "jupyterlab",
            f"--ServerApp.root_dir={tmp_path / 'rnnlab-notebooks'}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.answer_yes=True",
            "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
        ]
        assert "copied     00_start_here.ipynb" in capsys.readouterr().out

    def without(self, monkeypatch, module):
        """As if `module` were not installed."""
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == module else find(name)
        )

    def test_the_server_extension_is_on_where_it_is_installed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        setting = "--ServerApp.jpserver_extensions=rnnlab_server=True"
        assert setting in cli.lab_command(tmp_path)
        mine = "--ServerApp.jpserver_extensions={}"
        assert cli.lab_command(tmp_path, [mine])[-1] == mine
        assert setting not in cli.lab_command(tmp_path, [mine])
        self.without(monkeypatch, "rnnlab_server")
        assert setting not in cli.lab_command(tmp_path)

    def test_app_starts_voila_on_a_model(self, tmp_path, monkeypatch):
        run = Recorder()
        assert cli.main(["app"], run=run) == 0
        (tmp_path / "mine.py").touch()
        monkeypatch.chdir(tmp_path)
        arguments = ["--port=9999", "--model", "mine.py:make", "--theme", "dark"]
        assert cli.main(["app", *arguments], run=run) == 0
        server = str(Path(cli.__file__).parent / "widgets" / "server.py")
        assert Path(server).is_file()
        assert run.commands == [
            [sys.executable, "-P", server, "digits"],
            [
                *(sys.executable, "-P", server, f"{tmp_path / 'mine.py'}:make"),
                *("--port=9999", "--theme", "dark"),
            ],
        ]

    @pytest.mark.parametrize("model", ["nowhere.py:make", "mine.py:no name", "mine.py:"])
    def test_app_says_what_is_wrong_with_a_model(self, model, tmp_path, monkeypatch, capsys):
        (tmp_path / "mine.py").touch()
        monkeypatch.chdir(tmp_path)
        run = Recorder()
        assert cli.main(["app", "--model", model], run=run) == 1
        file = tmp_path / model.split(":")[0]
        assert capsys.readouterr().err == (
            f"rnnlab: {model!r} is not a function in a file. Name it as path.py:function, and see "
            f"that the file is there (looked for {file}).\n"
        )
        assert run.commands == []

    def test_app_without_voila(self, monkeypatch, capsys):
        self.without(monkeypatch, "voila")
        run = Recorder()
        assert cli.main(["app"], run=run) == 1
        assert 'pip install "rnnlab[lab]"' in capsys.readouterr().err
        assert run.commands == []

    def test_options_reach_jupyterlab_and_are_not_taken_for_the_folder(
        self, packaged, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        command = self.started("--port", "9999", "--no-browser")
        assert command[-3:] == ["--port", "9999", "--no-browser"]
        assert f"--ServerApp.root_dir={tmp_path / 'rnnlab-notebooks'}" in command
        command = self.started("here", "--allow-root", "--port=9999")
        assert command[-2:] == ["--allow-root", "--port=9999"]
        assert f"--ServerApp.root_dir={tmp_path / 'here'}" in command

    @pytest.mark.parametrize(
        ("extra", "setting"),
        [
            ("--ip=0.0.0.0", "ip="),
            ("--ServerApp.ip=0.0.0.0", "ip="),
            ("--LabApp.default_url=/lab", "default_url="),
            ("-y", "answer_yes"),
        ],
    )
    def test_a_setting_of_the_user_replaces_ours(self, extra, setting, tmp_path):
        command = cli.lab_command(tmp_path, [extra])
        assert [a for a in command if setting in a] == ([extra] if setting in extra else [])

    def test_never_turns_the_token_off(self):
        command = cli.lab_command(Path("folder"))
        assert not [a for a in command if "token" in a or "password" in a]

    def test_a_second_folder_is_refused(self, packaged, tmp_path, capsys):
        run = Recorder()
        assert cli.main(["lab", str(tmp_path / "a"), "--notebook-dir=b"], run=run) == 1
        assert "`rnnlab lab DIR` chooses the folder" in capsys.readouterr().err
        assert run.commands == []
        assert not (tmp_path / "a").exists()

    def test_returns_the_exit_code_of_jupyterlab(self, packaged, tmp_path):
        assert cli.main(["lab", str(tmp_path / "mine")], run=Recorder(code=7)) == 7

    def test_without_jupyterlab(self, packaged, tmp_path, monkeypatch, capsys):
        self.without(monkeypatch, "jupyterlab")
        run = Recorder()
        assert cli.main(["lab", str(tmp_path / "mine")], run=run) == 1
        assert 'pip install "rnnlab[lab]"' in capsys.readouterr().err
        assert run.commands == []
        assert not (tmp_path / "mine").exists()

    def test_ctrl_c_is_not_a_traceback(self, packaged, tmp_path):
        def interrupted(command):
            raise KeyboardInterrupt

        assert cli.main(["lab", str(tmp_path / "mine")], run=interrupted) == 130

    def test_notebooks_only_copies(self, packaged, tmp_path, capsys):
        run = Recorder()
        assert cli.main(["notebooks", str(tmp_path / "mine")], run=run) == 0
        assert run.commands == []
        assert "01_recurrence.ipynb" in files(tmp_path / "mine")
        assert "copied     01_recurrence.ipynb" in capsys.readouterr().out

    def test_an_error_of_the_disk_is_a_sentence(self, packaged, tmp_path, capsys):
        (tmp_path / "a file").touch()
        assert cli.main(["notebooks", str(tmp_path / "a file" / "mine")]) == 1
        error = capsys.readouterr().err
        assert error.startswith("rnnlab: cannot write there:")
        assert "a file" in error

    def test_version(self, capsys):
        with pytest.raises(SystemExit, match="0"):
            cli.main(["--version"])
        assert re.fullmatch(r"rnnlab \d+\.\d+\.\d+\n", capsys.readouterr().out)

    def test_the_module_needs_neither_torch_nor_jupyter(self, root):
        code = """
import sys, types
for name in ("torch", "numpy", "jupyterlab", "IPython"):
    sys.modules[name] = None
package = types.ModuleType("rnnlab")
package.__path__ = [sys.argv[1]]
sys.modules["rnnlab"] = package
import rnnlab.cli
"""
        subprocess.run([sys.executable, "-c", code, str(root / "rnnlab")], check=True)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(port: int, path: str, token: str | None = None) -> tuple[int, str, bytes]:
    """Status, redirection and body of one request; redirections are not followed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"Authorization": f"token {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.read()
    finally:
        connection.close()


def wait_until_up(server: subprocess.Popen, port: int, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"it ended at once:\n{log.read_text()}"
        try:
            get(port, "/api")
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"it does not answer after {seconds} s:\n{log.read_text()}")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT, as Ctrl-C does on POSIX")
def test_rnnlab_lab_really_starts_jupyterlab(tmp_path):
    """Token, loopback, the copied notebooks, the first page, and the end by Ctrl-C."""
    psutil = pytest.importorskip("psutil")
    pytest.importorskip("jupyterlab")
    port, folder, log = free_port(), tmp_path / "mine", tmp_path / "log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER_")}
    for kind in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{kind}_DIR"] = str(tmp_path / kind.lower())
    command = [sys.executable, "-m", "rnnlab.cli", "lab", str(folder)]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    # A terminal for its input: with one, JupyterLab would ask at Ctrl-C whether it is meant.
    keyboard, terminal = os.openpty()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdin=terminal,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(server, port, log)
        token = re.search(r"[?&]token=([0-9a-f]{20,})", log.read_text())
        assert token, "JupyterLab printed no address with a token"

        listening = {
            c.laddr.ip
            for c in psutil.Process(server.pid).net_connections(kind="inet")
            if c.status == psutil.CONN_LISTEN and c.laddr.port == port
        }
        assert listening == {"127.0.0.1"}

        assert get(port, "/api/contents")[0] == 403
        assert get(port, "/api/contents", "0" * 48)[0] == 403
        status, location, _ = get(port, "/lab")
        assert (status, location.split("?")[0]) == (302, "/login")

        status, _, body = get(port, "/api/contents", token[1])
        assert status == 200
        assert {entry["name"] for entry in json.loads(body)["content"]} == {
            path.name for path in folder.iterdir()
        }
        assert cli.FIRST_NOTEBOOK in {path.name for path in folder.iterdir()}
        status, location, _ = get(port, "/", token[1])
        assert (status, location.split("?")[0]) == (302, f"/lab/tree/{cli.FIRST_NOTEBOOK}")

        assert "rnnlab: kernel messages are sent at once" in log.read_text()

        # What a terminal does at Ctrl-C: SIGINT to every process of the foreground group.
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(30) == 0, log.read_text()
        with pytest.raises(ConnectionRefusedError):
            get(port, "/api")
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)
        os.close(keyboard)
        os.close(terminal)
