"""The command `rnnlab`: copy the notebooks, start JupyterLab on them, or the explorer alone.

This module needs neither torch nor Jupyter; what is missing is reported as a plain sentence.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rnnlab.errors import RnnlabError

FIRST_NOTEBOOK = "00_start_here.ipynb"
DEFAULT_FOLDER = "rnnlab-notebooks"
DEFAULT_MODEL = "digits"
SERVER_EXTENSION = "rnnlab_server"
PACKAGE = Path(__file__).resolve().parent


@dataclass
class Copied:
    """What `copy_notebooks` did, as paths relative to the folder."""

    new: list[Path] = field(default_factory=list)
    same: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)


def notebooks_folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the notebooks that came with this installation of `package`.

    An installed wheel has them inside the package, a checkout beside it.
    """
    candidates = [package / "notebooks"]
    if (package.parent / "pyproject.toml").is_file():
        candidates.append(package.parent / "notebooks")
    for folder in candidates:
        if any(folder.glob("*.ipynb")):
            return folder
    raise RnnlabError(
        f"This installation has no notebooks (looked in {' and '.join(map(str, candidates))}). "
        "Install rnnlab again."
    )


def copy_notebooks(source: Path, target: Path) -> Copied:
    """Copy the files below `source` to `target`; a file that is already there is never touched.

    Hidden files and folders, such as Jupyter's checkpoints, stay behind.
    """
    if target.exists() and not target.is_dir():
        raise RnnlabError(f"{target} is a file, not a folder. Name another folder.")
    copied = Copied()
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if not path.is_file() or any(part.startswith((".", "__")) for part in name.parts):
            continue
        content = path.read_bytes()
        to = target / name
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            with to.open("xb") as file:
                file.write(content)
            copied.new.append(name)
        except FileExistsError:
            same = to.is_file() and to.read_bytes() == content
            (copied.same if same else copied.kept).append(name)
    return copied


def describe(copied: Copied, target: Path) -> str:
    """Say in a few lines what was copied to `target` and what was kept."""
    lines = [f"Notebooks in {target}:"]
    if copied.new:
        lines += [f"  copied     {name.as_posix()}" for name in copied.new]
    if copied.same:
        lines.append(f"  unchanged  {len(copied.same)} files")
    if copied.kept:
        lines += [
            f"  kept       {name.as_posix()} (yours; it differs from rnnlab's copy)"
            for name in copied.kept
        ]
        lines.append("  To get rnnlab's copy of a kept file, rename or delete yours and run again.")
    return "\n".join(lines)


