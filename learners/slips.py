"""Till slips: what shops print at the counter, line by line, in English and in money of several countries.

A slip is of one till (`learners.tills`), and its lines are drawn from what slips say: heads, numbers and dates, goods
and prices, sums, marks of columns, addresses, courtesies, plain English, and words of no language. A till's words were
written down before any receipt was looked at; Malaysia's company forms, currency and tax codes are among them, and the
benches' receipts are Malaysian (`bench/starts.py` has what that is worth). `&`, sentences in small letters, words of no
language, marks, sizes and how common zeros are: these are here because receipts of the benches were read badly without
them.
"""

from __future__ import annotations

from collections.abc import Callable

from learners import thermal
from learners.draws import Draws
from learners.errors import MissingGlyph
from learners.personas import persona
from learners.tills import Till
from privacy.page import Image

GOODS = (
    "MILK FULL CREAM", "WHITE BREAD", "COFFEE 3 IN 1", "BUTTER SALTED", "RED APPLES", "BASMATI RICE", "HAND SOAP",
    "BATTERY AA", "NOTE BOOK A5", "ORANGE JUICE", "GREEN TEA", "EGGS GRADE A", "PVC PIPE", "WALL PAINT",
    "SCREW DRIVER", "LED BULB", "CHICKEN RICE", "FRIED NOODLES", "ICED LEMON TEA", "BEEF BURGER", "FRENCH FRIES",
    "MINERAL WATER", "TISSUE BOX", "TOOTH BRUSH", "DOG FOOD", "CABLE TIE", "BALL PEN BLUE", "PHOTO COPY",
    "UNLEADED 95", "DIESEL", "PARKING", "FISH FILLET", "MIXED VEGETABLE", "TOM YAM SOUP", "ROLL CAKE", "SPONGE",
    "DETERGENT", "SHAMPOO", "FACE CREAM", "VITAMIN C", "PLASTIC BAG", "GIFT CARD", "T-SHIRT", "KIDS SHOES",
    "PAPER CUP", "CHEESE SLICES", "YOGHURT", "POTATO CHIPS", "CHOCOLATE BAR", "SET LUNCH A",
)  # fmt: skip
UNITS = (
    "1KG", "500G", "250ML", "1L", "2PCS", "12S", "6X100G", "1.5L", "10M", "20MM", "5W", "(L)", "(HOT)", "(COLD)",
    "PKT", "@ 10%",
)  # fmt: skip
MARKS = (
    "S", "SR", "Z", "ZR", "T", "T1", "0", "1", ":", "-", "*", "#", "$", "RM", "X", "%", "NO", "NO.", "TO", "AM", "PM",
    "PCS", "EA", "QTY", "TAX", "AMT", "GST", "VAT", "ID", "KG",
)  # fmt: skip
"""What stands in a column by itself."""
HEADS = (
    "TAX INVOICE", "CASH RECEIPT", "SIMPLIFIED TAX INVOICE", "OFFICIAL RECEIPT", "CASH BILL", "SALES RECEIPT",
    "INVOICE", "CUSTOMER COPY", "ORDER SLIP", "*** COPY ***", "DUPLICATE",
)  # fmt: skip
FIELDS = (
    "INVOICE NO", "RECEIPT NO", "BILL NO", "DOC NO", "DATE", "TIME", "CASHIER", "COUNTER", "TABLE", "MEMBER",
    "SALESPERSON", "TERMINAL", "REF", "SHIFT", "TILL", "STORE", "ORDER", "SERVED BY", "TRANS NO", "POS", "SLIP NO",
    "PAX",
)  # fmt: skip
SUMS = (
    "SUBTOTAL", "SUB TOTAL", "TOTAL", "GRAND TOTAL", "TOTAL AMOUNT", "TOTAL SALES", "CASH", "CHANGE", "ROUNDING",
    "ROUNDING ADJ", "DISCOUNT", "TOTAL QTY", "AMOUNT DUE", "BALANCE", "TAX", "VAT", "GST", "SERVICE CHARGE",
    "TOTAL (INCL. TAX)", "TOTAL EXCL. GST", "TOTAL INCL. VAT", "NET TOTAL", "PAID", "TENDERED", "VISA",
    "DEBIT CARD", "ITEM COUNT", "TAXABLE", "ZERO RATED",
)  # fmt: skip
COURTESIES = (
    "THANK YOU", "THANK YOU PLEASE COME AGAIN", "THANK YOU FOR SHOPPING WITH US", "PLEASE KEEP THIS RECEIPT",
    "GOODS SOLD ARE NOT RETURNABLE", "GOODS SOLD ARE NOT REFUNDABLE", "NO REFUND WITHOUT RECEIPT",
    "EXCHANGE WITHIN 7 DAYS", "HAVE A NICE DAY", "CUSTOMER SERVICE", "THIS IS A COMPUTER GENERATED RECEIPT",
    "PRICES INCLUDE TAX", "TAX SUMMARY", "DESCRIPTION", "QTY", "PRICE", "AMOUNT", "ITEM", "DISC", "RATE",
    "TAX CODE", "FOLLOW US ON", "WIFI PASSWORD", "OPEN DAILY", "WELCOME", "DINE IN", "TAKE AWAY", "U.PRICE", "AMT",
)  # fmt: skip
TRADERS = ("LTD", "SDN BHD", "PTE LTD", "INC", "LLC", "& SONS", "ENTERPRISE", "TRADING", "STORES", "GROUP PLC", "CO.")
CURRENCIES = ("", "", "", "$", "RM", "EUR ", "GBP ", "USD ", "S$", "AUD ")
LETTERS = thermal.CODE[:24]
ONSETS = (
    "B", "C", "D", "F", "G", "H", "J", "K", "L", "M", "N", "P", "R", "S", "T", "W", "Y", "Z", "", "CH", "NG", "ST",
    "KH", "TR", "PR", "SH", "QU", "V", "X",
)  # fmt: skip
NUCLEI = ("A", "A", "A", "E", "I", "O", "U", "U", "AI", "AU", "OO", "IE")
CODAS = ("", "", "", "N", "NG", "R", "T", "K", "L", "S", "M", "H", "P", "D", "LL", "SS", "PP", "TT", "CK")
"""Of syllables."""


