"""The rules one by one, on texts of several countries and on what must stay; faces and codes on planted ones."""

import cv2
import numpy as np
import pytest
import zxingcpp
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from models import weights
from privacy.detectors import (
    birth_dates,
    cards,
    codes,
    email,
    iban,
    labelled_fields,
    labels,
    long_numbers,
    lookalikes,
    mrz,
    names,
    national_ids,
    phone,
)
from privacy.detectors.codes import CodeDetector
from privacy.detectors.faces import FaceDetector, decode, network_input
from privacy.detectors.interface import Span, TextDetector
from privacy.detectors.passages import FILLED, Passage, passages
from privacy.detectors.pictures import pictures
from privacy.detectors.registry import NAMES, RULES, default_detectors, versions
from privacy.errors import BadPage
from privacy.page import Box, Line

MRZ = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"

# Rule, text, and what of it must be found: all of each value, and nothing else.
FOUND = [
    (email, "Contact john.smith@example.com for more", ["john.smith@example.com"]),
    (email, "E-mail:o'neil+x@mail.example.co.uk", ["o'neil+x@mail.example.co.uk"]),
    (email, "jane doe: jane . doe @ example . com", ["jane . doe @ example . com"]),
    (email, "max(a)example.de", ["max(a)example.de"]),
    (email, "anna®example.fr", ["anna®example.fr"]),
    (email, "kim＠example．com", ["kim＠example．com"]),
    (email, "john@examplecom", ["john@examplecom"]),
    (email, "邮箱:zhang.san@example.cn 电话", ["zhang.san@example.cn"]),
    (email, "a@example.org, b@example.org", ["a@example.org", "b@example.org"]),
    (phone, "Tel: 555 0199", ["555 0199"]),
    (phone, "Tel0123456789", ["0123456789"]),
    (phone, "Te1 0123456789", ["0123456789"]),
    (phone, "電話08 1234567", ["08 1234567"]),
    (phone, "Termin 01.02.24-12.30", []),
    (phone, "(22) 123 45 67", ["(22) 123 45 67"]),
    (phone, "电话 138****5678", ["138****5678"]),
    (long_numbers, "Case No. 2:24-cv-01234-ABC", ["2:24-cv-01234-ABC"]),
    (phone, "Call (555) 010-9999 now", ["(555) 010-9999"]),
    (phone, "555-010-9999 x123", ["555-010-9999 x123"]),
    (phone, "+44 20 7946 0958", ["+44 20 7946 0958"]),
    (phone, "0049 30 901820", ["0049 30 901820"]),
    (phone, "030/901820-12", ["030/901820-12"]),
    (phone, "06 12 34 56 78", ["06 12 34 56 78"]),
    (phone, "Tél. 06.12.34.56.78", ["06.12.34.56.78"]),
    (phone, "Tfno: 912.345.678", ["912.345.678"]),
    (phone, "Tel. 12.34.56.78", ["12.34.56.78"]),
    (phone, "TEL : 03 - 8079 0255", ["03 - 8079 0255"]),
    (phone, "012-345 6789", ["012-345 6789"]),
    (phone, "Telefoon (018)-6802929", ["(018)-6802929"]),
    (phone, "TEL: 03-41019864 / 016-2022293", ["03-41019864", "016-2022293"]),
    (phone, "电话：010-62345678", ["010-62345678"]),
    (phone, "手机13812345678", ["13812345678"]),
    (phone, "Mobile: O17-234 S678", ["O17-234 S678"]),
    (phone, "Tel. 555 0199 or 555 0123", ["555 0199", "555 0123"]),
    (iban, "DE89 3704 0044 0532 0130 00", ["DE89 3704 0044 0532 0130 00"]),
    (iban, "IBAN:DE89370400440532013000", ["DE89370400440532013000"]),
    (iban, "GB82 WEST 1234 5698 7654 32 thank you", ["GB82 WEST 1234 5698 7654 32"]),
    (iban, "DE89 3704 OO44 O532 0130 00", ["DE89 3704 OO44 O532 0130 00"]),
    (iban, "DE88 3704 0044 0532 0130 00", ["DE88 3704 0044 0532 0130 00"]),
    (iban, "FR1420041010050500013M02606", ["FR1420041010050500013M02606"]),
    (iban, "NL91ABNA0417164300.", ["NL91ABNA0417164300"]),
    (cards, "4111 1111 1111 1111", ["4111 1111 1111 1111"]),
    (cards, "card4111111111111111", ["4111111111111111"]),
    (cards, "4111111111111111 123", ["4111111111111111"]),
    (cards, "4111 1111 1l11 1112", ["4111 1111 1l11 1112"]),
    (cards, "3782 822463 10005", ["3782 822463 10005"]),
    (cards, "银行卡号 6222021234567890128", ["6222021234567890128"]),
    (national_ids, "Rijksregisternummer85.07.30-033.28", ["85.07.30-033.28"]),
    (national_ids, "SVNR1237010180", ["1237010180"]),
    (cards, "VISA ************1234", ["************1234"]),
    (cards, "5555-5555-5555-4444", ["5555-5555-5555-4444"]),
    (national_ids, "SSN 078-05-1120", ["078-05-1120"]),
    (national_ids, "身份证号码：11010519491231002X", ["11010519491231002X"]),
    (national_ids, "11010519491231OO2X", ["11010519491231OO2X"]),
    (national_ids, "AB 12 34 56 C", ["AB 12 34 56 C"]),
    (national_ids, "RSSMRA85T10A562S", ["RSSMRA85T10A562S"]),
    (national_ids, "DNI 12345678Z", ["12345678Z"]),
    (national_ids, "X1234567L", ["X1234567L"]),
    (national_ids, "PESEL: 44051401359", ["44051401359"]),
    (national_ids, "2 95 10 99 126 111 93", ["2 95 10 99 126 111 93"]),
    (national_ids, "390.533.447-05", ["390.533.447-05"]),
    (national_ids, "Aadhaar 2345 6789 0124", ["2345 6789 0124"]),
    (national_ids, "850101-14-5678", ["850101-14-5678"]),
    (national_ids, "A123456789", ["A123456789"]),
    (national_ids, "S1234567D", ["S1234567D"]),
    (national_ids, "900101-1234568", ["900101-1234568"]),
    (national_ids, "756.9217.0769.85", ["756.9217.0769.85"]),
    (national_ids, "Patient ID: MRN-004521", ["MRN-004521"]),
    (national_ids, "Passport No\nC01X00T47", ["C01X00T47"]),
    (national_ids, "Steuer-ID\t65 929 970 489", ["65 929 970 489"]),
    (birth_dates, "DOB: 12/03/1984", ["12/03/1984"]),
    (birth_dates, "Date of birth\n12 March 1984", ["12 March 1984"]),
    (birth_dates, "Dateofbirth12.03.1984", ["12.03.1984"]),
    (birth_dates, "Bom 1984-03-12", ["1984-03-12"]),
    (birth_dates, "D0B 12/O3/l984", ["12/O3/l984"]),
    (birth_dates, "Born in Paris on 12 March 1984", ["12 March 1984"]),
    (birth_dates, "Geburtsdatum: 12.03.84", ["12.03.84"]),
    (birth_dates, "née le 3 février 1990", ["3 février 1990"]),
    (birth_dates, "Fecha de nacimiento 7 de marzo de 1971", ["7 de marzo de 1971"]),
    (birth_dates, "出生日期 1984年3月12日", ["1984年3月12日"]),
    (birth_dates, "出生日期\n民國76年6月27日", ["民國76年6月27日"]),
    (birth_dates, "Date of birth (dd/mm/yyyy): 12031984", ["12031984"]),
    (mrz, MRZ, MRZ.split("\n")),
    (mrz, "P<UTOERIKSSON<<ANNA<MARIA<<<<<", ["P<UTOERIKSSON<<ANNA<MARIA<<<<<"]),
    (mrz, "P<UTO ERIKSSON<<ANNA< MARIA<<<<<<<", ["P<UTO ERIKSSON<<ANNA< MARIA<<<<<<<"]),
    (mrz, "IDD«FXLMM08573«««««««««««««««", ["IDD«FXLMM08573«««««««««««««««"]),
    (labelled_fields, "Name: John Smith", ["John Smith"]),
    (labelled_fields, "Narne: x\nName: John Smith DOB: 12/03/1984", ["John Smith"]),
    (labelled_fields, "Patient name John Smith", ["John Smith"]),
    (labelled_fields, "PT KEVIN WILSON", ["KEVIN WILSON"]),
    (labelled_fields, "Surname\nMüller", ["Müller"]),
    (labelled_fields, "NameJohn Smith", ["John Smith"]),
    (labelled_fields, "姓名 张三", ["张三"]),
    (labelled_fields, "姓名：李小龙 性别：男", ["李小龙"]),
    (labelled_fields, "Address: 12 High Street\nLondon\nPhone: 555 0199", ["12 High Street", "London"]),
    (labelled_fields, "地址：北京市朝阳区建国路1号", ["北京市朝阳区建国路1号"]),
    (labelled_fields, "Account no: 12345678", ["12345678"]),
    (labelled_fields, "Name: John Smith\nSigned, John Smith", ["John Smith", "John Smith"]),
    (names, "Mr. John Smith will call", ["John Smith"]),
    (names, "Dr Alice van der Berg", ["Alice van der Berg"]),
    (names, "Herr Müller", ["Müller"]),
    (names, "王小明先生", ["王小明"]),
    (names, "Dear Ms Jones,", ["Jones"]),
    (names, "尊敬的黎女士", ["黎"]),
    (names, "Mit freundlichen Grüßen\nMax Mustermann", ["Max Mustermann"]),
]

