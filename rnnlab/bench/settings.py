"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: pairs of blocks for each row; a tenth of them, at least 3, for whole sequences.
        quick: one small size of everything, to see that it runs.
    """

    rounds: int
    quick: bool = False

    @property
    def few(self) -> int:
        return max(3, self.rounds // 10)
