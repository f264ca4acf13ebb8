"""From the page to the session: what each message of an explorer does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.errors import RnnlabError
from rnnlab.widgets.feeds import QueueFeed, VectorFeed
from rnnlab.widgets.insight import gates, order, plane

if TYPE_CHECKING:
    from rnnlab.widgets.explorer import Explorer

Message = dict[str, Any]
Action = Callable[["Explorer", Message], None]


def act(explorer: Explorer, message: Message) -> None:
    """Carry out one message of the page.

    Raises:
        RnnlabError: an unknown action, or what the action itself refuses.
    """
    found = ACTIONS.get(message.get("action", ""))
    if found is None:
        raise RnnlabError(f"Explorer: unknown action {message.get('action')!r}.")
    found(explorer, message)


def reset(explorer: Explorer, _: Message) -> None:
    explorer._player.stop()
    with explorer._wire.held():
        explorer.session.reset()
        explorer._rewind_feed()


def run(explorer: Explorer, message: Message) -> None:
    steps, feed = int(message.get("steps", 1)), explorer._feed
    if isinstance(feed, QueueFeed):
        left = feed.describe()["count"] - feed.position
        steps = min(steps, max(left, 1))
    explorer._player.run(steps)


def choose(explorer: Explorer, message: Message) -> None:
    """Take another example as what is fed next."""
    feed, session = explorer._feed, explorer.session
    if not isinstance(feed, QueueFeed):
        raise RnnlabError("Explorer: there are no examples to choose from.")
    explorer._player.stop()
    with explorer._wire.held():
        feed.choose(int(message["example"]))
        if feed.fresh and session.t:
            session.reset()
        explorer._rewind_feed()
        explorer.feed = feed.describe()
        explorer._wire.moved()


def fresh(explorer: Explorer, message: Message) -> None:
    """Whether another example starts a new run."""
    if isinstance(explorer._feed, QueueFeed):
        explorer._feed.fresh = bool(message["on"])
        explorer.feed = explorer._feed.describe()


def vector(explorer: Explorer, message: Message) -> None:
    if isinstance(explorer._feed, VectorFeed):
        explorer._feed.set(message["values"])
        explorer.feed = explorer._feed.describe()


def poke(explorer: Explorer, message: Message) -> None:
    """Set a unit as it was after a step and feed again what followed, in a branch."""
    session, step = explorer.session, int(message["step"])
    name, unit, value = str(message["name"]), int(message["unit"]), float(message["value"])
    with explorer._wire.held():
        source = session.branch_name
        if step != session.t:
            session.rewind(step)
        session.poke(name, unit, value)
        if session.branch_name == source:  # the value was there already
            return
        if session.length(source) > step:
            session.refeed(source)
        feed = explorer._feed
        if isinstance(feed, QueueFeed):  # what was fed on the old line is fed on this one too
            for t in range(step + 1, session.t + 1):
                position = feed.at((source, t))
                if position is not None:
                    feed.remember((session.origin, t), position)
            feed.place((session.origin, session.t))
        compare(explorer, {"branch": source})


def inspect(explorer: Explorer, message: Message) -> None:
    step = int(message["step"])
    try:
        found = gates(explorer.session, step)
    except RnnlabError:  # a cell of one's own has no gates to show
        found = {}
    place = {"step": step, "branch": explorer.session.branch_name}
    explorer.send({"kind": "inspected", "gates": found, **place})


def sort(explorer: Explorer, message: Message) -> None:
    by = str(message["by"])
    explorer.orders = order(explorer.session, by)
    explorer.ordered_by = by


def compare(explorer: Explorer, message: Message) -> None:
    branch = str(message["branch"])
    if branch:
        explorer._wire.other(branch)
    explorer.compared = branch


def branch(explorer: Explorer, message: Message) -> None:
    name = str(message.get("name", "")).strip()
    number = 2
    while not name:
        name = "" if f"branch {number}" in explorer.session.branches else f"branch {number}"
        number += 1
    explorer.session.branch(name)


def keep(explorer: Explorer, _: Message) -> None:
    """The page can put the still into the notebook by itself."""
    if explorer._still is not None:
        explorer._still.kept_by_page = True


def save(explorer: Explorer, _: Message) -> None:
    path = unused("rnnlab-session", ".npz")
    explorer.session.save(path)
    explorer._said = f"Saved as {path}. rl.Session.load({str(path)!r}, model) opens it again."


def export(explorer: Explorer, _: Message) -> None:
    path = unused("rnnlab-explorer", ".html")
    explorer.to_html(path)
    explorer._said = f"Exported as {path}: one page that works without a kernel."


def unused(stem: str, suffix: str) -> Path:
    """A file name in the current folder that is not taken."""
    names = (f"{stem}{'' if n == 1 else f'-{n}'}{suffix}" for n in itertools.count(1))
    return next(path for path in map(Path, names) if not path.exists())


ACTIONS: dict[str, Action] = {
    "step": lambda explorer, _: explorer._step(),
    "run": run,
    "play": lambda explorer, _: explorer._player.play(),
    "pause": lambda explorer, _: explorer._player.stop(),
    "reset": reset,
    "back": lambda explorer, _: explorer.session.back(),
    "forward": lambda explorer, _: explorer.session.forward(),
    "rewind": lambda explorer, message: explorer.session.rewind(int(message["step"])),
    "branch": branch,
    "checkout": lambda explorer, message: explorer.session.checkout(str(message["branch"])),
    "undo": lambda explorer, _: explorer.session.undo(),
    "redo": lambda explorer, _: explorer.session.redo(),
    "poke": poke,
    "choose": choose,
    "fresh": fresh,
    "vector": vector,
    "snapshot": lambda explorer, _: explorer._wire.snapshot(),
    "tile": lambda explorer, message: explorer._wire.tile(message),
    "inspect": inspect,
    "order": sort,
    "compare": compare,
    "plane": lambda explorer, message: explorer.send(plane(explorer.session, str(message["name"]))),
    "keep": keep,
    "save": save,
    "export": export,
}

QUIET = {"snapshot", "tile", "inspect", "vector", "keep"}
"""Actions that answer a question, or come in numbers: they leave the messages alone."""
