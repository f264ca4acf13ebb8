"""The explorer: a recurrent model in the hands of a person, step by step, in JupyterLab."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from rnnlab.errors import RnnlabError
from rnnlab.session import Moved, Session
from rnnlab.widgets import export, picture
from rnnlab.widgets.actions import QUIET, act
from rnnlab.widgets.drawing import Theme
from rnnlab.widgets.feeds import Inputs, Place
from rnnlab.widgets.fitting import step_axes
from rnnlab.widgets.insight import Gates, offered_orders
from rnnlab.widgets.lanes import Labelling, batch, lanes
from rnnlab.widgets.module import module, style
from rnnlab.widgets.player import Player
from rnnlab.widgets.selecting import (
    EMPTY,
    checked,
    checked_branches,
    checked_row,
    checked_speed,
    still_there,
)
from rnnlab.widgets.still import Still
from rnnlab.widgets.studies import Studies
from rnnlab.widgets.wire import Wire
from rnnlab.widgets.work import said


class Explorer(anywidget.AnyWidget):
    """A live view of a Session: transport, input, the hidden state over time, the outputs.

    Made by `rnnlab.explore`. Every button is a command to the session, and every change of the
    session, also one made in a cell, appears in the view.

    Attributes:
        session: the live Session.
        playing: whether it is stepping by itself.
        speed: steps per second while playing.
        compared: the names of the branches put beside the current one.
        selection: what is selected in all views, readable and writable: `{"units": [["0.h", 17]],
            "step": 3, "span": [2, 6]}`; step None is the session's place, span None is no span, and
            what is left out is None or nothing. A unit that is not there is an RnnlabError.
        row: the row of the batch that is shown, where there is a batch; `rows` says how many.
    """

    _esm = module()
    _css = style()

    lanes = traitlets.List().tag(sync=True)
    feed = traitlets.Dict().tag(sync=True)
    words = traitlets.List().tag(sync=True)
    gates = traitlets.List().tag(sync=True)
    # a TraitType takes anything: `_checked` says what, in words of ours
    row = traitlets.TraitType[Any, Any](0).tag(sync=True)
    rows = traitlets.Int(1).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    speed = traitlets.TraitType[Any, Any](2.0).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    branches = traitlets.List().tag(sync=True)
    compared = traitlets.TraitType[Any, Any]([]).tag(sync=True)
    selection = traitlets.TraitType[Any, Any](EMPTY).tag(sync=True)
    sorts = traitlets.List().tag(sync=True)
    orders = traitlets.Dict().tag(sync=True)
    ordered_by = traitlets.Unicode("index").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, session: Session, inputs: Inputs, labelling: Labelling, **options: Any
    ) -> None:
        super().__init__(**options)
        self.session = session
        self._inputs = inputs
        self._labelling = labelling
        self._player = Player(self, self._try_step, lambda: inputs.left != 0)
        self._studies = Studies(session, self.send, lambda: self.row)
        self._said = ""
        self._gates = Gates(session)
        self._wire = Wire(session, self.send, self._where, self._lanes)
        self._begin()
        self._lanes()
        self.gates = self._gates.names
        self.sorts = offered_orders(session.model)
        self.branches = list(session.branches)
        self._unsubscribe = session.subscribe(self._moved)
        self.observe(lambda _: self._show_row(), "row")
        self.on_msg(self._received)

    def __repr__(self) -> str:
        return f"Explorer({self.session!r})"

    def close(self) -> None:
        """End the view: the session lives on without it."""
        self._unsubscribe()
        self._player.stop()
        self._studies.close()
        self._wire.close()
        if self._still is not None:
            self._still.close()
        super().close()

    # what lasts without a kernel

    _still: Still | None = None
    _kept_by_page = False

    def _ipython_display_(self) -> None:
        """Show the live view, and beneath it the picture that a saved notebook keeps."""
        if self._still is None:
            self._still = Still(self)
        self._still.show()

    def to_html(
        self, path: str | os.PathLike[str], *, branches: str | Sequence[str] | None = None
    ) -> Path:
        """Write the recording as one page that works from a file: no server, no network.

        The page has these views with a time slider, but not the model. Up to 65,536 numbers (a
        thousand steps of 65 units) are kept exactly; of more, each is rounded to 1/254 of the
        range of its band. Of more than 4,000,000 the newest 2,000,000 are kept, and of what was
        before them the least and the largest value in buckets of steps: the file has a few
        megabytes, however long the recording. The page says what it keeps.

        Args:
            path: where to write; a file that is there is replaced.
            branches: the branches to take along with the current one, one name or several; left
                out, those compared with.

        Raises:
            RnnlabError: there is no such branch, or the file cannot be written.

        Example:
            >>> import rnnlab as rl
            >>> explorer = rl.explore(rl.LSTM(2, 3), [[0.0, 1.0], [1.0, 0.0]])
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
        theme: Theme = "light",
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
            RnnlabError: an unknown theme, a width below 280, a span outside the recording, what
                is no width, scale or span at all, or a path that cannot be written.

        Example:
            >>> import rnnlab as rl
            >>> explorer = rl.explore(rl.LSTM(2, 3), [[0.0, 1.0], [1.0, 0.0]])
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
            self.compared = [name for name in self.compared if name in names]
        if moved.stop > moved.start:
            self._gates.forget()
        if self._inputs.stand(self._place):
            self.feed = self._inputs.describe()
        self._wire.moved(moved)

    def _lanes(self) -> Any:
        self.rows = batch(self.session)
        found = lanes(self.session, self._labelling, self.row)
        described = [lane.describe() for lane in found]
        if described != self.lanes:
            self.lanes = described
        return found

    @traitlets.validate("speed", "row", "compared", "selection")
    def _settable(self, proposal: Any) -> Any:
        return self._checked(proposal["trait"].name, proposal["value"])

    def _checked(self, name: str, value: Any) -> Any:
        """What somebody sets, as it is kept; an RnnlabError if it cannot be."""
        match name:
            case "speed":
                return checked_speed(value)
            case "row":
                return checked_row(value, batch(self.session))
            case "compared":
                return checked_branches(value, self.session.branches, "Explorer: compared")
        return checked(value, *self._selectable())

    def _selectable(self) -> tuple[dict[str, int], int]:
        """The units of each lane, and the last step: as they are now, also if no page saw them."""
        sizes = {lane.name: lane.units for lane in lanes(self.session, self._labelling)}
        return sizes, self.session.length()

    def _show_row(self) -> None:
        self._wire.moved()
        for name in self.compared:
            self._wire.other(name)

    def _where(self) -> dict[str, Any]:
        return {
            "branch": self.session.branch_name,
            "t": self.session.t,
            "length": self.session.length(),
            "position": self._inputs.position,
            "undo": self.session.can_undo,
            "redo": self.session.can_redo,
        }

    @property
    def _place(self) -> Place:
        return self.session.origin, self.session.t

    # from the page to the session

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """What the page has set; what cannot be it is told, and what it then has instead."""
        wanted = dict(sync_data)
        for name in {"speed", "row", "compared", "selection"} & set(wanted):
            try:
                if name == "selection":
                    wanted[name] = still_there(wanted[name], *self._selectable())
                self._checked(name, wanted[name])
            except RnnlabError as error:
                del wanted[name]
                self._complain(error)
        super().set_state(wanted)
        if changed := {name for name in sync_data if sync_data[name] != wanted.get(name)}:
            self.send_state(changed)

    def _received(self, _: Any, message: dict[str, Any], __: list[Any]) -> None:
        self._said = ""
        try:
            act(self, message)
            if message["action"] not in QUIET:
                self.error = ""
                self.notice = self._said
        except Exception as error:  # a handler's exception would show nowhere
            self._complain(error)
        self.send({"kind": "answer", "id": message.get("id")})

    def _step(self) -> None:
        x, label = self._inputs.next()
        x = self._as_fed(x)
        self._take(lambda: self.session.step(x, label=label), given=True)

    def _as_fed(self, x: Any) -> Any:
        """An input set by hand as the model is fed: for all rows of the batch of this branch."""
        recorded = self.session.recorded().get("x")
        shape = (*step_axes(self.session.model), *np.shape(x)) if recorded is None else recorded
        alone = not isinstance(x, str) and np.ndim(x) < len(shape)
        if alone and shape[len(shape) - np.ndim(x) :] == np.shape(x):
            return np.broadcast_to(x, shape).copy()
        return x

    def _take(self, step: Callable[[], object], *, given: bool) -> None:
        """Take a step; `given` if it is fed what the inputs have next."""
        with self._wire.held():
            step()
            self._inputs.passed(self._place, given)

    def _begin(self) -> None:
        """A new run begins here."""
        self._inputs.restart(self._place)
        self.feed = self._inputs.describe()

    def _try_step(self) -> bool:
        try:
            self._step()
        except Exception as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: Exception) -> None:
        self.error, self.notice = said(error), ""
