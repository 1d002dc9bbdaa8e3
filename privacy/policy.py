"""What a deployment removes: every kind there is, all that is not publicly known, or its own choice.

- `balanced` removes what the detectors find.
- `strict` removes besides every word outside a public vocabulary and every number of four digits or more.
- `custom` removes the kinds it names, and nothing else.

`deny` and `rules` add to each of them, `allow` takes away: a phrase that is allowed stays wherever it stands whole.
Only what is read can be allowed, never a face, a code or ink that nobody read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy.detectors import registry
from privacy.detectors.interface import Detector, Rule, Span, TextDetector, moved, squeeze
from privacy.detectors.lookalikes import fold
from privacy.detectors.passages import passages
from privacy.page import Box, Image, Line, Region

POLICIES = ("balanced", "strict", "custom")
LONGEST_PATTERN = 500
SHORTEST_PHRASE = 2
INSIDE = 0.8  # of a region's area


@dataclass(frozen=True)
class CustomRule:
    """A pattern of a deployment's own: whatever matches is removed as `name`; a group called `value` narrows it."""

    name: str
    pattern: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", self.name) or self.name in registry.NAMES:
            taken = " (a detector has it)" if self.name in registry.NAMES else ""
            raise ValueError(f"Expected a rule's name of lower-case letters, digits and _, got {self.name!r}{taken}.")
        if not 0 < len(self.pattern) <= LONGEST_PATTERN:
            raise ValueError(f"Expected a pattern of 1 to {LONGEST_PATTERN} characters, got {len(self.pattern)}.")
        try:
            compiled = re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"Expected a regular expression, got {self.pattern!r}: {error}.") from error
        if compiled.search(""):
            raise ValueError(f"Expected a pattern that matches something, got {self.pattern!r}, which matches nothing.")

    def rule(self) -> Rule:
        """As the detectors have them."""
        compiled = re.compile(self.pattern)
        group = "value" if "value" in compiled.groupindex else 0

        def search(text: str) -> list[Span]:
            return [
                Span(*m.span(group), self.name, 0.9, "a rule of this deployment")
                for m in compiled.finditer(text)
                if m.end(group) > m.start(group) >= 0
            ]

        return Rule(self.name, "1", search)


@dataclass(frozen=True)
class Policy:
    """Validated on construction.

    Raises:
        ValueError: names the value that cannot be used and what was expected.
    """

    name: str = "balanced"
    off: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    allow: tuple[str, ...] = field(default=(), repr=False)
    deny: tuple[str, ...] = field(default=(), repr=False)
    rules: tuple[CustomRule, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise ValueError(f"Expected a policy among {', '.join(POLICIES)}, got {self.name!r}.")
        for what, names in (("off", self.off), ("kinds", self.kinds)):
            if unknown := sorted(set(names) - set(registry.NAMES)):
                raise ValueError(f"Expected detectors in {what} among {', '.join(registry.NAMES)}, got {unknown[0]!r}.")
        if bool(self.kinds) != (self.name == "custom"):
            needs = "names the kinds to remove" if self.name == "custom" else f"goes with custom, not {self.name}"
            raise ValueError(f"Expected kinds as the policy needs them: it {needs}, got {list(self.kinds)!r}.")
        if self.off and self.name != "balanced":
            raise ValueError(f"Expected off with the policy balanced only, got {list(self.off)!r} with {self.name}.")
        for what, phrases in (("allow", self.allow), ("deny", self.deny)):
            for phrase in phrases:
                if len(squeeze(phrase)[0]) < SHORTEST_PHRASE:
                    raise ValueError(f"Expected phrases of {SHORTEST_PHRASE} or more signs in {what}, got {phrase!r}.")
        if both := sorted(set(map(_key, self.allow)) & set(map(_key, self.deny))):
            raise ValueError(f"Expected phrases either in allow or in deny, got {both[0]!r} in both.")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError(f"Expected rules of different names, got {[rule.name for rule in self.rules]!r}.")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Policy:
        """From what a configuration holds: lists, and rules as tables of `name` and `pattern`."""
        rules = tuple(CustomRule(str(r["name"]), str(r["pattern"])) for r in given.get("rules", ()))
        texts = {key: tuple(map(str, given.get(key, ()))) for key in ("off", "kinds", "allow", "deny")}
        return cls(str(given.get("policy", "balanced")), rules=rules, **texts)

    def text_rules(self, half: bool = False) -> tuple[Rule, ...]:
        """The rules over text that this policy asks for; they fill pages and redact labels alike."""
        chosen = [rule for rule in registry.rules(half) if self.removes(rule.name)]
        if self.name == "strict":
            chosen.append(registry.strict_rule(half))
        chosen = [_allowing(rule, self.allow) for rule in chosen]
        if self.deny:
            chosen.append(Rule("deny", "1", lambda text: _occurrences(text, self.deny, "a phrase to remove")))
        return (*chosen, *(rule.rule() for rule in self.rules))

    def allowing(self, detectors: Sequence[Detector]) -> list[Detector]:
        """The detectors, of which those that find whole lines or words, by no rule, pass over what is allowed."""
        if not self.allow:
            return list(detectors)
        of_lines = [not d.pixels and not isinstance(d, TextDetector) for d in detectors]
        return [_Allowing(d, self.allow) if each else d for d, each in zip(detectors, of_lines, strict=True)]

    def removes(self, detector: str) -> bool:
        """Is a detector of this name at work?"""
        return detector in self.kinds if self.name == "custom" else detector not in self.off


def _allowing(rule: Rule, phrases: Sequence[str]) -> Rule:
    """The rule without the spans that lie inside an allowed phrase."""
    if not phrases:
        return rule

    def search(text: str) -> list[Span]:
        kept = _occurrences(text, phrases, "allowed")
        return [s for s in rule.search(text) if not any(k.start <= s.start and s.end <= k.end for k in kept)]

    return Rule(rule.name, f"{rule.version}+allow", search, rule.whole, rule.blocks)


@dataclass(frozen=True)
class _Allowing:
    """A detector without the regions that lie inside an allowed phrase."""

    detector: Detector
    phrases: tuple[str, ...] = field(repr=False)
    pixels: bool = False

    @property
    def name(self) -> str:
        return self.detector.name

    @property
    def version(self) -> str:
        return f"{self.detector.version}+allow"

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        kept = [
            Box.around(quad)
            for line in lines
            for span in _occurrences(fold(line.text), self.phrases, "allowed")
            for quad in passages([line])[0].quads(span.start, span.end)
        ]
        found = self.detector.find(image, lines)
        return [r for r in found if not any(r.box.intersect(box) >= INSIDE * r.box.area for box in kept)]


def _occurrences(text: str, phrases: Sequence[str], reason: str) -> list[Span]:
    """Where phrases stand in a folded text, in any case, with or without spaces, not inside a longer word."""
    squeezed, at = squeeze("".join(low if len(low := c.casefold()) == 1 else c for c in text))
    spans = []
    for phrase in phrases:
        for match in re.finditer(re.escape(_key(phrase)), squeezed):
            span = moved(Span(*match.span(), "deny", 0.99, reason), at)
            ends = text[: span.start][-1:], text[span.end :][:1]
            if not any(end.isalnum() and end.isascii() for end in ends):
                spans.append(span)
    return spans


def _key(phrase: str) -> str:
    return squeeze(fold(phrase).casefold())[0]
