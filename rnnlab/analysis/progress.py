"""How a long analysis says how far it is, and how it is stopped from outside.

Every long analysis takes `progress`:

- None: a tqdm bar once it has taken two seconds; True: a bar from the start; False: silence.
- A function: called with the share done, 0.0 to 1.0, at the start, after every piece of the work
  and at the end, in the thread that computes. What it raises stops the analysis and reaches the
  caller; the model is left as it was.

Example:
    >>> import numpy as np, rnnlab as rl
    >>> class Enough(Exception): pass
    >>> def stop(share):
    ...     if share > 0.5: raise Enough
    >>> try: rl.analysis.lyapunov(rl.RNN(1, 2), np.zeros((100, 1)), progress=stop)
    ... except Enough: print("stopped")
    stopped
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnlab.errors import RnnlabError

Progress = bool | Callable[[float], object] | None
"""See the module."""

DELAY = 2.0
"""Seconds until a bar appears that was not asked for."""


class Ticks:
    """Counts pieces of work and tells them to a bar or a function.

    Raises:
        RnnlabError: `progress` is none of the three.
    """

    def __init__(self, total: int, what: str, progress: Progress) -> None:
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise RnnlabError(
                f"{what}: progress must be True, False, None or a function of the share done, "
                f"got {progress!r}."
            )
        self.total = max(1, total)
        self.done = 0
        self._tell = progress if callable(progress) else None
        self._bar: Any = None
        if not callable(progress) and progress is not False:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc=what, delay=DELAY if progress is None else 0)

    def __enter__(self) -> Ticks:
        self.beat()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None and self._tell is not None:
            self._tell(1.0)

    def update(self, count: int = 1, **shown: Any) -> None:
        """So many pieces more are done."""
        self.done = min(self.done + count, self.total)
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(count)
        self.beat()

    def beat(self) -> None:
        """Nothing more is done yet, but here the work can be stopped."""
        if self._tell is not None:
            self._tell(min(self.done / self.total, 1.0))
