"""The Secret: which CAs there are, and what each is for.

Pure: a Secret as JSON in, values out, and back. What the keys mean:

====================  ==========================================================================
``ca.crt, ca.key``    the CA that signs leaves
``next.crt, .key``    the CA that will: it is being published (phase PUBLISH)
``previous.crt``      the CA that did, still trusted (phase PROMOTE); its key is not kept
``state``             JSON: ``retireAt``, when *previous* is trusted no more; ``retired``, the
                      fingerprints of CAs that must leave every bundle, each with its expiry
====================  ==========================================================================

and the annotation ``cni-genie.io/rotate``, by which a person asks for a rotation.

A Secret is edited by people and truncated by accident. Reading never fails: it returns what is
usable and says what is not (:attr:`Reading.problems`).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certs.authority import (
    CertificateError,
    KeyPair,
    fingerprint,
    is_own_ca,
    load_ca,
    load_certificate,
    to_pem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

REQUEST = "cni-genie.io/rotate"
"""Annotation that asks for a rotation; removed when the rotation begins."""

COMPROMISED = "compromised"
"""Its value for a rotation without overlap. Any other value asks for an ordinary one."""

KEYS = ("ca.crt", "ca.key", "next.crt", "next.key", "previous.crt", "state")

LABELS = {"app.kubernetes.io/name": "cni-genie", "app.kubernetes.io/component": "webhook"}


@dataclass(frozen=True, slots=True)
class CASecret:
    """What a usable Secret says."""

    ca: KeyPair
    next: KeyPair | None = None
    previous: x509.Certificate | None = None
    retire_at: dt.datetime | None = None
    retired: Mapping[str, dt.datetime] = field(default_factory=dict)

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The CAs that every bundle has to hold."""
        following = (self.next.certificate,) if self.next else ()
        return (self.ca.certificate, *following, *((self.previous,) if self.previous else ()))


@dataclass(frozen=True, slots=True)
class ParsedSecret:
    """What was found: *stored* is None where no usable CA signs, *spare* a usable next CA then."""

    found: Mapping[str, Any] | None = None
    stored: CASecret | None = None
    spare: KeyPair | None = None
    retired: Mapping[str, dt.datetime] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def request(self) -> str:
        """The value of the annotation that asks for a rotation; empty where there is none."""
        metadata = (self.found or {}).get("metadata") or {}
        return str((metadata.get("annotations") or {}).get(REQUEST) or "")


def parse(found: Mapping[str, Any] | None, name: str, now: dt.datetime) -> ParsedSecret:
    """Read the Secret *found* (None: there is none), whose CAs are for the DNS *name*."""
    if found is None:
        return ParsedSecret()
    data = _SecretData(found.get("data") or {}, name, now)
    retire_at, retired = data.state()
    ca = data.pair("ca", required=True)
    following = data.pair("next")
    previous = data.previous()
    if ca is None:
        return ParsedSecret(found, None, following, retired, tuple(data.problems))
    retired.pop(fingerprint(ca.certificate), None)
    if previous is not None and retire_at is None:
        retire_at = previous.not_valid_after_utc
    stored = CASecret(ca, following, previous, retire_at, retired)
    return ParsedSecret(found, stored, None, retired, tuple(data.problems))


def render(
    stored: CASecret,
    found: Mapping[str, Any] | None,
    *,
    name: str,
    namespace: str,
    drop_request: bool = False,
) -> dict[str, Any]:
    """Return the Secret that says *stored*, as a new object or as a new version of *found*."""
    metadata = dict((found or {}).get("metadata") or {"name": name, "namespace": namespace})
    metadata["labels"] = {**LABELS, **(metadata.get("labels") or {})}
    metadata.pop("managedFields", None)
    if drop_request:
        annotations = metadata.get("annotations") or {}
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != REQUEST}
    others = {k: v for k, v in ((found or {}).get("data") or {}).items() if k not in KEYS}
    values = _values(stored)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": (found or {}).get("type", "Opaque"),
        "data": others | {k: base64.b64encode(value).decode() for k, value in values.items()},
    }


def _values(stored: CASecret) -> dict[str, bytes]:
    state: dict[str, Any] = {
        "retired": {name: until.isoformat() for name, until in sorted(stored.retired.items())}
    }
    values = {"ca.crt": stored.ca.certificate_pem, "ca.key": stored.ca.key_pem}
    if stored.next:
        values |= {"next.crt": stored.next.certificate_pem, "next.key": stored.next.key_pem}
    if stored.previous:
        values["previous.crt"] = to_pem(stored.previous)
        if stored.retire_at:
            state["retireAt"] = stored.retire_at.isoformat()
    values["state"] = json.dumps(state, indent=1).encode()
    return values


class _SecretData:
    """The ``data`` of a Secret, read key by key; what is wrong is collected in ``problems``."""

    def __init__(self, data: Mapping[str, Any], name: str, now: dt.datetime) -> None:
        self._data = data
        self._name = name
        self._now = now
        self.problems: list[str] = []

    def pair(self, key: str, *, required: bool = False) -> KeyPair | None:
        names = (f"{key}.crt", f"{key}.key")
        if not required and not any(name in self._data for name in names):
            return None
        try:
            certificate, private = map(self._bytes, names)
            return load_ca(certificate, private, self._name, now=self._now)
        except CertificateError as error:
            self.problems.append(f"{names[0]}, {names[1]}: {error}")
            return None

    def previous(self) -> x509.Certificate | None:
        if "previous.crt" not in self._data:
            return None
        try:
            certificate = load_certificate(self._bytes("previous.crt"))
        except CertificateError as error:
            self.problems.append(f"previous.crt: {error}")
            return None
        if is_own_ca(certificate, self._name):
            return certificate
        self.problems.append(f"previous.crt: no CA that Genie made for {self._name}")
        return None

    def state(self) -> tuple[dt.datetime | None, dict[str, dt.datetime]]:
        if "state" not in self._data:
            return None, {}
        try:
            state = json.loads(self._bytes("state"))
            at = state.get("retireAt")
            retired = {name: _time(until) for name, until in state.get("retired", {}).items()}
            return _time(at) if at else None, retired
        except (CertificateError, ValueError, TypeError, AttributeError) as error:
            self.problems.append(f"state: {error}")
            return None, {}

    def _bytes(self, key: str) -> bytes:
        if key not in self._data:
            raise CertificateError(f"there is no {key}")
        try:
            return base64.b64decode(self._data[key], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise CertificateError(f"{key} is no base64") from None


def _time(text: str) -> dt.datetime:
    parsed = dt.datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return parsed
