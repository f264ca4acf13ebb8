"""The explorer's page side as one text: a self-contained ES module and its style sheet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

STATIC = Path(__file__).parent / "static"

PARTS = (
    "colors.js",
    "tiles.js",
    "store.js",
    "field.js",
    "dom.js",
    "around.js",
    "labels.js",
    "work.js",
    "link.js",
    "stateview.js",
    "lines.js",
    "pointer.js",
    "sidebar.js",
    "find.js",
    "compare.js",
    "trajectory.js",
    "tokens.js",
    "input-vector.js",
    "input-queue.js",
    "complete.js",
    "input-tokens.js",
    "input-signal.js",
    "input-curve.js",
    "memory.js",
    "basins.js",
    "dynamics.js",
    "tabs.js",
    "inputs.js",
    "help.js",
    "transport.js",
    "explorer.js",
)
"""The files of the module, each before those that use it."""


def module(parts: Sequence[str] = PARTS) -> str:
    """One self-contained ES module from several files: their imports of each other are dropped.

    So are comments, indentation, the word `export`, for the files are one now, and ends of lines
    where a statement goes on or has its semicolon: the module is sent with every explorer. (No
    string in it runs over several lines or has ` // `.)
    """
    texts = [(STATIC / name).read_text(encoding="utf-8") for name in parts]
    return "\n".join(_JOINED.sub("", _DROPPED.sub("", text)) for text in texts)


_DROPPED = re.compile(
    r"^import .*?;\n|^export (?!default)|^ *//.*\n| +// .*|^ */\*\*(?s:.*?)\*/\n|^\n|^ +",
    re.MULTILINE,
)
_JOINED = re.compile(r"(?<=[{;,(\[])\n")


def style() -> str:
    """The style sheet of the explorer, without comments and the white space between its parts."""
    text = (STATIC / "explorer.css").read_text(encoding="utf-8")
    return _BETWEEN.sub(r"\1", _COMMENT.sub("", text))


_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BETWEEN = re.compile(r"\s*([{};]|(?<=\w):(?= )|,(?= ))\s*")
