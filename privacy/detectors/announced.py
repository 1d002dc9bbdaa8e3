"""Values that a label announces: one pattern for what may stand between the two."""

from __future__ import annotations

import re

from privacy.detectors import labels

_BETWEEN = r"\s?(?:(?i:no|nr|number|num|n°|id|code|#|号码|号|號碼|號)[.:]?)?(?:\s?\([^)\n]{1,30}\))?[\s:.;#_\-]{0,12}"
OF_A_THING = re.compile(
    r"(?<![^\W\d_])(?i:parts?|items?|art(?:icle|ikel)?|models?|mod|type|typ|sku|ean|upc|isbn|lots?|batch|charge|ch\.?-?b|serial|s/n"
    r"|order|bestell\w*|commande|pedido|ordine|inv(?:oice)?|rechnung\w*|facture|factura|fattura|faktura|bill|receipt|beleg|ticket"
    r"|terminal|merchant|store|filiale|shop|till|kasse\w*|caisse|caja|cassa|pos|tid|mid|stan|rrn|auth(?:ori[sz]ation)?|approval|trace"
    r"|trans(?:action)?|version|software|firmware|release|page|seite|order|tracking|product|produ[ck]t\w*|articolo|art[ií]culo"
    r"|article|artyku[lł]\w*|zam[oó]wieni\w*|paragon\w*|scontrino|recibo|reçu|bon|kassenbon|quittung|devis|quote|quotation|angebot"
    r"|lieferschein\w*|delivery|consignment|sample|tube|bin|rev|qty|route|depot|room|table|tisch|shelf|po|p/o)"
    r"[ .\-]{0,2}(?:(?i:n[o0]|nr|num|number|n°|nº|code|id|#)\.?)?[\s:.#\-]*$"
)
"""What ends so announces the number of a thing: of a part, an order, a receipt."""
CODE = r"(?=(?:[^\d\n\t]{0,10}\d){3})[A-Z\d](?:[ \-./·]{0,2}[A-Z\d]){3,24}(?![A-Za-z\d])"
"""A number or a code: capitals and digits, at least three of them digits, with gaps."""


def after(*groups: tuple[str, ...], value: str = CODE) -> re.Pattern[str]:
    """Matches a label of the groups and, as `value`, what it announces: behind it, in the next cell, or below."""
    return re.compile(rf"{labels.one_of(*groups)}{_BETWEEN}(?P<value>{value})")