def slip(seed: int, count: int) -> list[tuple[Image, str]]:
    """`count` lines of one slip: `(H, W, 3) uint8` RGB, and what they say, in ASCII."""
    draws = Draws(seed, "till slip")
    till, found, before = Till.of(draws), list[tuple[Image, str]](), None
    while len(found) < count:
        text = till.cased(" ".join(wording(draws).split()), draws)
        if not text or not text.isascii():
            continue
        try:
            line = till.print(text, draws)
        except MissingGlyph:
            continue
        found.append((till.scan(line, before, draws), text))
        before = line
    return found


def wording(draws: Draws) -> str:
    """What one line says; spaces round colons are as careless as tills'."""
    at = draws.below(sum(share for share, _ in SHARES))
    for share, said in SHARES[:-1]:
        if at < share:
            return said(draws)
        at -= share
    return SHARES[-1][1](draws)


def _figures(draws: Draws, count: int) -> str:
    """Digits of sums, rates and other numbers, where zeros are common."""
    return "".join("0" if draws.chance(25) else draws.digits(1) for _ in range(count))


def _colon(draws: Draws) -> str:
    return draws.pick((": ", " : ", " :", ":", " ", ": ", ". : ", "  "))


def _money(draws: Draws) -> str:
    whole = draws.below(draws.pick((10, 100, 100, 1000)))
    amount = f"{draws.between(1, 9)},{_figures(draws, 3)}" if draws.chance(6) else str(whole)
    return f"{'-' if draws.chance(4) else ''}{amount}.{_figures(draws, 2)}"


def _date(draws: Draws) -> str:
    year, month, day = draws.between(2012, 2028), draws.between(1, 12), draws.between(1, 28)
    name = thermal.MONTHS[month - 1]
    return draws.pick(
        (
            f"{day:02}/{month:02}/{year}", f"{day:02}/{month:02}/{year % 100:02}", f"{day:02}-{month:02}-{year}",
            f"{day:02}-{month:02}-{year % 100:02}", f"{day:02} {name} {year}", f"{day:02}-{name}-{year}",
            f"{year}-{month:02}-{day:02}", f"{day:02}.{month:02}.{year}", f"{day}/{month}/{year}",
            f"{name} {day}, {year}",
        )
    )  # fmt: skip


