"""Vocabulary: tokens to inputs and outputs to probabilities; Features: rows with named columns."""

from __future__ import annotations

import difflib
import operator
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
        characters: whether a text is split into characters, not words; left out, it is if all
            tokens are single characters.

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
        self,
        tokens: Iterable[str],
        *,
        one_hot: bool = False,
        unknown: str | None = None,
        characters: bool | None = None,
    ) -> None:
        if not isinstance(tokens, Iterable):
            raise RnnlabError(f"Vocabulary: tokens are a list of texts, not {describe(tokens)}.")
        self.tokens = tuple(tokens)
        if not self.tokens:
            raise RnnlabError("Vocabulary: there must be at least one token.")
        for token in self.tokens:
            if not isinstance(token, str):
                raise RnnlabError(f"Vocabulary: a token is text, got {token!r}.")
        self._index = {token: number for number, token in enumerate(self.tokens)}
        if len(self._index) < len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self._index[t] != i)
            raise RnnlabError(f"Vocabulary: {twice!r} is there twice. Give each token once.")
        if unknown is not None and unknown not in self._index:
            raise RnnlabError(f"Vocabulary: unknown={unknown!r} must be one of the tokens.")
        self.one_hot = one_hot
        self.unknown = unknown
        if characters is None:
            characters = all(len(token) == 1 for token in self.tokens if token != unknown)
        self.characters = characters

    @classmethod
    def from_text(cls, text: str, *, characters: bool = False, **options: Any) -> Vocabulary:
        """The different words (or characters) of a text, sorted; `split` then splits alike.

        Example:
            >>> Vocabulary.from_text("the river, the bank").tokens
            (',', 'bank', 'river', 'the')
            >>> Vocabulary.from_text("banana", characters=True).tokens
            ('a', 'b', 'n')
            >>> Vocabulary.from_text("a b c").split("c b")
            ['c', 'b']
        """
        _check_text(text)
        found = set(text if characters else WORD.findall(text))
        found |= {options["unknown"]} if options.get("unknown") else set()
        return cls(sorted(found), characters=characters, **options)

    def split(self, text: str) -> list[str]:
        """A text as tokens: characters if `characters`, else words and punctuation."""
        _check_text(text)
        return list(text) if self.characters else WORD.findall(text)

    def index(self, token: Any) -> int:
        """The number of a token; the number of one is its own."""
        if isinstance(token, str):
            number = self._index.get(token)
            if number is not None:
                return number
            if self.unknown is not None:
                return self._index[self.unknown]
        elif not isinstance(token, bool):
            try:
                number = operator.index(token)
            except TypeError:
                number = None
            if number is not None:
                if 0 <= number < len(self):
                    return number
                raise RnnlabError(
                    f"Vocabulary: there are tokens 0 to {len(self) - 1}, no {number}."
                )
        near = difflib.get_close_matches(str(token), self.tokens, n=3)
        hint = f" Near it: {', '.join(map(repr, near))}." if near else ""
        raise RnnlabError(
            f"Vocabulary: {token!r} is not one of the {len(self)} tokens.{hint} "
            "Vocabulary(tokens, unknown='…') accepts any."
        )

    def label(self, token: Any) -> str:
        """What a step that was fed a token is called: the token, also if its number was given."""
        return token if isinstance(token, str) else self.tokens[self.index(token)]

    def encode(self, token: Any) -> Tensor:
        """The model's input for a token, or for its number."""
        number = self.index(token)
        if not self.one_hot:
            return torch.tensor(number)
        vector = torch.zeros(len(self))
        vector[number] = 1
        return vector

    def decode(self, y: Any) -> Any:
        """Scores `(…, V)` as probabilities by token (softmax).

        Returns:
            A dict, token → probability; of several rows (a batch, or steps) a list with one for
            each, in the order of the rows. One row is one, whatever axes of size 1 are before it.

        Example:
            >>> v = Vocabulary(["river", "bank"])
            >>> v.decode([[0.0, 0.0]])
            {'river': 0.5, 'bank': 0.5}
            >>> [shares["bank"] for shares in v.decode(torch.zeros(3, 2))]
            [0.5, 0.5, 0.5]
        """
        try:
            scores = torch.as_tensor(y).detach()
        except (TypeError, ValueError, RuntimeError):
            raise self._undecodable(describe(y)) from None
        if not scores.dim() or scores.shape[-1] != len(self) or scores.is_complex():
            raise self._undecodable(describe(y) if scores.is_complex() else tuple(scores.shape))
        shares = torch.softmax(scores.double(), dim=-1).reshape(-1, len(self)).tolist()
        found = [dict(zip(self.tokens, row, strict=True)) for row in shares]
        return found[0] if len(found) == 1 else found

    def _undecodable(self, given: Any) -> RnnlabError:
        return RnnlabError(
            f"Vocabulary: decode takes scores of shape (…, {len(self)}), got {given}."
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.tokens[:3])) + (", …" if len(self) > 3 else "")
        return f"Vocabulary({len(self)} tokens: {shown})"


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise RnnlabError(f"Vocabulary: only a text can be split, not {describe(text)}.")


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
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise RnnlabError(f"Features: names are a list of columns, not {describe(names)}.")
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
