"""Misses among surrogates: can an attacker who has half of the pages marked tell them apart? (`bench/surrogates.py`)

Carrell 2019: pages of the held-out templates, as texts. Each planted value is replaced by its surrogate, but for a
drawn share of them that leaks as it is (e-mail and web addresses get real providers' names first, since Faker's are
reserved ones). An attacker has one half of the pages with every value marked, and trains on it; on the other half he
ranks the values by how likely each is real. "told" knows for the first half which value leaked, which is more than
the paper's attacker has; "parrot" does not: he learns what identifiers look like there, and suspects those that look
least so. Both are logistic regressions over hashed character n-grams of the value and words around it. "checks" is
told and also runs check digits, reserved names and ranges over each value. Precision is among as many values as
leaked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stdnum import iban, luhn

from learners import held_out_pages
from learners.draws import Draws
from learners.personas import CHINESE, LATIN
from privacy.fictions import KEY_BYTES, KINDS, Fictions, language_of
from privacy.page import Line, Region

PROVIDERS = (
    "gmail.com",
    "outlook.com",
    "yahoo.com",
    "icloud.com",
    "web.de",
    "orange.fr",
    "libero.it",
    "wp.pl",
    "163.com",
)
TELLING = ("email", "url", "phone", "national_id", "tax_id", "card", "iban")
"""Kinds whose surrogates nobody may have: reserved names and ranges, or check digits that fail."""
WIDTH = 1 << 15


@dataclass(frozen=True)
class Value:
    """What an attacker sees of one value: where, its text and its line; and whether it is real."""

    page: int
    kind: str
    text: str
    before: str
    after: str
    leak: bool


def written_pages(count: int, seed: int) -> list[tuple[str, list[Line], list[Region]]]:
    """Held-out pages as texts: the locale, lines and planted regions of each."""
    pages, locales, names = [], LATIN + CHINESE, list(held_out_pages.TEMPLATES)
    for index in range(count):
        locale = locales[index % len(locales)]
        draws = Draws(seed * 1_000_003 + index, "parrot")
        sheet = held_out_pages.TEMPLATES[names[index // len(locales) % len(names)]](draws, locale)
        pages.append((locale, sheet.lines, sheet.regions))
    return pages


def released(count: int, seed: int, share: float) -> tuple[list[Value], list[tuple[int, str]]]:
    """Every value as it is after anonymisation, a share of them as they were; and words that are nobody's, by page."""
    random, values, words = np.random.default_rng(seed), [], []
    for number, (_, lines, regions) in enumerate(written_pages(count, seed)):
        fictions = Fictions(random.bytes(KEY_BYTES), language_of(" ".join(line.text for line in lines)))
        for line in lines:
            spans = sorted(s for region in regions if (s := span_of(line, region)))
            rest = line.text
            for first, last, kind in reversed(spans):
                if kind not in KINDS:
                    continue
                real = lifelike(kind, line.text[first:last], random)
                leak = bool(random.random() < share)
                text = real if leak else fictions.of(kind, line.text[first:last])
                values.append(Value(number, kind, text, line.text[:first], line.text[last:], leak))
                rest = rest[:first] + " " + rest[last:]
            words += [(number, piece) for piece in re.findall(r"\S+(?: \S+)?", rest)]
    return values, words


def span_of(line: Line, region: Region) -> tuple[int, int, str] | None:
    """The characters of a line whose middles lie in a region."""
    inked = [i for i, c in enumerate(line.text) if not c.isspace()]
    inside = []
    for i, char in zip(inked, line.chars, strict=True):
        x, y = (sum(p[k] for p in char.quad) / 4 for k in (0, 1))
        if region.box.x0 <= x <= region.box.x1 and region.box.y0 <= y <= region.box.y1:
            inside.append(i)
    return (inside[0], inside[-1] + 1, region.kind) if inside else None


def lifelike(kind: str, text: str, random: np.random.Generator) -> str:
    """Faker's mail and web addresses are at reserved names; a real page's are not."""
    if kind not in ("email", "url"):
        return text
    return re.sub(r"example\.(?:com|org|net)", lambda _: PROVIDERS[random.integers(len(PROVIDERS))], text)


def features(kind: str, text: str, before: str, after: str, checks: bool) -> list[int]:
    """Hashed n-grams of a value, its shape, its kind and length, and words around it."""
    low = f"^{text}$"
    shape = re.sub(r"\d", "0", re.sub(r"[a-zà-ÿ]+", "a", re.sub(r"[A-ZÀ-Þ]", "A", text)))
    found = [f"n{low[i : i + n]}" for n in (1, 2, 3, 4) for i in range(len(low) - n + 1)]
    found += [f"w{w}" for w in text.casefold().split()] + [f"s{shape}", f"k{kind}", f"l{kind}{len(text)}"]
    found += [f"b{w}" for w in before.split()[-3:]] + [f"a{w}" for w in after.split()[:3]]
    if checks:
        found += [f"c{kind}{each}" for each in checked(kind, text)]
    return [zlib.crc32(each.encode()) % WIDTH for each in set(found)]