def _clock(draws: Draws) -> str:
    hour, minute, second = draws.below(24), draws.below(60), draws.below(60)
    half, short = "PM" if hour > 11 else "AM", hour % 12 or 12
    return draws.pick(
        (
            f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}:{second:02}", f"{short}:{minute:02} {half}",
            f"{short:02}:{minute:02}:{second:02}{half}", f"{short:02}:{minute:02}:{second:02} {half}",
        )
    )  # fmt: skip


def _number(draws: Draws) -> str:
    return draws.pick(
        (
            _figures(draws, draws.between(2, 6)), _figures(draws, draws.between(6, 13)),
            f"{draws.string(LETTERS, draws.between(1, 3))}{_figures(draws, draws.between(3, 8))}",
            f"{draws.string(LETTERS, 2)}-{_figures(draws, draws.between(3, 6))}",
            f"{_figures(draws, 3)}/{_figures(draws, 4)}",
            f"#{_figures(draws, 4)}", f"{_figures(draws, 6)}-{draws.string(LETTERS, 1)}",
            draws.string(thermal.CODE, draws.between(6, 12)),
        )
    )  # fmt: skip


def _field(draws: Draws) -> str:
    return f"{draws.pick(FIELDS)}{_colon(draws)}{draws.pick((_number, _number, _date, _clock))(draws)}"


def _price(draws: Draws) -> str:
    marked = _money(draws) + draws.pick((" S", " SR", " Z", " ZR", " A", " T", "*"))
    return draws.pick((_money(draws), draws.pick(CURRENCIES) + _money(draws), marked))


def _sum(draws: Draws) -> str:
    unit = draws.pick(CURRENCIES).strip() or "$"
    return draws.pick(SUMS) + draws.pick(("", ":", " :", f" {draws.between(1, 20)}%", f" ({unit})", f" ({unit}):"))


def _paid(draws: Draws) -> str:
    return f"{draws.pick(SUMS)}{_colon(draws)}{draws.pick(CURRENCIES)}{_money(draws)}"


def _size(draws: Draws) -> str:
    """Of goods: tills measure in inches and dozens, and bracket what they like."""
    some, more, unit = draws.between(1, 99), draws.between(1, 99), draws.pick(("G", "M", "ML", "PCS", "CM"))
    return draws.pick(
        (
            f'{some}"', f'{draws.between(1, 7)}/{draws.pick((2, 4, 8))}"', f'{some}"X{more}"', f"{some}'S",
            f"{some}0{unit}", f"[{some}{unit}]", f"({some}{unit})", f"{some}X{more}{unit}",
            f"{draws.below(10)}.{draws.digits(1)}{unit}", f"#{some}",
        )
    )  # fmt: skip


def _goods(draws: Draws) -> str:
    good = draws.pick(GOODS)
    if draws.chance(60):
        return f"{good} {_size(draws) if draws.chance(50) else draws.pick(UNITS)}"
    return f"{_figures(draws, draws.pick((4, 7, 13)))} {good}" if draws.chance(50) else good


def _count(draws: Draws) -> str:
    many = draws.between(1, 9)
    return draws.pick(
        (
            f"{many} X {_money(draws)}", f"{many} X {draws.pick(CURRENCIES)}{_money(draws)}", f"{many} PCS",
            f"{many}.00 X {_money(draws)}", f"{many} @ {_money(draws)}",
            f"{draws.below(9)}.{draws.digits(3)} KG X {_money(draws)}/KG", str(draws.between(1, 99)),
            f"{many} {draws.pick(GOODS)}", f"{draws.between(1, 20)}%", draws.digits(13),
        )
    )  # fmt: skip


def _moment(draws: Draws) -> str:
    day, time = _date(draws), _clock(draws)
    colon = _colon(draws)
    return draws.pick((day, f"{day} {time}", f"{day} {time}", time, f"DATE{colon}{day}", f"TIME{colon}{time}"))


def _mark(draws: Draws) -> str:
    """What a column holds."""
    rate = f"{_figures(draws, 1)}.{_figures(draws, 2)}%"
    return draws.pick(
        (
            draws.pick(MARKS), draws.pick(MARKS), draws.digits(1), draws.digits(2), f"-{draws.digits(1)}",
            draws.string(LETTERS, 1), f"{draws.pick((0, 0, 5, 6, 10))}%", rate,
        )
    )  # fmt: skip


