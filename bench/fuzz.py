"""Our own parsers under mutated input: each either answers or raises what its docstring names, within 2 s.

    python bench/fuzz.py [--seed N] [--runs N] [--quick] [--json FILE] [--target NAME]

Half of the inputs are seeded mutations (bench/mutations.py): of bytes, and, of what is JSON, of its values; what is
signed is signed again after it was changed, so that something is left to parse. With atheris (`pip install
atheris==3.0.0`, not a dependency) as many more are found by coverage. Exits with 1 at the first input that gets another
answer.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if "--atheris" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["daemon", "learners", "models", "privacy", "json", "zipfile"]):
        from daemon import config, decoding, wire
        from learners import lines, sidecars
        from models import manifest
        from privacy import chain, claim, claim_check
else:
    from daemon import config, decoding, wire
    from learners import lines, sidecars
    from models import manifest
    from privacy import chain, claim, claim_check

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from learners import synthesis
from learners.errors import BadLabel
from mutations import mutated, mutated_json
from privacy import dsse
from privacy.chain import canonical
from privacy.errors import ClaimBroken
from privacy.ledger import Ledger
from privacy.signing import SigningKey

HANG_SECONDS = 2.0
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
"""The same in every process: what atheris begins with is signed by it."""


@dataclass(frozen=True)
class Target:
    """A parser, the errors it may raise, and inputs to begin with."""

    parse: Callable[[bytes], Any]
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]


def answer(data: bytes) -> None:
    """A decoder's answer, as the service takes it off the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = wire.memfd(data)
    with ours, theirs:
        try:
            socket.send_fds(theirs, [b"m"], [fd])
            with wire.receive(ours, 2**16) as message:
                _DECODER._believed(message)
        finally:
            os.close(fd)


_DECODER = decoding.Decoder(config.Ingest(), "require")


def _entries() -> list[bytes]:
    entry = chain.Entry(0, "2026-01-01T00:00:00+00:00", "round", {"steps": 3}, chain.origin(KEY.public))
    return [entry.line(), entry.line() * 2, b"{}\n"]


def _ledger() -> list[bytes]:
    """Two entries that follow each other, signed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        with Ledger(path, KEY) as book:
            book.append("round", {"steps": 3})
            book.append("forget", {"slots": [[0, 1]]})
        return [path.read_bytes(), *_entries()]


def _statements() -> list[bytes]:
    """A statement whose debit is in a ledger."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.jsonl", KEY) as book:
        proof = asdict(book.prove(book.append("round", {"steps": 3}).seq))
    predicate = {**{key: {"a": 1} for key in claim_check.REQUIRED}, "ledger": proof}
    return [canonical({"_type": claim.STATEMENT_TYPE, "predicateType": claim.PREDICATE_TYPE, "predicate": predicate})]


def _claims() -> list[bytes]:
    return [*(json.dumps(claim.sign(json.loads(each), KEY)).encode() for each in _statements()), b"{}", b"[]"]


def signed_claim(data: bytes) -> None:
    claim_check.read(dsse.sign(data, claim.PAYLOAD_TYPE, KEY), KEY.public)


def _manifests() -> list[bytes]:
    stored = tuple(manifest.StoredFile(name, 3, "0" * 64) for name in manifest._FILES)
    return [manifest.Manifest.of(stored, None, "2026-01-01T00:00:00+00:00").sealed(KEY), b"{}"]


def signed_manifest(data: bytes) -> None:
    fields = json.loads(data)
    if isinstance(fields, dict):
        fields["signature"] = base64.b64encode(KEY.sign(manifest._message(fields))).decode()
    manifest.parse(json.dumps(fields).encode(), KEY.public)


def _lines() -> list[bytes]:
    crops = [(np.full((48, 100, 3), 200, np.uint8), "one"), (np.full((48, 50, 3), 90, np.uint8), "two")]
    document = lines.document(0, crops)
    return [lines.pack(document)] if document else []


