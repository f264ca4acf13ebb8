"""Steps taken one after another while the kernel hears other messages: run and play.

Single steps, not `Session.run`: that one agrees with them to rounding only, and what a person runs
is to be bit for bit what clicks would have given, each of its steps to be undone by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from rnnlab.errors import RnnlabError

if TYPE_CHECKING:
    from rnnlab.widgets.explorer import Explorer

BURST = 0.01
"""Seconds that a long run works before it lets the kernel hear other messages."""


class Player:
    """Runs and plays one explorer; what it is doing stands in the traits of that.

    `step()` takes a step and says whether it succeeded; `more()` whether there is anything to feed.
    """

    def __init__(
        self, explorer: Explorer, step: Callable[[], bool], more: Callable[[], bool]
    ) -> None:
        self._explorer = explorer
        self._step = step
        self._more = more
        self._task: asyncio.Task[None] | None = None

    def run(self, steps: int) -> None:
        """Take so many steps, as fast as they go."""
        self._start(self._running(steps))
        self._explorer.progress, self._explorer.running = 0.0, True

    def play(self) -> None:
        """Step by itself, `explorer.speed` steps a second, as long as there is more to feed."""
        self._start(self._playing())
        self._explorer.playing = True

    def stop(self) -> None:
        """End what is going on, if anything is."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._task = None
        self._explorer.playing = self._explorer.running = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.stop()
        try:
            self._task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            work.close()
            raise RnnlabError("Explorer: running and playing need a live kernel.") from None

    async def _running(self, steps: int) -> None:
        explorer, loop = self._explorer, asyncio.get_running_loop()
        pause = loop.time() + BURST
        try:
            for k in range(steps):
                if not self._step():
                    break
                if loop.time() > pause:
                    explorer.progress = (k + 1) / steps
                    await asyncio.sleep(0)
                    pause = loop.time() + BURST
        finally:
            if self._task is asyncio.current_task():  # else another one has begun
                explorer.running = False

    async def _playing(self) -> None:
        explorer = self._explorer
        try:
            while self._more() and self._step():
                await asyncio.sleep(1 / explorer.speed)
        finally:
            if self._task is asyncio.current_task():
                explorer.playing = False
