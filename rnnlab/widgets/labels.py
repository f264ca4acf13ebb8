"""Names and tokens as they can be seen, in pictures as labels.js has them on the page."""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""What is drawn as nothing, or turns the order of the letters around it."""

BLANKS = {"\n": "⏎", "\t": "⇥"}


def visible(text: str) -> str:
    """A token or a name of which control characters, and blanks that are all of it, get a sign.

    Example:
        >>> visible("a\\tb"), visible("  ")
        ('a⇥b', '␣␣')
    """
    if not text.strip():
        text = text.replace(" ", "␣")
    return UNSEEN.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    return BLANKS.get(found[0]) or (chr(0x2400 + code) if code < 32 else f"⟨{code:04X}⟩")
