"""What can go wrong in `privacy/`, named for the fact. Messages hold ids and numbers, never content."""

from __future__ import annotations


class PrivacyError(Exception):
    """Any refusal of this package."""


class KeyRefused(PrivacyError):
    """A key file that others can read, that has the wrong size, or that is no key."""


class SealBroken(PrivacyError):
    """A sealed blob is not the one that was sealed under this document and this name."""

    def __init__(self, document: str, name: str, why: str) -> None:
        super().__init__(f"The seal of blob {name!r} of document {document!r} is broken: {why}.")
        self.document = document
        self.name = name


class NotSealed(PrivacyError, LookupError):
    """Nothing is sealed under this document and name: never stored, or shredded."""


class Punctured(NotSealed):
    """The key of this slot was destroyed for good: no copy of its blobs can ever be opened."""


class LedgerBroken(PrivacyError):
    """The ledger was edited, shortened or reordered, or does not follow from the head that is remembered."""


class LedgerBusy(PrivacyError):
    """Another process holds the ledger open for appending."""


class BudgetExhausted(PrivacyError):
    """What was asked for would cost more privacy than was granted."""


class ClaimBroken(PrivacyError):
    """A privacy claim that is not signed by the expected key, or that does not say what a claim must."""


class BadPage(PrivacyError, ValueError):
    """Not a page: expected `(H, W, 3) uint8` with H, W >= 1; the message holds the shape and type that came."""


class SandboxFailed(PrivacyError):
    """A confinement that was asked for could not be put in place; nothing must run without it."""
