"""save and load: the weights of a model and its running states, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rnnlab.archive import checked, replacing
from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.recur import AT_INIT, Recur, load_states, recurs, states

_FORMAT = "1"
_WEIGHT, _STATE = "weight:", "state:"


def save(model: nn.Module, path: str | Path) -> None:
    """Write the weights of `model` and its running states to one safetensors file.

    A Recur that stands at its initial state is written as such: after `load` it stands at the
    initial state again, as the weights then have it. States are written without their graph.

    Args:
        model: any `nn.Module`, with Recurs inside or without.
        path: the file. It is replaced as a whole, or left as it was.

    Raises:
        RnnlabError: a state that is neither a tensor nor a number; two parts with one name; a path
            where nothing can be written.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1))
        >>> y = m(torch.ones(2))
        >>> save(m, "model.safetensors")
        >>> other = rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1))
        >>> load(other, "model.safetensors")
        >>> torch.equal(other(torch.ones(2)), m(torch.ones(2)))
        True
    """
    if not isinstance(model, nn.Module):
        raise RnnlabError(f"save: the model comes first, then the path; got {describe(model)}.")
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise RnnlabError(f"save: {name} is {describe(value)}; only tensors can be written.")
        tensors[_WEIGHT + name] = value
    at_init = sorted(where for where, recur in recurs(model) if _at_init(recur))
    for where, recur in recurs(model):
        for name, value in [] if where in at_init else _named(where, recur):
            if isinstance(value, Tensor):
                tensors[_STATE + name] = value
            elif isinstance(value, (bool, int, float)):
                numbers[name] = value
            else:
                raise RnnlabError(
                    f"save: state {name} is {describe(value)}; only tensors and numbers can be "
                    "written."
                )
    metadata = {
        "rnnlab": _FORMAT,
        "numbers": json.dumps(numbers),
        "at_init": json.dumps(at_init),
    }
    # clones: parts of one piece of memory (tied weights, cuDNN's buffer) are written one by one
    whole = {name: part.detach().cpu().contiguous().clone() for name, part in tensors.items()}
    with replacing(path, "save") as draft:
        try:
            save_file(whole, draft, metadata)
        except SafetensorError as error:  # what its own writing says
            raise OSError(str(error)) from error


def load(model: nn.Module, path: str | Path) -> None:
    """Give `model` the weights and running states that `save` wrote.

    Weights and states go to the device where the model has its own.

    Raises:
        RnnlabError: the file is missing, or is not one of ours; a name is missing or unknown; a
            weight or state has another shape or dtype than the model's. The model is then as it
            was.

    Example:
        >>> import rnnlab as rl
        >>> load(rl.RNN(2, 3), "nowhere.safetensors")
        Traceback (most recent call last):
        rnnlab.errors.RnnlabError: load: nowhere.safetensors: there is no such file.
    """
    if not isinstance(model, nn.Module):
        raise RnnlabError(f"load: the model comes first, then the path; got {describe(model)}.")
    path = Path(checked(path, "load"))
    if not path.exists():
        raise RnnlabError(f"load: {path}: there is no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # clones are aligned in memory, parts of a file are not: the last bit depends on it
            saved = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise RnnlabError(f"load: {path}: this is not a safetensors file ({error}).") from error
    if metadata.get("rnnlab") != _FORMAT:
        raise RnnlabError(
            f"load: {path}: this file was not written by this version of rnnlab.save. "
            "model.load_state_dict takes weights that come from elsewhere."
        )
    weights = {n.removeprefix(_WEIGHT): v for n, v in saved.items() if n.startswith(_WEIGHT)}
    running = {n.removeprefix(_STATE): v for n, v in saved.items() if n.startswith(_STATE)}
    running.update(json.loads(metadata["numbers"]))
    at_init = json.loads(metadata["at_init"])
    inside = dict(recurs(model))
    known = {n: w for w, r in inside.items() if w not in at_init for n, _ in _named(w, r)}
    own = model.state_dict()
    problems = _differences("weight", own, weights) + _differences("state", known, running)
    problems += [f"no Recur {where or 'as the model'}" for where in at_init if where not in inside]
    for name in sorted(own.keys() & weights.keys()):
        was, now = own[name], weights[name]
        if was.shape != now.shape or was.dtype != now.dtype:
            problems.append(
                f"{name} is {tuple(now.shape)} {now.dtype}, "
                f"the model's is {tuple(was.shape)} {was.dtype}"
            )
    if problems:
        text = " ".join(repr(model).split())
        raise RnnlabError(f"load: {path} does not fit {text}: {'; '.join(problems)}.")
    device = next((part.device for part in own.values()), torch.device("cpu"))
    for name, value in running.items():
        if isinstance(value, Tensor):
            like = states(inside[known[name]])[name.removeprefix(f"{known[name]}.")]
            running[name] = value.to(like.device if isinstance(like, Tensor) else device)
    load_states(model, {**states(model), **running})  # or raises, and nothing is changed
    model.load_state_dict(weights)
    for where in at_init:
        inside[where].reset()


def _at_init(recur: Recur) -> bool:
    return recur.__dict__["_state"] is AT_INIT


def _named(where: str, recur: Recur) -> list[tuple[str, Any]]:
    """The states of a Recur as they are called in the whole model."""
    return [(f"{where}.{n}" if where else n, value) for n, value in states(recur).items()]


def _differences(what: str, known: Iterable[str], given: Iterable[str]) -> list[str]:
    missing, unknown = sorted({*known} - {*given}), sorted({*given} - {*known})
    return [f"no {what} {name} in the file" for name in missing] + [
        f"the file has an unknown {what} {name}" for name in unknown
    ]
