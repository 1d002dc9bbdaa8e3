"""The detectors of a daemon, in one list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from privacy.detectors import (
    addresses,
    announced_values,
    birth_dates,
    cards,
    chinese_addresses,
    chinese_names,
    email,
    event_dates,
    full_names,
    iban,
    labelled_fields,
    long_numbers,
    mail_names,
    mrz,
    names,
    national_ids,
    people,
    phone,
    plates,
    records,
    strict,
    tax_numbers,
    urls,
    vehicles,
)
from privacy.detectors.codes import CodeDetector
from privacy.detectors.faces import FaceDetector
from privacy.detectors.interface import Detector, Rule, TextDetector
from privacy.detectors.leftovers import LeftoverDetector
from privacy.detectors.tables import TableDetector
from privacy.detectors.unread import UnreadDetector


def rules(half: bool = False) -> tuple[Rule, ...]:
    """Every rule. With `half`, the lists of names and towns lack what held-out pages are drawn from."""
    return (*_RULES, full_names.rule(half), addresses.rule(half))


_RULES: tuple[Rule, ...] = (
    email.RULE,
    phone.RULE,
    iban.RULE,
    cards.RULE,
    national_ids.RULE,
    birth_dates.RULE,
    mrz.RULE,
    labelled_fields.RULE,
    names.RULE,
    urls.RULE,
    records.RULE,
    tax_numbers.RULE,
    plates.RULE,
    vehicles.RULE,
    event_dates.RULE,
    chinese_names.RULE,
    chinese_addresses.RULE,
    announced_values.RULE,
    long_numbers.RULE,
    people.RULE,
    mail_names.RULE,
)
RULES = rules()
NAMES: tuple[str, ...] = (
    *(rule.name for rule in RULES), TableDetector.name, LeftoverDetector.name,
    FaceDetector.name, CodeDetector.name, UnreadDetector.name,
)  # fmt: skip


def strict_rule(half: bool = False) -> Rule:
    """What the policy `strict` removes besides."""
    return strict.rule(half)


def default_detectors(
    face_model: Path, threads: int = 1, without: Collection[str] = (), half: bool = False
) -> list[Detector]:
    """Every detector there is, but for those an operator switched off by name.

    Raises:
        FileNotFoundError: the face detector's weights are not at `face_model`.
        ValueError: a name in `without` is no detector's.
    """
    unknown = sorted(set(without) - set(NAMES))
    if unknown:
        raise ValueError(f"No such detector: {', '.join(unknown)}. There are {', '.join(NAMES)}.")
    return detectors([r for r in rules(half) if r.name not in without], face_model, threads, lambda n: n not in without)


def detectors(
    text_rules: Sequence[Rule], face_model: Path, threads: int, wanted: Callable[[str], bool]
) -> list[Detector]:
    """The rules as detectors, and those that look at pixels or at tables, as far as they are wanted.

    Raises:
        FileNotFoundError: the face detector's weights are not at `face_model`.
    """
    found: list[Detector] = [TextDetector(rule) for rule in text_rules]
    if wanted(TableDetector.name):
        found.append(TableDetector())
    if wanted(LeftoverDetector.name):
        found.append(LeftoverDetector())
    if wanted(FaceDetector.name):
        found.append(FaceDetector(face_model, threads))
    if wanted(CodeDetector.name):
        found.append(CodeDetector())
    if wanted(UnreadDetector.name):
        found.append(UnreadDetector())
    return found


def versions(at_work: Sequence[Detector]) -> dict[str, str]:
    """Name to version: what a receipt says about how its page was anonymised."""
    return {detector.name: detector.version for detector in at_work}
