"""Figures of results: pure functions from what `rnnlab.analysis` returned to plotly Figures.

Every figure takes `theme="light"`, `theme="dark"` or a plotly template as a value, and is readable
without colour. Needs plotly:
`pip install "rnnlab[plots]"`.
"""

from rnnlab.plots.credit import attribution, divergence, memory, saturation, waterfall
from rnnlab.plots.planes import basins, flow, pca
from rnnlab.plots.points import cycles, fixed_points
from rnnlab.plots.spectrum import jacobian, lyapunov, timescales
from rnnlab.plots.theme import template

__all__ = [
    "attribution",
    "basins",
    "cycles",
    "divergence",
    "fixed_points",
    "flow",
    "jacobian",
    "lyapunov",
    "memory",
    "pca",
    "saturation",
    "template",
    "timescales",
    "waterfall",
]
