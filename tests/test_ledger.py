"""The ledger: what was acknowledged stays, and what was changed is found, with the public key alone."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import chain, files, ledger, merkle
from privacy.chain import Entry
from privacy.errors import LedgerBroken, LedgerBusy
from privacy.ledger import Ledger
from privacy.signing import SigningKey

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.create(tmp_path / "signing.key")


@pytest.fixture
def path(tmp_path: Path, key: SigningKey) -> Path:
    """A ledger of six entries."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, key, clock=lambda: NOON) as opened:
        for number in range(6):
            opened.append("debit", {"round": number, "slots": [[0, 10 + number]], "epsilon": 0.5})
    return path


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _problem(path: Path, key: SigningKey, **kwargs: Any) -> str:
    """The first problem of a ledger, which must have one, and must not open either; nothing is changed by trying."""
    report = ledger.verify(path, key.public, **kwargs)
    assert not report.ok
    before = path.read_bytes()
    with pytest.raises(LedgerBroken):
        Ledger(path, key, **kwargs)
    assert path.read_bytes() == before
    return report.problems[0]


def test_entries_come_back_as_they_were_appended(path: Path, key: SigningKey) -> None:
    report = ledger.verify(path, key.public)
    assert report.ok
    assert (report.pending, report.torn, report.sound_bytes) == (0, 0, path.stat().st_size)
    assert [entry.seq for entry in report.entries] == list(range(6))
    assert report.entries[2].body == {"round": 2, "slots": [[0, 12]], "epsilon": 0.5}
    assert report.entries[2].time == "2026-11-22T12:00:00Z"
    with Ledger(path, key) as opened:
        assert opened.entries == report.entries
        assert opened.append("query", {}).prev == report.entries[-1].hash
    assert len(ledger.verify(path, key.public).entries) == 7


def test_a_hash_can_be_recomputed_by_hand(path: Path) -> None:
    fields = json.loads(_lines(path)[3])
    stated = fields.pop("hash")
    del fields["signature"]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert stated == hashlib.sha256(b"ocrd ledger entry v1\n" + text.encode()).hexdigest()


def test_an_edited_entry_is_found(path: Path, key: SigningKey) -> None:
    lines = _lines(path)
    lines[2] = lines[2].replace(b'"epsilon":0.5', b'"epsilon":0.1')
    path.write_bytes(b"".join(lines))
    assert _problem(path, key) == "entry 2: its content does not have its hash"


def test_an_edited_entry_with_its_hash_made_right_is_found(path: Path, key: SigningKey) -> None:
    lines = _lines(path)
    entry = Entry.parse(lines[2])
    forged = replace(entry, body={**entry.body, "epsilon": 0.1})
    lines[2] = replace(forged, hash=forged.expected_hash()).line()
    path.write_bytes(b"".join(lines))
    assert _problem(path, key) == "entry 2: its signature is not by the expected key"


def test_entries_signed_by_another_key_are_found(path: Path, key: SigningKey, tmp_path: Path) -> None:
    other = SigningKey.create(tmp_path / "other.key")
    assert "entry 0: its signature" in ledger.verify(path, other.public).problems[0]
    forged = tmp_path / "forged" / "ledger.jsonl"
    forged.parent.mkdir()
    with Ledger(forged, other) as opened:
        opened.append("debit", {})
    assert "entry 0: its signature" in _problem(forged, key)


@pytest.mark.parametrize("gone", [0, 2, 4])
def test_a_deleted_entry_is_found(path: Path, key: SigningKey, gone: int) -> None:
    lines = _lines(path)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    assert _problem(path, key) == f"entry {gone}: expected number {gone}, got {gone + 1}"


@pytest.mark.parametrize(("one", "other"), [(0, 1), (2, 4), (4, 5)])
def test_reordered_entries_are_found(path: Path, key: SigningKey, one: int, other: int) -> None:
    lines = _lines(path)
    lines[one], lines[other] = lines[other], lines[one]
    path.write_bytes(b"".join(lines))
    assert _problem(path, key).startswith(f"entry {one}: expected number {one}")


def test_a_repeated_entry_is_found(path: Path, key: SigningKey) -> None:
    lines = _lines(path)
    path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
    assert _problem(path, key) == "entry 3: expected number 3, got 2"


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_cut_off_end_is_found(path: Path, key: SigningKey, kept: int) -> None:
    path.write_bytes(b"".join(_lines(path)[:kept]))
    assert _problem(path, key) == f"the head knows 6 entries, and there are {kept}: the end was cut off"


