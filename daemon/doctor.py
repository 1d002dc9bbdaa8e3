"""What is wrong with this machine and this state folder, and how to mend it: each check tries the thing itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon import config, decoding, escapes, mounts, trouble, walls
from daemon.decoder import FORMATS
from daemon.errors import OcrdError
from daemon.schedule import calendar
from models import weights
from privacy import landlock, ledger, sandbox
from privacy.errors import PrivacyError
from privacy.keys import MasterKey
from privacy.signing import read_public

OK, ADVICE, BROKEN = 0, 1, 2
FREE_BYTES = 2**30
NOBODY = 65534

EXEMPLARS = {
    "en": "abcdefghijklmnopqrstuvwxyz",
    "de": "äöüß",
    "fr": "àâçéèêëîïôùûüÿœæ",
    "es": "áéíñóúü¿¡",
    "it": "àèéìòù",
    "pt": "ãáàâçéêíóôõú",
    "nl": "éëïóö",
    "sv": "åäö",
    "da": "æøå",
    "nb": "æøå",
    "fi": "äö",
    "pl": "ąćęłńóśźż",
    "cs": "áčďéěíňóřšťúůýž",
    "tr": "çğıöşü",
    "hu": "áéíóöőúüű",
    "ro": "ăâîșț",
    "ru": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "zh": "的一是在不了有和人这",
    "zh-Hant": "的一是在不了有和人這",
    "ja": "あいうえおアイウエオ",
    "ko": "가나다라마바사",
}
"""Letters (CLDR main exemplars, lower case) that a language needs beyond a to z, and the euro sign where it is used."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: how bad, what, and what to do about it."""

    severity: int
    text: str
    remedy: str = ""


def examine(home: Path) -> Iterator[Finding]:
    """Every check, in the order in which one would mend things."""
    try:
        settings = config.load(home)
        config.check_owner(settings.home)
        calendar(settings.learning.calendar)
    except OcrdError as error:
        yield Finding(BROKEN, str(error))
        return
    checks: tuple[Callable[[config.Settings], Iterator[Finding]], ...] = (
        _keys,
        _folders,
        _inbox,
        _weights,
        _languages,
        _decoder,
        _walls,
        _ledger,
        _packages,
    )
    for check in checks:
        try:
            yield from check(settings)
        except (OSError, OcrdError, PrivacyError) as error:
            why = trouble.explain(error, home) if isinstance(error, OSError) else str(error)
            yield Finding(BROKEN, f"{check.__name__.strip('_')}: {why}")


def _keys(settings: config.Settings) -> Iterator[Finding]:
    path = settings.keys_dir / "master.key"
    if path.exists():
        MasterKey.load(path)
        yield Finding(OK, "the master key is readable by its owner alone")
    else:
        yield Finding(
            ADVICE,
            "no master key file: the service must get it as a systemd credential",
            "LoadCredentialEncrypted=master.key:... in the unit, or `ocrd init`",
        )


