"""The stepping engine: a recurrent model recorded, rewound, edited and branched. No Jupyter."""

from rnnlab.session.backtrack import Predicate, argmax_changed, crossed, differ
from rnnlab.session.commands import (
    Checkout,
    Clamp,
    Command,
    Edit,
    MakeBranch,
    Poke,
    Refeed,
    Reset,
    Rewind,
    Run,
    Step,
    Switch,
    Transplant,
)
from rnnlab.session.compare import Comparison, compare
from rnnlab.session.events import Moved
from rnnlab.session.history import Log
from rnnlab.session.patterns import Match, Span, find, match
from rnnlab.session.replaying import replay
from rnnlab.session.session import Session
from rnnlab.session.vocabulary import Features, Vocabulary

__all__ = [
    "Checkout",
    "Clamp",
    "Command",
    "Comparison",
    "Edit",
    "Features",
    "Log",
    "MakeBranch",
    "Match",
    "Moved",
    "Poke",
    "Predicate",
    "Refeed",
    "Reset",
    "Rewind",
    "Run",
    "Session",
    "Span",
    "Step",
    "Switch",
    "Transplant",
    "Vocabulary",
    "argmax_changed",
    "compare",
    "crossed",
    "differ",
    "find",
    "match",
    "replay",
]
