"""The Secret with the CAs: parse it and render it.

Pure. The keys of the Secret:

====================  ==========================================================================
``ca.crt, ca.key``    the CA that signs leaves
``next.crt, .key``    the CA that will sign after it, already in the bundles (phase PUBLISH)
``previous.crt``      the CA that signed before it, still trusted (phase PROMOTE); its key is
                      not kept
``state``             JSON: ``retireAt``, when *previous* stops being trusted; ``retired``, the
                      fingerprints of CAs that every bundle must lose, each with its expiry
====================  ==========================================================================

The annotation ``cni-genie.io/rotate`` requests a rotation.
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
"""Annotation that requests a rotation; removed when the rotation begins."""

COMPROMISED = "compromised"
"""Its value for a rotation without overlap. Any other value requests an ordinary one."""

KEYS = ("ca.crt", "ca.key", "next.crt", "next.key", "previous.crt", "state")

LABELS = {"app.kubernetes.io/name": "cni-genie", "app.kubernetes.io/component": "webhook"}


@dataclass(frozen=True, slots=True)
class CASecret:
    """The content of a usable Secret."""

    ca: KeyPair
    next: KeyPair | None = None
    previous: x509.Certificate | None = None
    retire_at: dt.datetime | None = None
    retired: Mapping[str, dt.datetime] = field(default_factory=dict)

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The CAs that every bundle must hold."""
        next_ca = self.next.certificate if self.next else None
        return tuple(ca for ca in (self.ca.certificate, next_ca, self.previous) if ca)


@dataclass(frozen=True, slots=True)
class ParsedSecret:
    """A Secret as read (None: there is none), and the usable part of it.

    The manifests have an empty Secret. It counts as none, because no CA was written yet.
    Without a usable CA, *content* is None and *spare* is the next CA, if that one is usable.
    *problems* says what is not usable.
    """

    secret: Mapping[str, Any] | None = None
    content: CASecret | None = None
    spare: KeyPair | None = None
    retired: Mapping[str, dt.datetime] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def is_missing(self) -> bool:
        """Whether there is no Secret, or an empty one."""
        return not (self.secret or {}).get("data")

    @property
    def request(self) -> str:
        """The value of the annotation that requests a rotation; empty where there is none."""
        metadata = (self.secret or {}).get("metadata") or {}
        return str((metadata.get("annotations") or {}).get(REQUEST) or "")


def parse(secret: Mapping[str, Any] | None, dns_name: str, now: dt.datetime) -> ParsedSecret:
    """Parse *secret* (None: there is none), whose CAs are for *dns_name*.

    Never raises: people edit Secrets, and accidents truncate them.
    """
    if ParsedSecret(secret).is_missing:
        return ParsedSecret(secret)

    data = _SecretData((secret or {}).get("data") or {}, dns_name, now)
    retire_at, retired = data.state()
    ca = data.pair("ca", required=True)
    next_ca = data.pair("next")
    previous = data.previous()
    if ca is None:
        return ParsedSecret(secret, None, next_ca, retired, tuple(data.problems))

    # The CA that signs must stay in the bundles, even if someone edited the state.
    retired.pop(fingerprint(ca.certificate), None)
    # Without a date, leaves of the previous CA may be in use for as long as it is valid.
    if previous is not None and retire_at is None:
        retire_at = previous.not_valid_after_utc
    content = CASecret(ca, next_ca, previous, retire_at, retired)
    return ParsedSecret(secret, content, None, retired, tuple(data.problems))


def render(
    content: CASecret,
    current: Mapping[str, Any] | None,
    *,
    name: str,
    namespace: str,
    drop_request: bool = False,
) -> dict[str, Any]:
    """Return a Secret with *content*: a new version of *current*, or a new object if that is None.

    Labels, annotations and keys of others are kept. *drop_request* removes the annotation that
    requested the rotation.
    """
    metadata = dict((current or {}).get("metadata") or {"name": name, "namespace": namespace})
    metadata["labels"] = {**LABELS, **(metadata.get("labels") or {})}
    metadata.pop("managedFields", None)
    if drop_request:
        annotations = metadata.get("annotations") or {}
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != REQUEST}

    others = {k: v for k, v in ((current or {}).get("data") or {}).items() if k not in KEYS}
    own = {k: base64.b64encode(value).decode() for k, value in _values(content).items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": (current or {}).get("type", "Opaque"),
        "data": others | own,
    }


def _values(content: CASecret) -> dict[str, bytes]:
    state: dict[str, Any] = {
        "retired": {
            digest: expiry.isoformat() for digest, expiry in sorted(content.retired.items())
        }
    }
    values = {"ca.crt": content.ca.certificate_pem, "ca.key": content.ca.key_pem}

    if content.next:
        values |= {"next.crt": content.next.certificate_pem, "next.key": content.next.key_pem}
    if content.previous:
        values["previous.crt"] = to_pem(content.previous)
        if content.retire_at:
            state["retireAt"] = content.retire_at.isoformat()

    values["state"] = json.dumps(state, indent=1).encode()
    return values


class _SecretData:
    """Reader of a Secret's ``data``, key by key; collects faults in ``problems``."""

    def __init__(self, data: Mapping[str, Any], dns_name: str, now: dt.datetime) -> None:
        self._data = data
        self._dns_name = dns_name
        self._now = now
        self.problems: list[str] = []

    def pair(self, key: str, *, required: bool = False) -> KeyPair | None:
        names = (f"{key}.crt", f"{key}.key")
        if not required and not any(name in self._data for name in names):
            return None

        try:
            certificate_pem, key_pem = map(self._decode, names)
            return load_ca(certificate_pem, key_pem, self._dns_name, now=self._now)
        except CertificateError as error:
            self.problems.append(f"{names[0]}, {names[1]}: {error}")
            return None

    def previous(self) -> x509.Certificate | None:
        if "previous.crt" not in self._data:
            return None

        try:
            certificate = load_certificate(self._decode("previous.crt"))
        except CertificateError as error:
            self.problems.append(f"previous.crt: {error}")
            return None

        if is_own_ca(certificate, self._dns_name):
            return certificate
        self.problems.append(
            f"previous.crt: the certificate is not a CA that Genie issued for {self._dns_name}"
        )
        return None

    def state(self) -> tuple[dt.datetime | None, dict[str, dt.datetime]]:
        if "state" not in self._data:
            return None, {}

        try:
            state = json.loads(self._decode("state"))
            retire_at = state.get("retireAt")
            retired = {digest: _time(expiry) for digest, expiry in state.get("retired", {}).items()}
            return _time(retire_at) if retire_at else None, retired
        except (CertificateError, ValueError) as error:
            self.problems.append(f"state: {error}")
        except (TypeError, AttributeError):
            self.problems.append("state: not a JSON object with retireAt and retired")
        return None, {}

    def _decode(self, key: str) -> bytes:
        if key not in self._data:
            raise CertificateError(f"{key} is missing")
        try:
            return base64.b64decode(self._data[key], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise CertificateError(f"{key} is not base64") from None


def _time(text: str) -> dt.datetime:
    parsed = dt.datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return parsed