STAYS = [
    "Total 1,234,567.89",
    "TOTAL 12.50 EUR",
    "Subtotal 1.234,50",
    "2 @ 3.50 each",
    "5@1.20EA",
    "GST@6%",
    "Qty 300 pcs",
    "Qty 2 Price 5.00 Amount 10.00",
    "Invoice No: 0612345678",
    "Invoice No 1234567890123",
    "Order ID: 55123",
    "Terminal ID 30018842",
    "Receipt # 2024-000123",
    "SKU 0123456789012",
    "EAN 4006381333931",
    "LOT 4471 EXP 12/2026",
    "BATCH XR 8903 EXP 10/01/2026",
    "Date: 12/03/2024",
    "Date 2024-01-15 12:30",
    "12/03/2024 14:22:10",
    "Due date 01.02.2024",
    "发票号 12345678 日期 2024年1月15日",
    "合计 12.50",
    "2019 2020 2021 2022",
    "002/003",
    "10 - 20 - 30",
    "24.8 mm 58.5 mm 2700 mm",
    "Product name: Blue Widget",
    "Name of product: Widget",
    "THE RECIPIENT OF THE GOODS IS LIABLE",
    "Thank you for your visit",
    "Dear customer,",
    "Ship 25.05.29 Route 90 B Depot Basel 09",
    "SAMPLE 6909-42 TUBE 2",
    "if a << b then",
    "page 1/2 ref. A-2041 No. 77/B",
]


