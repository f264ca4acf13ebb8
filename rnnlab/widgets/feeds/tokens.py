"""Text typed from a model's vocabulary, fed token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rnnlab.errors import RnnlabError
from rnnlab.session import Vocabulary
from rnnlab.widgets.feeds.base import Feed, Message
from rnnlab.widgets.feeds.memory import Place

OFFERED = 5000
"""Tokens that the page knows for completion; typed, all are taken."""


class TokenFeed(Feed):
    """A queue of tokens: the text so far, and what of it is not fed yet.

    A new run begins with the same text again; what is typed first takes its place. In the past,
    what is typed comes next, in the stead of what was fed from there on (its branch keeps that).

    Args:
        vocabulary: the tokens that there are.
        texts: texts to choose from, already fed in part or not at all.
        encode: from a token to the session's input; left out, the session does that itself.
    """

    kind = "tokens"
    title = "Tokens"

    def __init__(
        self,
        vocabulary: Vocabulary,
        texts: Sequence[str] = (),
        encode: Callable[[str], Any] | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self._blanks = max(len(token.split()) for token in vocabulary) - 1  # inside of a token
        self.texts = [self._known(text) for text in texts]
        self.tape: tuple[str, ...] = ()
        self._encode = encode
        self._carried = False

    @property
    def count(self) -> int:
        return len(self.tape)

    def next(self) -> tuple[Any, str]:
        if self.position >= len(self.tape):
            raise RnnlabError("There is no token to feed: type words of the vocabulary.")
        token = self.tape[self.position]
        return token if self._encode is None else self._encode(token), token

    def act(self, message: Message) -> bool:
        match message:
            case {"add": str(text)}:
                typed, fed = self._known(text), self._memory.reach(self.tape)
                if self._carried:
                    self._edit(typed)
                elif fed > self.position:
                    self._edit((*self.tape[: self.position], *typed, *self.tape[fed:]))
                else:
                    self._edit((*self.tape, *typed))
            case {"remove": int(at)}:
                if not self.position <= at < len(self.tape):
                    raise RnnlabError(f"Token {at + 1} is fed already, or not there.")
                self._edit(self.tape[:at] + self.tape[at + 1 :])
            case {"clear": _}:
                self._edit(self.tape[: self.position])
            case {"example": int(number)}:
                if not 0 <= number < len(self.texts):
                    raise RnnlabError(f"There are texts 0 to {len(self.texts) - 1}, no {number}.")
                self.tape, self.position, self._carried = self.texts[number], 0, False
                return True
            case _:
                raise RnnlabError(f"Tokens: cannot do {message!r}.")
        return False

    def describe(self) -> dict[str, Any]:
        return {
            "tokens": list(self.tape),
            "texts": [" ".join(text) for text in self.texts],
            "carried": self._carried,
        }

    def restart(self, place: Place) -> None:
        self._carried = self.position > 0
        self.tape = (*self.tape,)  # a copy: what is typed now is not the old run's text
        super().restart(place)

    def passed(self, place: Place, given: bool) -> None:
        self._carried = False
        super().passed(place, given)

    def _edit(self, tape: tuple[str, ...]) -> None:
        """Lay in another text: what was recorded beyond this place keeps the old one."""
        self._memory.swap(self.tape, tape, self.position)
        self.tape, self._carried = tape, False
        self._mark(self._place)

    def _known(self, text: str) -> tuple[str, ...]:
        """The tokens of a text, split as the vocabulary does; what is a token stays whole."""
        words = self.vocabulary
        pieces = [text] if words.characters else text.split()
        tokens: list[str] = []
        while pieces:
            sizes = range(min(len(pieces), self._blanks + 1), 0, -1)
            starts = ((" ".join(pieces[:size]), size) for size in sizes)
            token, size = next(((t, n) for t, n in starts if t in words), ("", 1))
            tokens += [token] if token else words.split(pieces[0])
            del pieces[:size]
        if not tokens:
            raise RnnlabError("Type at least one token of the vocabulary.")
        for token in tokens:
            words.index(token)
        return tuple(tokens)
