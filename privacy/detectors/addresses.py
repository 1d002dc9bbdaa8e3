"""Postal addresses in Latin letters without a label: a number beside a street's word, and places by their code.

Streets by the words that countries use for them, before the name (Rue, Via, Calle, ul.) or at its end (Street,
-straße, -laan); places by post codes. A place is also known by its list (`gazetteer`) where a street stands near.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from privacy.detectors import labels
from privacy.detectors.announced import OF_A_THING
from privacy.detectors.gazetteer import Gazetteer, gazetteer, plain
from privacy.detectors.interface import Rule, Span, moved, spread
from privacy.detectors.words import common

KIND = "address"
STREET = "a street with a number"
NEAR = 40  # characters between a street and its town
LONGEST = 45  # characters of a line above a town that may be its street

_UP = "A-ZÀ-ÖØ-ÞĄĆĘŁŃÓŚŹŻČŘŠŽ"
_WORD = (
    rf"(?:[{_UP}][\w'’.\-]*|(?:van|von|de|der|den|del|della|di|da|la|le|les|los|las|des|du|of|the|and|y|e|en"
    rf"|sur|sous|am|an|im|in|aan|upon|bij|op|ob|bei|on)(?= ))"
)
_NUMBER = r"\d{1,5}(?: ?[A-Za-z](?![A-Za-z]))?(?: ?[\-/] ?\d{1,4}[A-Za-z]?)?"
_UNIT = (
    r"(?:,? ?(?:(?i:Apt|Apartment|Apartamento|Appartamento|Suite|Flat|Unit|Studio|Piso|Puerta|Esc|Escalera|Bajo"
    r"|Interno|Scala|Piano|Palazzo|Wohnung)|"
    r"Whg|bus|m(?=[. ]?\d)|lok|appt|Bât|Bat|App)\.? ?[\w\-]{1,6}\.?)"
)
_ENGLISH = (
    "Alley Avenue Ave Bridge Bypass Boulevard Blvd Branch Brook Brooks Burg Cape Causeway Center Centre Circle Circles"
    " Cliff Cliffs Close "
    "Club Common Corner Corners Course Court Courts Cove Coves Creek Crescent Crest Crossing Cross Curve Dale Dam"
    " Divide "
    "Drive Drives Dr Estate Estates Expressway Extension Extensions Fall Falls Ferry Field Fields Flat Flats Ford"
    " Fords Forest Forge Forges Fork "
    "Forks Fort Freeway Garden Gardens Gate Gateway Glen Glens Green Greens Grove Groves Harbor Harbour Harbors"
    " Haven Heights Highway Hill Hills Hollow "
    "Inlet Island Islands Isle Junction Junctions Key Keys Knoll Knolls Lake Lakes Land Landing Lane Ln Light"
    " Lights Loaf Lock Locks Lodge Loop Mall Manor "
    "Manors Meadow Meadows Mews Mill Mills Mission Motorway Mount Mountain Mountains Neck Orchard Oval Overpass"
    " Park Parks Parkway Parkways Pass Passage "
    "Path Pike Pine Pines Place Plain Plains Plaza Point Points Port Ports Prairie Radial Ramp Ranch Rapid Rapids Rest "
    "Ridge Ridges River Road Roads Rd Route Row Rue Run Shoal Shoals Shore Shores Skyway Spring Springs Spur Spurs"
    " Square Sq "
    "Squares Station Stravenue Stream Street Streets St Summit Terrace Throughway Trace Track Trafficway Trail"
    " Tunnel Turnpike Underpass "
    "Union Unions Valley Valleys Via Viaduct View Views Village Villages Ville Vista Walk Walks Wall Way Ways"
    " Well Wells"
).replace(" ", "|")
# At a line's end, or before a flat, in any case.
_ENGLISH_STREET = rf"(?:(?:{_ENGLISH})(?![a-z])|(?i:{_ENGLISH})(?![^\W\d_])(?=[ ,]*(?:\n|$)|{_UNIT}))"
_BEFORE = (
    r"(?:rue|avenue|av\.?|boulevard|bd\.?|chemin|impasse|allée|allee|quai|route|cours|passage|square|faubourg|sentier"
    r"|via|viale|v\.le|piazza|p\.zza|piazzale|corso|vicolo|strada|largo|contrada|borgo|rotonda|stretto|canale|incrocio|lungomare|salita"
    r"|calle|c/|c\.|avenida|avda\.?|plaza|pza\.?|paseo|pº|ronda|camino|carretera|ctra\.?|glorieta|pasaje|travesía|travesia|urbanización|"
    r"urbanizacion|vial|acceso|alameda|cuesta|cañada|canada|pasadizo|rambla|callejón|callejon"
    r"|ul\.?|al\.?|pl\.?|os\.?|aleja|plac|osiedle|ulica"
    r"|rua|travessa|praça|praca|estrada|largo|avenida|jalan|jln?\.?|lorong)"
)
_AFTER = r"(?:\. ?| |(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ]))"
_ENDINGS = (
    r"(?:stra(?:ß|ss|B|fs|ß|s)e|str\.|str|weg|platz|allee|gasse|ring|damm|ufer|steig|chaussee|promenade|hof|markt|tor|wall|graben|stieg|"
    r"straat|laan|plein|singel|gracht|kade|dreef|pad|steeg|dijk|hof|boulevard|baan|park|ring|weg|"
    r"gatan|vägen|gata|vej|gade|allé|gränd|katu|tie|utca|ulice)"
)
_SHOUTED = (
    r"(?:STRASSE|STRAAT|LAAN|PLEIN|SINGEL|GRACHT|KADE|DREEF|STEEG|DIJK|BAAN|WEG|GASSE|ALLEE|PLATZ|BOULEVARD|KATU|GATAN)"
)
_LETTERS = _WORD.replace(r"[\w'’.\-]", r"(?:[^\W\d_]|['’.\-])")
_TOWN = rf"{_LETTERS}(?: {_LETTERS}){{0,5}}"
_QUANTITY = re.compile(
    r"[\d.,]+ ?(?i:kg|g|mg|mcg|ml|cl|l|cm|mm|m|km|pcs?|st[kü]?|tabs?|tablets?|caps?|capsules?|x|of|ea|pack|box|hrs?|"
    r"days?|times?|min|pm|am|uhr|eur|usd|gbp|chf|pln)(?![^\W\d_])"
)
"""So much of something: no number of a house."""
_ENDS = re.compile(rf"(?i:{_ENDINGS})$")
_CODE = re.compile(r"\d{4} ?[A-Z]{2}")
_FOR_SOMETHING = re.compile(
    r"(?i:(?:park|sitz|steh|stell|spiel|sport|fu(?:ss|ß)ball|tennis|camping|lager|lade|arbeits)platz"
    r"|(?:um|heim|r[üu]ck|fu(?:ss|ß)|geh|rad|unter)weg),? \d"
)
"""A seat, a way to go: no street."""
_STREETS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:(?<![^\W\d_]){_UNIT},?[ \n])?{_NUMBER},? (?:{_WORD} ){{1,4}}{_ENGLISH_STREET}\.?{_UNIT}?",
        rf"(?<![^\W\d_]){_UNIT},?[ \n](?:{_WORD} ){{1,3}}{_ENGLISH_STREET}\.?",
        rf"{_NUMBER}(?: ?(?:bis|ter|quater))?,? (?i:{_BEFORE}){_AFTER}(?:{_WORD}(?:, | )?){{1,5}}",
        rf"(?<![\w'])(?i:{_BEFORE}){_AFTER}(?:{_WORD},? ){{1,5}}(?:(?:n[°.º] ?|nr\.? ?|num\.? ?)?{_NUMBER}|s/n)(?:"
        rf" ?lok\.? ?\d+)?{_UNIT}{{0,2}}",
        rf"(?<![\w']){_WORD}(?: {_WORD}){{0,4}}?(?:(?<=[a-zà-ÿ])|[ \-])(?i:{_ENDINGS}),? {_NUMBER}(?!\w|[.,]\d)",
        rf"(?<![\w'])(?:[{_UP}\-'’]+ ){{0,3}}[{_UP}\-'’]{{2,}}{_SHOUTED},? {_NUMBER}(?!\w|[.,]\d)",
        rf"(?m:^) ?(?P<bare>{_TOWN}) {_NUMBER}(?=[ ,]*\n ?(?!{_QUANTITY.pattern}){_CODE.pattern}[ ,]*(?:\n|$))",
        rf"(?<![\w'])(?:Am|An der|Im|In der|Zum|Zur|Auf dem|Auf der|Unter den|Hinter der) {_WORD} {_NUMBER}(?!\w"
        rf"|[.,]\d)",
        rf"(?m:^) ?(?i:{_BEFORE}){_AFTER}{_WORD}(?: {_WORD}){{0,4}}(?=\n)",
        r"(?i:p\.? ?o\.? ?box|postfach|apartado|casella postale|postbus|skr\.? poczt\.?|boîte postale|\bBP) \d{1,6}",
        rf"(?i:PSC|Unit) \d{{3,4}},? (?i:box) \d{{3,4}}|(?:USNS|USS|USCGC|USNV|HMS) {_WORD}",
    )
)
_GB = r"(?:GIR ?0AA|[A-PR-UWYZ][A-HK-Y]?\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2})"
_STATES = (
    r"(?:A[AEKLPRSZ]|C[AOT]|D[CE]|F[LM]|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]|P[ARW]|RI|S[CD]|T[NX]|UT|"
    r"V[AIT]|W[AIVY])"
)
_PLACES = tuple(
    (re.compile(pattern), confidence)
    for pattern, confidence in (
        (rf"(?:{_TOWN},? )?(?<![A-Z\d]){_GB}(?![A-Za-z\d])", 0.8),
        (rf"(?:{_TOWN},? )?(?<![A-Za-z]){_STATES} \d{{5}}(?:-\d{{4}})?(?!\d)", 0.8),
        (rf"(?:[A-Z]{{1,2}}-)?(?<![\d\-.,])\d{{4,5}},? {_TOWN}(?:,? ?\([A-Z]{{2}}\))?", 0.5),
        (rf"{_TOWN}, ?\d{{5}}(?![\d.]|,(?! ?[^\W\d]))", 0.6),
        (rf"(?<!\d)\d{{4}} ?[A-Z]{{2}}(?![A-Za-z\d])(?:,? {_TOWN})?", 0.6),
        (rf"(?<!\d)\d{{2}}-\d{{3}} {_TOWN}", 0.8),
        (rf"(?<!\d)\d{{3}} ?\d{{2}} {_TOWN}", 0.5),
        (rf"(?<!\d)\d{{4}}-\d{{3}} (?![{_UP}]{{1,3}}(?![a-zà-ÿ])){_TOWN}", 0.6),
    )
)
_NOT_A_PLACE = re.compile(
    r"(?i:jan|feb|m[aä]r|apr|ma[iy]|ju[nl]|aug|sep|o[ck]t|nov|de[cz]|eur|usd|gbp|chf|pln|pcs|st[kü]|kg|am|pm|uhr|hrs?|no|nr|of|and|in|the|der|die|das)"
    r"(?![a-zà-ÿ])"
)

_LINE_ABOVE = re.compile(rf"(?:^|[\n\t]) ?([^\n\t█\[]{{5,{LONGEST}}}?) ?\n ?$")
_LETTERS_AND_NUMBER = re.compile(r"[^\W\d_]{3}.*\d|\d.*[^\W\d_]{3}")
_NO_STREET = re.compile(r"[:@]|[.,]\d\d$")


def search(text: str, lists: Gazetteer) -> list[Span]:
    """Spans of addresses in a folded text."""
    spaced, at = spread(text)
    known = streets(spaced)
    found = [Span(*place, KIND, 0.75, STREET) for place in known]
    found += _places(spaced, known, lists)
    spans = [moved(piece, at) for span in found for piece in _without_labels(span, spaced)]
    return [*spans, *_towns(text, spans, lists), *_above(text, spans)]


def streets(spaced: str) -> list[tuple[int, int]]:
    """Where streets with their numbers stand in a text whose lost spaces were put back."""
    return [m.span() for pattern in _STREETS for m in pattern.finditer(spaced) if _is_street(m)]


def _is_street(match: re.Match[str]) -> bool:
    """Not the rest of an amount, nor a quantity before the next word, nor the number of a seat."""
    before = match.string[: match.start()]
    if "bare" in match.re.groupindex and all(map(common, match["bare"].split())) and not _ENDS.search(match["bare"]):
        return False  # "Page 3" above "2024 AB"
    fraction = match.group()[:1].isdigit() and re.search(r"\d ?[.,]$|\d$", before) is not None
    return not fraction and not _QUANTITY.match(match.group()) and not _FOR_SOMETHING.search(match.group())


def _places(text: str, streets: Sequence[tuple[int, int]], lists: Gazetteer) -> list[Span]:
    """Towns with their codes: sure of their shape, at the start of a line, listed, or near a street."""
    found = []
    for pattern, confidence in _PLACES:
        for match in pattern.finditer(text):
            words = re.findall(r"[^\W\d_]{2,}", match.group())
            start, end = match.span()
            near = any(abs(b - start) < NEAR or abs(end - a) < NEAR for a, b in streets)
            if (words and _NOT_A_PLACE.fullmatch(words[0]) and not near) or OF_A_THING.search(text[:start]):
                continue
            opens = not re.split(r"[\n\t]", text[:start])[-1].strip(" ,")
            listed = any(plain(word) in lists.towns for word in words)
            if confidence >= 0.8 or near or (listed and opens) or (opens and not all(map(common, words))):
                found.append(Span(start, end, KIND, confidence, "a place with its code"))
    return found


def _towns(text: str, spans: list[Span], lists: Gazetteer) -> list[Span]:
    """The line under a street or a bare code is a town's: short, no figures, listed or not all common words."""
    found = []
    for span in spans:
        if span.reason != STREET and not _CODE.fullmatch(text, span.start, span.end):
            continue  # under a town with its code a letter begins
        line = re.compile(r"[ ,]*\n ?((?:\d[ae]? ?)?[^\n\t:\d\[█]{2,40})(?=\n|$)").match(text, span.end)
        if (
            line
            and re.match(rf"(?:\d\w? )?[{_UP}]", line[1])
            and len(line[1].split()) <= 4
            and not line[1].endswith(".")
            and not labels.is_label(line[1])
            and _a_town(line[1], lists)
        ):
            found.append(Span(*line.span(1), KIND, 0.6, "the line under a street"))
    return found


