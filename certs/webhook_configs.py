"""The webhook configurations that are ours, as last read from the API server.

Pure values. A configuration is *steady* for as long as this process has seen one and the same
generation of it: that is how a replica knows, on its own monotonic clock, how long an API server
that lags has had to learn a bundle. A replica that has just started begins to count anew.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certs.authority import fingerprint
from certs.bundle import parse_bundle, verification_error

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cryptography import x509

API = "/apis/admissionregistration.k8s.io/v1/"
KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


@dataclass(frozen=True, slots=True)
class WebhookEntry:
    """One webhook of a configuration: what its caBundle holds."""

    name: str
    bundle: bytes
    trusted: frozenset[str]

    @classmethod
    def parse(cls, webhook: Mapping[str, Any]) -> WebhookEntry:
        """Read one element of ``webhooks``; a bundle that is no base64 counts as empty."""
        encoded = (webhook.get("clientConfig") or {}).get("caBundle") or ""
        try:
            bundle = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            bundle = b""
        return cls(webhook["name"], bundle, frozenset(map(fingerprint, parse_bundle(bundle))))


@dataclass(frozen=True, slots=True)
class WebhookConfiguration:
    """A Mutating- or ValidatingWebhookConfiguration, named as kubectl takes it.

    ``steady_for`` is how many seconds this process has seen this very generation.
    """

    path: str
    name: str
    uid: str
    generation: int
    resource_version: str
    entries: tuple[WebhookEntry, ...]
    steady_for: float

    @classmethod
    def parse(cls, kind: str, found: Mapping[str, Any], steady_for: float) -> WebhookConfiguration:
        """Read an object of the collection *kind*."""
        metadata = found["metadata"]
        return cls(
            path=f"{API}{kind}/{metadata['name']}",
            name=f"{kind}/{metadata['name']}",
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            resource_version=metadata["resourceVersion"],
            entries=tuple(map(WebhookEntry.parse, found.get("webhooks") or ())),
            steady_for=steady_for,
        )

    def patch(self, bundles: Mapping[int, bytes]) -> list[dict[str, Any]]:
        """Return the JSON patch that gives the entries with the indexes in *bundles* these bundles.

        It applies to exactly this version of the object: a list index means nothing in another.
        """
        tests = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version}
        ]
        for index, bundle in bundles.items():
            entry = f"/webhooks/{index}"
            tests.append({"op": "test", "path": f"{entry}/name", "value": self.entries[index].name})
            tests.append(
                {
                    "op": "add",
                    "path": f"{entry}/clientConfig/caBundle",
                    "value": base64.b64encode(bundle).decode(),
                }
            )
        return tests


@dataclass(frozen=True, slots=True)
class ObservedConfigurations:
    """All our configurations at one moment.

    ``lost_for`` is how many seconds ago this process last found that one had gone: an API server
    that lags may have it still, with a bundle that nobody sees any more.
    """

    configurations: tuple[WebhookConfiguration, ...] = ()
    lost_for: float = math.inf

    @property
    def entries(self) -> tuple[WebhookEntry, ...]:
        """Every webhook entry of every configuration."""
        return tuple(entry for one in self.configurations for entry in one.entries)

    @property
    def certificates(self) -> dict[str, x509.Certificate]:
        """Every certificate that any entry trusts, by fingerprint."""
        bundles = {entry.bundle for entry in self.entries}
        return {fingerprint(one): one for bundle in bundles for one in parse_bundle(bundle)}

    @property
    def steady_for(self) -> float:
        """For how many seconds no configuration has changed or gone, as far as we saw."""
        return min([self.lost_for, *(one.steady_for for one in self.configurations)])

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the configurations with an entry that lacks a CA of *names* (fingerprints)."""
        wanted = frozenset(names)
        return [
            one.name
            for one in self.configurations
            if any(not wanted <= entry.trusted for entry in one.entries)
        ]

    def holders(self, names: Collection[str]) -> list[str]:
        """Return the configurations with an entry that holds a CA of *names* (fingerprints)."""
        return [
            one.name
            for one in self.configurations
            if any(not entry.trusted.isdisjoint(names) for entry in one.entries)
        ]

    def settled(self, names: Iterable[str], seconds: float) -> bool:
        """Tell whether every entry has held the CAs of *names* for *seconds*, as far as we saw."""
        return not self.missing(names) and self.steady_for >= seconds

    def verification_errors(
        self, chain: Sequence[x509.Certificate], name: str, now: dt.datetime
    ) -> dict[str, str]:
        """Return why the API server refuses *chain*, for each ``configuration/entry`` that does."""
        found = {}
        for one in self.configurations:
            for entry in one.entries:
                reason = verification_error(chain, entry.bundle, name, now)
                if reason is not None:
                    found[f"{one.name}/{entry.name}"] = reason
        return found
