"""Arrays with a JSON header as one file: npz or safetensors, no pickle, never half written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnnlab.errors import RnnlabError


def write_file(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> None:
    """Write arrays and a header beside `path` and move them there: no half-overwritten file.

    The file is numpy's npz, or safetensors if that is how its name ends. The header is JSON with at
    least its `kind` and its `schema`; complex numbers, which JSON has not, are told by their parts.

    Raises:
        RnnlabError: numbers that safetensors has not (complex ones).
    """
    target = Path(path)
    text = json.dumps(header, default=_parts)
    if target.suffix == ".safetensors":
        packed = _packed(arrays, text, target.name)

        def write(file: IO[bytes]) -> None:
            file.write(packed)
    else:
        named = {**arrays, "header": np.frombuffer(text.encode(), dtype=np.uint8)}

        def write(file: IO[bytes]) -> None:
            np.savez(file, **named)  # type: ignore[arg-type]

    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        error.filename = os.fspath(path)  # the place that was asked for, not that of the draft
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_file(
    path: str | os.PathLike[str], kind: str, schema: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays that `write_file` wrote.

    Raises:
        RnnlabError: the file is of another kind, damaged, or of a newer schema.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as opened:
            zipped = opened.read(4) == b"PK\3\4"
        with _opened_npz(path) if zipped else _opened_safetensors(path) as (text, read):
            header = json.loads(text, object_hook=_whole)
            if header["kind"] != kind:
                raise RnnlabError(f"it is a saved {header['kind']}")
            new = header["schema"] > schema
            arrays = {} if new else read()
    except OSError:
        raise
    except Exception as error:
        raise RnnlabError(f"{name} is not a saved {kind} ({error}).") from error
    if new:
        raise RnnlabError(
            f"{name} has schema {header['schema']}, this rnnlab reads up to {schema}: "
            "update rnnlab."
        )
    return header, arrays


def _parts(value: Any) -> Any:
    if isinstance(value, complex):
        return {"re": value.real, "im": value.imag}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} has no place in a header")


def _whole(value: dict[str, Any]) -> Any:
    """What `_parts` made of a complex number."""
    if value.keys() == {"re", "im"} and all(isinstance(part, float) for part in value.values()):
        return complex(value["re"], value["im"])
    return value


Opened = tuple[str | bytes, Callable[[], dict[str, np.ndarray]]]
"""The header of a file, and a function that reads its arrays."""


@contextmanager
def _opened_npz(path: str | os.PathLike[str]) -> Iterator[Opened]:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        names = [name for name in file.files if name != "header"]
        yield bytes(file["header"]), lambda: {name: file[name] for name in names}


@contextmanager
def _opened_safetensors(path: str | os.PathLike[str]) -> Iterator[Opened]:
    from safetensors import safe_open

    with safe_open(os.fspath(path), "np") as file:
        names = list(file.keys())
        yield file.metadata()["header"], lambda: {name: file.get_tensor(name) for name in names}


def _packed(arrays: Mapping[str, np.ndarray], text: str, name: str) -> bytes:
    from safetensors.numpy import save

    for array in arrays.values():
        if array.dtype.kind == "c":
            raise RnnlabError(
                f"{name}: safetensors has no {array.dtype} numbers; a name that ends in .npz "
                "takes them."
            )
    return save({key: np.asarray(a, order="C") for key, a in arrays.items()}, {"header": text})


def _mode(target: Path) -> int:
    """The permissions for a file at `target`: those that it has, else those of any new file."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
