"""Names and addresses without a label, and numbers that a label announces: found whole, and their neighbours kept."""

import numpy as np
import pytest

from privacy.detectors import (
    addresses,
    chinese_addresses,
    chinese_names,
    event_dates,
    full_names,
    interface,
    labels,
    names,
    plates,
    records,
    tax_numbers,
    urls,
    vehicles,
)
from privacy.detectors.interface import TextDetector
from privacy.detectors.passages import passages
from privacy.detectors.words import chinese_word, common, cut, simplified
from privacy.page import Line

FULL, STREET = full_names.rule(), addresses.rule()
FOUND = [
    (FULL, "Matthew Robinson", ["Matthew Robinson"]),
    (FULL, "met Anneliese Trubin yesterday", ["Anneliese Trubin"]),
    (FULL, "MatthewRobinson", ["MatthewRobinson"]),
    (FULL, "Lizzy de Haan", ["Lizzy de Haan"]),
    (FULL, "Xylda Vorthagen", ["Xylda Vorthagen"]),
    (FULL, "J. Robinson", ["J. Robinson"]),
    (FULL, "that Matthew Robinson's account was closed", ["Matthew Robinson's"]),
    (FULL, "Robinson, Matthew", ["Robinson, Matthew"]),
    (FULL, "Matthew Robinson, Robinson GmbH", ["Matthew Robinson"]),
    (FULL, "Matthew Robinson, Date of birth 01/02/1980", ["Matthew Robinson"]),
    (FULL, "Guten Tag Anneliese Trubin", ["Anneliese Trubin"]),
    (STREET, "Cameron, MH 35011, Date of admission 11/03/2024", ["Cameron, MH 35011"]),
    (STREET, "04 Cook Shores", ["04 Cook Shores"]),
    (STREET, "Schleichstraße 19\n48337 Lichtenfels", ["Schleichstraße 19", "48337 Lichtenfels"]),
    (STREET, "98, avenue Lucie Fernandes\n29750 Barbe", ["98, avenue Lucie Fernandes", "29750 Barbe"]),
    (STREET, "ul. Moniuszki 78/87\n51-655 Legnica", ["ul. Moniuszki 78/87", "51-655 Legnica"]),
    (STREET, "Via Roma, 12", ["Via Roma, 12"]),
    (STREET, "Calle Mayor 7", ["Calle Mayor 7"]),
    (STREET, "Port Maxfort S6G 2QE", ["Port Maxfort S6G 2QE"]),
    (STREET, "Kimberlyview, NJ 78456", ["Kimberlyview, NJ 78456"]),
    (STREET, "Sarastraat 9\nHasselt", ["Sarastraat 9", "Hasselt"]),
    (STREET, "Flat 02\nChristine mills\nHalton", ["Flat 02\nChristine mills", "Halton"]),
    (STREET, "12 HALE CAPE SUITE 4", ["12 HALE CAPE SUITE 4"]),
    (STREET, "HANNALAAN 15", ["HANNALAAN 15"]),
    (STREET, "Hannaborg 15\n2368 KP\nAkersloot", ["Hannaborg 15", "2368 KP", "Akersloot"]),
    (STREET, "Plaza de España s/n", ["Plaza de España s/n"]),
    (STREET, "Via Roma, 12 Piano 8", ["Via Roma, 12 Piano 8"]),
    (STREET, "Jetlaan 98, 4889 PM, Wijk bij Duurstede", ["Jetlaan 98", "4889 PM, Wijk bij Duurstede"]),
    (STREET, "12 Baker Street\nStatement of Account", ["12 Baker Street"]),
    (STREET, "48337 Lichtenfels\nSebruwa Vorthagen", ["48337 Lichtenfels"]),
    (chinese_names.RULE, "王淑华", ["王淑华"]),
    (chinese_names.RULE, "張志明", ["張志明"]),
    (chinese_names.RULE, "本合同由陈淑华签订", ["陈淑华"]),
    (chinese_names.RULE, "陈欣联系电话", ["陈欣"]),
    (chinese_names.RULE, "今日吕云系统登记", ["吕云系"]),
    (chinese_names.RULE, "王志豪", ["王志豪"]),
    (chinese_names.RULE, "与方淑珍核对", ["方淑珍"]),
    (chinese_names.RULE, "出借人马艺向我司", ["马艺向"]),
    (chinese_addresses.RULE, "上海市西安县蓟州马街12号", ["上海市西安县蓟州马街12号"]),
    (chinese_addresses.RULE, "林凱翔\n員林長春\n巷4號9樓", ["林凱翔", "員林長春\n巷4號9樓"]),
    (chinese_addresses.RULE, "曾建成\n永康市自立\n路7號3樓", ["曾建成", "永康市自立\n路7號3樓"]),
    (names.RULE, "敬祝安康\nww\n許美惠", ["許美惠"]),
    (names.RULE, "M. Laurence Costa, Date", ["Laurence Costa"]),
    (names.RULE, "Dott.ssa Anna Bianchi riceve", ["Anna Bianchi"]),
    (names.RULE, "M. Sc. Physik", []),
    (names.RULE, "Fam. Weber", ["Weber"]),
    (STREET, "RAFAELRING 24\n1549 MR", ["RAFAELRING 24", "1549 MR"]),
    (FULL, "Sarah Whitmore came to see us", ["Sarah Whitmore"]),
    (chinese_names.RULE, "周志豪", ["周志豪"]),
    (chinese_addresses.RULE, "海淀区中关村大街1号3号楼502室", ["海淀区中关村大街1号3号楼502室"]),
    (chinese_addresses.RULE, "幸福小区3号楼2单元501", ["幸福小区3号楼2单元501"]),
    (names.RULE, "Mevrouw van Dongen stemde in", ["van Dongen"]),
    (names.RULE, "Geachte van Dongen", ["van Dongen"]),
    (names.RULE, "Dhr. de la Cruz komt", ["de la Cruz"]),
    (
        addresses.rule(),
        "Ronda Claudia Pazos 66,\nTarragona, 29471, nacido",
        ["Ronda Claudia Pazos 66,", "Tarragona, 29471"],
    ),
    (chinese_addresses.RULE, "台灣鐵高\n李志明\n屏東信義街\n68號8樓", ["李志明", "屏東信義街\n68號8樓"]),
    (chinese_addresses.RULE, "員林象山街4段45號4樓", ["員林象山街4段45號4樓"]),
    (plates.RULE, "Kennzeichen: B-AB 1234", ["B-AB 1234"]),
    (plates.RULE, "parked: AB-123-CD", ["AB-123-CD"]),
    (plates.RULE, "车牌号 京A·12345", ["京A·12345"]),
    (vehicles.RULE, "VIN WVWZZZ1JZXW000001", ["WVWZZZ1JZXW000001"]),
    (records.RULE, "Aktenzeichen: 12 C 3456/24", ["12 C 3456/24"]),
    (records.RULE, "Policennummer: 4711-2280", ["4711-2280"]),
    (records.RULE, "Riferimento interno: AB-12345", ["AB-12345"]),
    (records.RULE, "Dossier n° 24/00123", ["24/00123"]),
    (records.RULE, "就诊号：223969-34", ["223969-34"]),
    (tax_numbers.RULE, "Steuernummer: 12/345/67890", ["12/345/67890"]),
    (tax_numbers.RULE, "seller DE136695976 paid", ["DE136695976"]),
    (tax_numbers.RULE, "SEA QUARTERS SDN BHD (TU79369-P)", ["TU79369-P"]),
    (urls.RULE, "see www.example.org/~jane for it", ["www.example.org/~jane"]),
    (urls.RULE, "http://www.example.com/index", ["http://www.example.com/index"]),
    (event_dates.RULE, "Admitted on 05/07/2026", ["05/07/2026"]),
    (event_dates.RULE, "入院日期2026-03-09", ["2026-03-09"]),
]
STAYS = [
    "Total Amount", "Thank you for your visit", "Orange juice 72,44", "INVOICE 18337\nTea", "Rechnung Nr. 4471",
    "Vielen Dank für Ihren Besuch", "Webster Inc", "Köhler e.V.", "1 x Batterien", "Morning Meeting of the Board",
    "Robinson GmbH", "Poulain S.A.", "Robinson Zabala S.Com.", "Randazzo, Bocca e Beccheria e figli", "Teléfono",
    "2x鲜鸡蛋", "患者信息表", "任何电话同时", "Sender: Robinson Trubin SRL", "寄件方:联软信息有限公司",
    "Terminal ID: 12345678",
    "Numéro de commande: 449121",
    "谢谢惠顾", "红富士苹果", "合计金额", "购物小票", "此致敬礼", "敬祝安康", "有限公司",
    "BUSINESS CATERING 12", "4471 AB",
    "PLATZ UND SITZPLATZ 14", "Totaal 12\n2024 AB", "Artikel 12\n3000 ST", "dependent upon time and placement of it",
    "Chapter 4 of the Guide", "周六日休息", "甲方應於十日內", "黄豆酱",
    "两张照片", "第三周时间", "高等教育", "总经理办公室", "姓李的人",
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "wanted"), FOUND)
def test_found_whole_and_nothing_else(rule, text, wanted):
    assert [text[span.start : span.end] for span in rule.find(text)] == wanted


