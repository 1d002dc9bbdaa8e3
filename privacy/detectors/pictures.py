"""Where on a page a photograph may be: parts without paper in them. Print has paper between its strokes."""

from __future__ import annotations

import cv2
import numpy as np

from privacy.page import Box, Image

TILE = 16  # pixels
PAPER = 14  # grey levels about the page's usual tone
MOST = 0.5  # of the pixels of three tiles by three, from which on they are paper with print on it
LEAST = 24  # pixels of the shorter side of a picture
ROOM = 16  # pixels of what is around it


def pictures(image: Image) -> list[Box]:
    """Boxes that hold whatever has no paper in it, and some of what is around; the whole page if that is not less."""
    gray = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3)).astype(np.float32)
    height, width = gray.shape
    small = cv2.resize(gray, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA)
    side = max(3, min(255, min(small.shape) // 2)) | 1
    tone = cv2.resize(cv2.medianBlur(small.astype(np.uint8), side), (width, height)).astype(np.float32)
    paper = (np.abs(gray - tone) <= PAPER).astype(np.float32)
    tiles = cv2.resize(paper, (-(-width // TILE), -(-height // TILE)), interpolation=cv2.INTER_AREA)
    busy = (cv2.blur(tiles, (3, 3)) < MOST).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(busy, np.ones((3, 3), np.uint8)), connectivity=8)
    page = Box(0, 0, width, height)
    found = []
    for x, y, w, h, _ in stats[1:].tolist():
        box = Box(x * TILE, y * TILE, (x + w) * TILE, (y + h) * TILE).grown(ROOM)
        box = Box(max(box.x0, 0), max(box.y0, 0), min(box.x1, width), min(box.y1, height))
        if min(box.x1 - box.x0, box.y1 - box.y0) >= LEAST:
            found.append(box)
    return [page] if sum(box.area for box in found) >= page.area else found
