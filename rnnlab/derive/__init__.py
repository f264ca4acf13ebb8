"""Every state and every gate of a run: recorded cheaply, or derived from what was recorded."""

from rnnlab.derive.gates import derive
from rnnlab.derive.states import run_states

__all__ = ["derive", "run_states"]
