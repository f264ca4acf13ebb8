"""Small trained models, each with a card that says what it reads and what its outputs mean."""

from rnnlab.zoo.bank import bank
from rnnlab.zoo.card import Card, Example, Examples
from rnnlab.zoo.digits import digits

__all__ = ["Card", "Example", "Examples", "bank", "digits"]
