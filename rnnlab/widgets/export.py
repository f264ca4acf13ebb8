"""The recording as one HTML page that needs no kernel, no server and no network."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.session import Session
from rnnlab.widgets.insight import order, plane
from rnnlab.widgets.lanes import Lane, values
from rnnlab.widgets.module import STATIC, module
from rnnlab.widgets.selecting import checked_branches

if TYPE_CHECKING:
    from rnnlab.widgets.explorer import Explorer

EXACT = 65_536
"""Numbers up to which a page keeps all of them exactly; beyond, each takes a byte."""

MOST = 4_000_000
"""Numbers that a page keeps at the most: a file of some megabytes, however long the recording."""

LEVELS = 254
"""Steps into which the scale of a lane is divided where a number takes a byte; 255 is "none"."""


def to_html(
    explorer: Explorer, path: str | os.PathLike[str], branches: str | Sequence[str] | None = None
) -> Path:
    """Write the recording as one page that works from a file: no server, no network.

    The page has the explorer's own views with a time slider. Up to EXACT numbers it keeps exactly;
    of more, each is rounded to a 254th of its lane's scale. Of more than MOST it keeps the newest
    rows, half of MOST, and of all others the least and the largest value in buckets of so many
    steps that these are the other half. The page says which of this was done.

    Args:
        explorer: the explorer.
        path: where to write; a file that is there is replaced.
        branches: the branches to take along with the current one; left out, those compared with.

    Returns:
        The path.

    Raises:
        RnnlabError: there is no such branch, or the file cannot be written.
    """
    return write(path, page(explorer, branches).encode(), "to_html")


def write(path: str | os.PathLike[str], content: bytes, caller: str) -> Path:
    """Write a file, or say in a sentence why that failed."""
    try:
        name = os.fsdecode(path)
    except TypeError:
        name = ""
    if not name:
        raise RnnlabError(f"{caller}: path must be the name of a file to write, not {path!r}.")
    target = Path(name)
    try:
        target.write_bytes(content)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise RnnlabError(f"{caller}: cannot write {target}: {reason}. Choose another path.") from (
            error
        )
    return target


def page(explorer: Explorer, branches: str | Sequence[str] | None = None) -> str:
    """The text of the page that `to_html` writes."""
    session = explorer.session
    current = session.branch_name
    chosen = explorer.compared if branches is None else branches
    named = checked_branches(chosen, session.branches, "to_html: branches")
    names = list(dict.fromkeys([current, *named]))
    lanes = explorer._lanes()
    width = sum(lane.units for lane in lanes)
    numbers = width * sum(session.length(name) + 1 for name in names)
    exact = numbers <= EXACT
    parts = [_branch(explorer, lanes, name, MOST // (len(names) * width), exact) for name in names]
    steps = session.length()
    title = f"{explorer.session!r}"
    header = {
        "module": module(),
        "host": f"{module(['host.js'])}\nexport {{ decode, start }};",
        "css": explorer._css,
        "traits": _traits(explorer) | {"branches": names},
        "title": title,
        "exact": exact,
        "width": width,
        "branches": [about for about, _ in parts],
        "t": session.t,
        "planes": _found(lambda name: plane(session, name), ["", *session.initial()]),
        "orders": _found(lambda by: order(session, by), explorer.sorts),
    }
    head = json.dumps(_short(header), ensure_ascii=False, separators=(",", ":")).encode()
    blob = struct.pack("<I", len(head)) + head + b"".join(data for _, data in parts)
    data = base64.b64encode(gzip.compress(blob, 9, mtime=0)).decode()
    counted = f"{steps} step" + ("" if steps == 1 else "s")
    fields = {
        "title": html.escape(f"rnnlab: {counted} of {current}"),
        "model": html.escape(title),
        "unpack": module(["unpack.js"]),
        "data": data,
    }
    parts = (STATIC / "host.html").read_text(encoding="utf-8").split("%%")
    return "".join(fields[part] if k % 2 else part for k, part in enumerate(parts))


def _branch(
    explorer: Explorer, lanes: list[Lane], name: str, most: int, exact: bool
) -> tuple[dict[str, Any], bytes]:
    """What a page keeps of a branch, at the most so many rows: how it is packed, and the bytes."""
    session = explorer.session
    rows = session.length(name) + 1
    first = 0 if rows <= most else rows - most // 2
    table = values(session, lanes, first, rows, name)
    data, how = _exact(table) if exact else _rounded(table, lanes)
    about = {"name": name, "rows": rows, "first": first, "bytes": len(data), **how}
    about |= _labels(session, name)
    if not first:
        return about, data
    # a bucket has a least and a largest value: half as many of them take as much
    level = max(1, math.ceil(math.log2((rows - 1) / (most // 4))))
    ends, index, stop = [], 0, 0
    while stop < rows - 1:
        low, high, stop = explorer._wire.tiles.tile(lanes, level, index, name)
        ends.append((low, high))
        index += 1
    lows, highs = (np.concatenate(side) for side in zip(*ends, strict=True))
    packed, how = _rounded(np.concatenate([lows, highs]), lanes)
    about["initial"] = values(session, lanes, 0, 1, name)[0].tolist()
    about["history"] = {"level": level, "buckets": len(lows), "bytes": len(packed), **how}
    return about, data + packed


def _labels(session: Session, branch: str) -> dict[str, Any]:
    """The labels of a branch, if it has any."""
    labels = session.labels(branch=branch)
    return {"labels": labels} if any(labels) else {}


def _traits(explorer: Explorer) -> dict[str, Any]:
    """What the page may know of the widget: its synced state, without the machinery of Jupyter."""
    hidden = {"layout", "tabbable", "tooltip"}
    state = explorer.get_state()
    return {k: v for k, v in state.items() if not k.startswith("_") and k not in hidden}


def _found(find: Callable[[str], Any], names: Any) -> dict[str, Any]:
    """What can be found for each name; a recording too short for it has none."""
    found = {}
    for name in names:
        try:
            found[name] = find(name)
        except RnnlabError:
            continue
    return found


def _short(value: Any) -> Any:
    """The same as JSON can hold it: floats of seven digits, as many as float32 has, or null."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _short(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(child) for child in value]
    return value