@pytest.mark.parametrize("text", STAYS)
def test_what_is_nobodys_stays(text):
    rules = (FULL, STREET, chinese_names.RULE, chinese_addresses.RULE, plates.RULE, vehicles.RULE)
    assert [text[span.start : span.end] for rule in rules for span in rule.find(text)] == []


def test_what_is_parted_from_a_value_are_labels_of_several_words_or_with_a_colon():
    text = "Jane Price, Date of birth 01/02/1980 Phone: 5"
    assert [text[a:b] for a, b in labels.parted(text, 0, len(text))] == ["Jane Price", "01/02/1980", "5"]
    assert labels.parted("Jane Price", 0, 10) == [(0, 10)]  # a surname too
    assert [text[a:b] for a, b in labels.parted(text, 0, 16)] == ["Jane Price"]  # a label that goes on beyond


def test_the_line_under_a_street_is_a_town_and_no_label():
    for below, found in (("Hasselt", True), ("Telefoon", False), ("Geboortedatum", False)):
        text = f"Sarastraat 9\n{below}"
        assert (below in [text[s.start : s.end] for s in STREET.find(text)]) == found


def at(row, text, wide=10):
    y = 30 * row
    box = (0, y), (wide * len(text), y), (wide * len(text), y + 20), (0, y + 20)
    return Line(text, box, 1.0, 1.0)