def test_a_ledger_that_is_gone_is_found(path: Path, key: SigningKey) -> None:
    path.unlink()
    assert "the end was cut off" in ledger.verify(path, key.public).problems[0]


def test_an_acknowledged_entry_that_is_torn_is_found(path: Path, key: SigningKey) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    assert _problem(path, key) == "entry 5: not a line of a ledger"


def test_a_missing_or_forged_head_is_found(path: Path, key: SigningKey) -> None:
    head_file = ledger.head_path(path)
    true = head_file.read_bytes()
    head_file.unlink()
    assert _problem(path, key) == "there are entries, and the head is missing"
    fields = json.loads(true)
    for change in ({"size": 5}, {"root": "0" * 64}, {"hash": "0" * 64}, {"signature": "00" * 64}):
        head_file.write_text(json.dumps({**fields, **change}))
        assert "the head's signature" in _problem(path, key)
    for rubbish in (b"", b"{}", b"[1]", b'{"size": true, "hash": "", "root": ""}', b"\xff"):
        head_file.write_bytes(rubbish)
        assert "can't be read" in _problem(path, key)


def test_both_files_put_back_are_found_by_a_remembered_head(path: Path, key: SigningKey, tmp_path: Path) -> None:
    old, old_head = path.read_bytes(), ledger.head_path(path).read_bytes()
    with Ledger(path, key) as opened:
        opened.append("debit", {"round": 6})
        remembered = opened.head
    assert ledger.verify(path, key.public, remembered=remembered).ok
    path.write_bytes(old)
    ledger.head_path(path).write_bytes(old_head)
    assert ledger.verify(path, key.public).ok
    assert _problem(path, key, remembered=remembered).startswith("the remembered head knows 7 entries")


def test_a_rewritten_history_is_found_by_a_remembered_head(path: Path, key: SigningKey, tmp_path: Path) -> None:
    remembered = ledger.read_head(path)
    other = tmp_path / "other" / "ledger.jsonl"
    other.parent.mkdir()
    with Ledger(other, key) as opened:
        for number in range(8):
            opened.append("debit", {"round": number, "epsilon": 0.01})
    assert ledger.verify(other, key.public).ok
    assert _problem(other, key, remembered=remembered) == "entry 5 is not the one the remembered head knows"


