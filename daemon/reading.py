"""A worker that reads pages, removes personal data, looks again, and cuts out what may be learned from.

Pixels come in, and what goes back is safe to seal: pages without personal data, their text, line crops
with labels, and counts. It is exec'd, holds no key and opens no file but model weights. A page on which
something is still found after filling sends the whole document to quarantine.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from daemon import previews, wire, workers
from daemon.errors import BadFile
from daemon.redacting import PageResult, Quarantine, Redactor
from daemon.substituting import Substituter
from learners import labels, retelling, sidecars
from learners.errors import BadLabel
from learners.lines import document, pack
from models import orientation, reader, weights
from privacy import anonymise, sandbox
from privacy.detectors import registry
from privacy.detectors.interface import Rule, Span
from privacy.page import Image, Line
from privacy.policy import Policy

Taught = tuple[Image, str]
"""A line's crop and what it says."""


class Reading:
    """The models and detectors, loaded once; `page` and `document` do the work.

    Args:
        config: `weights` and `model` (folders), `policy` (as `privacy.policy.Policy.of` takes it), `label_confidence`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        stock = Path(config["weights"])
        files = weights.v4_files(stock)
        served = weights.ReaderFiles(files.det, files.cls, Path(config["model"]) / "rec.onnx")
        serving = reader.Reader(served, "v4", narrowest=reader.NARROW)
        guard = reader.Reader(weights.v6_files(), "v6", narrowest=reader.NARROW)
        policy = Policy.of(config["policy"])
        self._rules = policy.text_rules()
        found = registry.detectors(self._rules, stock / "centerface.onnx", 1, policy.removes)
        self._detectors = policy.allowing(found)
        kinds = config["policy"].get("surrogates", ())
        substituter = Substituter(kinds, guard) if kinds else None
        self._redactor = Redactor(guard, serving, self._detectors, substituter)
        self._characters = set(weights.characters(served.rec))
        self._bound = float(config["label_confidence"])

    def page(self, image: Image, number: int) -> PageResult:
        """The page without personal data.

        Raises:
            Quarantine: it could not be read, or something personal is still found after the redaction.
        """
        return self._redactor.page(image, number)

    def learnable(self, results: Sequence[PageResult], sidecar: bytes, name: str) -> tuple[list[Taught], bool]:
        """Line crops with what they say, and whether a sidecar said it.

        Labels with a place belong to the first page; rows of plain text to the first page as well.
        """
        try:
            given = sidecars.read_sidecar(sidecar, name) if sidecar else []
        except BadLabel as error:
            raise BadFile(f"has labels that cannot be read: {error}") from error
        crops: list[Taught] = []
        for index, result in enumerate(results):
            if not given:
                attached = labels.pseudo_labels(result.lines, (), self._bound)
                told = retelling.from_readings(result.told, self._bound, self._characters, self._redact)
            elif index == 0:
                mine = [_turned(label, result) for label in given]
                attached = labels.attach(mine, result.lines, (), self._characters)
                told = retelling.from_labels(result.told, mine, self._characters, self._redact)
            else:
                break
            for match in attached.matches:
                labelled = Line(match.text, match.quad, 1.0, 1.0)
                if not self._characters.issuperset(match.text):
                    continue  # the guard knows more characters than the model in service
                masked = result.touches(labelled) or result.touches(result.lines[match.line])
                if not masked and not self._redact(match.text)[1]:
                    told.append((match.quad, match.text))
            down = sorted(told, key=lambda each: each[0][0][1] + each[0][2][1])
            crops += [(reader.crop(result.image, quad), text) for quad, text in down]
        return crops, bool(given)

    def _redact(self, text: str) -> tuple[str, list[Span]]:
        return anonymise.redact_text(text, self._rules)

    def document(self, pages: Sequence[Image], sidecar: bytes, name: str = "") -> workers.Reply:
        """The whole document: what to seal, and the row's numbers. `name` picks its rows in a list of images."""
        try:
            results = [self.page(image, number) for number, image in enumerate(pages, 1)]
        except Quarantine as reason:
            return {"verdict": "quarantined", "reason": str(reason), "pages": len(pages), "blobs": []}, ()
        crops, labelled = self.learnable(results, sidecar, name)
        taught = document(0, crops)
        everything = [line for result in results for line in result.lines]
        removed = Counter(region.kind for result in results for region in result.redaction.regions)
        names, blobs = ["text"], [json.dumps([_text(r, self._rules) for r in results], ensure_ascii=False).encode()]
        names.append("audit")
        blobs.append(json.dumps(previews.audit([(r, "") for r in results], self._detectors)).encode())
        if taught is not None:
            names.append("lines")
            blobs.append(pack(taught))
        for number, result in enumerate(results, 1):
            names.append(f"page-{number}.png")
            blobs.append(_png(result.image))
        header = {
            "verdict": "done",
            "pages": len(pages),
            "lines": len(everything),
            "removed": dict(removed),
            "taught": 0 if taught is None else len(taught.lines),
            "labelled": labelled,
            "confidence": float(np.mean([line.min_confidence for line in everything])) if everything else None,
            "brightness": float(np.mean([result.image.mean() for result in results])) / 255,
            "contrast": float(np.mean([result.image.std() for result in results])) / 255,
            "blobs": names,
        }
        return header, blobs

    def preview(self, pages: Sequence[Image], also: Sequence[Sequence[int]]) -> workers.Reply:
        """Every page filled, whatever its verdict, and before beside after; `also` names more boxes to fill."""
        looked = [self._redactor.look(image, number) for number, image in enumerate(pages, 1)]
        more = [[(b[1], b[2], b[3], b[4]) for b in also if b[0] == number] for number in range(1, len(pages) + 1)]
        done = [previews.filled(r.image, boxes) for (r, _), boxes in zip(looked, more, strict=True)]
        pairs = [previews.side_by_side(p, r) for p, (r, _) in zip(pages, looked, strict=True)]
        header = {
            "pages": len(pages),
            "reason": next((reason for _, reason in looked if reason), ""),
            "removed": dict(Counter(region.kind for result, _ in looked for region in result.redaction.regions)),
        }
        report = json.dumps(previews.audit(looked, self._detectors), indent=1).encode()
        return header, [report, *map(_png, done), *map(_png, pairs)]


