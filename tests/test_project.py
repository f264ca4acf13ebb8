"""The project around the library: README, build machine, versions, wheel, style."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

FOLDERS = {".ci", "binder", "notebooks", "rnnlab", "tests"}


def commands(readme: str) -> dict[str, str]:
    """The set-up commands: the shell blocks, by the word after `sh`."""
    blocks = re.findall(r"^```sh ?(\w*)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return {name: text.strip() for name, text in blocks}


class TestReadme:
    @pytest.fixture
    def readme(self, root) -> str:
        return (root / "README.md").read_text(encoding="utf-8")

    def test_two_commands_of_one_line_each(self, readme):
        assert list(commands(readme)) == ["lab", "tests"]
        assert len(re.findall(r"^```(?!python$).+", readme, re.MULTILINE)) == 2
        for command in commands(readme).values():
            assert "\n" not in command
            assert command.startswith("python3 -m venv .venv && .venv/bin/python -m pip install ")
            assert " -c binder/constraints.txt " in command

    def test_they_install_and_run_what_exists(self, readme, root):
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        for name, command in commands(readme).items():
            install = re.search(r'"\.\[(\w+)\]"', command)
            assert install
            assert install[1] == {"lab": "lab", "tests": "test"}[name]
            assert install[1] in project["optional-dependencies"]
        assert commands(readme)["lab"].endswith(" && .venv/bin/rnnlab lab")
        assert project["scripts"] == {"rnnlab": "rnnlab.cli:main"}
        config = re.search(r"--nbval-sanitize-with (\S+)", commands(readme)["tests"])
        assert config
        assert (root / config[1]).is_file()

    def test_pictures_and_files_exist(self, readme, root):
        for path in re.findall(r"\]\(([^)]+)\)", readme):
            assert (root / path).is_file(), path

    def test_the_examples_run(self, readme, tmp_path):
        blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
        assert len(blocks) == 6
        for block in blocks:
            done = subprocess.run(
                [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            # A number in the comment after a print is what it prints.
            for comment in re.findall(r"^print\(.*# (.*\d.*)$", block, re.MULTILINE):
                for number in re.findall(r"\d+", comment):
                    assert re.search(rf"\b{number}\b", done.stdout), comment


class TestCi:
    def extract(self, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([folder / ".ci/run", "--print"], capture_output=True, text=True)

    @pytest.fixture
    def copy(self, root, tmp_path):
        (tmp_path / ".ci").mkdir()
        script = tmp_path / ".ci/run"
        script.write_bytes((root / ".ci/run").read_bytes())
        script.chmod(0o755)
        return tmp_path

    def test_runs_the_very_command_of_the_readme(self, root):
        command = commands((root / "README.md").read_text(encoding="utf-8"))["tests"]
        done = self.extract(root)
        assert (done.returncode, done.stdout) == (0, command + "\n"), done.stderr

    @pytest.mark.parametrize(
        "readme",
        [
            "nothing",
            "```sh tests\n```\n",
            "```sh tests\n```\n```sh tests\none\n```\n",
            "```sh tests\none\ntwo\n```\n",
            "```sh tests\none\n```\n```sh tests\ntwo\n```\n",
        ],
    )
    def test_refuses_a_readme_that_is_not_clear(self, copy, readme):
        (copy / "README.md").write_text(readme)
        done = self.extract(copy)
        assert done.returncode != 0
        assert done.stdout == ""
        assert "README.md must have one block" in done.stderr

    def run(self, copy: Path, command: str, **programs: str) -> subprocess.CompletedProcess[str]:
        """Run the script in `copy`, on a machine whose only other programs are `programs`."""
        (copy / "README.md").write_text(f"```sh tests\n{command}\n```\n")
        tools = copy / "bin"
        tools.mkdir()
        for name in ("bash", "dirname", "python3", "env", "cat"):
            (tools / name).symlink_to(f"/usr/bin/{name}")
        (tools / "python3").unlink()
        (tools / "python3").symlink_to(sys.executable)
        for name, script in programs.items():
            (tools / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name.replace("_", "-")).chmod(0o755)
        environment = {"PATH": str(tools), "HOME": str(copy)}
        return subprocess.run(
            [copy / ".ci/run"], capture_output=True, text=True, env=environment, input="typed"
        )

    RECORD = 'echo "apt-get[$DEBIAN_FRONTEND]: $*"'

    def test_installs_only_what_is_missing(self, copy):
        done = self.run(copy, "true", apt_get=self.RECORD, git="", node="")
        assert done.returncode == 0, done.stderr
        calls = [line for line in done.stdout.splitlines() if line.startswith("apt-get")]
        assert len(calls) == 2
        assert calls[0].startswith("apt-get[noninteractive]: update")
        assert calls[1].endswith("chromium fonts-dejavu-core")
        assert " -y " in calls[1]
        assert "nodejs" not in calls[1]

    def test_installs_nothing_where_all_is_there(self, copy):
        done = self.run(copy, "true", apt_get="exit 9", git="", node="", chromium="")
        assert done.returncode == 0, done.stderr

    def test_a_failed_installation_is_a_failure(self, copy):
        done = self.run(copy, "echo ran", apt_get="exit 9", git="", node="")
        assert done.returncode == 9
        assert "ran" not in done.stdout.splitlines()

    @pytest.mark.parametrize("code", [0, 1, 5])
    def test_the_tests_decide_and_have_the_last_word(self, copy, code):
        command = f"cat && echo CI=$CI && echo the last line && (exit {code})"
        done = self.run(copy, command, git="", node="", chromium="")
        assert done.returncode == code
        assert done.stdout.splitlines()[-2:] == ["CI=true", "the last line"]
        assert "typed" not in done.stdout

    def test_a_failed_set_up_is_a_failure(self, copy):
        done = self.run(copy, "false && echo never", git="", node="", chromium="")
        assert done.returncode == 1


class TestFiles:
    def test_no_other_folders(self, tracked):
        assert {path.parts[0] for path in tracked if len(path.parts) > 1} <= FOLDERS

    def test_nothing_of_a_machine_or_a_registry(self, root, tracked):
        # Put together here, so that this file does not hold what it looks for.
        folders = [f"/{name}/" for name in ("work", "farm")] + ["/".join(("", "tmp", "venv"))]
        hosts = ["py" + "pi.org", "python" + "hosted", "npm" + "js", "anaconda" + ".org"]
        hosts += ["download." + "pytorch", "debian" + ".org"]
        wanted = re.compile("|".join(map(re.escape, folders + hosts)))
        found = []
        for path in tracked:
            content = (root / path).read_bytes()
            if b"\0" not in content:
                for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
                    if match := wanted.search(line):
                        found.append(f"{path}:{number}: {match[0]}")
        assert found == []


def pins(root: Path) -> dict[str, str]:
    """The constraints: name → version."""
    lines = (root / "binder/constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert "+" not in specifier.version, f"{requirement}: a local version"
        found[canonicalize_name(requirement.name)] = specifier.version
    assert len(found) == len(requirements)
    return found


@pytest.fixture(scope="module")
def direct(root) -> list[Requirement]:
    """The direct dependencies of the package and of every extra."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    requirements = [Requirement(line) for line in lines]
    for requirement in requirements:
        if requirement.name == project["name"]:
            assert requirement.extras <= extras.keys()
    return [r for r in requirements if r.name != project["name"]]


