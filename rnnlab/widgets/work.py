"""Work that takes longer than a message may: in a thread, told how far it is, stopped at a word."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rnnlab.errors import RnnlabError

Message = dict[str, Any]
Send = Callable[[Message, list[bytes]], None]

EVERY = 0.1
"""Seconds between two words on how far the work is, at the least."""

ONE = threading.Lock()
"""Held by the work that goes on: the number of threads that torch uses, which the analyses set and
put back, is the whole process's."""


class StoppedError(Exception):
    """Raised inside work that is no longer wanted."""


class Job:
    """One piece of work, as the thread that does it sees it.

    `request` is what the page knows it by; every message bears it.
    """

    def __init__(
        self, request: Any, loop: asyncio.AbstractEventLoop, deliver: Callable[..., None]
    ) -> None:
        self.request = request
        self.stopped = threading.Event()
        self._loop = loop
        self._deliver = deliver
        self._told_at = 0.0

    def tell(self, share: float) -> None:
        """So much is done, 0 to 1: what the analyses take as `progress`."""
        self.check()
        if time.monotonic() - self._told_at > EVERY:
            self._told_at = time.monotonic()
            self._post("progress", share=round(float(share), 3))

    def part(self, name: str, found: Message, arrays: Sequence[Any] = ()) -> None:
        """A result, or a first one: the page shows it at once, and the work goes on."""
        self.check()
        self._post("part", [array.tobytes() for array in arrays], part=name, **found)

    def check(self) -> None:
        """Raise if nobody wants the result any more."""
        if self.stopped.is_set():
            raise StoppedError

    def _post(self, state: str, buffers: Sequence[bytes] = (), **detail: Any) -> None:
        # messages leave from the thread of the kernel's own loop, in the order they were made
        message = {"request": self.request, "state": state, **detail}
        try:
            self._loop.call_soon_threadsafe(self._deliver, self, message, list(buffers))
        except RuntimeError:  # the kernel is about to end
            raise StoppedError from None


class Work:
    """One job at a time, each in a thread of its own; the latest wins.

    Jobs of several kinds, and of several explorers, wait for each other.

    Args:
        topic: what the page calls this kind of work.
        send: brings a message to the page: `{"kind": "work", "topic", "request", "state", …}` with
            state "started", "progress", "part", "done", "stopped" or "error".
    """

    def __init__(self, topic: str, send: Send) -> None:
        self.topic = topic
        self._send = send
        self._job: Job | None = None

    def start(self, request: Any, prepare: Callable[[], Callable[[Job], None]]) -> None:
        """Begin the task that `prepare()` gives, `task(job)`; what went on before is stopped.

        What `prepare` reads, it reads at once; what it raises the page is told, like all errors.

        Raises:
            RnnlabError: there is no event loop that could bring the result to the page.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RnnlabError(
                f"Explorer: {self.topic} needs a live kernel to compute in."
            ) from None
        self.stop()
        job = Job(request, loop, self._deliver)
        try:
            task = prepare()
        except Exception as error:
            self._say(job, "error", error=said(error))
            return
        self._job = job
        self._say(job, "started")
        name = f"rnnlab-{self.topic}"
        threading.Thread(target=_run, args=(job, task), name=name, daemon=True).start()

    def stop(self) -> None:
        """End what goes on, if anything does."""
        if self._job is not None:
            job, self._job = self._job, None
            job.stopped.set()
            self._say(job, "stopped")

    def close(self) -> None:
        """End what goes on and say nothing more."""
        self._send = lambda message, buffers: None
        self.stop()

    def _say(self, job: Job, state: str, **detail: Any) -> None:
        message = {"kind": "work", "topic": self.topic, "request": job.request, "state": state}
        self._send({**message, **detail}, [])

    def _deliver(self, job: Job, message: Message, buffers: list[bytes]) -> None:
        if job is not self._job:
            return  # stopped meanwhile: its last words are of no use
        if message["state"] in ("done", "error"):
            self._job = None
        self._send({"kind": "work", "topic": self.topic, **message}, buffers)


def said(error: Exception) -> str:
    """An error for the page: ours speak for themselves, others bear their name."""
    return str(error) if isinstance(error, RnnlabError) else f"{type(error).__name__}: {error}"


def _run(job: Job, task: Callable[[Job], None]) -> None:
    """In the thread: wait for what goes on, which may have been told to stop, then do the task."""
    try:
        with ONE:
            job.check()
            try:
                task(job)
            except StoppedError:
                raise
            except Exception as error:  # in a thread nobody else would hear of it
                job._post("error", error=said(error))
            else:
                job._post("done")
    except StoppedError:
        pass
