"""Vocabulary: tokens to inputs and outputs to probabilities; Features: rows with named columns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


class Vocabulary:
    """The tokens that a model knows, in the order of their numbers.

    Args:
        tokens: the tokens; the first has number 0.
        one_hot: feed vectors `(V,)` with a single 1, not numbers for an embedding.
        unknown: the token that stands for all others; without it they are refused.

    Raises:
        RnnlabError: a token twice, or none at all (at construction); an unknown token (at `index`
            and `encode`), with those that are spelt alike.

    Example:
        >>> import rnnlab as rl
        >>> v = Vocabulary(["river", "bank", "money"], one_hot=True)
        >>> v.encode("bank"), v.index("money")
        (tensor([0., 1., 0.]), 2)
        >>> s = rl.Session(rl.RNN(3, 3), v.encode, v.decode)
        >>> y = s.run(v.split("river bank"))
        >>> list(s.output()) == ["river", "bank", "money"], s.trace().labels
        (True, ('river', 'bank'))
    """

    def __init__(
        self, tokens: Iterable[str], *, one_hot: bool = False, unknown: str | None = None
    ) -> None:
        self.tokens = tuple(tokens)
        self._index = {token: number for number, token in enumerate(self.tokens)}
        if not self.tokens:
            raise RnnlabError("Vocabulary: there must be at least one token.")
        for token in self.tokens:
            if not isinstance(token, str):
                raise RnnlabError(f"Vocabulary: a token is text, got {token!r}.")
        if len(self._index) < len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self._index[t] != i)
            raise RnnlabError(f"Vocabulary: {twice!r} is there twice.")
        if unknown is not None and unknown not in self._index:
            raise RnnlabError(f"Vocabulary: unknown={unknown!r} must be one of the tokens.")
        self.one_hot = one_hot
        self.unknown = unknown
        self.characters = all(len(token) == 1 for token in self.tokens if token != unknown)

    @classmethod
    def from_text(cls, text: str, *, characters: bool = False, **options: Any) -> Vocabulary:
        """The different words (or characters) of a text, sorted.

        Example:
            >>> Vocabulary.from_text("the river, the bank").tokens
            (',', 'bank', 'river', 'the')
            >>> Vocabulary.from_text("banana", characters=True).tokens
            ('a', 'b', 'n')
        """
        found = set(text if characters else WORD.findall(text))
        unknown = options.get("unknown")
        return cls(sorted(found | ({unknown} if unknown else set())), **options)

    def split(self, text: str) -> list[str]:
        """A text as tokens: characters if all tokens are single characters, else words."""
        return list(text) if self.characters else WORD.findall(text)

    def index(self, token: Any) -> int:
        """The number of a token."""
        number = self._index.get(token)
        if number is not None:
            return number
        if self.unknown is not None and isinstance(token, str):
            return self._index[self.unknown]
        near = difflib.get_close_matches(str(token), self.tokens, n=3)
        hint = f" Near it: {', '.join(map(repr, near))}." if near else ""
        raise RnnlabError(
            f"Vocabulary: {token!r} is not one of the {len(self)} tokens.{hint} "
            "Vocabulary(tokens, unknown='…') accepts any."
        )

    def encode(self, token: Any) -> Tensor:
        """The model's input for a token, or for its number."""
        if isinstance(token, int) and not isinstance(token, bool):
            if not 0 <= token < len(self):
                raise RnnlabError(f"Vocabulary: there are tokens 0 to {len(self) - 1}, no {token}.")
            number = token
        else:
            number = self.index(token)
        if not self.one_hot:
            return torch.tensor(number)
        vector = torch.zeros(len(self))
        vector[number] = 1
        return vector

    def decode(self, y: Any) -> dict[str, float]:
        """Scores `(V,)` as probabilities by token (softmax)."""
        y = torch.as_tensor(y)
        if y.shape != (len(self),):
            raise RnnlabError(
                f"Vocabulary: decode takes scores of shape ({len(self)},), got {tuple(y.shape)}."
            )
        shares = torch.softmax(y.detach().double(), dim=-1).tolist()
        return dict(zip(self.tokens, shares, strict=True))

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.tokens[:3])) + (", …" if len(self) > 3 else "")
        return f"Vocabulary({len(self)} tokens: {shown})"


class Features:
    """Rows with named columns (of a data frame, or dicts) as input vectors.

    Args:
        names: the columns that are fed, in the order of the model's inputs.

    Raises:
        RnnlabError: a column that the row lacks, or one that is not a number.

    Example:
        >>> features = Features(["speed", "wind"])
        >>> features.encode({"wind": 2, "speed": 1.5, "place": "north"})
        tensor([1.5000, 2.0000])
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def encode(self, row: Any) -> Tensor:
        """The input vector of one row: a dict, a Series, or a row that `itertuples` gives."""
        if hasattr(row, "_asdict"):
            row = row._asdict()
        if not hasattr(row, "keys"):
            raise RnnlabError(
                f"Features: a row has named columns, as a dict or a Series; got {describe(row)}."
            )
        missing = [name for name in self.names if name not in row]
        if missing:
            known = ", ".join(map(str, dict(row)))
            raise RnnlabError(f"Features: the row has no {', '.join(missing)}. It has: {known}.")
        values = []
        for name in self.names:
            try:
                values.append(float(row[name]))
            except (TypeError, ValueError):
                raise RnnlabError(f"Features: {name} is {row[name]!r}, not a number.") from None
        return torch.tensor(values)

    def __repr__(self) -> str:
        return f"Features({', '.join(self.names)})"
