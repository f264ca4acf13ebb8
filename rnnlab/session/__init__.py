"""The stepping engine: a recurrent model recorded, rewound and branched. No Jupyter, no clock."""

from rnnlab.session.session import Moved, Session

__all__ = ["Moved", "Session"]
