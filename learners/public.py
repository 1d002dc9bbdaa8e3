"""Public documents for plans and rehearsal: generated print of many kinds, and no private domain's.

They give an adapter its basis, a plan its forecast, and a round what it must not forget. By turns they
are pages (receipts, forms, letters, cards, screenshots, in all locales) and clean lines, every third of
these Chinese: with pages alone, clean print and Chinese slip.
"""

from __future__ import annotations

from learners.catalogue import PUBLIC_DOCUMENTS, PUBLIC_LINES
from learners.lines import TrainDocument, document
from learners.synthesis import generate, line
from models.reader import crop
from privacy.page import Image

KINDS = ("receipt", "form", "letter", "id_card", "screenshot")


def public_documents(first: int, count: int = PUBLIC_DOCUMENTS) -> list[TrainDocument]:
    """`count` documents from seeds `first` on: pages and clean lines by turns.

    A page that teaches nothing (no line at all) is passed over for the next seed.
    """
    found: list[TrainDocument] = []
    seed = first
    while len(found) < count:
        lines = _page(seed) if len(found) % 2 else _clean(seed, "chinese" if len(found) % 6 == 4 else "plain")
        if (taught := document(seed, lines, PUBLIC_LINES)) is not None:
            found.append(taught)
        seed += 1
    return found


def _page(seed: int) -> list[tuple[Image, str]]:
    """Lines from all over a page: its first ones alone would be letterheads."""
    page = generate(KINDS[seed // 2 % len(KINDS)], seed)
    apart = max(1, len(page.lines) // PUBLIC_LINES)
    return [(crop(page.image, each.quad), each.text) for each in page.lines[::apart]]


def _clean(seed: int, domain: str) -> list[tuple[Image, str]]:
    return [line(PUBLIC_LINES * seed + index, domain) for index in range(PUBLIC_LINES)]
