"""The explorer: a recurrent model in the hands of a person, step by step, in JupyterLab."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets
from torch import Tensor, nn

from rnnlab.errors import RnnlabError
from rnnlab.recur import recurs
from rnnlab.session import Moved, Session
from rnnlab.widgets import export, picture
from rnnlab.widgets.feeds import Feed, QueueFeed, VectorFeed, recordings
from rnnlab.widgets.insight import gates, order, plane
from rnnlab.widgets.lanes import Labelling, lanes, softmax
from rnnlab.widgets.still import Still
from rnnlab.widgets.wire import Wire

STATIC = Path(__file__).parent / "static"
PARTS = (
    "colors.js",
    "store.js",
    "dom.js",
    "link.js",
    "stateview.js",
    "lines.js",
    "pointer.js",
    "sidebar.js",
    "compare.js",
    "trajectory.js",
    "transport.js",
    "inputs.js",
    "explorer.js",
)

BURST = 0.01
"""Seconds that a long run works before it lets the kernel hear other messages."""


def module(parts: Sequence[str] = PARTS) -> str:
    """One self-contained ES module from several files: their imports of each other are dropped."""
    texts = [(STATIC / name).read_text(encoding="utf-8") for name in parts]
    return "\n".join(re.sub(r"^import .*?;\n", "", text, flags=re.MULTILINE) for text in texts)


class Explorer(anywidget.AnyWidget):
    """A live view of a Session: transport, input, the hidden state over time, the outputs.

    Made by `rnnlab.explore`. Every button is a command to the session, and every change of the
    session, also one made in a cell, appears in the view.

    Attributes:
        session: the live Session.
        playing: whether it is stepping by itself.
        speed: steps per second while playing.
        selection: what is selected in all views, readable and writable: `{"units": [["0.h", 17]],
            "step": 3, "span": [2, 6]}`; step None is the session's place, span None is no span.
    """

    _esm = module()
    _css = (STATIC / "explorer.css").read_text(encoding="utf-8")

    lanes = traitlets.List().tag(sync=True)
    feed = traitlets.Dict().tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    speed = traitlets.Float(2.0).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    branches = traitlets.List().tag(sync=True)
    compared = traitlets.Unicode("").tag(sync=True)
    selection = traitlets.Dict({"units": [], "step": None, "span": None}).tag(sync=True)
    orders = traitlets.Dict().tag(sync=True)
    ordered_by = traitlets.Unicode("index").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)

    def __init__(self, session: Session, feed: Feed, labelling: Labelling, **options: Any) -> None:
        super().__init__(**options)
        self.session = session
        self._feed = feed
        self._labelling = labelling
        self._numbers = not any(isinstance(v, Tensor) for v in session.states().values())
        self._task: asyncio.Task[None] | None = None
        self._said = ""
        self.feed = feed.describe()
        self._wire = Wire(session, self.send, self._place, self._lanes)
        if isinstance(feed, QueueFeed):
            feed.remember((session.origin, session.t), 0)
        self._lanes()
        self.branches = list(session.branches)
        self._unsubscribe = session.subscribe(self._moved)
        self.on_msg(self._received)

    def __repr__(self) -> str:
        return f"Explorer({self.session!r})"

    def close(self) -> None:
        """End the view: the session lives on without it."""
        self._unsubscribe()
        self._stop()
        self._wire.close()
        if self._still is not None:
            self._still.close()
        super().close()

    # what lasts without a kernel

    _still: Still | None = None

    def _ipython_display_(self) -> None:
        """Show the live view, and beneath it the picture that a saved notebook keeps."""
        if self._still is None:
            self._still = Still(self)
        self._still.show()

    def to_html(
        self, path: str | os.PathLike[str], *, branches: Sequence[str] | None = None
    ) -> Path:
        """Write the recording as one page that works from a file: no server, no network.

        The page has these views with a time slider, but not the model. Up to 65,536 numbers (a
        thousand steps of 65 units) are kept exactly; of more, each is rounded to 1/254 of the
        range of its band, and the page says so.

        Args:
            path: where to write; a file that is there is replaced.
            branches: the branches to take along; left out, the current one and the one compared
                with.

        Raises:
            RnnlabError: there is no such branch, or the file cannot be written.

        Example:
            >>> import rnnlab as rl
            >>> explorer = explore(rl.LSTM(2, 3), [[0.0, 1.0], [1.0, 0.0]])
            >>> y = explorer.session.step([0.0, 1.0])
            >>> explorer.to_html("recording.html").name
            'recording.html'
        """
        return export.to_html(self, path, branches)

    def to_png(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        width: int = 900,
        theme: picture.Theme = "light",
        scale: float = 1.0,
        span: tuple[int, int] | None = None,
    ) -> bytes:
        """The state view of the current branch as a PNG file, drawn without a browser.

        Where a column is narrower than a pixel, each pixel shows the value of largest magnitude
        among the steps that fall on it, so that no spike is lost.

        Args:
            path: where to write it, if anywhere; a file that is there is replaced.
            width: in points; at scale 1 a point is a pixel.
            theme: "light" or "dark".
            scale: pixels per point; 2 suits a screen of high resolution.
            span: the first and the last row to draw, row 0 being the initial state; left out, all.

        Returns:
            The bytes of the file.

        Raises:
            RnnlabError: an unknown theme, a width below 280, a span outside the recording, or a
                path that cannot be written.

        Example:
            >>> import rnnlab as rl
            >>> explorer = explore(rl.LSTM(2, 3), [[0.0, 1.0], [1.0, 0.0]])
            >>> explorer.to_png(width=400)[1:4]
            b'PNG'
        """
        png = picture.to_png(self, width=width, theme=theme, scale=scale, span=span)
        if path is not None:
            export.write(path, png, "to_png")
        return png

    # from the session to the page

    def _moved(self, moved: Moved) -> None:
        names = list(self.session.branches)
        if names != self.branches:
            self.branches = names
        if isinstance(self._feed, QueueFeed):
            self._feed.place((self.session.origin, self.session.t))
        self._wire.moved(moved)

    def _lanes(self) -> Any:
        found = lanes(self.session, self._labelling)
        described = [lane.describe() for lane in found]
        if described != self.lanes:
            self.lanes = described
        return found

    def _place(self) -> dict[str, Any]:
        feed = self._feed
        return {
            "branch": self.session.branch_name,
            "t": self.session.t,
            "length": self.session.length(),
            "position": feed.position if isinstance(feed, QueueFeed) else None,
        }

    # from the page to the session

    def _received(self, _: Any, content: dict[str, Any], __: list[Any]) -> None:
        act = self._actions.get(content.get("action", ""))
        self._said = ""
        try:
            if act is None:
                raise RnnlabError(f"Explorer: unknown action {content.get('action')!r}.")
            act(self, content)
            if content["action"] not in _QUIET:
                self.error = ""
                self.notice = self._said
        except RnnlabError as error:
            self.error = str(error)
        except Exception as error:  # a handler's exception would show nowhere
            self.error = f"{type(error).__name__}: {error}"
        self.send({"kind": "answer", "id": content.get("id")})

    def _step(self, _: dict[str, Any] | None = None) -> None:
        feed = self._feed
        x = feed.next()
        if self._numbers and x.shape == (1,):
            x = float(x[0])
        if isinstance(feed, QueueFeed):
            position = feed.position
            label = f"row {position + 1}"
            with self._wire.held():
                self.session.step(x, label=label)
                feed.remember((self.session.origin, self.session.t), position + 1)
        else:
            self.session.step(x)

    def _reset(self, _: dict[str, Any]) -> None:
        self._stop()
        with self._wire.held():
            self.session.reset()
            self._rewind_feed()

    def _choose(self, content: dict[str, Any]) -> None:
        feed = self._feed
        if not isinstance(feed, QueueFeed):
            raise RnnlabError("Explorer: there are no examples to choose from.")
        self._stop()
        with self._wire.held():
            feed.choose(int(content["example"]))
            if feed.fresh and self.session.t:
                self.session.reset()
            self._rewind_feed()
            self.feed = feed.describe()
            self._wire.moved()

    def _rewind_feed(self) -> None:
        if isinstance(self._feed, QueueFeed):
            self._feed.remember((self.session.origin, self.session.t), 0)

    def _fresh(self, content: dict[str, Any]) -> None:
        if isinstance(self._feed, QueueFeed):
            self._feed.fresh = bool(content["on"])
            self.feed = self._feed.describe()

    def _vector(self, content: dict[str, Any]) -> None:
        if isinstance(self._feed, VectorFeed):
            self._feed.set(content["values"])
            self.feed = self._feed.describe()

    def _run(self, content: dict[str, Any]) -> None:
        steps = int(content.get("steps", 1))
        if isinstance(self._feed, QueueFeed):
            left = self._feed.describe()["count"] - self._feed.position
            steps = min(steps, max(left, 1))
        self._start(self._stepping(steps))

    def _play(self, _: dict[str, Any]) -> None:
        self._start(self._playing())

    def _pause(self, _: dict[str, Any] | None = None) -> None:
        self._stop()

    def _poke(self, content: dict[str, Any]) -> None:
        """Set a unit as it was after a step and feed again what followed, in a branch."""
        step, before = int(content["step"]), self.session.t
        name, unit, value = str(content["name"]), int(content["unit"]), float(content["value"])
        with self._wire.held():
            source = self.session.branch_name
            if step != before:
                self.session.rewind(step)
            self.session.poke(name, unit, value)
            if self.session.branch_name == source:  # the value was there already
                return
            if self.session.length(source) > step:
                self.session.refeed(source)
            feed = self._feed
            if isinstance(feed, QueueFeed):  # what was fed on the old line is fed on this one too
                for t in range(step + 1, self.session.t + 1):
                    position = feed.at((source, t))
                    if position is not None:
                        feed.remember((self.session.origin, t), position)
                feed.place((self.session.origin, self.session.t))
            self._compare_with({"branch": source})

    def _inspect(self, content: dict[str, Any]) -> None:
        step = int(content["step"])
        try:
            found = gates(self.session, step)
        except RnnlabError:  # a cell of one's own has no gates to show
            found = {}
        place = {"step": step, "branch": self.session.branch_name}
        self.send({"kind": "inspected", "gates": found, **place})

    def _order(self, content: dict[str, Any]) -> None:
        by = str(content["by"])
        self.orders = order(self.session, by)
        self.ordered_by = by

    def _compare_with(self, content: dict[str, Any]) -> None:
        branch = str(content["branch"])
        if branch:
            self._wire.other(branch)
        self.compared = branch

    def _new_branch(self, content: dict[str, Any]) -> None:
        name = str(content.get("name", "")).strip()
        number = 2
        while not name:
            name = "" if f"branch {number}" in self.session.branches else f"branch {number}"
            number += 1
        self.session.branch(name)

    def _save(self, _: dict[str, Any]) -> None:
        path = _unused("rnnlab-session", ".npz")
        self.session.save(path)
        self._said = f"Saved as {path}. rl.Session.load({str(path)!r}, model) opens it again."

    def _export(self, _: dict[str, Any]) -> None:
        path = _unused("rnnlab-explorer", ".html")
        self.to_html(path)
        self._said = f"Exported as {path}: one page that works without a kernel."

    def _start(self, work: Any) -> None:
        self._stop()
        try:
            self._task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            work.close()
            raise RnnlabError("Explorer: running and playing need a live kernel.") from None

    def _stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._task = None
        self.playing = self.running = False

    async def _stepping(self, steps: int) -> None:
        """Take many steps; let the kernel hear other messages, so that Stop and cells get in."""
        loop = asyncio.get_running_loop()
        pause = loop.time() + BURST
        self.progress, self.running = 0.0, True
        try:
            for k in range(steps):
                if not self._try_step():
                    break
                if loop.time() > pause:
                    self.progress = (k + 1) / steps
                    await asyncio.sleep(0)
                    pause = loop.time() + BURST
        finally:
            self.running = False

    async def _playing(self) -> None:
        self.playing = True
        try:
            while self._more() and self._try_step():
                await asyncio.sleep(1 / max(0.1, self.speed))
        finally:
            self.playing = False

    def _more(self) -> bool:
        feed = self._feed
        return not isinstance(feed, QueueFeed) or feed.position < feed.describe()["count"]

    def _try_step(self) -> bool:
        try:
            self._step()
        except Exception as error:
            plain = isinstance(error, RnnlabError)
            self.error = str(error) if plain else f"{type(error).__name__}: {error}"
            return False
        return True

    _actions: ClassVar[dict[str, Callable[..., None]]] = {
        "snapshot": lambda self, _: self._wire.snapshot(),
        "inspect": _inspect,
        "order": _order,
        "compare": _compare_with,
        "plane": lambda self, content: self.send(plane(self.session, str(content["name"]))),
        "poke": _poke,
        "rewind": lambda self, content: self.session.rewind(int(content["step"])),
        "branch": _new_branch,
        "checkout": lambda self, content: self.session.checkout(str(content["branch"])),
        "undo": lambda self, _: self.session.undo(),
        "redo": lambda self, _: self.session.redo(),
        "save": _save,
        "export": _export,
        "step": _step,
        "run": _run,
        "play": _play,
        "pause": _pause,
        "back": lambda self, _: self.session.back(),
        "forward": lambda self, _: self.session.forward(),
        "reset": _reset,
        "choose": _choose,
        "fresh": _fresh,
        "vector": _vector,
    }


_QUIET = {"snapshot", "inspect", "vector"}
"""Actions that answer a question, or come in numbers: they leave the messages alone."""


def _unused(stem: str, suffix: str) -> Path:
    """A file name in the current folder that is not taken."""
    names = (f"{stem}{'' if n == 1 else f'-{n}'}{suffix}" for n in itertools.count(1))
    return next(path for path in map(Path, names) if not path.exists())


def explore(
    model: Any,
    xs: Any = None,
    *,
    input_names: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    output_names: Sequence[str] | None = None,
    decode: str | Callable[[np.ndarray], np.ndarray] | None = None,
) -> Explorer:
    """Open a recurrent model, or a Session, in an explorer: feed it and watch its hidden state.

    Args:
        model: a model with state, or a Session on one.
        xs: what to feed: rows `(T, I)`, several recordings `(N, T, I)`, or a list of `(T, I)`.
            Left out, a model of the zoo brings its own examples; any other is fed by sliders.
        input_names: a name for each input feature.
        input_range: the range of the sliders and of the input's colours; (−1, 1) if left out.
        output_names: a name for each output.
        decode: "softmax" to show outputs as probabilities, or a function from rows of outputs
            `(n, O)` to the rows to show.

    Raises:
        RnnlabError: a model without state, xs that are not rows of numbers, or a model whose
            number of inputs cannot be told where neither xs nor input_names are given.

    Example:
        >>> import rnnlab as rl
        >>> explore(rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2)))
        Explorer(Session(Chain(Recur(LSTMCell(3, 8)), Dense(8, 2)), step 0 of 0, branch 'main'))
    """
    session = model if isinstance(model, Session) else Session(model)
    card = getattr(session.model, "card", None)
    if card is not None:
        input_names = input_names or card.inputs
        input_range = input_range or card.input_range
        output_names = output_names or card.outputs
        decode = decode or card.decode
    if isinstance(decode, str) and decode != "softmax":
        raise RnnlabError(f"explore: decode must be 'softmax' or a function, not {decode!r}.")
    feed: Feed
    if xs is None and card is not None:
        feed = QueueFeed(card.examples, [example.label for example in card.examples])
    elif xs is not None:
        examples = recordings(xs)
        feed = QueueFeed(examples, [example.label for example in examples])
    else:
        names = list(input_names or _numbered(_input_size(session)))
        low, high = input_range or (-1.0, 1.0)
        feed = VectorFeed(names, float(low), float(high))
    labelling = Labelling(
        inputs=None if input_names is None else tuple(input_names),
        outputs=None if output_names is None else tuple(output_names),
        input_range=input_range,
        decode=softmax if decode == "softmax" else decode,  # type: ignore[arg-type]
        probabilities=decode == "softmax",
        input_units=feed.units,
        output_units=len(output_names or ()) or _output_size(session),
    )
    return Explorer(session, feed, labelling)


def _input_size(session: Session) -> int:
    model = session.model
    first = next(iter(model), model) if isinstance(model, nn.Sequential) else model
    inside = [found.cell for _, found in recurs(first)]
    for part in (first, *inside):
        size = getattr(part, "input_size", getattr(part, "in_features", None))
        if isinstance(size, int):
            return size
    raise RnnlabError(
        "explore: cannot tell how many inputs the model takes. Give the data to feed (xs=…) "
        "or the names of the inputs (input_names=[…])."
    )


def _output_size(session: Session) -> int:
    """How many outputs the model has, if its last layer tells; else 0."""
    model = session.model
    last = list(model)[-1] if isinstance(model, nn.Sequential) and len(model) else model
    size = getattr(last, "output_size", getattr(last, "out_features", None))
    if size is None:
        size = getattr(getattr(last, "cell", None), "hidden_size", 0)
    return size if isinstance(size, int) else 0


def _numbered(count: int) -> list[str]:
    return [f"x[{i}]" for i in range(count)]
