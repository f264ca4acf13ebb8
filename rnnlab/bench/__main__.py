"""Command line: measure, print a Markdown table, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from rnnlab.bench.sections import SECTIONS, SLOW, Settings
from rnnlab.bench.timing import Row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections that were asked for; 0, or 1 if `--check` and a target was missed."""
    options = _parser().parse_args(arguments)
    settings = Settings(rounds=options.rounds or (3 if options.quick else 200), quick=options.quick)
    torch.manual_seed(0)
    rows: list[Row] = []
    names = options.only or [name for name in SECTIONS if not (options.quick and name in SLOW)]
    with nullcontext() if options.quiet else _bar() as bar:
        for name in names:
            if bar is not None:
                bar.set_description(name)
            for row in SECTIONS[name](settings):
                # the targets are for the sizes of the full run
                rows.append(replace(row, target=None) if options.quick else row)
                if bar is not None:
                    bar.update()
    print(machine())
    print(table(rows))
    if options.json:
        found = [{**asdict(row), "reached": row.reached} for row in rows]
        text = json.dumps({"machine": machine(), "rows": found}, indent=1, ensure_ascii=False)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 1 if options.check and any(row.reached is False for row in rows) else 0


def _bar() -> Any:
    # not for --quiet, which needs torch and numpy alone
    from tqdm.auto import tqdm

    return tqdm(disable=None, unit=" rows", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rnnlab.bench",
        description="Ratios to torch.nn (below 1 is faster): rounds in turns, one thread, medians.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes without targets, to see that it runs"
    )
    parser.add_argument("--rounds", type=_positive, help="pairs of blocks for a row (200)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--check", action="store_true", help="status 1 if a target is missed")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, got {text!r}")
    return int(text)


def machine() -> str:
    """One line about where the figures are from."""
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    python = platform.python_version()
    cores = f"{os.cpu_count()} cores ({platform.machine()})"
    return f"torch {torch.__version__}, Python {python}, {cores}{device}; one thread"


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown, a table for each section.

    Example:
        >>> print(table([Row("Steps", "a", "b", 5.0, 10.0, 0.5, 0.48, 0.53, 0.75)]))
        <BLANKLINE>
        ### Steps
        <BLANKLINE>
        | what | against | µs | theirs, µs | ratio | quartiles | target | |
        |---|---|--:|--:|--:|---|--:|---|
        | a | b | 5.0 | 10.0 | 0.50 | 0.48–0.53 | 0.75 | reached |
    """
    lines: list[str] = []
    section = None
    for row in rows:
        if row.section != section:
            section, unit = row.section, row.unit
            lines += [
                "",
                f"### {section}",
                "",
                f"| what | against | {unit} | theirs, {unit} | ratio | quartiles | target | |",
                "|---|---|--:|--:|--:|---|--:|---|",
            ]
        target = "" if row.target is None else f"{row.target:.2f}"
        verdict = {None: "", True: "reached", False: "missed"}[row.reached]
        lines.append(
            f"| {row.what} | {row.against} | {row.ours:.1f} | {row.theirs:.1f} | {row.ratio:.2f} "
            f"| {row.low:.2f}–{row.high:.2f} | {target} | {verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
