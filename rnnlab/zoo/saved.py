"""Weights in safetensors files, loaded strictly: every name, shape and dtype must agree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rnnlab.errors import RnnlabError


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write every parameter and buffer of `model` to a safetensors file.

    Example:
        >>> import tempfile, rnnlab as rl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(rl.RNN(2, 3), f"{folder}/rnn.safetensors")
        ...     load_weights(rl.RNN(2, 3), f"{folder}/rnn.safetensors")
    """
    save_file({name: part.contiguous() for name, part in model.state_dict().items()}, path)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Give `model` the weights in a safetensors file.

    A model made on the "meta" device, so without drawing random numbers, is on the CPU afterwards;
    any other stays where it is.

    Raises:
        RnnlabError: the file is missing or is not a safetensors file; a name is missing or
            unknown; a tensor has another shape or dtype than the model's. The model is then
            unchanged.

    Example:
        >>> import rnnlab as rl
        >>> load_weights(rl.RNN(2, 3), "nowhere.safetensors")
        Traceback (most recent call last):
        rnnlab.errors.RnnlabError: nowhere.safetensors: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise RnnlabError(f"{path}: there is no such file.")
    try:
        # Clones are aligned in memory, parts of a file are not, and on that the last bit of a
        # matrix product depends: a copy of the model must give exactly what the model gives.
        saved = {name: part.clone() for name, part in load_file(path).items()}
    except SafetensorError as error:
        raise RnnlabError(f"{path}: this is not a safetensors file ({error}).") from error
    own = model.state_dict()
    problems = _named("missing", own.keys() - saved.keys())
    problems += _named("unknown", saved.keys() - own.keys())
    for name in sorted(own.keys() & saved.keys()):
        was, now = own[name], saved[name]
        if was.shape != now.shape or was.dtype != now.dtype:
            problems.append(
                f"{name} is {tuple(now.shape)} {now.dtype}, "
                f"the model's is {tuple(was.shape)} {was.dtype}"
            )
    if problems:
        raise RnnlabError(
            f"{path}: these are not the weights of {model!r}: {'; '.join(problems)}. "
            "Train the model again, or take the file that belongs to this version."
        )
    model.load_state_dict(saved, assign=any(part.is_meta for part in own.values()))


def _named(what: str, names: Iterable[str]) -> list[str]:
    listed = ", ".join(sorted(names))
    return [f"{what}: {listed}"] if listed else []
