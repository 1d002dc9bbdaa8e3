"""What counts when an anonymiser is measured: items that are gone, values that can still be read, and the tables."""

from __future__ import annotations

import math
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from rapidfuzz import fuzz

from learners import yardstick
from privacy.page import Line, Region

ALIKE = 85
COVERED = 0.95


def wilson(hits: int, count: int, z: float = 1.96) -> float:
    """The lower end of Wilson's interval."""
    if count == 0:
        return float("nan")
    share, square = hits / count, z * z / count
    middle = share + square / 2
    return (middle - z * math.sqrt(share * (1 - share) / count + square / (4 * count))) / (1 + square)


def value(page: yardstick.Page, item: Region) -> str:
    """The planted text: the characters whose middle lies in the item's box."""
    box, found = item.box, []
    for line in page.lines:
        for char in line.chars:
            x = sum(p[0] for p in char.quad) / 4
            y = sum(p[1] for p in char.quad) / 4
            if box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1:
                found.append(char.text)
    return "".join(found).casefold()


def leaks(text: str, near: str) -> bool:
    return len(text) >= 3 and len(near) >= len(text) * 3 // 4 and fuzz.partial_ratio(text, near) >= ALIKE


def around(lines: Sequence[Line], item: Region) -> str:
    return "".join(line.text for line in lines if line.box.intersect(item.box.grown(4)) > 0).replace(" ", "").casefold()


def tesseract(image: np.ndarray[Any, Any], chinese: bool) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Words and boxes."""
    _, data = cv2.imencode(".png", image[:, :, ::-1])
    language = "chi_sim+chi_tra+eng" if chinese else "eng"
    out = subprocess.run(
        ["tesseract", "-", "-", "-l", language, "tsv"], input=data.tobytes(), capture_output=True, check=False
    ).stdout.decode(errors="replace")
    rows = [row.split("\t") for row in out.splitlines()[1:]]
    return [
        (row[11], (int(row[6]), int(row[7]), int(row[6]) + int(row[8]), int(row[7]) + int(row[9])))
        for row in rows
        if len(row) > 11 and row[11].strip()
    ]


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, dict[str, list[int]]] = {
        "Latin": defaultdict(lambda: [0, 0, 0, 0]),
        "Chinese": defaultdict(lambda: [0, 0, 0, 0]),
    }
    for row in rows:
        for kind, gone, leak, other in row["items"]:
            for name in (kind, "all"):
                cell = found["Chinese" if row["chinese"] else "Latin"][name]
                cell[0] += 1
                cell[1] += gone
                cell[2] += leak and not row["reason"]
                cell[3] += other and not row["reason"]
    return {script: dict(kinds) for script, kinds in found.items() if kinds}


def show(title: str, rows: list[dict[str, Any]], tess: bool) -> dict[str, Any]:
    print(f"\n{title}: {len(rows)} pages")
    kinds = table(rows)
    for script, cells in kinds.items():
        mine = [r for r in rows if r["chinese"] == (script == "Chinese")]
        print(f"{script:9}{'':12}items   gone   at least  leak v4  {'tesseract' if tess else ''}")
        for kind, (count, gone, leak, other) in sorted(cells.items(), key=lambda c: (c[0] == "all", c[0])):
            last = f"{other / count:9.4f}" if tess else ""
            print(
                f"         {kind:12}{count:5}  {gone / count:.4f}  {wilson(gone, count):.4f}   {leak / count:.4f}"
                f"  {last}"
            )
        lost, innocent = sum(r["lost"] for r in mine), sum(r["innocent"] for r in mine)
        dirty = sum(not r["reason"] and any(i[2] or i[3] for i in r["items"]) for r in mine)
        print(f"         ink wrongly removed {lost / innocent:.4f}; quarantined"
              f" {sum(bool(r['reason']) for r in mine)}; "
              f"stored, not clean {dirty}; {sum(r['seconds'] for r in mine) / len(mine):.2f} s, "
              f"{sum(r['cpu'] for r in mine) / len(mine):.2f} CPU s a page")  # fmt: skip
    for reason in sorted({r["reason"].partition(": ")[2] or r["reason"] for r in rows if r["reason"]}):
        print(f"         quarantined for {reason}: {sum(r['reason'].endswith(reason) for r in rows)}")
    return {"pages": len(rows), "kinds": kinds}
