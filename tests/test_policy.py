"""What a deployment removes: the policies on texts, and settings that are refused with their value named."""

import numpy as np
import pytest

from daemon import config
from daemon.errors import BadSetting
from privacy.anonymise import redact_text
from privacy.detectors import registry
from privacy.detectors.interface import TextDetector
from privacy.detectors.leftovers import LeftoverDetector
from privacy.detectors.passages import FILLED
from privacy.detectors.registry import RULES
from privacy.detectors.tables import TableDetector
from privacy.page import Char, Line
from privacy.policy import CustomRule, Policy

TEXT = "the Umbrellux: call 030 1234567\nmail kim@example.org\nXylthorp 77, total 123"


def line(text, x, y):
    """Ten pixels a character."""

    def quad(left, right):
        return (left, y), (right, y), (right, y + 20), (left, y + 20)

    chars = [Char(c, quad(x + 10 * i, x + 10 * i + 10), 1.0) for i, c in enumerate(text) if c != " "]
    return Line(text, quad(x, x + 10 * len(text)), 1.0, 1.0, tuple(chars))


def redacted(policy, text=TEXT):
    return redact_text(text, policy.text_rules())[0]


def test_balanced_removes_what_the_detectors_find_and_strict_what_nobody_knows():
    assert redacted(Policy()) == "the Umbrellux: call [PHONE]\nmail [EMAIL]\nXylthorp 77, total 123"
    strict = redacted(Policy("strict"))
    assert "Umbrellux" not in strict
    assert "Xylthorp" not in strict
    assert "total 123" in strict
    assert redacted(Policy("strict"), "amount 1234 of 2026-01-07") == "amount [UNKNOWN] of [UNKNOWN]"


def test_strict_knows_common_words_of_several_languages_and_no_names_among_them():
    for known in ("the total amount of your order", "Betrag der Rechnung", "le montant total", "合计金额", "合計金額"):
        assert redacted(Policy("strict"), known) == known
    assert redacted(Policy("strict"), "paid by Mark") == "paid by [UNKNOWN]"


def test_custom_removes_the_kinds_it_names_and_no_others():
    assert "kim@example.org" in redacted(Policy("custom", kinds=("phone",)))
    assert "[PHONE]" in redacted(Policy("custom", kinds=("phone",)))
    assert Policy("custom", kinds=("phone",)).removes("face") is False
    assert Policy(off=("face",)).removes("face") is False


def test_what_is_allowed_stays_where_it_stands_whole():
    policy = Policy(allow=("030 1234567", "info@example.org"))
    assert "030 1234567" in redacted(policy)
    assert redacted(policy, "Tel. 0301234567") == "Tel. 0301234567"
    assert redacted(policy, "call 030 1234567-89") == "call [PHONE]"
    assert "[EMAIL]" in redacted(policy)


def test_what_is_denied_goes_in_any_case_and_spacing():
    policy = Policy(deny=("Project Zebra",))
    assert redacted(policy, "the PROJECT zebra and ProjectZebra") == "the [DENY] and [DENY]"
    assert redacted(policy, "ProjectZebras stay") == "ProjectZebras stay"


def test_a_rule_of_ones_own():
    policy = Policy(rules=(CustomRule("ward", r"Ward (?P<value>[A-F]\d)"),))
    assert redacted(policy, "Ward B7, bed 3") == "Ward [WARD], bed 3"


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('policy = "lax"', "'lax'"),
        ('off = ["smell"]', "'smell'"),
        ('policy = "custom"', "names the kinds to remove"),
        ('kinds = ["phone"]', "goes with custom"),
        ('policy = "strict"\noff = ["phone"]', "['phone'] with strict"),
        ('allow = ["a"]', "'a'"),
        ('allow = ["same here"]\ndeny = ["SameHere"]', "'samehere' in both"),
        ('rules = [{ name = "x", pattern = "(" }]', "'('"),
        ('rules = [{ name = "x", pattern = "a*" }]', "'a*', which matches nothing"),
        ('rules = [{ name = "phone", pattern = "a" }]', "'phone' (a detector has it)"),
        ('rules = [{ name = "x" }]', "{'name': 'x'}"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(tmp_path, table, named):
    (tmp_path / "ocrd.toml").write_text(f"[anonymise]\n{table}\n")
    with pytest.raises(BadSetting) as caught:
        config.load(tmp_path)
    assert named in str(caught.value)


def test_settings_reach_the_policy(tmp_path):
    (tmp_path / "ocrd.toml").write_text(
        '[anonymise]\npolicy = "strict"\nallow = ["Example Clinic"]\nrules = [{ name = "ward", pattern = "W\\\\d" }]\n'
    )
    policy = Policy.of(config.load(tmp_path).anonymise.model_dump())
    assert (policy.name, policy.allow, policy.rules) == ("strict", ("Example Clinic",), (CustomRule("ward", "W\\d"),))


def test_what_is_allowed_stays_under_a_heading_and_beside_a_fill():
    """Mutant: without `allowing` these detectors, which go by no rule, take it."""
    image = np.full((120, 600, 3), 250, np.uint8)
    table = [line("Name", 0, 0), line("Phone", 300, 0), line("Xyzzy Clinic", 0, 30), line("Kim Lee", 0, 60)]
    beside = [line(FILLED, 0, 90), line("Xyzzy", 14, 90)]
    found = [TableDetector(), LeftoverDetector()]
    for policy, names, words in ((Policy(), 2, 1), (Policy(allow=("Xyzzy Clinic", "Xyzzy")), 1, 0)):
        cells, rest = policy.allowing(found)
        assert len([r for r in cells.find(image, table) if r.kind == "name"]) == names
        assert len(rest.find(image, beside)) == words
    assert Policy(allow=("Xyzzy",)).allowing([TextDetector(RULES[0])]) == [TextDetector(RULES[0])]


def test_a_policy_shows_no_phrase():
    assert "Zebra" not in repr(Policy(deny=("Project Zebra",)))


def test_every_name_of_a_detector_is_one_kind_of_policy():
    for name in registry.NAMES:
        assert Policy("custom", kinds=(name,)).removes(name)