class TestConstraints:
    def test_sorted(self, root):
        assert list(pins(root)) == sorted(pins(root))

    def test_every_direct_dependency_is_pinned_inside_its_range(self, root, direct):
        pinned = pins(root)
        for requirement in direct:
            assert requirement.specifier, f"{requirement} has no lower bound"
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])

    def test_what_they_need_in_turn_is_pinned_too(self, root, direct):
        """Walks the installed packages from the direct dependencies on."""
        pinned, seen, unpinned = pins(root), set(), set()

        def walk(requirement: Requirement) -> None:
            name = canonicalize_name(requirement.name)
            # The CUDA build of torch brings its own libraries and pins each of them itself.
            if (name, *requirement.extras) in seen or re.match(r"(nvidia|cuda)-|triton$", name):
                return
            seen.add((name, *requirement.extras))
            if name not in pinned:
                unpinned.add(name)
            for line in importlib.metadata.requires(name) or ():
                child = Requirement(line)
                if child.marker is None or any(
                    child.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
                ):
                    walk(child)

        for requirement in direct:
            walk(requirement)
        assert unpinned == set()
        assert len(seen) > 100, "the walk did not get far"

    def test_they_suit_the_oldest_python_that_the_package_takes(self, root):
        """Also its first patch release: Debian 12 has 3.11.2."""
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        oldest = project["requires-python"].removeprefix(">=") + ".0"
        refusing = {
            f"{name}: {wanted}"
            for name, version in pins(root).items()
            for distribution in importlib.metadata.distributions(name=name)
            if (wanted := distribution.metadata["Requires-Python"])
            and distribution.version.split("+")[0] == version
            and oldest not in SpecifierSet(wanted)
        }
        assert refusing == set()

    def test_the_build_machine_tests_these_versions(self, root, in_ci):
        if not in_ci:
            pytest.skip("any versions will do here; with CI=true they must be the pinned ones")
        # Not all of sys.path: importing setuptools puts the packages it carries for itself there.
        installed = {
            canonicalize_name(found.metadata["Name"]): found.version.split("+")[0]
            for found in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
        }
        pinned = pins(root)
        shared = installed.keys() & pinned.keys()
        assert len(shared) > 100, "the environment was not read"
        wrong = {name: installed[name] for name in shared if installed[name] != pinned[name]}
        assert wrong == {}


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Iterator[zipfile.ZipFile]:
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, root],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


