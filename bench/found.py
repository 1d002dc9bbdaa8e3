"""What a state folder must look like after a restart, and at any moment: lost, doubled or torn, by name of the fact."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import parts
import sealed
from daemon import restoring
from daemon.errors import OcrdError
from daemon.home import Home, open_home
from daemon.pipeline import NAME_BLOB, ORIGINAL_BLOB, SIDECAR_BLOB
from daemon.serving import ROLLOUT
from models.store import ModelStore
from parts import Verdict, blob, doubled, lost, torn
from privacy import rotation
from privacy.errors import PrivacyError

_VAULT_OF = {"done": ("vault", "originals"), "quarantined": ("quarantine",), "failed": ("failed",)}


def dropped(inbox: Path) -> list[Path]:
    return [path for path in inbox.rglob("*") if path.is_file() and not path.name.startswith(".")]


def at_once(path: Path) -> Verdict:
    """What holds at any moment, before anything was finished: what others may be reading just then."""
    home, verdict = parts.opened(path), Verdict()
    rows = parts.rows(home)
    for receipt in home.settings.outbox_dir.glob("*.json"):
        try:
            state = json.loads(receipt.read_bytes())["state"]
        except ValueError:
            verdict += torn("a receipt is no JSON")
            continue
        row = rows.get(receipt.stem)
        unsaid = row is not None and (row["state"] == "claimed" or row["receipt_pending"])
        again = unsaid and row["tries"] > 1  # the old one stays until the new one takes its place
        if row is None or (row["state"] not in (state, "forgotten") and not again):
            verdict += torn(f"a receipt says {state}, and the database {row and row['state']}")
    return verdict + parts.book(home) + parts.models(home)


def rest(path: Path, *, own_vaults: bool = True) -> Verdict:
    """What holds when everything that was begun has been finished.

    Args:
        own_vaults: whether a document lies in the vaults that its row names, and in no other.
    """
    home = parts.opened(path)
    verdict = parts.book(home, settled=True) + parts.models(home) + parts.database(home)
    left = [p for p in path.rglob(".*") if p.name.endswith((".part", ".before", ".gone")) and "inbox" not in p.parts]
    verdict += torn(*(f"left behind: {p.relative_to(path).parts[0]}" for p in left))
    verdict += lost(*("a file is still in inbox" for _ in dropped(home.settings.inbox_dir)))
    verdict += lost(*("a file is still claimed" for p in home.settings.claimed_dir.rglob("*") if p.is_file()))
    rows = parts.rows(home)
    receipts = {p.stem for p in home.settings.outbox_dir.glob("*.json")}
    ended = {id for id, row in rows.items() if row["state"] in ("done", "duplicate", "quarantined", "failed")}
    verdict += lost(*(f"no receipt of a document that is {rows[id]['state']}" for id in ended - receipts))
    verdict += doubled(*("a receipt of no document" for _ in receipts - ended))
    verdict += torn(*("a document is still claimed" for row in rows.values() if row["state"] == "claimed"))
    for vault in home.vaults:
        for document in vault.ids():
            verdict += parts.opens(vault, document)
            state = rows[document]["state"] if document in rows else "unknown"
            allowed = _VAULT_OF.get("failed" if state == "duplicate" else state, ())
            if own_vaults and vault.root.name not in allowed:
                verdict += doubled(f"a document that is {state} lies in {vault.root.name}")
    return verdict


def receipts_of(
    path: Path,
    expected: Mapping[str, tuple[str, bytes]],
    sidecars: Mapping[str, bytes],
    told: Sequence[str] = (),
) -> Verdict:
    """Each file that was dropped has one receipt of the right kind, and what was sealed of it opens.

    Args:
        expected: name in the inbox -> how it ends, and its content.
        told: `ID STATE` of documents whose processing had returned.
    """
    home, verdict = parts.opened(path), Verdict()
    rows = [row for row in parts.rows(home).values() if row["state"] != "withdrawn"]
    for each in told:
        id, state = each.split()
        if not any(row["id"] == id and row["state"] == state for row in rows):
            verdict += lost(f"a document was told to be {state}, and is not")
    for name, (state, content) in expected.items():
        mine = [row for row in rows if row["name_digest"] == home.name_digest(name.rpartition("/")[2])]
        if len(mine) != 1:
            verdict += (doubled if mine else lost)(f"{len(mine)} documents of a file that is to be {state}")
            continue
        verdict += _document(home, mine[0], state, content, sidecars.get(name))
    teaching = Counter(row["digest"] for row in rows if row["taught"])
    return verdict + doubled(*("a content teaches twice" for count in teaching.values() if count > 1))


def first_of(path: Path, names: Sequence[str]) -> dict[str, str]:
    """How copies of one content are to end, the lowest slot's being the original."""
    home = parts.opened(path)
    digests = {home.name_digest(name.rpartition("/")[2]): name for name in names}
    rows = [row for row in parts.rows(home).values() if row["name_digest"] in digests and row["state"] != "withdrawn"]
    found = [digests[row["name_digest"]] for row in sorted(rows, key=lambda row: int(row["slot"]))]
    return dict.fromkeys(found, "duplicate") | dict.fromkeys(found[:1], "done")


