"""Label print: what pharmacies, parcel desks, laboratories and food counters put on small labels.

Two or three short lines a label: products, quantities, batches, weights, dates. The print is that of
label printers: thermal or needle heads, fixed pitch, character spacing and double-width modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from learners.draws import Draws
from learners.fonts import PINS
from learners.personas import persona
from learners.pins import BASELINE
from learners.printing import Printer, impact, strike, thermal
from learners.sheet import Part, Planted
from learners.typesetting import Setting, Style, typeset

DRUGS = (
    "AMOXICILLIN", "METFORMIN", "LISINOPRIL", "ATORVASTATIN", "OMEPRAZOLE", "AMLODIPINE", "LEVOTHYROXINE",
    "GABAPENTIN", "SERTRALINE", "FUROSEMIDE", "PREDNISOLONE", "IBUPROFEN", "PARACETAMOL", "CETIRIZINE",
    "WARFARIN", "TRAMADOL", "DOXYCYCLINE", "CEFALEXIN", "LORATADINE", "NAPROXEN", "RAMIPRIL", "BISOPROLOL",
    "CLOPIDOGREL", "DIAZEPAM", "FOLIC ACID", "VITAMIN D3", "INSULIN GLARGINE", "SALBUTAMOL", "LACTULOSE",
    "CIPROFLOXACIN", "ALLOPURINOL", "CITALOPRAM", "DIGOXIN", "MIRTAZAPINE", "SIMVASTATIN", "ZOPICLONE",
)  # fmt: skip
FORMS = ("CAPS", "TABS", "TABLETS", "CAPSULES", "SUSP", "DROPS", "CREAM", "SACHETS", "PATCH", "INJ")
FOODS = (
    "MINCED BEEF", "CHICKEN THIGH", "PORK LOIN", "SALMON FILLET", "COOKED HAM", "TURKEY BREAST", "LAMB CHOPS",
    "GOUDA MILD", "CHEDDAR MATURE", "POTATO SALAD", "OLIVES GREEN", "COLESLAW", "SMOKED BACON", "FETA CHEESE",
    "VEGETABLE SOUP", "APPLE PIE", "RYE BREAD", "ROAST BEEF", "COD LOIN", "HUMMUS PLAIN",
)  # fmt: skip
TOWNS = (
    "LEEDS", "LYON", "GENT", "KRAKOW", "PORTO", "BERGEN", "TURIN", "BASEL", "GRAZ", "AARHUS", "UTRECHT", "MALMO",
    "CORK", "BRNO", "SEVILLA", "NANTES", "ESSEN", "DERBY", "TAMPERE", "GDANSK",
)  # fmt: skip
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
FACES = ("plex-mono", "plex-mono-medium", "inconsolata", "roboto-mono", "source-code")
CODE = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


def date(draws: Draws) -> str:
    day, month, year = draws.between(1, 28), draws.between(1, 12), draws.between(2024, 2029)
    return draws.pick(
        (
            f"{day:02}/{month:02}/{year}",
            f"{day:02}.{month:02}.{year % 100:02}",
            f"{day:02} {MONTHS[month - 1]} {year}",
            f"{year}-{month:02}-{day:02}",
            f"{month:02}/{year}",
            f"{day:02} {MONTHS[month - 1]} {year % 100:02}",
        )
    )


def batch(draws: Draws) -> str:
    return draws.pick(
        (
            draws.string(CODE, draws.between(5, 7)),
            draws.digits(draws.between(4, 6)),
            f"{draws.string(CODE, 2)} {draws.digits(4)}",
            f"{draws.digits(3)}-{draws.digits(2)} {draws.string(CODE[:24], 1)}",
        )
    )


def _pharmacy(draws: Draws) -> tuple[str, ...]:
    strength = draws.pick((5, 10, 20, 25, 40, 50, 75, 100, 150, 250, 400, 500, 850))
    unit = draws.pick(("MG", "MG", "MG", "MCG", "ML"))
    many = draws.between(1, 3)
    return (
        f"{draws.pick(DRUGS)} {strength} {unit} {draws.pick(FORMS)}",
        draws.pick(
            (
                f"TAKE {many} {draws.pick(('TAB', 'CAP', 'ML', 'DROPS'))} {draws.between(2, 4)} TIMES A DAY",
                f"QTY {draws.pick((7, 14, 21, 28, 30, 56, 84, 90))} REFILL {draws.below(6)}",
                f"{many} AT NIGHT WITH WATER",
                f"ONE EVERY {draws.pick((4, 6, 8, 12))} HRS FOR {draws.between(3, 14)} DAYS",
            )
        ),
        f"{draws.pick(('LOT', 'BATCH', 'CH.-B.'))} {batch(draws)} EXP {date(draws)}",
    )


def _parcel(draws: Draws) -> tuple[str, ...]:
    total = draws.between(1, 6)
    return (
        f"{draws.pick(('PARCEL', 'PKG', 'COLLI'))} {draws.between(1, total)} OF {total} "
        f"WT {draws.between(0, 31)}.{draws.digits(2)} KG",
        f"ROUTE {draws.between(1, 99)} {draws.pick('ABCDEF')} DEPOT {draws.pick(TOWNS)} {draws.digits(2)}",
        draws.pick((f"SHIP {date(draws)}", f"DUE {date(draws)} {draws.between(7, 18):02}:{draws.pick(('00', '30'))}")),
    )


def _laboratory(draws: Draws) -> tuple[str, ...]:
    return (
        f"{draws.pick(('SERUM', 'EDTA WB', 'PLASMA', 'URINE', 'CSF', 'CITRATE'))} "
        f"{draws.between(1, 9)}.{draws.below(10)} ML {draws.pick(('-20C', '-80C', '4C', 'RT'))}",
        f"SAMPLE {draws.digits(4)}-{draws.digits(2)} TUBE {draws.between(1, 4)}",
        f"COLL {date(draws)} {draws.below(24):02}:{draws.below(60):02}",
    )


def _counter(draws: Draws) -> tuple[str, ...]:
    return (
        f"{draws.pick(FOODS)} {draws.pick(('', '', '5 % FAT', 'CLASS A', 'NO 4'))}".strip(),
        f"NET {draws.below(3)}.{draws.digits(3)} KG {draws.between(2, 39)}.{draws.digits(2)}/KG",
        f"{draws.pick(('USE BY', 'BEST BEFORE', 'PACKED'))} {date(draws)}",
    )


def _store(draws: Draws) -> tuple[str, ...]:
    return (
        f"PART NO {draws.digits(4)}-{draws.digits(3)} REV {draws.pick('ABCD')}",
        f"BIN {draws.pick('ABCDEFGH')} {draws.digits(2)} {draws.digits(2)} QTY {draws.between(1, 60) * 5} PCS",
        f"REC {date(draws)} PO {draws.digits(6)}",
    )


TRADES = (_pharmacy, _pharmacy, _parcel, _laboratory, _counter, _store)


def wording(draws: Draws) -> list[list[Part]]:
    """The two or three lines of a label; a patient's label at times ends with a name."""
    trade = draws.pick(TRADES)
    lines = list(trade(draws))
    if draws.chance(12):
        lines = [" ".join(word.title() if len(word) > 3 else word for word in line.split()) for line in lines]
    rows: list[list[Part]] = [[line] for line in (lines if draws.chance(60) else lines[:2])]
    if trade in (_pharmacy, _laboratory) and draws.chance(20):
        patient = persona(draws, "en_GB")
        rows[-1] = [draws.pick(("FOR ", "NAME ", "PT ")), Planted("name", patient.name.upper())]
    return rows


