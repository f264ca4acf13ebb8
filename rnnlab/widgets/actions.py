"""From the page to the session: what each message of an explorer does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.errors import RnnlabError
from rnnlab.session import Session, Step
from rnnlab.widgets.insight import gates, order, spans
from rnnlab.widgets.meanings import bounded

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
        explorer._begin()


def play(explorer: Explorer, _: Message) -> None:
    """Step by itself; asked for again, before the page knew of it, it stops as the key says."""
    if explorer.playing:
        explorer._player.stop()
    else:
        explorer._player.play()


def run(explorer: Explorer, message: Message) -> None:
    """Take many steps; asked for again while it does, it stops as the key says."""
    if explorer.running:
        explorer._player.stop()
        return
    steps, left = int(message.get("steps", 1)), explorer._inputs.left
    explorer._player.run(steps if left is None else min(steps, max(left, 1)))


def feed(explorer: Explorer, message: Message) -> None:
    """What the page says to the inputs; another example may ask for a new run."""
    with explorer._wire.held():
        if explorer._inputs.act(message):
            explorer._player.stop()
            if explorer.session.t:
                explorer.session.reset()
            explorer._begin()
        explorer.feed = explorer._inputs.describe()


def again(explorer: Explorer, _: Message) -> None:
    """Feed once more what the last step was fed."""
    session = explorer.session
    if not session.t:
        raise RnnlabError("Explorer: nothing is fed yet that could be fed again.")
    (label,) = session.labels(session.t - 1, session.t)
    last = Step(session.fed(session.t), label)
    explorer._take(lambda: session.do(last), given=False)


def poke(explorer: Explorer, message: Message) -> None:
    """Set a unit as it was after a step and feed again what followed, in a branch."""
    value = float(message["value"])
    one = value if explorer.rows == 1 else one_row(value, explorer.row)
    change(explorer, message, lambda name, unit: explorer.session.poke(name, unit, one))


def hold(explorer: Explorer, message: Message) -> None:
    """The same with a unit that is held at the value from there on, in all rows of a batch."""
    value = float(message["value"])
    change(explorer, message, lambda name, unit: explorer.session.clamp(name, unit, value))


def change(explorer: Explorer, message: Message, edit: Callable[[str, int | None], None]) -> None:
    """Edit a unit as it was after a step and feed again what followed, in a branch."""
    session, step = explorer.session, int(message["step"])
    name, unit = str(message["name"]), int(message["unit"])
    number = session.recorded().get(name) == ()
    with explorer._wire.held():
        source, place = session.branch_name, session.t
        if step != place:
            session.rewind(step)
        try:
            edit(name, None if number else unit)
        except Exception:
            if step != place:
                session.rewind(place)
            raise
        if session.branch_name == source:  # the value was there already
            return
        if session.length(source) > step:
            session.refeed(source)
        for t in range(step + 1, session.t + 1):  # fed on the old line, and on this one too
            explorer._inputs.copy((holder(session, source, t), t), (session.origin, t))
        explorer._inputs.stand(explorer._place)
        explorer.compared = [name for name in explorer.compared if name != source]
        put_beside(explorer, [source, *explorer.compared])


def holder(session: Session, branch: str, t: int) -> str:
    """The branch of a line that recorded step t: the line's own, or one that it forked from."""
    while (above := session.parent(branch)) is not None and above[1] >= t:
        branch = above[0]
    return branch


def one_row(value: float, row: int) -> Callable[[Any], Any]:
    """What a poke makes of a unit: a value, in the row of the batch that is shown."""

    def made(now: Any) -> Any:
        poked = now.clone()
        poked.view(-1, poked.shape[-1])[row] = value
        return poked

    return made


def inspect(explorer: Explorer, message: Message) -> None:
    step = int(message["step"])
    try:
        found = gates(explorer.session, step, explorer.row)
    except RnnlabError:  # a cell of one's own has no gates to show
        found = {}
    session = explorer.session
    edits = [session.edits[number] for number in session.active_edits]
    about = {
        "step": step,
        "branch": session.branch_name,
        "edited": any(edit.t == step for edit in edits),
        "held": [edit.title().removesuffix(" held") for edit in edits if edit.holds(step - 1)],
        "bounded": bounded(session.model),
    }
    explorer.send({"kind": "inspected", "gates": found, **about})