def _document(home: Home, row: Any, state: str, content: bytes, sidecar: bytes | None) -> Verdict:
    if state == "duplicate" and row["state"] == "done" and not row["taught"]:
        state = "done"  # a copy that was read before what it is a copy of: it teaches nothing all the same
    if row["state"] != state:
        return lost(f"a document is {row['state']} and was to be {state}")
    verdict = Verdict()
    receipt = home.settings.outbox_dir / f"{row['id']}.json"
    if not receipt.exists() or json.loads(receipt.read_bytes())["state"] != state or row["receipt_pending"]:
        verdict += lost(f"no receipt of a document that is {state}")
    vault = {"done": home.originals, "quarantined": home.quarantine}.get(state, home.failed)
    alone = sidecar == content
    if state == "done":
        verdict += blob(home.vault, row["id"], "page-1.png", {content})
    if state != "duplicate":
        verdict += blob(vault, row["id"], ORIGINAL_BLOB, {b"" if alone else content})
    if state != "duplicate" or sidecar:
        verdict += blob(vault, row["id"], NAME_BLOB, None)
    return verdict + (blob(vault, row["id"], SIDECAR_BLOB, {sidecar}) if sidecar else Verdict())


def forgotten(path: Path, ids: Sequence[str], wanted: Mapping[str, bytes], told: bool) -> Verdict:
    """The documents are whole, or gone from every byte and told of in the ledger once."""
    home, verdict = parts.opened(path), Verdict()
    rows = parts.rows(home)
    states = {rows[id]["state"] for id in ids}
    ranges = [part for entry in parts.entries(home, "forget") for part in entry.body["slots"]]
    slots = [slot for first, after in ranges for slot in range(first, after)]
    verdict += doubled(*("a slot was told of twice" for _ in range(len(slots) - len(set(slots)))))
    if states == {"forgotten"}:
        if any(rows[id]["erasing"] for id in ids):
            verdict += torn("a document is still being erased")
        verdict += torn(*(f"{name} is still to be found" for name in sealed.where(home, dict(wanted))))
        if not {rows[id]["slot"] for id in ids} <= set(slots):
            verdict += lost("the ledger does not say that it was forgotten")
        return verdict
    if told or "forgotten" in states:
        verdict += lost("it was told to be forgotten, and is not")
    verdict += blob(home.vault, ids[0], "text", None) + blob(home.originals, ids[0], ORIGINAL_BLOB, None)
    return verdict + (torn("the ledger says it was forgotten") if slots else Verdict())