def _folders(settings: config.Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(settings.home).free
    if free < FREE_BYTES:
        yield Finding(BROKEN, f"{free // 2**20} MiB free under {settings.home}", "Free at least 1 GiB.")
    else:
        yield Finding(OK, f"{free // 2**30} GiB free under {settings.home}")
    kind = mounts.network(settings.home)
    if kind is not None:
        yield Finding(
            BROKEN,
            f"the state folder lies on {kind}: its locks and syncs cannot be relied on",
            "Put the state folder on a local disk; the inbox may stay on the network.",
        )
    if settings.inbox_dir.stat().st_dev != settings.claimed_dir.stat().st_dev:
        yield Finding(
            BROKEN,
            "inbox and claim folder lie on different mounts, so a claim is not one rename",
            f"Remove the mount on {settings.claimed_dir}.",
        )


def _inbox(settings: config.Settings) -> Iterator[Finding]:
    inbox = settings.inbox_dir
    if (kind := mounts.network(inbox)) is not None:
        yield Finding(OK, f"the inbox lies on {kind}: it is listed every {settings.ingest.rescan_seconds:g} s")
    status = inbox.stat()
    if not status.st_mode & stat.S_ISGID or not status.st_mode & stat.S_IWGRP:
        yield Finding(
            ADVICE,
            f"the inbox has mode {stat.S_IMODE(status.st_mode):04o}: others cannot drop files into it",
            f"chgrp GROUP {inbox}; chmod 3770 {inbox}",
        )
    if os.geteuid() == 0:
        yield _try_as_another_user(inbox, status.st_gid)
    elif "system.posix_acl_default" not in os.listxattr(inbox):
        yield Finding(
            ADVICE,
            "the inbox has no default ACL: a file that another user drops with umask 077 cannot be read",
            f"setfacl -d -m u:{os.geteuid()}:rwx {inbox}",
        )
    else:
        yield Finding(OK, "the inbox has a default ACL, so that what others drop can be read")


def _try_as_another_user(inbox: Path, group: int) -> Finding:
    """Drops a file as `nobody` in the inbox's group, then reads and removes it as ourselves."""
    probe = inbox / f".doctor-{os.getpid()}.part"
    done = subprocess.run(
        ["/bin/sh", "-c", 'printf probe > "$1"', "sh", str(probe)],
        user=NOBODY,
        group=group,
        extra_groups=[],
        umask=0o027,
        capture_output=True,
        cwd="/",
        check=False,
    )
    try:
        if done.returncode != 0:
            return Finding(
                ADVICE,
                "a user of the inbox's group cannot drop a file into it",
                f"Every folder above {inbox} needs mode o+x, and the inbox mode 3770.",
            )
        probe.read_bytes()
        return Finding(OK, "a file dropped by another user of the inbox's group can be read and removed")
    finally:
        if probe.exists():  # removing what is not there fails too where nothing may be written
            probe.unlink()


def _weights(settings: config.Settings) -> Iterator[Finding]:
    try:
        weights.verify(settings.weights_dir)
    except Exception as error:
        yield Finding(BROKEN, f"the released weights: {error}", f"ocrd --home {settings.home} init")
    else:
        yield Finding(OK, "the released weights match their SHA-256")


def _languages(settings: config.Settings) -> Iterator[Finding]:
    known = set(weights.characters(settings.weights_dir / "rec.onnx"))
    for language in settings.languages:
        if language not in EXEMPLARS:
            yield Finding(
                ADVICE,
                f"language {language!r} is not one of {', '.join(EXEMPLARS)}; nothing is known about it",
            )
            continue
        missing = "".join(
            c for c in EXEMPLARS[language] + EXEMPLARS[language].upper() if len(c) == 1 and c not in known
        )
        if missing:
            yield Finding(
                ADVICE,
                f"the model's dictionary cannot write these letters of {language!r}: {missing}",
                "Labels with them are dropped and counted, and readings lose them.",
            )
        else:
            yield Finding(OK, f"the model's dictionary can write {language!r}")


def _decoder(settings: config.Settings) -> Iterator[Finding]:
    """Decodes one pixel in a real worker, and looks whether its memory is bounded."""
    decoder = decoding.Decoder(settings.ingest, settings.sandbox)
    try:
        with decoder.decode(walls.PIXEL, 30) as decoded:
            found = Path(f"/proc/{decoder.worker.pid}/limits").read_text()
        bound = any(
            line.startswith("Max address space") and str(decoding.MEMORY) in line for line in found.splitlines()
        )
        if decoded.shapes != [(1, 1)] or not bound:
            yield Finding(BROKEN, "the decoder worker answers wrongly or runs without its memory bound")
        else:
            yield Finding(OK, f"the decoder worker decodes ({', '.join(FORMATS)}, PDF) under its memory bound")
    finally:
        decoder.close()


def _walls(settings: config.Settings) -> Iterator[Finding]:
    """Each escape, tried in real workers. What the kernel lacks is named first."""
    severity = BROKEN if settings.sandbox == "require" else ADVICE
    lacking = sandbox.missing()
    for what in lacking:
        yield Finding(severity, f"this kernel has no {what}", walls.REMEDY)
    if lacking and settings.sandbox == "require":
        return
    yield Finding(OK, f"the workers' walls are Landlock (ABI {landlock.abi()}) and seccomp, tried from within:")
    for what, outcomes in walls.tried(settings):
        if gaps := [name for name, outcome in outcomes.items() if outcome != escapes.DENIED]:
            told = ", ".join(f"{name} ({outcomes[name]})" for name in gaps)
            yield Finding(severity, f"  {what}: not denied to {told}", walls.REMEDY)
        else:
            yield Finding(OK, f"  {what}: denied to {', '.join(outcomes)}")


def _ledger(settings: config.Settings) -> Iterator[Finding]:
    if not settings.ledger_path.exists():
        yield Finding(OK, "no ledger yet: nothing has been charged")
        return
    report = ledger.verify(settings.ledger_path, read_public(settings.keys_dir / "signing.pub"))
    if report.ok:
        yield Finding(OK, f"the ledger's {len(report.entries)} entries are signed and complete")
    for problem in report.problems:
        yield Finding(BROKEN, f"the ledger does not check: {problem}", "Restore it from a backup; never edit it.")


def _packages(settings: config.Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("paddle") is None:
        yield Finding(
            ADVICE,
            "paddlepaddle is missing: no candidate can pass the Paddle parity gate",
            "pip install 'ocrd-daemon[cpu]'",
        )
    yield _device(settings.learning.device)


def _device(asked: str) -> Finding:
    """Where rounds train, as far as this command can tell: the service may not see the card that it sees."""
    try:
        from learners import device
    except (ImportError, OSError, ValueError) as error:  # as PyTorch puts it when a library is missing
        return Finding(BROKEN, f"PyTorch does not load ({error}): no round can train", "Install the package again.")
    if asked == "cpu":
        return Finding(OK, 'rounds train on the processor, as learning.device = "cpu" asks')
    why = device.trouble()
    if why is None:
        return Finding(OK, "rounds train on the GPU")
    if asked == "auto":
        return Finding(OK, f"rounds train on the processor: {why}")
    remedy = 'Set it to "auto", or see "A GPU" in docs/operating.md.'
    return Finding(BROKEN, f'learning.device = "cuda", but {why}: every round will be refused', remedy)