def lab_command(folder: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return the command that starts JupyterLab in `folder`; `extra` goes to JupyterLab.

    Jupyter's token stays on. The server listens on loopback unless `extra` names an address: a
    setting given twice would stop JupyterLab, so ours makes room for the user's.
    """
    given = {argument.split("=", 1)[0] for argument in extra}
    if taken := given & {"--ServerApp.root_dir", "--notebook-dir"}:
        raise RnnlabError(
            f"{taken.pop()} cannot be used here: `rnnlab lab DIR` chooses the folder."
        )
    # -P: a file in the current folder must not replace a module that the server needs.
    command = [sys.executable, "-P", "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    if not given & {"--ip", "--ServerApp.ip"}:
        command.append("--ServerApp.ip=127.0.0.1")
    if not given & {"-y", "--ServerApp.answer_yes"}:
        command.append("--ServerApp.answer_yes=True")  # one Ctrl-C ends it, without a question
    if "--LabApp.default_url" not in given:
        command.append(f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}")
    # Our extension is on through a file in etc/jupyter; this is for where that file is not found.
    extensions = "--ServerApp.jpserver_extensions"
    if extensions not in given and importlib.util.find_spec(SERVER_EXTENSION):
        command.append(f"{extensions}={SERVER_EXTENSION}=True")
    return [*command, *extra]


def app_command(model: str, extra: Sequence[str] = ()) -> list[str]:
    """Return the command that serves the explorer of `model` alone; `extra` goes to Voilà.

    `model` is a name of the zoo, or `path.py:function`. The page listens on loopback and asks for
    a token unless `extra` says otherwise.
    """
    path, colon, function = model.rpartition(":")
    if colon:
        file = Path(path).expanduser().absolute()
        if not file.is_file() or not function.isidentifier():
            raise RnnlabError(
                f"{model!r} is not a function in a file. Name it as path.py:function, and see "
                f"that the file is there (looked for {file})."
            )
        model = f"{file}:{function}"
    # By its path: imported as a part of rnnlab, the server would load torch for nothing.
    return [sys.executable, "-P", str(PACKAGE / "widgets" / "server.py"), model, *extra]


def run_command(command: Sequence[str]) -> int:
    """Run `command` in the foreground and return its exit code.

    On POSIX the command takes this process's place, so that signals and the exit code are its own.
    """
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], list(command))
    return subprocess.call(command)


def _version() -> str:
    try:
        return importlib.metadata.version("rnnlab")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnlab", description="A laboratory for recurrent neural networks in JupyterLab."
    )
    parser.add_argument("--version", action="version", version=f"rnnlab {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    lab = commands.add_parser(
        "lab",
        help="copy the notebooks into a folder of yours and open them in JupyterLab",
        description="Copy the notebooks into DIR, keeping every file that is already there, and "
        f"open {FIRST_NOTEBOOK} in JupyterLab, on this machine only and with a token.",
        usage="rnnlab lab [-h] [DIR] [JupyterLab options]",
        epilog="DIR comes first. What follows it goes to JupyterLab, for instance --no-browser, "
        "--port=9999, --allow-root.",
    )
    lab.add_argument(
        "dir",
        metavar="DIR",
        nargs="?",
        default=DEFAULT_FOLDER,
        help=f"default: {DEFAULT_FOLDER} in the current folder",
    )
    app = commands.add_parser(
        "app",
        help="serve the explorer alone, as a page in the browser",
        description="Serve the explorer of a model as a page of its own, with Voilà: on this "
        "machine only and with a token. Every page that is opened has a kernel of its own, which "
        "ends with it; the page can move widgets but cannot run code.",
        usage="rnnlab app [-h] [--model MODEL] [Voilà options]",
        epilog="The other options go to Voilà, for instance --no-browser, --port=9999, "
        "--theme=dark.",
        allow_abbrev=False,
    )
    app.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a model of the zoo, or path.py:function, a function of yours that returns a model, "
        f"a Session or an Explorer; default: {DEFAULT_MODEL}",
    )
    notebooks = commands.add_parser(
        "notebooks", help="only copy the notebooks", description="Copy the notebooks into DIR."
    )
    notebooks.add_argument("dir", metavar="DIR")
    return parser


def _split_lab(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split `lab [DIR] ...` into our arguments and JupyterLab's.

    argparse cannot: of `lab --port 9999` it would take 9999 for DIR.
    """
    if arguments[:1] != ["lab"]:
        return arguments, []
    ours = 1
    if len(arguments) > 1 and (
        not arguments[1].startswith("-") or arguments[1] in ("-h", "--help")
    ):
        ours = 2
    return arguments[:ours], arguments[ours:]


def main(
    argv: Sequence[str] | None = None, *, run: Callable[[Sequence[str]], int] = run_command
) -> int:
    """Run the command `rnnlab` with the arguments `argv`; return its exit code.

    `run` starts a server's command line and returns its exit code.
    """
    ours, extra = _split_lab(list(sys.argv[1:] if argv is None else argv))
    if ours[:1] == ["app"]:
        arguments, extra = _parser().parse_known_args(ours)
    else:
        arguments = _parser().parse_args(ours)
    try:
        if arguments.command == "app":
            if importlib.util.find_spec("voila") is None:
                raise RnnlabError(
                    'Voilà is not installed. Install it with: pip install "rnnlab[lab]"'
                )
            return run(app_command(arguments.model, extra))
        if arguments.command == "lab" and importlib.util.find_spec("jupyterlab") is None:
            raise RnnlabError(
                'JupyterLab is not installed. Install it with: pip install "rnnlab[lab]"'
            )
        target = Path(arguments.dir).expanduser().absolute()
        command = lab_command(target, extra) if arguments.command == "lab" else None
        print(describe(copy_notebooks(notebooks_folder(), target), target))
        return 0 if command is None else run(command)
    except RnnlabError as error:
        print(f"rnnlab: {error}", file=sys.stderr)
    except OSError as error:
        print(f"rnnlab: cannot write there: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
