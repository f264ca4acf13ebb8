"""The documented equation of every cell once more, in numpy and by hand: the oracle of the tests.

One function a cell, `f(p, x, *state, **options)`, for one sample: p holds the parameters as
arrays, x and the parts of the state are vectors. It returns every named quantity of the equation
and the new state; `y` where the output is not the first state. Written unit by unit in scalars,
with none of the library's code, and with the documented defaults of the options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Values = dict[str, Vector]


def sigma(a: float) -> float:
    return 1 / (1 + math.exp(-a))


ACT: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "sigmoid": sigma,
    "softplus": lambda a: math.log(1 + math.exp(a)),
}


def dot(row: Vector, vector: Vector) -> float:
    return sum(float(a) * float(b) for a, b in zip(row, vector, strict=True))


def table(H: int, *names: str) -> Values:
    return {name: np.full(H, np.nan) for name in names}


class Affine:
    """`affine(k, j)` is W_k x + b_k at unit j, W and b in blocks of H rows."""

    def __init__(self, p: Values, x: Vector, H: int) -> None:
        self.W, self.b, self.x, self.H = p["weight_ih"], p["bias"], x, H

    def __call__(self, block: int, j: int) -> float:
        row = block * self.H + j
        return dot(self.W[row], self.x) + float(self.b[row])


def rnn(p: Values, x: Vector, h: Vector, activation: str = "tanh") -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "a", "h")
    for j in range(H):
        out["a"][j] = wx(0, j) + dot(p["weight_hh"][j], h)
        out["h"][j] = ACT[activation](out["a"][j])
    return out


def lstm(p: Values, x: Vector, h: Vector, c: Vector) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "i", "f", "g", "o", "h", "c")
    for j in range(H):
        out["i"][j] = sigma(wx(0, j) + dot(U[j], h))
        out["f"][j] = sigma(wx(1, j) + dot(U[H + j], h))
        out["g"][j] = math.tanh(wx(2, j) + dot(U[2 * H + j], h))
        out["o"][j] = sigma(wx(3, j) + dot(U[3 * H + j], h))
        out["c"][j] = out["f"][j] * c[j] + out["i"][j] * out["g"][j]
        out["h"][j] = out["o"][j] * math.tanh(out["c"][j])
    return out


def gru(p: Values, x: Vector, h: Vector) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "r", "z", "n", "h")
    for j in range(H):
        r = sigma(wx(0, j) + dot(U[j], h))
        z = sigma(wx(1, j) + dot(U[H + j], h))
        n = math.tanh(wx(2, j) + r * dot(U[2 * H + j], h))
        out["r"][j], out["z"][j], out["n"][j] = r, z, n
        out["h"][j] = n + z * (h[j] - n)
    return out


def gru_v3(p: Values, x: Vector, h: Vector) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "r", "z", "n", "h")
    for j in range(H):
        out["r"][j] = sigma(wx(0, j) + dot(U[j], h))
        out["z"][j] = sigma(wx(1, j) + dot(U[H + j], h))
    for j in range(H):
        n = wx(2, j) + sum(U[2 * H + j, k] * out["r"][k] * h[k] for k in range(H))
        out["n"][j] = math.tanh(n)
        out["h"][j] = out["n"][j] + out["z"][j] * (h[j] - out["n"][j])
    return out


def leaky(
    p: Values,
    x: Vector,
    h: Vector,
    activation: str = "relu",
    dt: float = 20.0,
    tau: float = 100.0,
) -> Values:
    H, act = len(h), ACT[activation]
    wx, out = Affine(p, x, H), table(H, "a", "h", "y")
    rates = [act(h[k]) for k in range(H)]
    for j in range(H):
        out["a"][j] = wx(0, j) + sum(p["weight_hh"][j, k] * rates[k] for k in range(H))
        slope = (-h[j] + out["a"][j]) / tau
        out["h"][j] = h[j] + dt * slope
        out["y"][j] = act(out["h"][j])
    return out


def indrnn(p: Values, x: Vector, h: Vector, activation: str = "relu") -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "a", "h")
    for j in range(H):
        out["a"][j] = wx(0, j) + p["weight_hh"][j] * h[j]
        out["h"][j] = ACT[activation](out["a"][j])
    return out


def peephole(p: Values, x: Vector, h: Vector, c: Vector) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "i", "f", "g", "o", "h", "c")
    peep = p["weight_peephole"]
    for j in range(H):
        i = sigma(wx(0, j) + dot(U[j], h) + peep[j] * c[j])
        f = sigma(wx(1, j) + dot(U[H + j], h) + peep[H + j] * c[j])
        g = math.tanh(wx(2, j) + dot(U[2 * H + j], h))
        new = f * c[j] + i * g
        o = sigma(wx(3, j) + dot(U[3 * H + j], h) + peep[2 * H + j] * new)
        for name, value in zip("ifgohc", (i, f, g, o, o * math.tanh(new), new), strict=True):
            out[name][j] = value
    return out


def mgu(p: Values, x: Vector, h: Vector) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "f", "n", "h")
    for j in range(H):
        out["f"][j] = sigma(wx(0, j) + dot(U[j], h))
    for j in range(H):
        n = wx(1, j) + sum(U[H + j, k] * out["f"][k] * h[k] for k in range(H))
        out["n"][j] = math.tanh(n)
        out["h"][j] = h[j] + out["f"][j] * (out["n"][j] - h[j])
    return out


def ugrnn(p: Values, x: Vector, h: Vector) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "g", "c", "h")
    for j in range(H):
        g = sigma(wx(0, j) + dot(U[j], h))
        c = math.tanh(wx(1, j) + dot(U[H + j], h))
        out["g"][j], out["c"][j], out["h"][j] = g, c, c + g * (h[j] - c)
    return out


def janet(p: Values, x: Vector, h: Vector, beta: float = 1.0, t_max: float | None = None) -> Values:
    H = len(h)
    wx, U, out = Affine(p, x, H), p["weight_hh"], table(H, "f", "i", "g", "h")
    for j in range(H):
        s = wx(0, j) + dot(U[j], h)
        out["f"][j] = sigma(s)
        out["i"][j] = 1 - sigma(s - beta)
        out["g"][j] = math.tanh(wx(1, j) + dot(U[H + j], h))
        out["h"][j] = out["f"][j] * h[j] + out["i"][j] * out["g"][j]
    return out


def lightru(p: Values, x: Vector, h: Vector) -> Values:
    H = len(h)
    W, U, b, out = p["weight_ih"], p["weight_hh"], p["bias"], table(H, "f", "n", "h")
    for j in range(H):
        f = sigma(dot(W[j], x) + dot(U[j], h) + b[j])
        n = math.tanh(dot(W[H + j], x))
        out["f"][j], out["n"][j], out["h"][j] = f, n, h[j] + f * (n - h[j])
    return out


def positive_part(a: float, positive: bool) -> float:
    if not positive:
        return a
    return a + 0.5 if a >= 0 else sigma(a)


def min_gru(p: Values, x: Vector, h: Vector, positive: bool = False) -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "z", "n", "h")
    for j in range(H):
        z, n = sigma(wx(0, j)), positive_part(wx(1, j), positive)
        out["z"][j], out["n"][j], out["h"][j] = z, n, h[j] + z * (n - h[j])
    return out


def min_lstm(p: Values, x: Vector, h: Vector, positive: bool = False) -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "f", "i", "n", "h")
    for j in range(H):
        f, i, n = sigma(wx(0, j)), sigma(wx(1, j)), positive_part(wx(2, j), positive)
        out["f"][j], out["i"][j], out["n"][j] = f / (f + i), i / (f + i), n
        out["h"][j] = (f * h[j] + i * n) / (f + i)
    return out


def cornn(
    p: Values,
    x: Vector,
    h: Vector,
    z: Vector,
    dt: float = 0.042,
    gamma: float = 2.7,
    epsilon: float = 4.7,
    implicit: bool = False,
) -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "a", "h", "z")
    W, W_z = p["weight_hh"][:, :H], p["weight_hh"][:, H:]
    for j in range(H):
        a = math.tanh(dot(W[j], h) + dot(W_z[j], z) + wx(0, j))
        free = z[j] + dt * a - dt * gamma * h[j]
        # implicit: the root of new = free − dt ε new
        new = free / (1 + dt * epsilon) if implicit else free - dt * epsilon * z[j]
        out["a"][j], out["z"][j], out["h"][j] = a, new, h[j] + dt * new
    return out


def lem(p: Values, x: Vector, h: Vector, z: Vector, dt: float = 1.0) -> Values:
    H = len(h)
    wx, W, out = Affine(p, x, H), p["weight_hh"], table(H, "d_z", "d_h", "h", "z")
    for j in range(H):
        out["d_z"][j] = dt * sigma(dot(W[j], h) + wx(0, j))
        target = math.tanh(dot(W[2 * H + j], h) + wx(2, j))
        out["z"][j] = z[j] + out["d_z"][j] * (target - z[j])
    for j in range(H):
        out["d_h"][j] = dt * sigma(dot(W[H + j], h) + wx(1, j))
        target = math.tanh(dot(W[3 * H + j], out["z"]) + wx(3, j))
        out["h"][j] = h[j] + out["d_h"][j] * (target - h[j])
    return out


def antisymmetric_product(W: Vector, h: Vector, j: int, gamma: float) -> float:
    """(W − Wᵀ − γ 1) h at unit j."""
    return sum((W[j, k] - W[k, j]) * h[k] for k in range(len(h))) - gamma * h[j]


def antisymmetric(
    p: Values, x: Vector, h: Vector, epsilon: float = 0.1, gamma: float = 0.1
) -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "n", "h")
    for j in range(H):
        n = math.tanh(antisymmetric_product(p["weight_hh"], h, j, gamma) + wx(0, j))
        out["n"][j], out["h"][j] = n, h[j] + epsilon * n
    return out


def gated_antisymmetric(
    p: Values, x: Vector, h: Vector, epsilon: float = 0.1, gamma: float = 0.1
) -> Values:
    H = len(h)
    wx, out = Affine(p, x, H), table(H, "z", "n", "h")
    for j in range(H):
        shared = antisymmetric_product(p["weight_hh"], h, j, gamma)
        z, n = sigma(shared + wx(0, j)), math.tanh(shared + wx(1, j))
        out["z"][j], out["n"][j], out["h"][j] = z, n, h[j] + epsilon * z * n
    return out


def ltc(
    p: Values,
    x: Vector,
    h: Vector,
    activation: str = "sigmoid",
    dt: float = 1.0,
    unfolds: int = 6,
) -> Values:
    H, step = len(h), dt / unfolds
    wx, out = Affine(p, x, H), table(H, "f", "tau", "h")
    tau, A, old = [math.exp(t) for t in p["log_tau"]], p["reversal"], np.array(h)
    for _ in range(unfolds):
        for j in range(H):
            f = ACT[activation](wx(0, j) + dot(p["weight_hh"][j], old))
            out["f"][j], out["tau"][j] = f, tau[j] / (1 + tau[j] * f)
            out["h"][j] = (old[j] + step * f * A[j]) / (1 + step * (1 / tau[j] + f))
        old = out["h"].copy()
    return out


def cfc(
    p: Values,
    x: Vector,
    h: Vector,
    activation: str = "tanh",
    backbone_size: int | None = None,
    dt: float = 1.0,
) -> Values:
    H, units = len(h), len(h) if backbone_size is None else backbone_size
    out, V, W, heads = table(H, "f", "g", "k", "s", "h"), p["weight_ih"], p["weight_hh"], "fgk"
    a = [ACT[activation](dot(V[m], x) + dot(W[m], h) + p["bias"][m]) for m in range(units)]
    for j in range(H):
        f, g, k = (
            dot(p["weight_heads"][b * H + j], np.array(a)) + p["bias_heads"][b * H + j]
            for b in range(len(heads))
        )
        s = 1 / (1 + math.exp(f * dt))
        out["f"][j], out["g"][j], out["k"][j], out["s"][j] = f, math.tanh(g), math.tanh(k), s
        out["h"][j] = s * out["g"][j] + (1 - s) * out["k"][j]
    return out


TRANSCRIPTIONS: dict[str, Callable[..., Values]] = {
    "RNNCell": rnn,
    "LSTMCell": lstm,
    "GRUCell": gru,
    "GRUv3Cell": gru_v3,
    "LeakyRNNCell": leaky,
    "IndRNNCell": indrnn,
    "PeepholeLSTMCell": peephole,
    "MGUCell": mgu,
    "UGRNNCell": ugrnn,
    "JANETCell": janet,
    "LightRUCell": lightru,
    "MinGRUCell": min_gru,
    "MinLSTMCell": min_lstm,
    "CoRNNCell": cornn,
    "LEMCell": lem,
    "AntisymmetricRNNCell": antisymmetric,
    "GatedAntisymmetricRNNCell": gated_antisymmetric,
    "LTCCell": ltc,
    "CfCCell": cfc,
}

STATES = {
    "LSTMCell": ("h", "c"),
    "PeepholeLSTMCell": ("h", "c"),
    "CoRNNCell": ("h", "z"),
    "LEMCell": ("h", "z"),
}
"""Parts of the state in order; h alone where nothing is said."""


def run(cell: str, p: Values, xs: Vector, options: dict[str, Any]) -> list[Values]:
    """Every quantity of each step of a sequence `(T, I)`, from the initial state in p."""
    names = STATES.get(cell, ("h",))
    state = [p[f"{name}0"] for name in names]
    steps = []
    for x in xs:
        values = TRANSCRIPTIONS[cell](p, x, *state, **options)
        values.setdefault("y", values[names[0]])
        state = [values[name] for name in names]
        steps.append(values)
    return steps