def rotated(path: Path, ids: Sequence[str], digest: bytes, old: bytes, told: bool) -> Verdict:
    home, verdict = parts.opened(path), Verdict()
    for id in ids:
        verdict += blob(home.vault, id, "text", None) + blob(home.originals, id, ORIGINAL_BLOB, None)
    if home.name_digest("scan.png") != digest:
        verdict += lost("names are not known again")
    if rotation.pending(home.settings.keys_dir) or home.shelf.rotating:
        verdict += torn("a rotation is half done")
    there = sorted(p.name for p in home.settings.keys_dir.iterdir())
    if there != ["master.key", "shelf", "signing.key", "signing.pub"]:
        verdict += torn("the key folder holds something else")
    replaced = (home.settings.keys_dir / "master.key").read_bytes() != old
    if replaced and any(old in p.read_bytes() for p in home.settings.keys_dir.iterdir()):
        verdict += torn("the old master key is still there")
    return verdict + (lost("a rotation was told of, and is not") if told and not replaced else Verdict())


def appended(path: Path, told: Sequence[int], most: int) -> Verdict:
    numbers = [entry.body["number"] for entry in parts.entries(parts.opened(path), "point")]
    verdict = lost(*(f"entry {number} was told of" for number in told if number not in numbers))
    verdict += doubled(*("an entry is there twice" for _ in range(len(numbers) - len(set(numbers)))))
    return verdict + (Verdict() if numbers == list(range(len(numbers))) and len(numbers) <= most else torn("the order"))


def served(path: Path, first: str, told: Sequence[str]) -> Verdict:
    """Every swap that was told of is in the ledger, in order, and the pointer is where the ledger says."""
    home = parts.opened(path)
    live, before = [first], [first]  # all that served, in their order; those that can be gone back to and the live one
    for entry in parts.entries(home, ROLLOUT):
        if entry.body["act"] == "roll_back":
            before.pop()
            live.append(before[-1])
        elif entry.body["act"] == "advance":
            before.append(entry.body["version"])
            live.append(before[-1])
    verdict = Verdict()
    if live[1 : len(told) + 1] != list(told):
        verdict += lost("a swap was told of, and is not in the ledger")
    current = ModelStore(home.settings.models_dir, home.signing.public).current()
    return verdict + (Verdict() if current == live[-1] else torn("the pointer is not where the ledger says"))


def tried_again(path: Path) -> set[str]:
    """The documents that were taken up again."""
    return {id for id, row in parts.rows(parts.opened(path)).items() if row["tries"] > 1}


def lose_all_but(path: Path, *kept: str) -> None:
    for each in path.iterdir():
        if each.name not in kept:
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def restored(path: Path, folder: Path, there_again: Sequence[str], gone: Sequence[str]) -> Verdict:
    """What a restore from a backup, with the keys of a state folder, brings back."""
    with tempfile.TemporaryDirectory(dir=path.parent) as other:
        home = Path(other) / "home"
        home.mkdir()
        shutil.copytree(path / "keys", home / "keys")
        try:
            restoring.restore(home, folder)
        except (OcrdError, PrivacyError) as error:
            return lost(f"the backup does not restore: {error}")
        return there(home, there_again, gone)


def there(path: Path, ids: Sequence[str], gone: Sequence[str]) -> Verdict:
    """These documents open, and those are forgotten."""
    home = open_home(path)
    rows, verdict = parts.rows(home), Verdict()
    for id in ids:
        vault = {"done": home.originals, "failed": home.failed}.get(rows[id]["state"] if id in rows else "")
        verdict += lost("a document is not there") if vault is None else blob(vault, id, ORIGINAL_BLOB, None)
    for id in gone:
        verdict += Verdict() if rows[id]["state"] == "forgotten" else torn("a forgotten document is there again")
        verdict += torn(*("what was forgotten lies in a vault" for vault in home.vaults if vault.begun(id)))
    return verdict


def first_version(path: Path) -> str:
    """The version that was installed before anything was rolled out."""
    return str(parts.entries(parts.opened(path), ROLLOUT)[0].body["version"])