def test_a_field_is_no_line_of_a_paragraph():
    fields = ["Grazie per la vostra visita oggi", "Nome e cognome: Matteo Robinson"]
    prose = ["what was said to the whole board by", "Matthew Robinson, who did not agree"]
    assert " ".join(prose) in [p.text for p in passages([at(i, t) for i, t in enumerate(prose)])]
    assert not any(" ".join(fields) in p.text for p in passages([at(i, t) for i, t in enumerate(fields)]))
    short = ["Robinson Trubin GmbH", "Matthew Robinson"]
    assert not any(" ".join(short) in p.text for p in passages([at(i, t) for i, t in enumerate(short)]))


def test_a_list_without_the_name_finds_it_by_its_shape_and_a_common_word_is_no_name():
    alone = full_names.rule(half=True).find("Xylda Vorthagen")
    assert len(alone) == 1
    assert full_names.rule(half=True).find("Total Amount") == []


def test_words_are_known_with_and_without_accents_and_in_both_chinese_scripts():
    assert common("Größe")
    assert common("GROSSE")
    assert not common("Vorthagen")
    assert simplified("電話") == "电话"
    assert chinese_word("電話")
    assert cut("电话王淑华") == ("电话", "王", "淑", "华")


def test_a_surname_from_a_greeting_is_found_behind_given_names(monkeypatch):
    lines = [at(0, "Juan Carlos Flores"), at(2, "Ninguna puerta"), at(4, "Estimado Flores"), at(6, "Flores del campo")]

    def found():
        regions = TextDetector(names.RULE).find(np.zeros((240, 300, 3), np.uint8), lines)
        return sorted((region.box.y0, region.box.x0) for region in regions)

    assert found() == [(0, 0), (120, 90)]  # neither the greeting's word nor flowers
    monkeypatch.setattr(interface, "with_surname", lambda folded, surname: [])  # mutant: surnames are not looked for
    assert found() == [(120, 90)]