def test_the_heads_signature_vouches_for_the_content_it_covers(path: Path, key: SigningKey, tmp_path: Path) -> None:
    assert ledger.verify(path, key.public, every_signature=False).ok
    lines = _lines(path)
    entry = Entry.parse(lines[2])
    forged = replace(entry, body={**entry.body, "epsilon": 0.1})
    resigned = replace(forged, hash=forged.expected_hash())
    for line in (forged.line(), resigned.line()):
        path.write_bytes(b"".join([*lines[:2], line, *lines[3:]]))
        assert not ledger.verify(path, key.public, every_signature=False).ok
    path.write_bytes(b"".join(lines[:5]) + replace(Entry.parse(lines[5]), hash="0" * 64).line())
    assert not ledger.verify(path, key.public, every_signature=False).ok
    beyond = replace(entry, seq=6, prev=Entry.parse(lines[5]).hash)
    beyond = replace(beyond, hash=beyond.expected_hash())
    path.write_bytes(b"".join(lines) + beyond.line())
    report = ledger.verify(path, key.public, every_signature=False)
    assert (len(report.entries), report.pending, report.torn) == (6, 0, len(beyond.line()))


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=150)
def test_any_flipped_bit_is_found(path: Path, key: SigningKey, where: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    assert not chain.check(bytes(data), ledger.read_head(path), key.public).ok


def test_a_torn_tail_is_put_aside_and_the_ledger_goes_on(path: Path, key: SigningKey) -> None:
    whole = path.read_bytes()
    torn = b'{"body":{"round":6},"ha'
    path.write_bytes(whole + torn)
    report = ledger.verify(path, key.public)
    assert report.ok
    assert (report.torn, report.pending, report.sound_bytes) == (len(torn), 0, len(whole))
    with Ledger(path, key) as opened:
        assert opened.recovered_bytes == len(torn)
        opened.append("debit", {"round": 6})
    assert (path.parent / "ledger.jsonl.torn-6").read_bytes() == torn
    assert len(ledger.verify(path, key.public).entries) == 7


def test_a_crash_between_entry_and_head_wastes_budget_and_hides_nothing(path: Path, key: SigningKey) -> None:
    head_before = ledger.head_path(path).read_bytes()
    with Ledger(path, key) as opened:
        opened.append("debit", {"round": 6})
    ledger.head_path(path).write_bytes(head_before)
    report = ledger.verify(path, key.public)
    assert report.ok
    assert report.pending == 1
    with Ledger(path, key) as opened:
        assert opened.entries[-1].body == {"round": 6}
        assert opened.head.size == 7


def test_an_old_head_does_not_pass_for_a_crash(path: Path, key: SigningKey) -> None:
    head_before = ledger.head_path(path).read_bytes()
    with Ledger(path, key) as opened:
        opened.append("debit", {"round": 6})
        opened.append("debit", {"round": 7})
    ledger.head_path(path).write_bytes(head_before)
    assert _problem(path, key) == "2 lines lie beyond the head, and a crash leaves at most one"


def test_every_failure_of_the_medium_leaves_a_ledger_that_checks(
    path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    for failing in range(4):
        opened = Ledger(path, key)
        acknowledged, left = len(opened.entries), [failing]

        def fsync(fd: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(5, "Input/output error")
            real(fd)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="Input/output") if failing < 3 else _nothing():
            opened.append("debit", {"try": failing})
            acknowledged += 1
        monkeypatch.undo()
        if failing < 3:
            # the medium works again: the same object goes on, and says whether the entry that failed is in
            found = [entry.body.get("try") for entry in opened.entries]
            assert found.count(failing) <= 1
            opened.append("debit", {"after": failing})
            acknowledged = len(found) + 1
        opened.close()
        report = ledger.verify(path, key.public)
        assert (report.ok, len(report.entries), report.pending) == (True, acknowledged, 0)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_one_object_appends_at_a_time(path: Path, key: SigningKey) -> None:
    with Ledger(path, key), pytest.raises(LedgerBusy):
        Ledger(path, key)
    Ledger(path, key).close()


HOLDER = """
import sys
from pathlib import Path
from privacy.ledger import Ledger
from privacy.signing import SigningKey
opened = Ledger(Path(sys.argv[1]), SigningKey.load(Path(sys.argv[2])))
print("open", flush=True)
for number in range(1 << 30):
    print(opened.append("debit", {"number": number}).seq, flush=True)
    if sys.argv[3] == "once":
        sys.stdin.read()
"""


def _holder(path: Path, how: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", HOLDER, str(path), str(path.parent / "signing.key"), how]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_one_process_appends_at_a_time(path: Path, key: SigningKey) -> None:
    with _holder(path, "once") as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(LedgerBusy, match="Another process"):
            Ledger(path, key)
        holder.kill()
    Ledger(path, key).close()


def test_what_was_acknowledged_survives_kill_9(path: Path, key: SigningKey) -> None:
    for run in range(5):
        with _holder(path, "on") as holder:
            assert holder.stdout
            holder.stdout.readline()
            time.sleep(0.004 * run)
            holder.kill()
            seen = [line for line in holder.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        with Ledger(path, key) as opened:
            if seen:
                assert opened.entries[-1].seq >= int(seen[-1])
        assert ledger.verify(path, key.public).ok


def test_readers_check_while_a_daemon_appends(path: Path, key: SigningKey) -> None:
    with _holder(path, "on") as holder:
        assert holder.stdout
        holder.stdout.readline()
        sizes = []
        for _ in range(10):
            report = ledger.verify(path, key.public)
            assert report.ok, report.problems
            sizes.append(len(report.entries))
        holder.kill()
    assert sizes == sorted(sizes)


def test_threads_append_in_turn(path: Path, key: SigningKey) -> None:
    with Ledger(path, key) as opened:
        threads = [
            threading.Thread(target=lambda n=n: [opened.append("query", {"n": n}) for _ in range(10)]) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ledger.verify(path, key.public).entries) == 46


def test_a_closed_ledger_refuses(path: Path, key: SigningKey) -> None:
    opened = Ledger(path, key)
    opened.close()
    opened.close()
    with pytest.raises(LedgerBroken, match="closed"):
        opened.append("debit", {})


@pytest.mark.parametrize(
    "body",
    [
        {"text": "Dear Ms Jones"},
        {"name": "müller"},
        {"file": "scan of passport.png"},
        {"note": "x" * 257},
        {"John Doe": 1},
        {"deep": [{"er": ["a b"]}]},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"bytes": b"x"},
        {1: 2},
        {"line": "a\nb"},
    ],
)
def test_what_could_be_content_is_refused_and_not_repeated(path: Path, key: SigningKey, body: dict[Any, Any]) -> None:
    with Ledger(path, key) as opened:
        with pytest.raises(ValueError, match=r"Expected .* at body") as error:
            opened.append("debit", body)
        assert not any(word in str(error.value) for word in ("Jones", "passport", "Doe", "müller"))
        with pytest.raises(ValueError, match="kind"):
            opened.append("Free text", {})
        opened.append("debit", {"id": "d0a1-b2", "hash": "a" * 64, "version": "1.2.3+cpu", "none": None, "is": True})


def test_an_entry_too_long_is_refused(path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_MOST_BYTES", 100_000)
    with Ledger(path, key) as opened:
        with pytest.raises(ValueError, match="bytes"):
            opened.append("debit", {"slots": list(range(20_000))})
        opened.append("debit", {"slots": list(range(10_000))})
    assert ledger.verify(path, key.public).ok


def test_inclusion_is_proved_to_the_public_key_alone(path: Path, key: SigningKey, tmp_path: Path) -> None:
    with Ledger(path, key) as opened:
        proofs = [opened.prove(seq) for seq in range(6)]
        with pytest.raises(IndexError):
            opened.prove(6)
    other = SigningKey.create(tmp_path / "other.key").public
    for seq, proof in enumerate(proofs):
        assert proof.holds(key.public)
        assert not proof.holds(other)
        for forged in (
            replace(proof, seq=(seq + 1) % 6),
            replace(proof, hash=proofs[(seq + 1) % 6].hash),
            replace(proof, path=proof.path[1:]),
            replace(proof, path=(*proof.path, "00" * 32)),
            replace(proof, head=replace(proof.head, size=7)),
        ):
            assert not forged.holds(key.public)


def test_verifying_needs_neither_the_private_key_nor_the_folder(path: Path, key: SigningKey, tmp_path: Path) -> None:
    away = tmp_path / "auditor"
    away.mkdir()
    shutil.copy(path, away / "ledger.jsonl")
    shutil.copy(ledger.head_path(path), away / "ledger.head")
    (away / "ledger.jsonl").chmod(0o400)
    code = (
        "import sys; from pathlib import Path; from privacy.ledger import verify;"
        "print(len(verify(Path(sys.argv[1]), bytes.fromhex(sys.argv[2])).entries))"
    )
    arguments = [sys.executable, "-c", code, str(away / "ledger.jsonl"), key.public.hex()]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == "6\n"
    assert sorted(os.listdir(away)) == ["ledger.head", "ledger.jsonl"]


RFC_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
RFC_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The test vectors of Certificate Transparency's own code."""


def test_the_merkle_tree_is_certificate_transparencys() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in RFC_LEAVES]
    tree = merkle.Tree()
    assert tree.root() == hashlib.sha256(b"").digest()
    for size, root in enumerate(RFC_ROOTS, start=1):
        tree.add(leaves[size - 1])
        assert tree.root().hex() == root == merkle.Tree(leaves[:size]).root().hex()


def test_every_inclusion_proof_holds_for_its_entry_alone() -> None:
    entries = [bytes([number]) for number in range(40)]
    for size in range(1, 41):
        root = merkle.Tree(entries[:size]).root()
        for index in range(size):
            proof = merkle.prove(entries[:size], index)
            assert len(proof) <= math.ceil(math.log2(size)) if size > 1 else not proof
            assert merkle.included(entries[index], index, size, proof, root)
            assert not merkle.included(b"other", index, size, proof, root)
            assert not merkle.included(entries[index], index + 1, size, proof, root)
    assert not merkle.included(entries[0], -1, 40, [], root)


def test_a_short_write_is_finished(path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[int, memoryview], int] = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    with Ledger(path, key) as opened:
        opened.append("debit", {"round": 6})
    files.append_synced(path, b"")
    assert len(ledger.verify(path, key.public).entries) == 7
