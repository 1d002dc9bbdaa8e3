"""The pages that measure the anonymiser: the same every time, their parts apart, and the truth about their ink."""

from dataclasses import replace

import numpy as np
import pytest

from learners import fonts, yardstick
from learners.desk import _TUNING
from learners.draws import Draws
from learners.personas import LATIN
from learners.subjects import subject
from learners.travel import FORMATS, zone
from privacy.anonymise import EDGE, _shrunk, anonymise
from privacy.detectors import mrz, registry
from privacy.detectors.gazetteer import drawn, gazetteer, plain
from privacy.detectors.interface import TextDetector
from privacy.detectors.tables import TableDetector


def test_a_page_is_the_same_twice_and_its_items_have_ink():
    for part in yardstick.PARTS:
        for chinese in (False, True):
            one, again = (yardstick.page(part, 3, chinese) for _ in range(2))
            assert (one.image == again.image).all()
            assert one.items == again.items
            assert all(one.ink_of(item).any() for item in one.items)
            assert not (one.innocent() & one.ink_of(one.items[0])).any()


def test_what_is_covered_is_gone_and_what_is_not_is_not():
    page = yardstick.page("tuning", 6)
    item = page.items[0]
    assert page.covered(item, np.ones(page.ink.shape, bool)) == 1.0
    assert page.covered(item, np.zeros(page.ink.shape, bool)) == 0.0


def test_the_parts_share_no_template_and_no_latin_typeface():
    assert not set(yardstick.templates("tuning")) & set(yardstick.templates("held-out"))
    assert not set(fonts.HELD_OUT) & {*_TUNING, *fonts.PROPORTIONAL, *fonts.MONOSPACED}
    with pytest.raises(ValueError, match="'training'"):
        yardstick.templates("training")


def test_names_of_held_out_pages_are_in_no_list_they_are_measured_with():
    lists = gazetteer(half=True)
    for locale in LATIN:
        who = subject(Draws(5, "names"), locale, held_out=True).who
        for word in plain(f"{who.given} {who.surname}").replace("-", " ").split():
            if len(word) > 2:
                assert drawn(word)
                assert word not in lists.given | lists.surnames


@pytest.mark.parametrize("form", FORMATS)
def test_zones_are_found_by_their_check_digits(form):
    who = subject(Draws(9, "zone"), "de_DE", held_out=False).who
    lines = zone(Draws(9, form), who, form)
    assert {len(line) for line in lines} == {{"TD1": 30, "TD2": 36, "MRV-B": 36}.get(form, 44)}
    found = mrz.RULE.find("\n".join(lines))
    assert [span.kind for span in found if span.kind == "mrz"] == ["mrz"] * len(lines)
    assert max(span.confidence for span in found) > 0.9


def as_read(line):
    """The line with the allowance above and below that readers give it."""
    chars = tuple(replace(char, quad=_shrunk(char.quad, -EDGE)) for char in line.chars)
    return replace(line, quad=_shrunk(line.quad, -EDGE), chars=chars)


def recall(rules, pages):
    """Of text items, with a perfect reading: what rules alone can do, and fast."""
    detectors = [*(TextDetector(rule) for rule in rules), TableDetector()]
    found = []
    for page in pages:
        mask = anonymise(page.image, [[as_read(line) for line in page.lines]], detectors).mask
        found += [page.covered(i, mask) >= 0.95 for i in page.items if i.kind not in ("code", "signature")]
    return np.mean(found)


def test_rules_find_what_is_planted_and_fewer_rules_find_less():
    pages = [yardstick.page("tuning", index, chinese) for chinese in (False, True) for index in range(6, 22)]
    everything = registry.rules()
    assert recall(everything, pages) >= 0.98
    stand_ins = ("announced_value", "long_number", "person", "mail_name")  # which step in for some of the others
    shaped = [rule for rule in everything if rule.name not in stand_ins]
    for lost in ("full_name", "address", "record", "plate", "vehicle"):
        assert recall([rule for rule in shaped if rule.name != lost], pages[:16]) < recall(shaped, pages[:16])