def search(explorer: Explorer, message: Message) -> None:
    """Where the selected units are above a threshold together."""
    try:
        above, at_least = float(message["above"]), int(message["at_least"])
    except (TypeError, ValueError):
        raise RnnlabError(
            "Explorer: to find where units are active, give a threshold and how many of them."
        ) from None
    units, span = message["units"], message.get("span")
    found = spans(explorer.session, units, above, at_least, explorer.row, span)
    asked = {"units": units, "above": above, "at_least": at_least, "span": span}
    explorer.send({"kind": "found", "spans": found[:MOST], "count": len(found), **asked})


MOST = 200
"""So many spans are told to the page."""


def sort(explorer: Explorer, message: Message) -> None:
    by = str(message["by"])
    explorer.orders = order(explorer.session, by, explorer.row)
    explorer.ordered_by = by


def signal(explorer: Explorer, message: Message) -> None:
    """One unit of a gate over the whole branch."""
    name, unit = str(message["name"]), int(message["unit"])
    explorer.send(explorer._gates.signal(name, unit, explorer.row))


def fit(explorer: Explorer, message: Message) -> None:
    """Fit the plane of a state to the current branch, or to a span of it."""
    explorer._studies.fit(str(message["name"]), message.get("span"))


def compare(explorer: Explorer, message: Message) -> None:
    """Put one branch beside the current one, or take it away.

    The page does not say which all are: what it knows of them may be older than what it has said.
    """
    name = message["branch"]
    rest = [other for other in explorer.compared if other != name]
    put_beside(explorer, [*rest, name] if message["on"] else rest)


def put_beside(explorer: Explorer, branches: list[str]) -> None:
    """Show other branches beside the current one; the page may name one that was just removed."""
    names = [name for name in branches if name in explorer.session.branches]
    for name in names:
        if name not in explorer.compared:
            explorer._wire.other(name)
    explorer.compared = names


def other(explorer: Explorer, message: Message) -> None:
    """The rows of a branch compared with, unless it was just removed."""
    if message["branch"] in explorer.session.branches:
        explorer._wire.other(message["branch"])


def branch(explorer: Explorer, message: Message) -> None:
    name = str(message.get("name", "")).strip()
    number = 2
    while not name:
        name = "" if f"branch {number}" in explorer.session.branches else f"branch {number}"
        number += 1
    explorer.session.branch(name)


def keep(explorer: Explorer, _: Message) -> None:
    """The page can put the still into the notebook by itself."""
    explorer._kept_by_page = True


def save(explorer: Explorer, _: Message) -> None:
    path = unused("rnnlab-session", ".npz")
    try:
        explorer.session.save(path)
    except RnnlabError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise RnnlabError(
            f"Explorer: cannot write {path} here: {reason}. "
            "explorer.session.save(path) in a cell saves it elsewhere."
        ) from error
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
    "play": play,
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
    "hold": hold,
    "feed": feed,
    "again": again,
    "snapshot": lambda explorer, _: explorer._wire.snapshot(),
    "tile": lambda explorer, message: explorer._wire.tile(message),
    "inspect": inspect,
    "signal": signal,
    "order": sort,
    "compare": compare,
    "other": other,
    "find": search,
    "plane": fit,
    "memory": lambda explorer, message: explorer._studies.remember(message),
    "dynamics": lambda explorer, message: explorer._studies.portray(message),
    "cancel": lambda explorer, message: explorer._studies.stop(message),
    "keep": keep,
    "save": save,
    "export": export,
}

QUIET = {
    "snapshot", "tile", "other", "inspect", "signal", "memory", "dynamics", "cancel", "keep",
}  # fmt: skip
"""Actions that answer a question: they leave the messages alone."""
