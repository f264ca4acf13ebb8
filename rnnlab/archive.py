"""Arrays with a JSON header as one file: npz or safetensors, no pickle, never half written."""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
        RnnlabError: numbers that safetensors has not (complex ones); a path where nothing can be
            written.
    """
    text = json.dumps(header, default=_parts)
    with replacing(path, f"{header['kind']}.save") as draft, open(draft, "wb") as file:
        target = Path(path)
        if target.suffix == ".safetensors":
            file.write(_packed(arrays, text, target.name))
        else:
            told = {"header": text, "check": _check(arrays, text)}
            named = {**arrays, **{k: np.frombuffer(v.encode(), np.uint8) for k, v in told.items()}}
            np.savez(file, **named)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: str | os.PathLike[str], caller: str) -> Iterator[Path]:
    """A draft beside `path` that takes its place when the block ends, and goes if it fails.

    Raises:
        RnnlabError: nothing can be written there, with the reason.
    """
    target = Path(checked(path, caller))
    draft = target.with_name(f".{uuid.uuid4().hex}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield draft
        os.chmod(draft, _mode(target))
        os.replace(draft, target)
    except OSError as error:
        raise RnnlabError(f"{caller}: cannot write {target}: {_why(target, error)}") from error
    finally:
        with suppress(OSError):  # it is not there
            draft.unlink()


def checked(path: str | os.PathLike[str], caller: str) -> str:
    """The path as text, if it may be that of a file."""
    if not isinstance(path, (str, os.PathLike)):
        raise RnnlabError(f"{caller}: the path is text or a Path, got {path!r}.")
    name = os.fsdecode(path)
    if "\0" in name:
        raise RnnlabError(f"{caller}: a null character is in no path; got {name!r}.")
    if not name or os.path.isdir(name):
        raise RnnlabError(f"{caller}: {name or repr(name)} is a folder; give the name of a file.")
    return name


def _why(target: Path, error: OSError) -> str:
    """Why nothing could be written at `target`, and what to do."""
    folder = target.parent
    if not os.path.exists(folder):
        return f"there is no folder {folder}. Make it first, or give another path."
    if not os.path.isdir(folder):
        return f"{folder} is a file, no folder. Give another path."
    if isinstance(error, PermissionError):
        return f"you have no permission to write in the folder {folder}. Give another path."
    return f"{error.strerror or error}. Give another path, or make room for the file."


def read_file(
    path: str | os.PathLike[str], kind: str, schema: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays that `write_file` wrote.

    Raises:
        RnnlabError: there is no such file, or it cannot be read; it is of another kind, damaged, or
            of a newer schema.
    """
    name = checked(path, f"{kind}.load")
    if not os.path.exists(name):
        raise RnnlabError(f"{kind}.load: {name}: there is no such file.")
    try:
        with open(name, "rb") as opened:
            zipped = opened.read(4) == b"PK\3\4"
    except OSError as error:
        raise RnnlabError(f"{kind}.load: cannot read {name}: {error.strerror or error}.") from error
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