@dataclass(frozen=True)
class Press:
    """A label printer at work: how it lays out letters in dots, and how its dots come out."""

    style: Style
    printer: Printer

    def print(self, text: str, draws: Draws) -> Setting:
        """One line as it leaves the printer."""
        return strike(typeset(text, self.style), self.printer, draws)


def press(draws: Draws, faces: Sequence[str] = FACES) -> Press:
    """A thermal, nine-pin or 24-pin printer, one of its modes, and its wear; capitals are 24 to 34 pixels high."""
    kind = draws.pick(("nine", "thermal", "thermal", "thermal", "twenty-four"))
    if kind == "nine":
        style = Style(PINS, 8, tracking=draws.pick((0, 0, 1, 1, 1, 2)))
    else:
        wide = 2 if kind == "thermal" and draws.chance(6) else 1
        tracking = draws.pick((0, 0, 0, 0, 1, 2, 3)) if wide == 1 else 0
        style = Style(draws.pick(faces), draws.pick((18, 20, 22)), tracking=tracking, binary=True, wide=wide)
    capital = BASELINE if kind == "nine" else style.size * 7 // 10
    pitch = draws.between(24, 34) * 16 // capital
    if kind == "thermal":
        return Press(style, thermal(draws, pitch))
    return Press(style, impact(draws, pitch, 9 if kind == "nine" else 24))