def checked(kind: str, text: str) -> list[str]:
    """What an attacker who has read the documentation asks of a value."""
    digits = re.sub(r"\D", "", text)
    found = [f"reserved{bool(re.search(r'example', text))}"] if kind in ("email", "url") else []
    if kind == "card":
        found.append(f"luhn{luhn.is_valid(digits)}")
    if kind == "iban":
        found.append(f"mod97{iban.is_valid(text)}")
    return found


def logistic(rows: Sequence[Sequence[int]], marks: Sequence[bool], weigh: float) -> Callable[[Sequence[int]], float]:
    """Logistic regression with an L2 penalty, by L-BFGS; rare positives weigh as much as the rest together."""
    flat = torch.tensor([i for row in rows for i in row])
    starts = torch.tensor(np.cumsum([0, *(len(row) for row in rows[:-1])]))
    wanted = torch.tensor(marks, dtype=torch.float32)
    balance = torch.where(wanted > 0, (1 - wanted.mean()) / wanted.mean().clamp(min=1e-6), torch.tensor(1.0))
    theta = torch.zeros(WIDTH + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        scores = torch.nn.functional.embedding_bag(flat, theta[:WIDTH, None], starts, mode="sum")[:, 0] + theta[WIDTH]
        each = torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        value = (each * balance).mean() + weigh * theta.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    known = theta.detach().numpy()
    return lambda row: float(known[list(row)].sum() + known[WIDTH])


def parrot(count: int, seed: int, shares: Sequence[float]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    print("\nparrot attack: precision at finding real leaks, among as many values as leaked in the second half")
    print(f"{'leaked':>7} {'attacker':9} {'kinds':36} {'values':>7} {'leaks':>6} {'precision':>9} {'surest tenth':>12}")
    for share in shares:
        values, words = released(count, seed, share)
        first, second = ([v for v in values if (v.page % 2 == 1) == half] for half in (False, True))
        for attacker in ("parrot", "told", "checks"):
            score = _attacker(attacker, first, [w for page, w in words if page % 2 == 0])
            ranked = sorted(second, key=score, reverse=True)
            for name, kinds in (
                ("that hide: names, places, dates, ...", set(KINDS) - set(TELLING)),
                ("that cannot: reserved, check digits", set(TELLING)),
                ("all", set(KINDS)),
            ):
                mine = [v for v in ranked if v.kind in kinds]
                leaks = sum(v.leak for v in mine)
                hits = sum(v.leak for v in mine[:leaks]) / max(leaks, 1)
                sure = mine[: max(1, leaks // 10)]
                print(
                    f"{share:7.2f} {attacker:9} {name:36} {len(mine):7} {leaks:6} {hits:9.3f} "
                    f"{sum(v.leak for v in sure) / len(sure):12.3f}"
                )
                found[f"{share} {attacker} {name}"] = {"values": len(mine), "leaks": leaks, "precision": hits}
            if attacker == "told" and share == shares[0]:
                by_kind = _by_kind(ranked)
                print("        told, by kind: " + ", ".join(f"{k} {p:.2f}/{n}" for k, (p, n) in by_kind.items()))
                found["by kind"] = by_kind
    print("        filled pages: every value that can be seen is real: precision 1")
    return found


def _attacker(name: str, marked: Sequence[Value], words: Sequence[str]) -> Callable[[Value], float]:
    checks = name == "checks"
    rows = [features(v.kind, v.text, v.before, v.after, checks) for v in marked]
    if name == "parrot":
        rows = [features("", v.text, v.before, v.after, False) for v in marked]
        rows += [features("", word, "", "", False) for word in words]
        looks = logistic(rows, [True] * len(marked) + [False] * len(words), 1e-4)
        return lambda v: -looks(features("", v.text, v.before, v.after, False))
    real = logistic(rows, [v.leak for v in marked], 1e-4)
    return lambda v: real(features(v.kind, v.text, v.before, v.after, checks))


def _by_kind(ranked: Sequence[Value]) -> dict[str, tuple[float, int]]:
    kinds: dict[str, tuple[float, int]] = {}
    for kind in sorted({v.kind for v in ranked}):
        mine = [v for v in ranked if v.kind == kind]
        leaks = sum(v.leak for v in mine)
        if leaks:
            kinds[kind] = sum(v.leak for v in mine[:leaks]) / leaks, leaks
    return kinds
