"""What can go wrong, named for the fact; `EXIT_CODES` is the one table from fact to exit code."""

from __future__ import annotations


class OcrdError(Exception):
    """Any other failure."""


class BadSetting(OcrdError):
    """A setting has a value that cannot be used."""


class NotInitialised(OcrdError):
    """The state folder, or something in it, has not been made by `ocrd init`."""


class NotOurs(OcrdError):
    """The state folder belongs to another user."""


class AlreadyRunning(OcrdError):
    """Another process serves this state folder."""


class HeldByCommand(AlreadyRunning):
    """A command does its work in the state folder while no service runs."""


class NotRunning(OcrdError):
    """The command needs the running service, and it does not run."""


class Refused(OcrdError):
    """The service understood the request and will not do it."""


class BadFile(OcrdError):
    """A dropped file cannot be processed; the reason goes to `failed/`. Never names the file."""


class Interrupted(OcrdError):
    """A round cannot go on; what it was charged stays charged."""


class WorkerDied(OcrdError):
    """A worker process was killed, ran out of time, or broke off."""


class Unconfined(OcrdError):
    """The kernel cannot confine the workers, and the settings require it."""


class BadKeys(OcrdError):
    """A key file does not belong to this state, was altered, or may be read by others."""


class DiskRefused(OcrdError):
    """The disk is full or fails, or a right is missing; nothing was lost, and trying again is right."""


class NotMounted(DiskRefused):
    """A folder that is to lie on another disk is not there."""


class Unhealthy(OcrdError):
    """`status --check` or `doctor` found something that needs you."""


EXIT_CODES: dict[type[OcrdError], int] = {
    OcrdError: 1,
    BadSetting: 3,
    NotInitialised: 4,
    NotOurs: 5,
    AlreadyRunning: 6,
    NotRunning: 7,
    Refused: 8,
    Unhealthy: 9,
    Unconfined: 10,
    DiskRefused: 11,
    BadKeys: 12,
}
"""0 is success, 1 any other failure, 2 wrong usage (click's), the rest as named."""


def exit_code(error: OcrdError) -> int:
    """The exit code of the nearest named class."""
    return next(EXIT_CODES[c] for c in type(error).__mro__ if c in EXIT_CODES)
