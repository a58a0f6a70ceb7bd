"""The webhook configurations that are ours, as last read from the API server.

Pure values. A configuration is *steady* for as long as this process has seen the same generation
of it. So a replica knows, on its own monotonic clock, for how long an API server that lags has had
the chance to learn of a bundle. The count begins anew when a replica starts.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certs.authority import fingerprint
from certs.bundle import parse_bundle, verification_error
from dispatcher.kube import json_patch

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cryptography import x509

    from dispatcher.kube.json_patch import Patch

API = "/apis/admissionregistration.k8s.io/v1/"
KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


@dataclass(frozen=True, slots=True)
class WebhookEntry:
    """One webhook of a configuration: its caBundle, and the fingerprints in it (*trusted*)."""

    name: str
    bundle: bytes
    trusted: frozenset[str]

    @classmethod
    def parse(cls, webhook: Mapping[str, Any]) -> WebhookEntry:
        """Parse one element of ``webhooks``; a caBundle that is not base64 counts as empty."""
        encoded = (webhook.get("clientConfig") or {}).get("caBundle") or ""
        try:
            bundle = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            bundle = b""
        return cls(webhook["name"], bundle, frozenset(map(fingerprint, parse_bundle(bundle))))


@dataclass(frozen=True, slots=True)
class WebhookConfiguration:
    """A Mutating- or ValidatingWebhookConfiguration.

    *name* is what kubectl takes: ``kind/name``. *steady_for* is for how many seconds this process
    has seen this generation.
    """

    kind: str
    path: str
    name: str
    uid: str
    generation: int
    resource_version: str
    entries: tuple[WebhookEntry, ...]
    steady_for: float

    @classmethod
    def parse(cls, kind: str, item: Mapping[str, Any], steady_for: float) -> WebhookConfiguration:
        """Parse an object of the collection *kind*."""
        metadata = item["metadata"]
        return cls(
            kind=kind,
            path=f"{API}{kind}/{metadata['name']}",
            name=f"{kind}/{metadata['name']}",
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            resource_version=metadata["resourceVersion"],
            entries=tuple(map(WebhookEntry.parse, item.get("webhooks") or ())),
            steady_for=steady_for,
        )

    def patch(self, bundles: Mapping[int, bytes]) -> Patch:
        """Return the JSON patch that sets *bundles*, by the index of the entry.

        It applies to exactly this version of the object, because an index may name another entry
        in another version.
        """
        operations = [json_patch.test("/metadata/resourceVersion", self.resource_version)]
        for index, bundle in bundles.items():
            entry = f"/webhooks/{index}"
            encoded = base64.b64encode(bundle).decode()
            operations += [
                json_patch.test(f"{entry}/name", self.entries[index].name),
                json_patch.add(f"{entry}/clientConfig/caBundle", encoded),
            ]
        return operations


@dataclass(frozen=True, slots=True)
class ObservedConfigurations:
    """All our configurations at one moment.

    *lost_for* is how many seconds ago this process last noticed that one was deleted: an API server
    that lags may still have it, with a bundle that cannot be observed any more.
    """

    configurations: tuple[WebhookConfiguration, ...] = ()
    lost_for: float = math.inf

    @property
    def entries(self) -> tuple[WebhookEntry, ...]:
        """Every webhook entry of every configuration."""
        return tuple(
            entry for configuration in self.configurations for entry in configuration.entries
        )

    @property
    def certificates(self) -> dict[str, x509.Certificate]:
        """Every certificate that any entry trusts, by fingerprint."""
        bundles = {entry.bundle for entry in self.entries}
        return {fingerprint(ca): ca for bundle in bundles for ca in parse_bundle(bundle)}

    @property
    def steady_for(self) -> float:
        """For how many seconds this process has seen no configuration change or disappear."""
        return min([self.lost_for, *(each.steady_for for each in self.configurations)])

    def missing(self, fingerprints: Iterable[str]) -> list[str]:
        """Return the configurations with an entry that lacks a CA of *fingerprints*."""
        required = frozenset(fingerprints)
        return [
            configuration.name
            for configuration in self.configurations
            if any(not required <= entry.trusted for entry in configuration.entries)
        ]

    def holders(self, fingerprints: Collection[str]) -> list[str]:
        """Return the configurations with an entry that holds a CA of *fingerprints*."""
        return [
            configuration.name
            for configuration in self.configurations
            if any(not entry.trusted.isdisjoint(fingerprints) for entry in configuration.entries)
        ]

    def settled(self, fingerprints: Iterable[str], seconds: float) -> bool:
        """Tell whether every entry has held the CAs of *fingerprints* for *seconds*.

        As far as this process has seen: the seconds before it started do not count.
        """
        return not self.missing(fingerprints) and self.steady_for >= seconds

    def verification_errors(
        self, chain: Sequence[x509.Certificate], dns_name: str, now: dt.datetime
    ) -> dict[str, str]:
        """Return why the API server rejects *chain*, by the ``configuration/entry`` it calls."""
        errors = {}
        for configuration in self.configurations:
            for entry in configuration.entries:
                error = verification_error(chain, entry.bundle, dns_name, now)
                if error is not None:
                    errors[f"{configuration.name}/{entry.name}"] = error
        return errors
