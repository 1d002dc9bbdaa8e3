"""A public vocabulary: is this a common word of some language? And Chinese text, cut into words.

Latin words are the 10,000 most said of each of seven languages, with forms that are words by their ending; names
that films say often are among them, so that a common word is never by itself taken for no name. Chinese words are
jieba's without those tagged as names. Both lists are made by `bench/wordlists.py`.
"""

from __future__ import annotations

import gzip
import re
from functools import cache, lru_cache
from pathlib import Path

from privacy.detectors import labels
from privacy.detectors.gazetteer import plain

LATIN_FILE = Path(__file__).with_name("words-latin.txt.gz")
CHINESE_FILE = Path(__file__).with_name("words-chinese.txt.gz")
LONGEST = 8
"""Characters of the longest Chinese word that is looked up."""

_ENDING = re.compile(
    r".{3,}(?:tion|tions|sion|ment|ments|ness|ity|ing|able|ible|ance|ence|ary|ally|ungs?|ungen|keit|heit|schaft|"
    r"licher?|liche[ns]?|ische[nrs]?|nummer|datum|schein|zahlung|amt|formular|cion|ciones|sion|dad|mente|zione|zioni|mento|"
    r"menti|ita|tore|trice|ique|eur|euse|aire|age|teur|itude|anie|enie|osc|acja|acji|owy|owa|owe|owego|owych|nego|nych|"
    r"heid|ing|atie|lijk|lijke|baar|isch|ische)"
)
_POLISH = frozenset(
    [
        "adres",
        "adresat",
        "bank",
        "bilet",
        "brak",
        "brutto",
        "cena",
        "czas",
        "data",
        "dnia",
        "dokument",
        "dom",
        "dowod",
        "druk",
        "dane",
        "faktura",
        "firma",
        "formularz",
        "godzina",
        "grupa",
        "ilosc",
        "imie",
        "imiona",
        "jest",
        "jednostka",
        "kanal",
        "karta",
        "kasa",
        "kasjer",
        "klient",
        "kod",
        "konto",
        "koszt",
        "kraj",
        "kwota",
        "lat",
        "leczenie",
        "lekarz",
        "liczba",
        "list",
        "miasto",
        "miejsce",
        "miesiac",
        "mleko",
        "nazwa",
        "nazwisko",
        "netto",
        "nip",
        "numer",
        "nabywca",
        "obywatelstwo",
        "odbiorca",
        "oddzial",
        "odpowiedz",
        "oferta",
        "okres",
        "opis",
        "oplata",
        "osoba",
        "osobisty",
        "paragon",
        "pacjent",
        "pacjenta",
        "panstwa",
        "panstwo",
        "platnosc",
        "plec",
        "podatek",
        "podpis",
        "poczta",
        "podsuma",
        "polska",
        "potwierdzenie",
        "powod",
        "praca",
        "pracy",
        "pracodawca",
        "prosze",
        "przelew",
        "przyjecia",
        "rachunek",
        "rachunku",
        "razem",
        "rodzaj",
        "rok",
        "roku",
        "sad",
        "sklep",
        "sprawa",
        "sprzedawca",
        "sprzedaz",
        "stan",
        "strona",
        "suma",
        "sygnatura",
        "szpital",
        "termin",
        "tylko",
        "tytul",
        "ubezpieczenie",
        "ulica",
        "umowa",
        "uslugi",
        "uwagi",
        "wartosc",
        "wiek",
        "wniosek",
        "wplata",
        "wydania",
        "wynik",
        "wynosi",
        "zaplaty",
        "zamowienie",
        "zawod",
        "zgloszenie",
        "zmiana",
        "znak",
        "waznosci",
        "nadawca",
        "dziekujemy",
        "wizyte",
        "gotowka",
        "chleb",
        "kawa",
        "maslo",
        "jablka",
        "ryz",
        "mydlo",
        "baterie",
        "zeszyt",
        "sok",
        "herbata",
        "jajka",
    ]
)


@cache
def _latin() -> frozenset[str]:
    words = gzip.decompress(LATIN_FILE.read_bytes()).decode().split("\n")
    groups = labels.GROUPS
    announced = {plain(word) for group in groups for entry in group for word in re.split(r"[\s\-/']", entry)}
    return frozenset(words) | _POLISH | announced


def common(word: str) -> bool:
    """Is this a word that people use, in any of the languages, in any case, with or without its accents?"""
    folded = plain(word).strip("'.-")
    return len(folded) < 3 or folded in _latin() or (len(folded) >= 7 and _ENDING.fullmatch(folded) is not None)


@cache
def _chinese() -> tuple[dict[int, int], frozenset[str], frozenset[str]]:
    """From traditional to simplified characters; given names of two characters; words."""
    pairs, given, *words = gzip.decompress(CHINESE_FILE.read_bytes()).decode().split("\n")
    names = frozenset(given[i : i + 2] for i in range(0, len(given), 2))
    return str.maketrans(pairs[::2], pairs[1::2]), names, frozenset(words)


def simplified(text: str) -> str:
    """Traditional characters as simplified ones; of the same length."""
    return text.translate(_chinese()[0])


def chinese_word(text: str) -> bool:
    """Is this a Chinese word, in either script?"""
    return simplified(text) in _chinese()[2]


def given_name(text: str) -> bool:
    """Is this known as a Chinese given name of two characters? It may be a word as well."""
    return simplified(text) in _chinese()[1]


@lru_cache(maxsize=4096)  # `interface.forget` clears it
def cut(text: str) -> tuple[str, ...]:
    """A run of Chinese characters in the fewest words, of these ways the one with long words last.

    What is in no word stands alone.
    """
    plain_text, known = simplified(text), _chinese()[2]
    best: list[tuple[int, int]] = [(0, 0)]  # cost so far, length of the last word
    for end in range(1, len(text) + 1):
        options = [(best[end - 1][0] + 3, 1)]
        for length in range(2, min(LONGEST, end) + 1):
            if plain_text[end - length : end] in known:
                options.append((best[end - length][0] + 2, length))
        best.append(min(options, key=lambda option: (option[0], -option[1])))
    words, end = [], len(text)
    while end:
        words.append(text[end - best[end][1] : end])
        end -= best[end][1]
    return tuple(reversed(words))
