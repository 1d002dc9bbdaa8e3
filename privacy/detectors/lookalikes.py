"""What a reader confuses, undone before a rule looks. Every function keeps the length of its text.

A rule that matched on the folded text can therefore point into the text that was read.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−﹣", "-"),
        **dict.fromkeys("‘’`´", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("«‹〈≪く", "<"),
        **dict.fromkeys("。·", "."),
        **dict.fromkeys("、", ","),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "),
    }
)
_PAIRS = ("OoQDU°○〇0", "IilL|!1", "Zz2", "Ss5", "Gb6", "B8", "gq9")
_DIGITS = str.maketrans({letter: pair[-1] for pair in _PAIRS for letter in pair[:-1]})
_ALIKE = "".join(pair[:-1] for pair in _PAIRS)
_AMONG_DIGITS = re.compile(
    rf"(?<=\d)[{_ALIKE}]{{1,3}}(?=[ \-./]?\d)"
    rf"|(?<=\d)[{_ALIKE}]{{1,2}}(?![A-Za-z])"
    rf"|(?<![A-Za-z])[{_ALIKE}]{{1,3}}(?=\d)"
)


@lru_cache(maxsize=16_384)  # some fifty rules look at each text; `interface.forget` clears it
def fold(text: str) -> str:
    """Full-width forms become ASCII, all dashes one, odd quotes and spaces plain; nothing changes its place."""
    plain = text if text.isascii() else "".join(_narrow(c) for c in text)
    return plain.translate(_SIGNS)


def digits(text: str) -> str:
    """Letters that look like digits become digits where they stand among digits ("4O07" -> "4007").

    A run of letters that is longer, or that holds any other letter, is a word and stays one.
    """
    return _AMONG_DIGITS.sub(lambda match: match.group().translate(_DIGITS), text)


def mostly_digits(text: str, share: float = 0.6) -> bool:
    """Are at least `share` of the letters and digits of `text` real digits?"""
    signs = [c for c in text if c.isalnum()]
    return bool(signs) and sum(c.isdigit() for c in signs) >= share * len(signs)


@lru_cache(maxsize=65_536)
def _narrow(character: str) -> str:
    narrow = unicodedata.normalize("NFKC", character)
    return narrow if len(narrow) == 1 else character
