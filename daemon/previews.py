"""What is shown of a redaction: its audit without plaintext, and a picture of before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from daemon.redacting import PageResult
from models import orientation
from privacy.detectors.interface import Detector
from privacy.detectors.registry import versions
from privacy.page import Image

FRAME = (220, 30, 30)
GAP = 12


def audit(looked: Sequence[tuple[PageResult, str]], detectors: Sequence[Detector]) -> dict[str, Any]:
    """For each page its verdict, how many lines have surrogates, and what was found; the detectors' versions.

    Of a find its kind, box, confidence and reason.
    """
    return {
        "version": 1,
        "detectors": versions(detectors),
        "pages": [
            {
                "verdict": reason or "passed",
                "turned": result.turn,
                "surrogates": len(result.told),
                "slope": round(result.slope, 2),
                "filled": round(float(result.redaction.mask.mean()), 4),
                "regions": [
                    {
                        "kind": region.kind,
                        "box": [region.box.x0, region.box.y0, region.box.x1, region.box.y1],
                        "confidence": region.confidence,
                        "reason": region.reason,
                    }
                    for region in result.redaction.regions
                ],
            }
            for result, reason in looked
        ],
    }


def side_by_side(before: Image, result: PageResult) -> Image:
    """The page as it came, set upright and with frames around what was found, beside the page as it is now."""
    stood = orientation.straightened(orientation.rotate(before, result.turn), result.slope)
    framed = np.ascontiguousarray(stood.copy())
    for region in result.redaction.regions:
        points = np.rint(np.array([region.quad])).astype(np.int32)
        cv2.polylines(framed, points, isClosed=True, color=FRAME, thickness=2)
    gap = np.full((framed.shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([framed, gap, result.image])


def filled(image: Image, boxes: Sequence[tuple[int, int, int, int]]) -> Image:
    """The page with more boxes filled, in the colour of what surrounds them."""
    from privacy.anonymise import fill

    mask = np.zeros(image.shape[:2], bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return fill(image, mask)
