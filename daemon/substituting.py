"""Surrogates for the pages of a worker: a fresh key for each page, the page's own hand, and a reader to prove it.

Only a page that has passed its second look comes here (`daemon.redacting`). What is drawn is read back, and a line
that does not read as it should teaches nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rapidfuzz.distance import Levenshtein

from learners.lettering import PageHand, face_of
from models import reader
from privacy import surrogates
from privacy.anonymise import Redaction
from privacy.fictions import KEY_BYTES, KINDS, language_of
from privacy.page import Line

UNLIKE = 0.15  # of a line's characters, without spaces and case, that may read otherwise than drawn


class Substituter:
    """Draws surrogates.

    Args:
        kinds: which kinds of values are replaced; the others stay filled.
        guard: reads lines back.
    """

    def __init__(self, kinds: Sequence[str], guard: reader.Reader) -> None:
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise ValueError(f"Expected surrogates among {', '.join(KINDS)}, got {unknown[0]!r}.")
        self._kinds, self._guard = frozenset(kinds), guard

    def page(self, redaction: Redaction, before: Sequence[Line], now: Sequence[Line]) -> surrogates.Substitution:
        """The page with surrogates.

        Args:
            redaction: of a page that has passed.
            before: what was read before it was filled.
            now: what is read on the filled page, from which the hand learns.

        Raises:
            BadPage: something outside the plots changed.
        """
        face = face_of(language_of(" ".join(line.text for line in before)))
        hand = PageHand(redaction.image, now, face, np.random.default_rng(secrets.randbits(128)))
        key = secrets.token_bytes(KEY_BYTES)
        done = surrogates.substitute(redaction, before, self._kinds, key, hand)
        crops = [reader.crop(done.image, told.quad) for told in done.told]
        read = [text for text, _, _ in self._guard.read_lines(crops)]
        return replace(done, told=tuple(t for t, text in zip(done.told, read, strict=True) if alike(t.text, text)))


def alike(expected: str, read: str) -> bool:
    """Does a drawn line read as it should?"""
    one, other = ("".join(text.casefold().split()) for text in (expected, read))
    return bool(Levenshtein.normalized_distance(one, other) <= UNLIKE)
