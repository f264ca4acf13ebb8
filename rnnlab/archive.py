"""Arrays with a JSON header as one file: npz or safetensors, no pickle, never half written."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnnlab.errors import RnnlabError

TOLD = ("header", "check")
"""What a file has besides its arrays; those of older versions have no check."""


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
        told = {"header": text, "check": _check(arrays, text)}
        named = {**arrays, **{k: np.frombuffer(v.encode(), np.uint8) for k, v in told.items()}}

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
    with open(path, "rb") as opened:  # or there is no such file, or it may not be read
        zipped = opened.read(4) == b"PK\3\4"
    try:
        with _opened_npz(path) if zipped else _opened_safetensors(path) as (told, read):
            header = json.loads(told["header"], object_hook=_whole)
            if header["kind"] != kind:
                raise RnnlabError(f"it is a saved {header['kind']}")
            new = header["schema"] > schema
            arrays = {} if new else read()
            if not new and told.get("check", check := _check(arrays, told["header"])) != check:
                raise RnnlabError("it is damaged")
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


Opened = tuple[dict[str, str], Callable[[], dict[str, np.ndarray]]]
"""The header of a file with the check of it, and a function that reads the arrays."""


@contextmanager
def _opened_npz(path: str | os.PathLike[str]) -> Iterator[Opened]:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        told = {name: bytes(file[name]).decode() for name in file.files if name in TOLD}
        yield told, lambda: {name: file[name] for name in file.files if name not in TOLD}


@contextmanager
def _opened_safetensors(path: str | os.PathLike[str]) -> Iterator[Opened]:
    from safetensors import safe_open

    with safe_open(os.fspath(path), "np") as file:
        names = list(file.keys())
        yield file.metadata(), lambda: {name: file.get_tensor(name) for name in names}


def _packed(arrays: Mapping[str, np.ndarray], text: str, name: str) -> bytes:
    from safetensors.numpy import save

    for array in arrays.values():
        if array.dtype.kind == "c":
            raise RnnlabError(
                f"{name}: safetensors has no {array.dtype} numbers; a name that ends in .npz "
                "takes them."
            )
    arrays = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    return save(arrays, {"header": text, "check": _check(arrays, text)})


def _check(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """A number that is another where a byte is: neither format has one of everything."""
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return str(crc)


def _mode(target: Path) -> int:
    """The permissions for a file at `target`: those that it has, else those of any new file."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