class TestWheel:
    def test_has_the_package_and_the_notebooks_and_nothing_else(self, wheel, tracked):
        expected = {path.as_posix() for path in tracked if path.parts[0] == "rnnlab"}
        expected |= {
            f"rnnlab/{path.as_posix()}" for path in tracked if path.parts[0] == "notebooks"
        }
        # a server loads this one without loading the package
        expected = expected - {"rnnlab/widgets/rnnlab_server.py"} | {"rnnlab_server.py"}
        (switch,) = [name for name in wheel.namelist() if ".data/" in name]
        assert switch.endswith(".data/data/etc/jupyter/jupyter_server_config.d/rnnlab.json")
        assert json.loads(wheel.read(switch)) == {
            "ServerApp": {"jpserver_extensions": {"rnnlab_server": True}}
        }
        expected.add(switch)
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert names == expected
        for part in ("rnnlab/cli.py", "rnnlab/py.typed", "rnnlab/notebooks/00_start_here.ipynb"):
            assert part in names
        for suffix in (".js", ".safetensors"):
            assert any(name.endswith(suffix) for name in names), f"no {suffix} in the wheel"

    def test_its_version_is_the_package_s(self, wheel):
        import rnnlab

        assert f"rnnlab-{rnnlab.__version__}" in Path(wheel.filename or "").name

    def test_unpacked_it_works_on_its_own(self, wheel, tmp_path):
        """Away from the checkout: the import, the version, the notebooks."""
        wheel.extractall(tmp_path / "site")
        code = (
            "import rnnlab, sys; from rnnlab.cli import main;"
            "print(rnnlab.__file__); sys.exit(main(['notebooks', 'mine']))"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.splitlines()[0]).is_relative_to(tmp_path)
        assert (tmp_path / "mine/00_start_here.ipynb").is_file()


class TestStyle:
    def tool(self, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=root, capture_output=True, text=True
        )

    def test_ruff_check(self, root):
        pytest.importorskip("ruff")
        done = self.tool(root, "ruff", "check", ".")
        assert done.returncode == 0, done.stdout + done.stderr

    def test_ruff_format(self, root):
        pytest.importorskip("ruff")
        done = self.tool(root, "ruff", "format", "--check", ".")
        assert done.returncode == 0, done.stdout + done.stderr

    def test_pyright(self, root, in_ci):
        pytest.importorskip("pyright")
        if self.tool(root, "pyright", "--version").returncode != 0 and not in_ci:
            pytest.skip("pyright cannot be fetched: it needs Node.js, or a network on first use")
        done = self.tool(root, "pyright", "--pythonpath", sys.executable)
        assert done.returncode == 0, done.stdout + done.stderr
