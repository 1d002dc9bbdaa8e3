"""Every kind of number that identifies somebody, as printed and as a reader gives it back without its spaces."""

import pytest

from privacy.detectors import announced_values, birth_dates, mrz, national_ids, records, vehicles
from privacy.detectors.registry import RULES

BARE = [  # shape, check digits or both are enough
    "219-09-9999",  # US
    "AB 12 34 56 C",  # GB, national insurance
    "943 476 5919",  # GB, health service
    "65 929 970 489",  # DE, tax identification
    "2 95 10 99 126 111 93",  # FR
    "RSSMRA85T10A562S",  # IT
    "12345678Z",  # ES
    "X1234567L",
    "44051401359",  # PL
    "1237 010180",  # AT
    "7523169263",  # BG
    "0101006500006",  # SI
    "850709-9805",  # SE
    "211062-5629",  # DK
    "131052-308T",  # FI
    "85.07.30-033.28",  # BE
    "756.9217.0769.85",  # CH
    "11010519491231002X",  # CN
    "110105 19491231 002X",
    "A123456(3)",  # HK
    "A123456789",  # TW
    "850101-14-5678",  # MY
    "2345 6789 0124",  # IN, Aadhaar
    "ABCPE1234F",  # IN, PAN
    "S1234567D",  # SG
    "900101-1234568",  # KR
]
LABELLED = [
    ("NHS No: {}", "943 476 5919"),
    ("Steuer-ID: {}", "65 929 970 489"),
    ("BSN: {}", "111222333"),
    ("NIF: {}", "123456789"),
    ("SSN: {}", "219099999"),
    ("NINO: {}", "AB 12 34 56 C"),
    ("身份证号码: {}", "110105194912310021"),
    ("HKID / Identity card no: {}", "A123456(3)"),
    ("身分證字號: {}", "A123456789"),
    ("MyKad: {}", "850101 14 5678"),
    ("Aadhaar: {}", "2345 6789 0124"),
    ("Passport No: {}", "C01X00T47"),
    ("Medical record no: {}", "K 3922663"),
    ("Case number: {}", "12 C 3456/24"),
    ("Aktenzeichen: {}", "AB-2024-00123"),
    ("就诊卡号: {}", "22396934"),
    ("住院编号: {}", "ZY 2024 0815"),
]


def found(text):
    """The characters, without spaces, that some rule takes."""
    covered = {i for rule in RULES for span in rule.find(text) for i in range(span.start, span.end)}
    return "".join(text[i] for i in sorted(covered) if text[i] != " ")


def signs(text):
    return "".join(c for c in text if c.isalnum())


@pytest.mark.parametrize("number", BARE)
def test_numbers_that_need_no_label(number):
    for text in (number, f"seen {number} today"):
        assert signs(number) in signs(found(text))


@pytest.mark.parametrize(("label", "number"), LABELLED)
def test_numbers_behind_their_label_with_and_without_spaces(label, number):
    for shown in (number, number.replace(" ", "")):
        for text in (
            label.format(shown),
            label.format(shown).replace(": ", ":"),
            label.format(shown).replace(": ", "\n"),
        ):
            assert signs(shown) in signs(found(text)), text


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Date of birth: 1Z.O3 l9B", "birth_date", "1Z.O3 l9B"),
        ("DOB\t12-O3/84.", "birth_date", "12-O3/84."),
        ("Geburtsdatum\n12 0319 84", "birth_date", "12 0319 84"),
        ("Kennzeichen: 8-A8 l2?4", "plate", "8-A8 l2?4"),
        ("Patient ID: ~4471/x?9", "national_id", "~4471/x?9"),
    ],
)
def test_a_label_is_enough_for_what_has_no_shape(text, kind, value):
    assert [(s.kind, text[s.start : s.end]) for s in announced_values.RULE.find(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "text", ["Card: 12.50 EUR", "Konto: 1.234,50", "Total: 4471 2210", "Phone: none", "GST ID: 000912345678"]
)
def test_amounts_and_other_labels_are_no_such_value(text):
    assert announced_values.RULE.find(text) == []


def test_a_date_long_ago_needs_no_label_and_a_recent_one_does():
    for text in ("12.03.1984", "1984-03-12", "3 février 1990", "1976年6月27日", "民國76年6月27日", "06/27/2003"):
        assert [text[s.start : s.end] for s in birth_dates.RULE.find(text)] == [text]
    for text in ("12.03.2024", "2024年6月", "19840312", "since 1984", "民國113年6月27日", "No 4/1984"):
        assert birth_dates.RULE.find(text) == []


def test_any_chinese_number_of_somebody_and_none_of_a_thing():
    assert [s.kind for s in records.RULE.find("体检编号：20240815")] == ["record"]
    for text in ("发票号码：12345678", "订单编号：2024081500", "编号 123456", "流水号: 883201"):
        assert records.RULE.find(text) == []


def test_a_vehicle_number_ends_in_digits():
    assert len(vehicles.RULE.find("WVWZZZ1JZXW000001")) == 1
    assert vehicles.RULE.find("BINF5356QTY300PCS") == []


@pytest.mark.parametrize(
    "zone",
    [
        ("I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"),
        ("I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"),
        ("P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"),
        ("V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L8988901C4XXX4009078F96121096ZE184226B<<<<<<"),
        ("V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "L8988901C4XXX4009078F9612109<<<<<<<<"),
    ],
    ids=["TD1", "TD2", "TD3", "MRV-A", "MRV-B"],
)
def test_zones_of_every_size_with_spaces_and_without(zone):
    for text in ("\n".join(zone), "\n".join(f"{line[:12]} {line[12:]}" for line in zone)):
        assert {s.kind for s in mrz.RULE.find(text)} == {"mrz"}
        assert signs(found(text)) == signs(text)


def test_every_scheme_with_check_digits_names_a_module_that_is_there():
    for scheme in (*national_ids._OF_DIGITS, *national_ids._OF_LETTERS):
        assert national_ids._passes(scheme.check, "no number") is False
