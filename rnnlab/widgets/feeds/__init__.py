"""Where an explorer's next input comes from: sliders, a recording, tokens, a signal, a curve."""

from rnnlab.widgets.feeds.base import Feed
from rnnlab.widgets.feeds.inputs import Inputs
from rnnlab.widgets.feeds.memory import Memory, Place
from rnnlab.widgets.feeds.queue import Example, QueueFeed, Recording, recordings
from rnnlab.widgets.feeds.signals import CurveFeed, Signal, SignalFeed
from rnnlab.widgets.feeds.tokens import TokenFeed
from rnnlab.widgets.feeds.vector import Features, VectorFeed

__all__ = [
    "CurveFeed",
    "Example",
    "Features",
    "Feed",
    "Inputs",
    "Memory",
    "Place",
    "QueueFeed",
    "Recording",
    "Signal",
    "SignalFeed",
    "TokenFeed",
    "VectorFeed",
    "recordings",
]