def _sidecars() -> list[bytes]:
    made = sidecars.write_sidecar(synthesis.thermal_label(1))
    rows = b"1,2,3,4,5,6,7,8,text\n" * 3, b"scan.png\t" + made + b"\n", b"plain\nrows\n", '\ufeff["a"]'.encode()
    return [made, b'{"lines": ' + made + b"}", *rows]


TARGETS = {
    "daemon/wire.py, daemon/decoding.py": Target(
        answer, (wire.Closed, ValueError, OSError), lambda: [b'{"shapes": [[3, 4]]}', b'{"doubt": "?"}', b"[[[[[[[["]
    ),
    "learners/sidecars.py": Target(lambda data: sidecars.read_sidecar(data, "scan.png"), (BadLabel,), _sidecars),
    "learners/lines.py": Target(lambda data: lines.unpack(0, data), (ValueError,), _lines),
    "privacy/chain.py, an entry": Target(chain.Entry.parse, (ValueError,), _entries),
    "privacy/chain.py, a ledger": Target(lambda data: chain.check(data, None, KEY.public), (), _ledger),
    "privacy/claim_check.py": Target(
        lambda data: claim_check.read(json.loads(data), KEY.public), (ClaimBroken, ValueError, RecursionError), _claims
    ),
    "privacy/claim_check.py, signed": Target(signed_claim, (ClaimBroken,), _statements),
    "models/manifest.py": Target(lambda data: manifest.parse(data, KEY.public), (ValueError,), _manifests),
    "models/manifest.py, signed": Target(signed_manifest, (ValueError,), _manifests),
}


def once(target: Target, data: bytes) -> float:
    """Seconds; raises what the parser must not."""
    begun = time.perf_counter()
    with contextlib.suppress(*target.allowed):
        target.parse(data)
    took = time.perf_counter() - begun
    if took > HANG_SECONDS:
        raise TimeoutError(f"{took:.1f} s for {len(data)} bytes")
    return took


def by_mutation(target: Target, runs: int, seed: int) -> float:
    """The slowest of so many runs, in seconds; where something to begin with is JSON, every other one is JSON too."""
    seeds = target.seeds()
    values = [each for each in seeds if _is_json(each)]

    def one(number: int) -> bytes:
        rng = np.random.default_rng([seed, number])
        return mutated_json(values[rng.integers(len(values))], rng) if values and number % 2 else mutated(seeds, rng)

    return max(once(target, one(number)) for number in range(runs))


def _is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict | list)
    except ValueError:
        return False


def by_coverage(name: str, runs: int, seed: int) -> str:
    """libFuzzer's last words, from a process of its own: it never returns."""
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(TARGETS[name].seeds()):
            (Path(folder) / str(number)).write_bytes(data)
        flags = [f"-atheris_runs={runs}", f"-seed={seed + 1}", "-timeout=2", "-rss_limit_mb=4096", folder]
        command = [sys.executable, __file__, "--atheris", name, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if f"Done {runs} " not in done.stderr or "ERROR: libFuzzer" in done.stderr:
        raise RuntimeError(done.stderr[-3000:])
    return next((line.strip() for line in reversed(done.stderr.splitlines()) if "cov:" in line), "done")


def fuzz_here(name: str, flags: list[str]) -> None:
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *flags], lambda data: once(target, data) and None)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="unused: the inputs are made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=100_000, help="a target")
    parser.add_argument("--quick", action="store_true", help="1,000 runs a target")
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = 1000 if arguments.quick else arguments.runs
    guided = importlib.util.find_spec("atheris") is not None
    found: dict[str, Any] = {"runs_a_target": runs, "seed": arguments.seed, "guided_by_coverage": guided}
    for name in [arguments.target] if arguments.target else TARGETS:
        found[name] = f"{runs} mutations, slowest {by_mutation(TARGETS[name], runs, arguments.seed):.4f} s"
        if guided:
            found[name] += f"; {runs} runs by coverage, {by_coverage(name, runs, arguments.seed)}"
        print(f"{name}: {found[name]}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    if "--atheris" in sys.argv:
        fuzz_here(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
