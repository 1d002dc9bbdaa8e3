"""A DSSE envelope with one Ed25519 signature (https://github.com/secure-systems-lab/dsse, v1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from privacy import signing
from privacy.errors import ClaimBroken
from privacy.signing import SigningKey


def sign(payload: bytes, kind: str, key: SigningKey) -> dict[str, Any]:
    """The envelope of a payload of this type, as a JSON object."""
    signature = {"keyid": signing.key_id(key.public), "sig": _base64(key.sign(_encoded(payload, kind)))}
    return {"payload": _base64(payload), "payloadType": kind, "signatures": [signature]}


def read(envelope: Mapping[str, Any], kind: str, public: bytes) -> bytes:
    """The payload of an envelope of this type that `public` (32 bytes) signed.

    Raises:
        ClaimBroken: it is no envelope, is of another type, or is not signed by this key.
    """
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(entry["sig"], validate=True) for entry in envelope["signatures"]]
        typed = envelope["payloadType"] == kind
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise ClaimBroken("Expected a DSSE envelope with payload, payloadType and signatures.") from None
    if not typed or not any(signing.verify(public, each, _encoded(payload, kind)) for each in signatures):
        raise ClaimBroken(f"The claim is not signed by the expected key {signing.key_id(public)}.")
    return payload


def _encoded(payload: bytes, kind: str) -> bytes:
    """DSSE's pre-authentication encoding: what is signed is the type and the payload, with their lengths."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
