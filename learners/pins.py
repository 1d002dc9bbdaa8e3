"""The letters of a nine-pin printer: five columns of dots a character, as its draft mode strikes them.

A byte is a column, its lowest bit the top pin; the eighth pin is for descenders. The shapes are the
common 5x7 ones, drawn for this project.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

PINS = 8
COLUMNS = 5
CELL = 6
"""Columns from one character to the next."""
BASELINE = 7
"""The row of dots under the letters' feet."""

CHARACTERS = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_COLUMNS = bytes.fromhex(
    "0000000000 00005F0000 0007000700 147F147F14 242A7F2A12 2313086462 3649562050 0000070000 001C224100 "
    "0041221C00 2A1C7F1C2A 08083E0808 0080703000 0808080808 0000606000 2010080402 3E5149453E 00427F4000 "
    "4261514946 2141494D33 1814127F10 2745454539 3C4A494931 0171090503 3649494936 064949291E 0036360000 "
    "0056360000 0814224100 1414141414 0041221408 0201590906 3E415D594E 7C1211127C 7F49494936 3E41414122 "
    "7F4141413E 7F49494941 7F09090901 3E41495979 7F0808087F 00417F4100 2040413F01 7F08142241 7F40404040 "
    "7F020C027F 7F0408107F 3E4141413E 7F09090906 3E4151215E 7F09192946 4649494931 01017F0101 3F4040403F "
    "1F2040201F 3F4038403F 6314081463 0304780403 6151494543 4040404040 2054545478 7F48444438 3844444420 "
    "384444487F 3854545418 087E090102 18A4A4A47C 7F08040478 00447D4000 4080847D00 7F10284400 00417F4000 "
    "7C04180478 7C08040478 3844444438 FC24242418 18242424FC 7C08040408 4854545420 043F444020 3C4040207C "
    "1C2040201C 3C4030403C 4428102844 1CA0A0A07C 4464544C44"
)


@cache
def matrix(character: str) -> npt.NDArray[np.uint8]:
    """`(8, 5)`: one where a pin strikes. Raises ValueError for a character that the printer lacks."""
    at = CHARACTERS.index(character) * COLUMNS
    columns = np.frombuffer(_COLUMNS, np.uint8, COLUMNS, at)
    return np.unpackbits(columns[None, :], axis=0, count=PINS, bitorder="little")