@pytest.mark.parametrize(("module", "text", "expected"), FOUND)
def test_a_rule_finds_the_whole_value_and_nothing_else(module, text, expected):
    spans = module.RULE.find(text)
    assert [text[span.start : span.end] for span in spans] == expected


@pytest.mark.parametrize("text", STAYS)
def test_no_rule_takes_what_is_not_personal(text):
    assert [(span.kind, text[span.start : span.end]) for rule in RULES for span in rule.find(text)] == []


def test_a_check_that_holds_makes_a_find_surer_and_is_not_needed():
    pairs = [
        (iban, "DE89 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        (cards, "4111 1111 1111 1111", "4111 1111 1111 1112"),
        (national_ids, "11010519491231002X", "110105194912310021"),
        (mrz, "L898902C36UTO7408122F1204159ZE184226B<<<<<10", "L898902C36UTO7408125F1204154ZE184226B<<<<<10"),
    ]
    for module, right, wrong in pairs:
        (sure,), (likely,) = module.RULE.find(right), module.RULE.find(wrong)
        assert sure.confidence > likely.confidence >= 0.7


def test_a_zone_makes_its_page_an_identity_document():
    text = f"IDENTITY CARD\nL898902C3\nEriksson\n12 AUG 1974\nAnna Maria\nvalid for travel\n{MRZ}"
    found = {text[span.start : span.end] for span in mrz.RULE.find(text)}
    assert found == {"L898902C3", "Eriksson", "12 AUG 1974", "Anna Maria", *MRZ.split("\n")}
    assert mrz.RULE.find(text.replace("<", " ").partition("\n")[2][:46]) == []


def test_a_number_of_letters_alone_is_personal_on_an_identity_document():
    text = "IDENTITY CARD\nNATIONALITY\nQWGXTXPCK"
    assert [text[span.start : span.end] for span in mrz.RULE.find(text)] == ["QWGXTXPCK"]
    assert mrz.RULE.find(text.partition("\n")[2]) == []


def test_lines_of_a_page_are_judged_together_where_a_rule_asks_for_it():
    lines = [
        line("12 AUG 1974", 0, 0),
        line("Eriksson", 0, 100),
        *(line(t, 0, 200 + 26 * i) for i, t in enumerate(MRZ.split())),
    ]
    regions = TextDetector(mrz.RULE).find(np.zeros((300, 500, 3), np.uint8), lines)
    assert {region.kind for region in regions} == {"mrz", "identity"}
    assert {region.box.y0 for region in regions} == {0, 100, 200, 226}


def test_folding_keeps_every_place():
    text = "Ｔｅｌ：　０１２—３４５ “a” ½ ﬁ «"
    assert len(lookalikes.fold(text)) == len(text)
    assert lookalikes.fold("Ｔｅｌ：０１２—３") == "Tel:012-3"
    assert lookalikes.digits("4O07 lOO7 SOLD BIKE12") == "4007 1007 SOLD BIKE12"


def test_labels_survive_what_readers_do_to_them():
    for text in ("Date of birth", "DATEOFBIRTH", "date 0f b1rth", "geburtsdatum", "né le", "ne le", "姓名", "Te1"):
        assert labels.ANY.match(text), text
    for text in ("Namesake", "TELEVISION", "filename", "mm"):
        assert not labels.ANY.match(text), text
    assert labels.is_label("Date of birth:")
    assert not labels.is_label("Date of birth: 1984")


def test_spans_refuse_nonsense():
    with pytest.raises(ValueError, match="start < end"):
        Span(3, 3, "email", 0.9, "r")
    with pytest.raises(ValueError, match="confidence"):
        Span(0, 3, "email", 1.5, "r")


def line(text: str, x: int, y: int, height: int = 20) -> Line:
    width = 10 * len(text)
    return Line(text, ((x, y), (x + width, y), (x + width, y + height), (x, y + height)), 0.9, 0.9)


def test_passages_join_lines_side_by_side_and_labels_with_what_is_below():
    lines = [line("Name", 0, 0), line("John Smith", 100, 2), line("DOB", 0, 40), line("12/03/1984", 0, 64)]
    texts = [passage.text for passage in passages(lines)]
    assert texts[:4] == ["Name", "John Smith", "DOB", "12/03/1984"]
    assert "Name\tJohn Smith" in texts
    assert "DOB\n12/03/1984" in texts
    assert not any(text.startswith("John Smith\n") for text in texts)


def test_a_table_of_labels_above_values_is_read_by_columns():
    lines = [line("Name", 0, 0), line("Phone", 200, 0), line("John Smith", 0, 26), line("555 0199", 200, 26)]
    found = TextDetector(labelled_fields.RULE).find(np.zeros((60, 400, 3), np.uint8), lines)
    assert {region.box.x0 for region in found} == {0}
    found = TextDetector(phone.RULE).find(np.zeros((60, 400, 3), np.uint8), lines)
    assert {region.box.x0 for region in found} == {200}


def test_a_label_whose_value_is_filled_takes_nothing_else():
    lines = [line("Name:", 0, 0), line(FILLED, 60, 0), line("Blue Widget", 0, 26)]
    assert TextDetector(labelled_fields.RULE).find(np.zeros((60, 400, 3), np.uint8), lines) == []


def test_a_span_maps_to_the_boxes_of_its_characters():
    (region,) = TextDetector(email.RULE).find(np.zeros((40, 400, 3), np.uint8), [line("to a@example.org now", 5, 4)])
    assert (region.kind, region.box.x0, region.box.x1) == ("email", 35, 165)


def test_a_passage_needs_a_place_for_each_character():
    with pytest.raises(ValueError, match="2 characters"):
        Passage("ab", (None,))


def test_regions_and_lines_do_not_show_their_text():
    hidden = line("a@example.org", 0, 0)
    regions = TextDetector(email.RULE).find(np.zeros((40, 400, 3), np.uint8), [hidden])
    assert "example" not in repr((hidden, regions, passages([hidden])))


# --- faces ---


@pytest.fixture(scope="module")
def face_model(weights_dir):
    return weights_dir / "centerface.onnx"


def planted(faces, shape=(24, 32)):
    """Maps in which the network saw `faces`: (row, column, height, width, score) in cells and pixels."""
    heat = np.zeros((1, 1, *shape), np.float32)
    sizes, offsets = np.zeros((1, 2, *shape), np.float32), np.zeros((1, 2, *shape), np.float32)
    for row, column, height, width, score in faces:
        heat[0, 0, row, column] = score
        sizes[0, :, row, column] = np.log(height / 4), np.log(width / 4)
    return heat, sizes, offsets


def test_planted_heat_becomes_boxes():
    ((x0, y0, x1, y1, score),) = decode(*planted([(10, 12, 40, 32, 0.9)]), threshold=0.3)
    assert np.allclose((x0, y0, x1, y1, score), (34, 22, 66, 62, 0.9), atol=1e-4)


def test_of_two_boxes_on_one_face_the_surer_stays():
    kept = decode(*planted([(10, 12, 40, 32, 0.7), (10, 13, 40, 32, 0.9), (20, 28, 16, 16, 0.5)]), threshold=0.3)
    assert np.allclose([box[4] for box in kept], [0.9, 0.5])
    assert decode(*planted([(10, 12, 40, 32, 0.2)]), threshold=0.3) == []


def test_the_network_sees_whole_strides_of_rgb():
    blob = network_input(np.full((33, 70, 3), (1, 2, 3), np.uint8), 1.0)
    assert blob.shape == (1, 3, 64, 96)
    assert blob[0, :, -1, -1].tolist() == [1, 2, 3]
    assert network_input(np.zeros((400, 800, 3), np.uint8), 0.5).shape == (1, 3, 224, 416)


def test_a_page_without_faces_has_none(face_model, draw_lines):
    detector = FaceDetector(face_model)
    for image, _ in draw_lines(3):
        assert detector.find(image, []) == []


def test_what_the_network_marks_is_a_region_on_the_page(face_model, monkeypatch):
    detector = FaceDetector(face_model)

    class Marked:
        def run(self, names, feed):
            height, width = feed["input.1"].shape[2:]
            return planted([(10, 12, 40, 32, 0.9)], (height // 4, width // 4))

    monkeypatch.setattr(detector, "_session", Marked())
    (region,) = detector.find(np.zeros((200, 300, 3), np.uint8), [])
    assert region.kind == "face"
    assert np.allclose(region.quad[0], (2 * (34 - 6.4), 2 * (22 - 8)), atol=1e-4)  # the page is looked at half as large


class Brightest:
    """A network that sees one face, 32 wide and 40 high, where what it is shown is brightest."""

    def __init__(self):
        self.looks = 0

    def run(self, names, feed):
        self.looks += 1
        view = feed["input.1"][0, 0]
        y, x = np.unravel_index(view.argmax(), view.shape)
        return planted([(int(y) // 4, int(x) // 4, 40, 32, 0.9)], (view.shape[0] // 4, view.shape[1] // 4))


def test_a_picture_is_looked_at_in_full_in_four_rotations_and_each_face_is_where_it_is(face_model, monkeypatch):
    detector = FaceDetector(face_model)
    image = np.full((600, 800, 3), 240, np.uint8)
    image[200:360, 300:500] = np.random.default_rng(0).integers(20, 120, (160, 200, 1), dtype=np.uint8)
    image[260:268, 380:388] = 255
    monkeypatch.setattr(detector, "_session", Brightest())
    found = detector.find(image, [])
    assert len(found) == 5
    assert len([face for face in found if face.box.area < 4_000]) == 4  # the fifth is the page's, at half the size
    for face in found:
        assert abs((face.box.x0 + face.box.x1) / 2 - 384) < 8
        assert abs((face.box.y0 + face.box.y1) / 2 - 264) < 8
    assert len({face.box.x1 - face.box.x0 > face.box.y1 - face.box.y0 for face in found}) == 2  # it lies on its side


def test_print_is_no_picture():
    image = np.full((600, 800, 3), 240, np.uint8)
    for y in range(40, 600, 40):
        cv2.putText(image, "nothing but words on paper", (30, y), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20), 2)
    assert pictures(image) == []
    image[200:360, 300:500] = np.random.default_rng(0).integers(20, 120, (160, 200, 1), dtype=np.uint8)
    (box,) = pictures(image)
    assert box.intersect(Box(300, 200, 500, 360)) == 200 * 160
    assert box.area < 4 * 200 * 160


# --- codes ---

FORMATS = [
    (zxingcpp.BarcodeFormat.QRCode, "https://example.org/patient/123456"),
    (zxingcpp.BarcodeFormat.DataMatrix, "https://example.org/p/123456"),
    (zxingcpp.BarcodeFormat.Aztec, "https://example.org/p/123456"),
    (zxingcpp.BarcodeFormat.PDF417, "Smith John 1984"),
    (zxingcpp.BarcodeFormat.Code128, "AB12345678"),
    (zxingcpp.BarcodeFormat.EAN13, "4006381333931"),
]


def text_page() -> np.ndarray:
    page = Pillow.new("RGB", (500, 400), "white")
    draw = ImageDraw.Draw(page)
    for i in range(12):
        draw.text((10, 10 + 32 * i), "Invoice of the goods received", font=ImageFont.load_default(18), fill="black")
    return np.asarray(page).copy()


@pytest.mark.parametrize(("kind", "text"), FORMATS, ids=lambda value: str(value).replace(" ", ""))
@pytest.mark.parametrize("turns", [0, 1])
def test_a_code_is_found_with_all_of_its_ink(kind, text, turns):
    page = text_page()
    code = np.array(zxingcpp.create_barcode(text, kind).to_image(scale=2))
    code = np.rot90(np.repeat(code, max(1, -(-60 // code.shape[0])), axis=0), turns)
    height, width = code.shape
    page[20 : 20 + height, 40 : 40 + width] = code[..., None]
    covered = np.zeros(page.shape[:2], bool)
    for region in CodeDetector().find(page, []):
        box = region.box
        covered[max(box.y0, 0) : box.y1, max(box.x0, 0) : box.x1] = True
    ink = np.zeros(page.shape[:2], bool)
    ink[20 : 20 + height, 40 : 40 + width] = code < 128
    assert covered[ink].mean() > 0.98
    assert covered.mean() < 1.6 * height * width / covered.size


def test_a_code_that_cannot_be_decoded_is_known_by_its_texture():
    page = text_page()
    code = np.array(zxingcpp.create_barcode("https://example.org/p/123456", FORMATS[0][0]).to_image(scale=3))
    code[np.random.default_rng(0).random(code.shape) < 0.1] ^= 255
    assert zxingcpp.read_barcodes(code) == []
    page[20 : 20 + len(code), 40 : 40 + len(code)] = code[..., None]
    found = CodeDetector().find(page, [])
    assert found
    assert {region.reason for region in found} <= {"texture of a code", "located, not decoded"}
    assert all(region.confidence < 0.9 for region in found)


def blurred(kind, text: str, scale: int) -> tuple[np.ndarray, Box]:
    """A page with a code that zxing-cpp does not decode, and where the code is."""
    page = text_page()
    page[100:300, 30:] = 255
    code = np.array(zxingcpp.create_barcode(text, kind).to_image(scale=scale, add_quiet_zones=False))
    code = np.repeat(code, 60 if len(code) == 1 else 1, axis=0)
    height, width = code.shape
    page[120 : 120 + height, 60 : 60 + width] = code[..., None]
    page = cv2.GaussianBlur(page, (0, 0), 0.9 * scale)
    assert zxingcpp.read_barcodes(page) == []
    return page, Box(60, 120, 60 + width, 120 + height)


@pytest.mark.parametrize("name", ["QRCode", "DataMatrix", "Aztec", "Code128"])
def test_a_blurred_code_is_found_whole(name, monkeypatch):
    page, box = blurred(getattr(zxingcpp.BarcodeFormat, name), "AB1234567890", 2 if name == "Code128" else 4)

    def found():
        return any(r.box.intersect(box) >= 0.95 * box.area for r in CodeDetector().find(page, []))

    assert found()
    monkeypatch.setattr(codes, "FEWEST", 99.0)  # mutants: modules are not known, nor rows of stacked bars, nor bars
    monkeypatch.setattr(codes, "ROW", 99.0)
    monkeypatch.setattr(codes, "ROW_OF_BARS", 99.0)
    monkeypatch.setattr(codes, "BARS", 99)
    monkeypatch.setattr(codes, "bullseyes", lambda gray: [])
    assert not found()


def test_what_is_read_is_no_code_but_for_one_character(monkeypatch):
    page, box = blurred(zxingcpp.BarcodeFormat.DataMatrix, "AB1234567890", 4)
    quad = ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1))
    assert CodeDetector().find(page, [Line("回", quad, 0.99, 0.99)])
    assert CodeDetector().find(page, [Line("Inn", quad, 0.6, 0.6)])
    assert not CodeDetector().find(page, [Line("Inn", quad, 0.99, 0.99)])
    monkeypatch.setattr(codes, "READ", 2.0)  # mutant: what is read counts for nothing
    assert CodeDetector().find(page, [Line("Inn", quad, 0.99, 0.99)])


def laid_on_lines(kind, text: str, scale: int, turns: int) -> tuple[np.ndarray, Box, list[Line]]:
    """A page with a code on its lines of text that zxing-cpp does not decode, where it is, and the lines."""
    clear = np.rot90(np.array(zxingcpp.create_barcode(text, kind).to_image(scale=scale)), turns).copy()
    for strength in range(3, 12):
        page, code = text_page(), cv2.GaussianBlur(clear, (0, 0), 0.15 * strength * scale)
        page[40 : 40 + code.shape[0], 60 : 60 + code.shape[1]] = code[..., None]
        if not zxingcpp.read_barcodes(page):
            break
    assert zxingcpp.read_barcodes(page) == []
    tops = range(8, 8 + 12 * 32, 32)
    lines = [Line("Invoice of the", ((8, y), (260, y), (260, y + 24), (8, y + 24)), 0.99, 0.99) for y in tops]
    rows, columns = np.nonzero(clear < 128)
    at = 60 + int(columns.min()), 40 + int(rows.min()), 61 + int(columns.max()), 41 + int(rows.max())
    return page, Box(*at), lines


@pytest.mark.parametrize("scale", [2, 4])
def test_the_middle_of_an_aztec_code_tells_it_where_lines_were_read(scale, monkeypatch):
    page, box, lines = laid_on_lines(zxingcpp.BarcodeFormat.Aztec, "AB1234567890", scale, 0)
    monkeypatch.setattr(codes, "_textured", lambda gray, ink: [])

    def found():
        return any(r.box.intersect(box) >= 0.95 * box.area for r in CodeDetector().find(page, lines))

    assert found()
    monkeypatch.setattr(codes, "bullseyes", lambda gray: [])  # mutant
    assert not found()


def test_a_large_code_across_lines_is_no_text_of_theirs(monkeypatch):
    page, box, lines = laid_on_lines(zxingcpp.BarcodeFormat.PDF417, "Smith John 1984", 2, 1)

    def found():
        return any(r.box.intersect(box) >= 0.8 * box.area for r in CodeDetector().find(page, lines))

    assert found()
    monkeypatch.setattr(codes, "MASSIVE", 2.0)  # mutant: whatever lies in lines is text
    assert not found()


@pytest.mark.parametrize("box", [Box(0, -9, 200, -1), Box(10, 500, 300, 560), Box(10, -4, 300, 30)])
def test_a_code_that_is_said_to_lie_beyond_the_page_does_no_harm(box):
    page = cv2.cvtColor(text_page(), cv2.COLOR_RGB2GRAY)
    with np.errstate(all="raise"):
        assert codes._along_rows(page, box).intersect(box) == box.area


def test_text_is_no_code(draw_lines):
    assert CodeDetector().find(text_page(), []) == []
    for image, _ in draw_lines(5):
        assert CodeDetector().find(image, []) == []


# --- registry ---


def test_the_registry_builds_every_detector_once(face_model):
    detectors = default_detectors(face_model)
    assert tuple(detector.name for detector in detectors) == NAMES
    assert len(set(NAMES)) == len(NAMES)
    assert versions(detectors).keys() == set(NAMES)
    assert [d.name for d in default_detectors(face_model, without=["phone"])] == [n for n in NAMES if n != "phone"]


def test_the_registry_refuses_what_it_does_not_know(face_model, tmp_path):
    with pytest.raises(ValueError, match="No such detector: plates"):
        default_detectors(face_model, without=["plates"])
    with pytest.raises(FileNotFoundError, match="missing"):
        default_detectors(tmp_path / "none.onnx")
    default_detectors(tmp_path / "none.onnx", without=["face"])


@pytest.mark.parametrize("bad", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), None])
def test_detectors_of_pixels_refuse_what_is_no_page(bad, face_model):
    for detector in (CodeDetector(), FaceDetector(face_model)):
        with pytest.raises(BadPage, match=r"\(H, W, 3\) uint8"):
            detector.find(bad, [])


def test_the_weights_folder_has_what_the_detectors_need(weights_dir):
    weights.verify(weights_dir)
    assert (weights_dir / "centerface.onnx").is_file()


def test_a_label_that_goes_on_behind_the_end_parts_what_stands_before_it():
    text = "Anna Becker Date of Birth and so on " + 40 * "x"
    assert labels.parted(text, 0, 14) == [(0, 11)]
