"""Integrated gradients as Captum computes them, for `test_attribution.py`.

Made by this file itself with Captum 0.9.0 and torch 2.13.0 on the CPU, in float64: where these are
installed, `python -m tests.analysis.captum_reference` prints the table again.
"""

from __future__ import annotations

import torch

import rnnlab as rl
from tests.analysis.helpers import inputs, varied

KINDS = {"RNN": rl.RNN, "GRU": rl.GRU, "LSTM": rl.LSTM}
METHODS = ("gausslegendre", "riemann_middle")
STEPS, TARGET, POINTS = 4, 1, 50


def model(kind: str) -> rl.Chain:
    """Every weight drawn from a seed."""
    F64 = torch.float64
    return varied(rl.Chain(KINDS[kind](3, 5, dtype=F64), rl.Dense(5, 2, dtype=F64)))


def computed(kind: str, method: str) -> list[list[float]]:
    """What Captum gives, `(T, features)`."""
    from captum.attr import IntegratedGradients  # pyright: ignore[reportMissingImports]

    net = model(kind)

    def forward(batch: torch.Tensor) -> torch.Tensor:  # (B, T, I) → (B, 2)
        rl.reset(net)
        return rl.unroll(net, batch.transpose(0, 1))[-1]

    given = torch.tensor(inputs(STEPS, 3))[None]
    found = IntegratedGradients(forward).attribute(
        given, target=TARGET, n_steps=POINTS, method=method
    )
    return found[0].detach().tolist()


TABLE: dict[tuple[str, str], list[list[float]]] = {
    ("RNN", "gausslegendre"): [
        [-0.059179834798, -0.052436411137, -0.263494389033],
        [0.048492000247, 0.033905723129, 0.102817537577],
        [-0.354798574218, 0.537111175377, 0.243661553891],
        [-0.709303959927, 0.042979275492, 0.015743716514],
    ],
    ("RNN", "riemann_middle"): [
        [-0.059180689468, -0.052437019947, -0.263498586675],
        [0.048492901821, 0.033908246120, 0.102820185523],
        [-0.354791035619, 0.537129344059, 0.243663549303],
        [-0.709322346364, 0.042987552030, 0.015744407446],
    ],
    ("GRU", "gausslegendre"): [
        [0.007920379675, -0.007489188687, 0.080803266955],
        [0.010718954556, -0.054531535183, 0.094038368920],
        [0.555407403841, 0.506133089359, -0.755215146160],
        [0.142125331690, -0.106717951764, 0.011710647978],
    ],
    ("GRU", "riemann_middle"): [
        [0.007921096090, -0.007489936106, 0.080811198045],
        [0.010719842314, -0.054535624578, 0.094044111475],
        [0.555420080412, 0.506147304275, -0.755234793016],
        [0.142176278241, -0.106700619503, 0.011708761837],
    ],
    ("LSTM", "gausslegendre"): [
        [0.009312051690, -0.008254517616, 0.005598727237],
        [0.020657558193, 0.035945017484, -0.063387485578],
        [0.411768695121, -0.095626629130, 0.178439397985],
        [-0.195971204524, 0.147815212694, -0.013823788363],
    ],
    ("LSTM", "riemann_middle"): [
        [0.009311996713, -0.008254582641, 0.005599273197],
        [0.020657155848, 0.035944260196, -0.063386923490],
        [0.411788370617, -0.095618994473, 0.178436923375],
        [-0.195955847911, 0.147819678472, -0.013823908632],
    ],
}
"""(model, Captum's name of the rule) → values of the four steps and three features."""


if __name__ == "__main__":
    for kind in KINDS:
        for method in METHODS:
            rows = ",\n".join(
                "        [" + ", ".join(f"{v:.12f}" for v in row) + "]"
                for row in computed(kind, method)
            )
            print(f'    ("{kind}", "{method}"): [\n{rows},\n    ],')