def _shop(draws: Draws) -> str:
    """Whose till it is, and where; people and places are nobody's."""
    who, colon = persona(draws, draws.pick(("en_US", "en_GB")), sentences=1), _colon(draws)
    letter = draws.string(LETTERS, 1)
    return draws.pick(
        (
            who.street + draws.pick(("", ",")), who.town + draws.pick(("", ".", ",")), f"{who.street}, {who.town}",
            f"NO. {draws.between(1, 99)}, {who.street.split(' ', 1)[-1]},",
            f"TEL{colon}{_figures(draws, 2)}-{_figures(draws, 4)} {_figures(draws, 4)}",
            f"TEL: {_figures(draws, 3)}-{_figures(draws, 7)} FAX: {_figures(draws, 3)}-{_figures(draws, 7)}",
            f"{who.surname} {draws.pick(TRADERS)}", who.employer, f"({_figures(draws, 6)}-{letter})",
            f"{draws.pick(('GST', 'VAT', 'TAX'))} {draws.pick(('ID', 'NO', 'REG NO'))}{colon}"
            f"{_figures(draws, draws.between(9, 12))}",
            f"CO. REG NO{colon}{_figures(draws, 6)}-{letter}", who.email, f"WWW.{who.surname}.COM",
            f"{_figures(draws, 5)} {who.town.split(',')[0]}", who.sentences[0], who.name,
            f"{_figures(draws, 4)} XXXX XXXX {_figures(draws, 4)}",
        )
    )  # fmt: skip


def _set_phrase(draws: Draws) -> str:
    return draws.pick(HEADS if draws.chance(40) else COURTESIES)


def _strange(draws: Draws) -> str:
    """Words of no language: what stands there is to be read, not guessed."""
    words = [_word(draws).title() for _ in range(draws.between(1, 5))]
    if draws.chance(30):
        words = [word.upper() if draws.chance(50) else word for word in words]
    some, joint = " ".join(words), draws.pick((".", ",", "/", "-", " & ", "&", " - "))
    return draws.pick(
        (
            some, some, some, f"{some} {draws.digits(draws.between(1, 6))}",
            f"{draws.digits(draws.between(1, 5))} {some}", f"{words[0]}{joint}{words[-1]}", f"({some})", f"{some},",
            f"{some}:", f"{words[0]}{draws.digits(3)}", f"NO.{draws.between(1, 99)}, {some},",
            f"{some} (M) {draws.pick(TRADERS)}",
        )
    )  # fmt: skip


def _word(draws: Draws) -> str:
    syllables = ((draws.pick(ONSETS), draws.pick(NUCLEI), draws.pick(CODAS)) for _ in range(draws.between(1, 4)))
    return "".join(part for syllable in syllables for part in syllable)


def _english(draws: Draws) -> str:
    """Common words, and people's, firms' and trades' names, which are nobody's."""
    who = persona(draws, "en_US", sentences=2)
    words = who.sentences[0].rstrip(".").split()
    first = draws.below(len(words))
    some = " ".join(words[first : first + draws.between(1, 6)])
    street = who.street.split(" ", 1)[-1]
    numbers = draws.between(1, 99), draws.between(1, 99)
    return draws.pick(
        (
            some, some, some, who.sentences[1], who.trade, who.employer, who.name, who.town, f"({some})", f"{some}:",
            f"{who.surname} & {words[0]} {draws.pick(TRADERS)}", f"{words[0]} & {words[-1]}", f"{words[0]}/{words[-1]}",
            f"No. {numbers[0]} & {numbers[1]}, {street}", f"No.{numbers[0]}&{numbers[1]}, {street},",
            f"{words[0]}-{numbers[0]}", f"{some} {draws.digits(draws.between(1, 5))}",
        )
    )  # fmt: skip


SHARES: tuple[tuple[int, Callable[[Draws], str]], ...] = (
    (12, _field), (8, _price), (5, _sum), (4, _paid), (8, _goods), (4, _count), (5, _moment), (8, _set_phrase),
    (6, _mark), (11, _shop), (21, _english), (14, _strange),
)  # fmt: skip
"""Shares of the lines."""
