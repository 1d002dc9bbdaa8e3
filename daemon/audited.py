"""The empirical audit of the code that ships, as every privacy claim states it (docs/audit.md).

`bench/audit.py --record` runs the audit and leaves what it found in `audit.json`, with a digest of the code that it
ran. Code that has changed since has not been audited, and its claims say so by saying nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("audit.json")
AUDITED = (
    "privacy/coins.py",
    "privacy/discrete_gaussian.py",
    "privacy/dpsgd.py",
    "privacy/noise.py",
    "learners/chunks.py",
    "learners/finetune.py",
    "learners/gradients.py",
)
"""What puts documents together, clips, sums, samples and adds noise."""


def record(path: Path = PATH) -> dict[str, Any] | None:
    """What the audit found: canaries, the claim it was held against, its bounds, and its control's. None if the code
    is not what was audited."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found["code"] == code_digest() else None


def code_digest(root: Path = PATH.parents[1]) -> str:
    """SHA-256 (hex) of the audited modules as programs: comments, docstrings and layout don't count."""
    digest = hashlib.sha256()
    for name in AUDITED:
        digest.update(f"{name}\0{_program((root / name).read_text())}\0".encode())
    return digest.hexdigest()


def _program(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _says_only(each)]  # type: ignore[attr-defined]
    return _told(tree)


def _told(part: object) -> str:
    """As `ast.dump`, but without what is empty: which fields a node has differs between Pythons."""
    if isinstance(part, ast.AST):
        fields = (f"{name}={_told(value)}" for name, value in ast.iter_fields(part) if value not in (None, []))
        return f"{type(part).__name__}({', '.join(fields)})"
    return f"[{', '.join(map(_told, part))}]" if isinstance(part, list) else repr(part)


def _says_only(node: ast.AST) -> bool:
    """A docstring, of a module, class, function or constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
