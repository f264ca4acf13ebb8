"""What mybinder.org would build: versions, the Dockerfile, and every start-up script really run."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

FIRST_PAGE = "/lab/tree/notebooks/00_start_here.ipynb"
SETTINGS = [f"--{app}.default_url={FIRST_PAGE}" for app in ("ServerApp", "LabApp")]
SETTINGS.append(f"--JupyterNotebookApp.default_url={FIRST_PAGE}")


def pins(root: Path) -> dict[str, str]:
    lines = (root / "binder/constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


@pytest.fixture
def copy(root: Path, tracked: list[Path], tmp_path: Path) -> Path:
    """A copy of the repository's files, as a clone would have them."""
    for name in tracked:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def stand_in(folder: Path, name: str, script: str) -> Path:
    """An executable `name` in `folder`."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)
    return path


class TestVersions:
    def environment(self, root: Path) -> dict[str, str]:
        yaml = pytest.importorskip("yaml")
        content = yaml.safe_load((root / "binder/environment.yml").read_text())
        assert content["channels"] == ["conda-forge"]
        return dict((*entry.split("="), "")[:2] for entry in content["dependencies"])

    def test_torch_is_the_tested_one_without_cuda(self, root):
        environment = self.environment(root)
        assert environment["pytorch-cpu"] == pins(root)["torch"]
        assert "pytorch" not in environment

    def test_python_is_one_that_the_package_takes_and_the_constraints_are_for(self, root):
        from packaging.specifiers import SpecifierSet

        python = self.environment(root)["python"]
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        assert python in SpecifierSet(project["requires-python"])
        heading = re.search(r"Python (\d+\.\d+)", (root / "binder/constraints.txt").read_text())
        assert heading
        assert heading[1] == python

    def test_pip_is_there_for_post_build(self, root):
        assert "pip" in self.environment(root)


def test_repo2docker_accepts_it(copy, tmp_path):
    """It prints the Dockerfile; this needs neither Docker nor a network."""
    pytest.importorskip("repo2docker")
    # The build machine runs as root, which repo2docker refuses as the user of an image.
    user = ["--user-id=1000", "--user-name=jovyan"]
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", *user, str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "binder/environment.yml" in output
    assert re.search(r"^RUN \./binder/postBuild$", output, re.MULTILINE), output
    assert re.search(r'^ENV R2D_ENTRYPOINT="\S*binder/start"$', output, re.MULTILINE), output


def test_the_scripts_are_executable_and_the_only_ones(root, tracked):
    assert {p.name for p in tracked if p.parts[0] == "binder"} == {
        "constraints.txt",
        "environment.yml",
        "postBuild",
        "start",
    }
    for name in ("postBuild", "start"):
        assert os.access(root / "binder" / name, os.X_OK)


class TestPostBuild:
    def run(self, copy: Path, tmp_path: Path, python: str) -> list[list[str]]:
        """Run the script with `python` in Python's place; return the calls it made."""
        stand_in(tmp_path / "bin", "python", python)
        calls = tmp_path / "calls"
        environment = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(calls),
        }
        subprocess.run(["./binder/postBuild"], cwd=copy, env=environment, check=True)
        return [line.split("\t") for line in calls.read_text().splitlines()]

    RECORD = '#!/bin/sh\nprintf "%s\\t" "$PWD" "$@" >> "$CALLS"; echo >> "$CALLS"\n'

    def test_installs_the_lab_with_the_tested_versions(self, copy, tmp_path):
        (call,) = self.run(copy, tmp_path, self.RECORD)
        folder, *arguments = [word for word in call if word]
        assert Path(folder).resolve() == copy.resolve()
        assert arguments[:3] == ["-m", "pip", "install"]
        assert (copy / arguments[arguments.index("-c") + 1]).samefile(
            copy / "binder/constraints.txt"
        )
        (wanted,) = [a for a in arguments[3:] if a.startswith(".")]
        extra = re.fullmatch(r"\.\[(\w+)\]", wanted)
        assert extra
        project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
        assert extra[1] in project["optional-dependencies"]

    def test_pip_itself_understands_it(self, copy, tmp_path):
        """The real pip reads the options, the constraints and the metadata; it installs nothing."""
        pip = (
            "#!/bin/sh\nshift 3\n"
            f'exec "{sys.executable}" -m pip install --dry-run --no-deps --no-build-isolation "$@"'
            ' > "$CALLS" 2>&1\n'
        )
        output = "\n".join(" ".join(line) for line in self.run(copy, tmp_path, pip))
        assert "rnnlab" in output
        assert "does not provide the extra" not in output

    def test_a_failing_pip_fails_the_build(self, copy, tmp_path):
        with pytest.raises(subprocess.CalledProcessError):
            self.run(copy, tmp_path, "#!/bin/sh\nexit 3\n")


class TestStart:
    def started(self, root: Path, tmp_path: Path, *command: str) -> list[str]:
        """The arguments with which `start` runs the stand-in command."""
        record = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
        program = stand_in(tmp_path / "bin", command[0], record)
        done = subprocess.run(
            [root / "binder/start", program, *command[1:]],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    def test_opens_the_first_notebook(self, root, tmp_path):
        assert self.started(root, tmp_path, "jupyter-lab", "--ip=0.0.0.0", "--a=b c") == [
            "--ip=0.0.0.0",
            "--a=b c",
            *SETTINGS,
        ]

    def test_as_binder_starts_it_through_python(self, root, tmp_path):
        code = "import os, sys; os.execvp('jupyter-lab', sys.argv)"
        arguments = self.started(root, tmp_path, "python3", "-c", code, "--port=8888")
        assert arguments == ["-c", code, "--port=8888", *SETTINGS]

    def test_replaces_an_earlier_first_page(self, root, tmp_path):
        """JupyterLab refuses to start when it finds a setting twice."""
        arguments = self.started(root, tmp_path, "jupyter", "lab", "--ServerApp.default_url=/lab")
        assert arguments == ["lab", *SETTINGS]

    def test_leaves_other_commands_alone(self, root, tmp_path):
        assert self.started(root, tmp_path, "pytest", "-x") == ["-x"]

    def test_the_exit_code_is_the_command_s(self, root):
        done = subprocess.run([root / "binder/start", "sh", "-c", "exit 5"])
        assert done.returncode == 5

    def test_the_page_exists(self, root):
        assert (root / FIRST_PAGE.removeprefix("/lab/tree/")).is_file()

    @pytest.mark.parametrize("app", ["jupyter-lab", "jupyter-server"])
    def test_a_real_server_takes_it(self, root, tmp_path, app):
        """The server reads the settings that `start` appends and redirects to the notebook."""
        pytest.importorskip("jupyterlab")
        from rnnlab.bench.lab import Lab

        program = Path(sys.executable).parent / app
        with Lab(root, command=[str(root / "binder/start"), str(program)]) as lab:
            assert lab.redirect("/") == FIRST_PAGE
