"""Addresses on the web: with a scheme, with "www", or a known ending and a path. They name people and accounts."""

from __future__ import annotations

import re

from privacy.detectors.email import TOP
from privacy.detectors.interface import Rule, Span

KIND = "url"
_REST = r"[\w\-.~:/?#@!$&*+,;=%()]*[\w/~]"
_PATTERNS = tuple(
    (re.compile(pattern, re.ASCII | re.IGNORECASE), confidence, reason)
    for pattern, confidence, reason in (
        (rf"(?<!\w)h[t1il]{{1,2}}ps? ?[:;.] ?[/il|1]{{1,2}} ?/? ?{_REST}(?: ?[./] ?[\w\-~]+)*", 0.95, "a scheme"),
        (rf"(?<!\w)(?:w{{3}}|vv{{1,2}}w|ww) ?[.,] ?{_REST}(?: [.] ?[\w\-]+)*", 0.95, "www"),
        (rf"(?<![\w@.])[\w\-]+(?:\.[\w\-]+)*\.(?:{TOP})/{_REST}", 0.9, "a domain and a path"),
        (r"(?<!\w)(?:linkedin|facebook|instagram|twitter|tiktok|weibo|github|x)\.?com/? ?[\w\-./]+", 0.9, "a network"),
        (r"(?<![\w@.\-])[a-z][\w\-]{2,}(?:\.[a-z][\w\-]+)*\.(?:com|org|net|info|biz|eu|de|fr|nl|pl|cn|tw)"
         r"(?![\w.])", 0.6, "a domain"),
    )
)  # fmt: skip


def search(text: str) -> list[Span]:
    """Spans of web addresses in a folded text."""
    return [
        Span(*match.span(), KIND, confidence, reason)
        for pattern, confidence, reason in _PATTERNS
        for match in pattern.finditer(text)
    ]


RULE = Rule("url", "1", search)
