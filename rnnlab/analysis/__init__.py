"""Dynamics, memory and attribution of a model: functions that return frozen results.

Every function takes a cell, Recur, Chain, adapted model or `as_cell(model)`, or a Trace, works in
float64 on the whole carried state, and leaves the model as it was. `rnnlab.plots` draws the
results. The long ones tell how far they are and can be stopped: see `rnnlab.analysis.progress`.
"""

from rnnlab.analysis.attribution import Attribution, attribution
from rnnlab.analysis.basins import Basins, basins
from rnnlab.analysis.cycles import Cycles, cycles
from rnnlab.analysis.divergence import Divergence, divergence
from rnnlab.analysis.fixed_points import FixedPoints, fixed_points
from rnnlab.analysis.flow import Flow, flow
from rnnlab.analysis.jacobian import Jacobian, jacobian
from rnnlab.analysis.lyapunov import Lyapunov, lyapunov
from rnnlab.analysis.memory import Memory, memory
from rnnlab.analysis.pca import PCA, pca
from rnnlab.analysis.plane import Plane
from rnnlab.analysis.saturation import Saturation, saturation
from rnnlab.analysis.timescales import Timescales, timescales
from rnnlab.analysis.waterfall import Waterfall, waterfall

__all__ = [
    "PCA",
    "Attribution",
    "Basins",
    "Cycles",
    "Divergence",
    "FixedPoints",
    "Flow",
    "Jacobian",
    "Lyapunov",
    "Memory",
    "Plane",
    "Saturation",
    "Timescales",
    "Waterfall",
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
    "timescales",
    "waterfall",
]
