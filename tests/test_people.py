"""Names of common words, and names in no list, found by what stands around them; headings and firms are kept."""

import numpy as np
import pytest

from privacy.detectors import full_names, mail_names, people
from privacy.detectors.interface import TextDetector
from privacy.detectors.registry import RULES
from privacy.page import Line

TOLD = [
    ("Prepared by Grace King", ["Grace King"]),
    ("PreparedbyGrace King", ["Grace King"]),
    ("On behalf of Grace King", ["Grace King"]),
    ("c/o Grace King", ["Grace King"]),
    ("I, Grace King, declare that", ["Grace King"]),
    ("z. Hd. Rose Sommer", ["Rose Sommer"]),
    ("Je soussignée Claire Petit déclare", ["Claire Petit"]),
    ("Redatto da Franco Rossi", ["Franco Rossi"]),
    ("Ondergetekende Roos Bakker verklaart", ["Roos Bakker"]),
    ("niżej podpisany Jan Kowal", ["Jan Kowal"]),
    ("Witness: Grace King", ["Grace King"]),
    ("Driver: GRACE KING", ["GRACE KING"]),
    ("Kierowca: Jan Kowal", ["Jan Kowal"]),
    ("Grace King, born on 12 May", ["Grace King"]),
    ("Xylda King\t12.03.1980", ["Xylda King"]),
    ("Grace King (Tenant)", ["Grace King"]),
    ("Grace King - Senior Manager", ["Grace King"]),
    ("Grace King vs. Mark Stone", ["Grace King", "Mark Stone"]),
    ("Grace King\nund\nMark Stone", ["Grace King", "Mark Stone"]),
    ("met Grace P. King", ["Grace P. King"]),
    ("Grace King\n12 Baker Street", ["Grace King"]),
    ("Grace Vorthagen <someone@example.org>", ["Grace Vorthagen"]),
    ("Payment by Xylda King", ["Xylda King"]),
    ("between Xylda Vorthagen and Mark Stone", ["Xylda Vorthagen", "Mark Stone"]),
    ("Served by: Louis", ["Louis"]),
    ("Es bediente Sie: Louis", ["Louis"]),
    ("Thanks,\nGrace", ["Grace"]),
    ("Made with Grace King Telephone 0123", ["Grace King"]),
    ("and Grace King, residing at the mill", ["Grace King"]),
    ("Rose Sommer, wohnhaft in Ulm", ["Rose Sommer"]),
    ("Grace King, aged 54, was seen", ["Grace King"]),
    ("Jan Kowal (lat 54)", ["Jan Kowal"]),
    ("Rose Sommer, 54 Jahre, wurde gesehen", ["Rose Sommer"]),
    ("Rose Sommer, 54 Jahre alt", ["Rose Sommer"]),
    ("Booking for: Xylda King", ["Xylda King"]),
    ("my name is Grace King.", ["Grace King"]),
    ("Signed, Grace King", ["Grace King"]),
    ("Grace King (customer)", ["Grace King"]),
    ("The patient Xylda King was seen", ["Xylda King"]),
    ("Xylda King, 12 Baker Street", ["Xylda King"]),
]
KEPT = [
    "Prepared by Customer Service",
    "Prepared by Stone Partners",
    "Issued by The Council",
    "Payment by Credit Card",
    "Driver Licence Number",
    "CARTA DI CIRCOLAZIONE",
    "VEHICLE REGISTRATION",
    "Total Amount\n12.03.2024",
    "Came Into Being\t12.03.1980",
    "Patient Geburtsdatum 12.03.1980",
    "Delivery Note\nSecond Copy",
    "Served by: Till 4",
    "mit freundlichen Grüßen",
    "Witness: none",
    "Blue Ocean",
    "Patient Information Leaflet",
    "Guest Book",
    "Guest: Standard Double Room",
    "Cliente: Consumidor Final",
    "Good Cheddar, aged 12 months",
    "Town Hall, 12 Baker Street",
    "Valid 5 years",
    "Free Parking, 5 years",
    "Beef Cheeks, aged 28 days",
    "Booking for Christmas Dinner",
    "Delivered to Back Door",
    "MERCHANT COPY - CUSTOMER COPY",
]


@pytest.mark.parametrize(("text", "found"), TOLD)
def test_what_stands_around_a_name_tells_it(text, found):
    assert [text[s.start : s.end] for s in people.RULE.find(text)] == found


@pytest.mark.parametrize("text", KEPT)
def test_headings_firms_and_institutions_are_nobody(text):
    assert people.RULE.find(text) == []


def test_no_list_of_names_is_needed():
    """The lists without the held-out half know neither, and both words are common ones."""
    text = "Witness: Roger Wood"
    assert full_names.rule(half=True).find(text) == []
    assert people.RULE.find(text)


@pytest.mark.parametrize("mail", ["grace.king@example.org", "gking@example.org", "king.g@example.org"])
def test_a_mail_address_spells_a_name(mail):
    text = f"Grace King\nBlue Ocean\nwrite to {mail}"
    assert [text[s.start : s.end] for s in mail_names.RULE.find(text)] == ["Grace King"]


@pytest.mark.parametrize("mail", ["info@example.org", "king@example.org", "sales.office@example.org"])
def test_a_mail_address_of_common_words_spells_nobody(mail):
    assert mail_names.RULE.find(f"Sales Office King\nBlue Ocean\nwrite to {mail}".replace("Sales Office", "Our")) == []


def test_a_name_spelt_in_one_line_goes_in_another():
    lines = [_line("Grace King", 0), _line("Opening hours", 300), _line("grace.king@example.org", 600)]
    found = TextDetector(mail_names.RULE).find(np.full((800, 800, 3), 255, np.uint8), lines)
    assert [region.box.y0 for region in found] == [0]


def test_both_rules_are_at_work():
    assert {people.RULE, mail_names.RULE} <= set(RULES)


def _line(text: str, top: int) -> Line:
    return Line(text, ((0, top), (400, top), (400, top + 30), (0, top + 30)), 1.0, 1.0)
