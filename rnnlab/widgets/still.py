"""The picture that a saved notebook keeps of an explorer, for the time without a kernel."""

from __future__ import annotations

import asyncio
import base64
import html
import itertools
import os
from typing import TYPE_CHECKING, Any

from rnnlab.widgets.picture import draw

if TYPE_CHECKING:
    from rnnlab.widgets.explorer import Explorer

IDLE = 1.5
"""Seconds without a change after which the still is drawn anew."""

STILL_WIDTH, STILL_ROWS, TALLEST = 640, 96, 168
"""How wide it is, how many of the newest rows it shows, how high a lane: a notebook stores it."""

STYLE = (
    # elsewhere than in Jupyter's pages nobody would take it away again: it starts hidden there
    ".rnnlab-still{display:none}"
    ".jp-OutputArea-child .rnnlab-still{display:block}"
    ".jp-OutputArea-child:has(.rnnlab)+.jp-OutputArea-child:has(.rnnlab-still){display:none}"
    ".jp-OutputArea-child:has(+.jp-OutputArea-child .rnnlab-still):not(:has(.rnnlab))"
    ">.jp-OutputArea-output{display:none}"
    ".rnnlab-still img{max-width:100%}"
    ".rnnlab-still p{color:#767676;margin:0}"
)


class Still:
    """The picture beneath a live view, for the time when there is no kernel.

    A notebook stores of a widget only its name: opened without its kernel, JupyterLab says "model
    not found", whatever else the same output holds. So the picture is an output of its own. Its
    style sheet hides it as long as the live view is there, and hides JupyterLab's complaint when
    it is not. It is drawn at once, and again when the session has moved and come to rest.

    To replace an output by its display id is for the page that ran the cell: loaded anew, a page
    no longer knows to which cell it belongs, and drops the picture. So where the page can reach its
    own document (JupyterLab, Notebook 7) it says so, is sent the picture as a message, and puts it
    beneath its view itself. Elsewhere a page that was loaded anew keeps the picture that it has.
    """

    _numbers = itertools.count(1)

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer
        self._shown: list[str] = []
        self._drawn: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stop = explorer.session.subscribe(lambda _: self.later())

    def show(self) -> None:
        """Show the live view and the still in the output of the cell that runs."""
        from IPython.display import display

        explorer: Any = self._explorer
        bundle, metadata = explorer._repr_mimebundle_()
        display(bundle, metadata=metadata, raw=True)
        identity = f"rnnlab-still-{os.getpid()}-{next(self._numbers)}"
        self._drawn = self._text()
        display(self._bundle(), raw=True, display_id=identity)
        self._shown.append(identity)

    def later(self) -> None:
        """Draw it anew after a while without changes; in a thread without a loop, not at all."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(IDLE, self.update)

    def update(self) -> None:
        """Put the picture of now in the place of those shown."""
        from IPython.display import display

        self._timer = None
        text = self._text()
        if text == self._drawn:
            return
        self._drawn = text
        explorer: Any = self._explorer
        if explorer._kept_by_page:
            explorer.send({"kind": "still", "widget": explorer.model_id, "data": self._bundle()})
            return
        for identity in self._shown:
            display(self._bundle(), raw=True, display_id=identity, update=True)

    def close(self) -> None:
        """Draw nothing more."""
        self._stop()
        if self._timer is not None:
            self._timer.cancel()

    def _bundle(self) -> dict[str, str]:
        return {"text/html": self._drawn or "", "text/plain": self._said()}

    def _said(self) -> str:
        session = self._explorer.session
        return f"step {session.t} of {session.length()} · branch {session.branch_name}"

    def _text(self) -> str:
        length = self._explorer.session.length()
        first = max(0, min(length + 1 - STILL_ROWS, self._explorer.session.t))
        last = min(length, first + STILL_ROWS - 1)
        picture = draw(self._explorer, STILL_WIDTH, (first, last), tallest=TALLEST).png(colors=256)
        said = html.escape(self._said(), quote=True)
        return (
            f"<style>{STYLE}</style>"
            f'<div class="rnnlab-still"><img alt="The explorer at {said}" '
            f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
            f"<p>A picture of the explorer at {said}. Run the cell to have it live again.</p></div>"
        )