def _turned(label: sidecars.Label, result: PageResult) -> sidecars.Label:
    """A label's place on the page after it was set upright."""
    if label.quad is None:
        return label
    there = orientation.placement(result.shape, result.turn, result.slope)
    return sidecars.Label(label.text, orientation.moved(label.quad, there), label.legible)


def _text(result: PageResult, rules: Sequence[Rule]) -> list[str]:
    """The page's lines after anonymisation; the rules look at each once more."""
    return [anonymise.redact_text(line.text, rules)[0] for line in result.lines]


def _png(image: Image) -> bytes:
    ok, data = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not ok:
        raise RuntimeError(f"OpenCV could not encode a page of shape {image.shape}.")
    return data.tobytes()


def _prepare(config: dict[str, Any]) -> Callable[[wire.Message], workers.Reply]:
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    reading = Reading(config)

    def answer(message: wire.Message) -> workers.Reply:
        sidecar = message.blob(0, sidecars.MAX_BYTES * 4) if message.header["sidecar"] else b""
        pages = []
        for index, (height, width) in enumerate(message.header["shapes"], 1):
            pages.append(np.frombuffer(message.blob(index), np.uint8).reshape(height, width, 3))
        if "preview" in message.header:
            return reading.preview(pages, message.header["preview"])
        return reading.document(pages, sidecar, message.header["name"])

    return answer


def _confinement(config: dict[str, Any]) -> sandbox.Confinement:
    return sandbox.reader([Path(config["weights"]), Path(config["model"])])


def main() -> None:
    workers.serve(_prepare, _confinement)


if __name__ == "__main__":
    main()
