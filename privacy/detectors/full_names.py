"""Latin names without a label: words with capitals that are in lists of names, or in no list of common words.

A word that is in neither list counts as a name's where it stands beside a listed one, or alone in its cell with
another word. What bears the mark of a firm ("Smith Ltd") is a firm's. Lost spaces are put back first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from privacy.detectors import labels
from privacy.detectors.gazetteer import Gazetteer, gazetteer, plain
from privacy.detectors.interface import Rule, Span, moved, spread
from privacy.detectors.words import common

KIND = "name"
LONGEST = 14  # letters; longer ones are several words whose spaces were lost

_UP = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĢĪĮĶĻŁĽŃŇŌŐŒŔŘŚŞŠȘŢŤȚŪŮŰŲŹŻŽ"
_PARTICLE = (
    r"(?:van der|van den|van de|von der|de la|de los|van|von|vom|zu|zum|de|der|den|del|della|dello|di|da"
    r"|do|dos|das|du|le|la|ten|ter|te|el|al|bin|binti|ibn|y|e|i)"
)
_TOKEN = rf"(?:[{_UP}]\.(?=[ {_UP}])|[{_UP}][\w'’]*(?:-[\w'’]+)*)"
_SEQUENCE = re.compile(rf"(?<![\w@./\-']){_TOKEN}(?:,? (?:{_PARTICLE} )*{_TOKEN}){{1,4}}(?![\w@]|\.\w)")
_FIRM = re.compile(
    r"(?<![A-Za-z])(?:GmbH|mbH|AG|KG|KGaA|OHG|oHG|e\.? ?V\.?|e\.? ?K\.?|Ltd|LTD|Limited|Inc|INC|LLC|LLP|PLC|Plc"
    r"|Corp|Co\.|& ?Co"
    r"|Group|Holding|SARL|S\.?A\.?R\.?L|SAS|S\.?A\.?|S\.?p\.?A\.?|SPA|SpA|S\.?R\.?L\.?|s\.c|Stichting|Koninklijke|S\.?r\.?l\.?|Srl|SRL|S\.?L\.?|S\.?L\.?L\.?|S\.?C\.?P|B\.?V\.?|N\.?V\.?|V\.?O\.?F"
    r"|Sp\.? ?z|S\.? ?K\.? ?A|P\.?P\.?O\.?F|Stiftung|Fundacja|FPUH|PPUH|Stowarzyszenie|Gabinety?|Grupa|Spółka|and"
    r" Sons|& ?Sons"
    r"|et Fils|(?:&|und) ?Söhne|[e&] ?figli|[ye&] ?Hijos|[y&] ?Asociados|(?:&|et) ?Cie|Frères|Gebr(?:üder)?\.?"
    r"|[&n] ?Zonen|en Zn"
    r"|(?:&|und) ?Partner|Partners|SNC|snc|Srls|Hermanos|Bank|Sdn|Bhd"
    r"|Restaurant|Hotel|Enterprise|Trading|Compagnia|Cooperativa|Industrias"
    r"|Asociados|Familia)(?![A-Za-z])"
)
_ITS_END = re.compile(r"(?:S\. ?(?:Com|A|L|C|n\. ?c|a\. ?s|r\. ?l|p\. ?A)|[BN]\. ?V)[. ]*$")
_CHINESE_FIRM = re.compile(r"[\u4e00-\u9fff()]{2,20}(?:公司|集团|集團|企业|企業)")
OPENING = re.compile(
    r"(?:(?:Dear|Hello|Hi|Guten Tag|Tag|Liebe[rs]?|Sehr geehrte[rs]?|Geehrte[rs]?|Cher|Chère|Chere|Bonjour"
    r"|Estimad[oa]|Querid[oa]"
    r"|Gentile|Egregio|Geachte|Szanown[aey]|Drog[ia]|Monsieur|Madame|Mr|Mrs|Ms|Herrn?|Frau|Se[nñ]ora?|Signora?"
    r"|Sig|Sra?|Dhr|Mevr|Pan[ií]?)\.? )+"
)
"""What greets or titles is no part of a name."""
_PARTNERS = re.compile(rf"[\w'’\-]+(?:, [\w'’\-]+)*,? ?(?:and|und|et|y|e|en|&|och|og|i) ?[{_UP}][\w'’\-]+$")


def search(text: str, lists: Gazetteer) -> list[Span]:
    """Spans of names in a folded text."""
    spaced, at = spread(text)
    spans = []
    for match in _SEQUENCE.finditer(spaced):
        before, after = _cell(spaced, match)
        cell = spaced[before:after]
        if match.group().count(",") and _PARTNERS.fullmatch(cell.partition(": ")[2] or cell):
            continue
        original = text[at[match.start()] : at[match.end() - 1] + 1]
        if " " not in original.strip() and len(original) > 2 * LONGEST:
            continue  # a line whose spaces were lost: the other reading tells more
        alone = len(cell.strip(" .,:;*-_|")) <= match.end() - match.start() + 2
        for first, last in _of_no_firm(spaced, text, at, match.span(), (before, after)):
            for start, end in labels.parted(spaced, first, last):
                opened = OPENING.match(spaced, start, end)
                start = opened.end() if opened else start
                found = _names(spaced[start:end], alone, lists)
                spans += [moved(Span(start + a, start + b, KIND, 0.6, why), at) for a, b, why in found]
    return spans


def is_firm(text: str) -> bool:
    """Is it the name of one firm, with its mark at the end?"""
    shown = text.strip(" .,;")
    ends = any(m.end() == len(shown) for m in _FIRM.finditer(shown)) or _ITS_END.search(shown) is not None
    return (ends and "," not in shown) or _CHINESE_FIRM.fullmatch(shown) is not None


def _cell(text: str, match: re.Match[str]) -> tuple[int, int]:
    before = max(text.rfind("\n", 0, match.start()), text.rfind("\t", 0, match.start())) + 1
    rest = re.compile(r"[^\n\t]*").match(text, match.end())
    return before, rest.end() if rest else match.end()


def _of_no_firm(
    spaced: str, text: str, at: Sequence[int], match: tuple[int, int], cell: tuple[int, int]
) -> list[tuple[int, int]]:
    """The match without its parts, between commas, that bear the mark of a firm; nothing of "Smith, Jones & Sons"."""
    kept: list[tuple[int, int]] = []
    start = match[0]
    for part in spaced[match[0] : match[1]].split(","):
        end = start + len(part)
        left = spaced[cell[0] : start].rpartition(",")[2] if start == match[0] else ""
        right = spaced[end : cell[1]].partition(",")[0] if end == match[1] else ""
        as_read = text[at[start - len(left)] : at[max(end + len(right) - 1, start)] + 1]
        if marked(left + part + right) or marked(as_read):
            kept = [(a, b) for a, b in kept if " " in spaced[a:b].strip()]
        else:
            kept.append((start, end))
        start = end + 1
    return _runs(kept)


def _runs(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Parts that stand next to each other, joined."""
    runs: list[tuple[int, int]] = []
    for a, b in parts:
        if runs and runs[-1][1] + 1 == a:
            runs[-1] = runs[-1][0], b
        else:
            runs.append((a, b))
    return runs