def _exact(table: np.ndarray) -> tuple[bytes, dict[str, Any]]:
    """float32 unit by unit, the first bytes of all numbers before the second bytes: it packs."""
    units = np.ascontiguousarray(table.T, dtype="<f4")
    planes = units.view(np.uint8).reshape(-1, 4).T
    return planes.tobytes(), {}


def _rounded(table: np.ndarray, lanes: Sequence[Lane]) -> tuple[bytes, dict[str, Any]]:
    """One byte a number, unit by unit: a level of its lane's scale, in which 0 is exact."""
    codes = np.full(table.shape, 255, np.uint8)
    scales = []
    for lane in lanes:
        columns = slice(lane.offset, lane.offset + lane.units)
        part = table[:, columns]
        finite = part[np.isfinite(part)]
        limit = float(np.abs(finite).max()) if finite.size else 1.0
        low = -limit if finite.size and finite.min() < 0 else 0.0
        step = (limit - low) / LEVELS or 1.0
        known = ~np.isnan(part)
        level = np.clip(np.where(known, part - low, 0) / step, 0, LEVELS)
        codes[:, columns] = np.where(known, np.floor(level + 0.5), 255).astype(np.uint8)
        scales.append({"units": lane.units, "low": low, "step": step})
    plain = np.ascontiguousarray(codes.T)
    differences = plain.copy()
    differences[:, 1:] -= plain[:, :-1]  # modulo 256: slow states leave little to store
    whole, moved = (len(gzip.compress(a.tobytes(), 1)) for a in (plain, differences))
    best = differences if moved < whole else plain
    return best.tobytes(), {"scales": scales, "differences": moved < whole}
