"""Registration numbers as receipts print them; numbers of other things stay."""

import pytest

from privacy.detectors.tax_numbers import RULE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("GST ID : 004512378901", "004512378901"),
        ("GST REG NO: 004512378901", "004512378901"),
        ("GST ID. NO : 004512378901", "004512378901"),
        ("GST : 004512378901", "004512378901"),
        ("CO.REG : 412345-X", "412345-X"),
        ("SUNNY MART BHD (41234-X)", "41234-X"),
        ("COMPANY NO: 004512378-A", "004512378-A"),
        ("VATGB980780684", "GB980780684"),
    ],
)
def test_a_registration_number_is_found(text, value):
    assert value in [text[s.start : s.end].strip() for s in RULE.find(text)]


@pytest.mark.parametrize(
    "text", ["LOT 1851-A, JALAN 6", "ITEM 12345-A", "14-10-2017", "A-123456-B", "GST : 12.50", "GST 000123456789.00"]
)
def test_other_numbers_stay(text):
    assert RULE.find(text) == []
