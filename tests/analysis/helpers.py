"""Cells with chosen weights, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import rnnlab as rl

SLOPES = {1.1: 0.502940574944591, 1.5: 0.858559636640110, 2.0: 0.957504024077269}
SLOPES |= {3.0: 0.994901528452629}
"""w → the positive solution of h = tanh(w h), from a computation in 30 digits."""


def rnn(W: Any, activation: str = "tanh", bias: Any = None, inputs: int = 1) -> rl.RNNCell:
    """h' = act(W h + b), its input weights drawn from a seed."""
    W = torch.tensor(np.atleast_2d(np.array(W, dtype=float)).copy())
    cell = rl.RNNCell(inputs, len(W), activation, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        cell.weight_hh.copy_(W)
        cell.weight_ih.copy_(torch.randn(len(W), inputs, generator=generator, dtype=torch.float64))
        if bias is not None:
            assert cell.bias is not None
            cell.bias.copy_(torch.as_tensor(bias))
    return cell


def rotation(angle: float) -> np.ndarray:
    """The matrix that turns by `angle`."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def varied(model: Any, seed: int = 1, size: float = 0.7) -> Any:
    """Every weight of a model drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(size * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return model


def inputs(steps: int, features: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, features))