def _a_town(line: str, lists: Gazetteer) -> bool:
    words = re.findall(r"[^\W\d_]{3,}", line)
    named = any(plain(word) in lists.given or plain(word) in lists.surnames for word in words)
    return named or plain(line.strip()) in lists.towns or not all(map(common, words))


def _above(text: str, spans: list[Span]) -> list[Span]:
    """The line above a place that opens its line is a street's, by whatever name, if it has letters and a number."""
    found = []
    for span in spans:
        line = _LINE_ABOVE.search(text[: span.start]) if span.reason == "a place with its code" else None
        if line and _LETTERS_AND_NUMBER.search(line[1]) and not _NO_STREET.search(line[1]):
            found.append(Span(*line.span(1), KIND, 0.5, "the line above a place"))
    return found


def _without_labels(span: Span, text: str) -> list[Span]:
    """The span, or what it holds beside labels, as far as that has a figure."""
    pieces = labels.parted(text, span.start, span.end)
    if len(pieces) > 1:
        pieces = [(a, b) for a, b in pieces if any(c.isdigit() for c in text[a:b])]
    return [Span(a, b, span.kind, span.confidence, span.reason) for a, b in pieces]


def rule(half: bool = False) -> Rule:
    """With `half`, the lists lack the towns of held-out pages."""
    return Rule("address", "5", lambda text: search(text, gazetteer(half)), blocks=True)