def marked(text: str) -> bool:
    return _FIRM.search(text) is not None or _ITS_END.search(text) is not None


def _names(sequence: str, alone: bool, lists: Gazetteer) -> list[tuple[int, int, str]]:
    """What of a run of capitalised words is a name: start, end, and the reason."""
    tokens = [m for m in re.finditer(r"[\w'’\-]+\.?", sequence) if not re.fullmatch(_PARTICLE, m.group())]
    shouted = sequence.isupper()
    marks = [_mark(m.group(), lists, shouted or m is tokens[-1]) for m in tokens]
    while marks and marks[0] == "common" and len(marks) > 2:
        tokens, marks = tokens[1:], marks[1:]
    while marks and marks[-1] == "common" and len(marks) > 2:
        tokens, marks = tokens[:-1], marks[:-1]
    if len(tokens) < 2:
        return []
    ordered = alone or _in_order(tokens, lists) or (not shouted and _before_a_rare_one(tokens, marks, lists))
    listed = marks.count("listed") + (marks.count("both") if ordered else 0)
    unknown = marks.count("unknown")
    found = ""
    if listed and listed + (0 if shouted and not alone else unknown) + marks.count("initial") >= 2:
        found = "a listed name beside another"
    elif alone and not shouted and (listed + unknown >= 1 or marks.count("both") >= 1):
        found = "words with capitals, alone, not all common"
    elif unknown >= 2 and not shouted:
        found = "two words with capitals that are in no list"
    return [(tokens[0].start(), tokens[-1].end(), found)] if found else []


def _in_order(tokens: list[re.Match[str]], lists: Gazetteer) -> bool:
    """Do words that are also names stand as names do, a given name first? German prose is full of such words."""
    first, last = (plain(_bare(token.group())) for token in (tokens[0], tokens[-1]))
    return first in lists.given and last in lists.surnames


def _before_a_rare_one(tokens: list[re.Match[str]], marks: list[str], lists: Gazetteer) -> bool:
    """Does a given name that is a word as well open the name, and a word of no list end it? "Sarah Whitmore"."""
    return plain(_bare(tokens[0].group())) in lists.given and marks[-1] == "unknown" and "common" not in marks


def _mark(token: str, lists: Gazetteer, dotted: bool) -> str:
    """`initial` (with its dot, where asked), `listed` as a name, `both` a name and a word, `common` or `unknown`."""
    bare = _bare(token)
    if len(bare) == 1:
        return "initial" if token.endswith(".") or not dotted else "common"
    if bare[-1:].isdigit() or sum(c.isdigit() for c in bare) > 1:
        return "common"
    parts = [part for part in plain(bare).split("-") if part]
    named = any(part in lists.given or part in lists.surnames for part in parts)
    if all(common(part) for part in parts):
        return "both" if named else "common"
    if named:
        return "listed"
    return "common" if max(map(len, parts)) > LONGEST else "unknown"


def _bare(token: str) -> str:
    """Without the marks around it, and without what says that something is his."""
    return re.sub("['’]s$", "", token.strip("'’.-"))


def rule(half: bool = False) -> Rule:
    """With `half`, the lists lack the names of held-out pages."""
    return Rule("full_name", "4", lambda text: search(text, gazetteer(half)))
