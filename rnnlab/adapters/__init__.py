"""Trained torch models, and cells of other libraries, made to step on their very weights."""

from rnnlab.adapters.entry import adapt
from rnnlab.adapters.foreign import ForeignCell
from rnnlab.adapters.inside import Adapted, LayerState

__all__ = ["Adapted", "ForeignCell", "LayerState", "adapt"]
