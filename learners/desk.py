"""Where the yardstick's pages are written: the next line goes below the last, and prose breaks where it must."""

from __future__ import annotations

import re
from collections.abc import Sequence

from learners import fonts
from learners.captions import caption
from learners.draws import Draws
from learners.layout import put
from learners.personas import CHINESE
from learners.sheet import Part, Planted, Sheet, joined
from learners.subjects import Subject, scribble, subject
from learners.typesetting import Style, measure

_TUNING = ("roboto", "noto-sans", "noto-serif", "lato")


class Desk:
    """A sheet being written from top to bottom, in the faces of one part of the yardstick."""

    def __init__(self, draws: Draws, locale: str, held_out: bool, columns: int = 34) -> None:
        self.draws, self.locale, self.held_out = draws, locale, held_out
        if locale in CHINESE:
            self.regular = self.bold = fonts.CHINESE[locale == "zh_TW"]
        else:
            self.regular = draws.pick(fonts.HELD_OUT if held_out else _TUNING)
            self.bold = f"{self.regular}-bold"
        self.size = draws.between(18, 23)
        self.pitch = self.size * draws.between(140, 172) // 100
        self.margin = draws.between(24, 56)
        self.width = columns * self.size
        self.sheet = Sheet(60 * self.pitch, self.width + 2 * self.margin)
        self.y = self.margin + self.size

    def caption(self, key: str) -> str:
        return caption(key, self.locale, self.held_out)

    def someone(self, sentences: int = 0) -> Subject:
        return subject(self.draws, self.locale, self.held_out, sentences)

    def style(self, bold: bool = False, more: int = 0) -> Style:
        return Style(self.bold if bold else self.regular, self.size + more)

    def line(
        self, parts: str | Sequence[Part], bold: bool = False, at: int = 0, width: int = 0, align: str = "left",
        more: int = 0, on: bool = True,
    ) -> None:  # fmt: skip
        """One line from `at` thousandths of the width, `width` thousandths wide; `on` moves to the next."""
        x, across = self.margin + self.width * at // 1000, self.width * (width or 1000 - at) // 1000
        put(self.sheet, parts, self.style(bold, more), x, self.y, across, align)
        if on:
            self.skip(100)

    def skip(self, percent: int) -> None:
        self.y += self.pitch * percent // 100

    def field(self, key: str, kind: str, text: str, at: int = 0, width: int = 0, on: bool = True) -> None:
        """`Caption: value` on one line."""
        self.line([f"{self.caption(key)}: ", Planted(kind, text)], at=at, width=width, on=on)

    def prose(self, parts: Sequence[Part]) -> None:
        """Running text, broken at spaces (anywhere in Chinese); a planted piece may go on in the next line."""
        words: list[tuple[str, str]] = []
        for part in parts:
            kind, text = ("", part) if isinstance(part, str) else (part.kind, part.text)
            pieces = list(text) if self.locale in CHINESE else re.findall(r"\S+\s*|\s+", text)
            words += [(kind, piece) for piece in pieces]
        row: list[tuple[str, str]] = []
        for word in words:
            if row and measure("".join(t for _, t in [*row, word]).rstrip() or "x", self.style()) > self.width:
                self._row(row)
                row = []
            if row or word[1].strip():
                row.append(word)
        self._row(row)

    def _row(self, row: Sequence[tuple[str, str]]) -> None:
        parts: list[Part] = []
        for kind, text in row:
            last = parts[-1] if parts else None
            if isinstance(last, Planted) and last.kind == kind:
                parts[-1] = Planted(kind, last.text + text)
            elif isinstance(last, str) and not kind:
                parts[-1] = last + text
            else:
                parts.append(Planted(kind, text) if kind else text)
        tidy: list[Part] = []
        for part in parts:  # a space after a planted piece is not a part of it
            if isinstance(part, Planted):
                bare = part.text.rstrip()
                tidy.append(Planted(part.kind, bare))
                if bare != part.text:
                    tidy.append(" ")
            else:
                tidy.append(part)
        if joined(tidy).strip():
            self.line(tidy)

    def sign(self, at: int = 0) -> None:
        """A signature of two lines' height."""
        ink = scribble(self.draws, 2 * self.size, 8 * self.size)
        box = self.sheet.lay(ink, self.margin + self.width * at // 1000, self.y - self.size)
        self.sheet.mark("signature", box)
        self.skip(200)

    def done(self) -> Sheet:
        self.sheet.ink = self.sheet.ink[: min(self.y + self.margin, self.sheet.ink.shape[0])]
        return self.sheet
