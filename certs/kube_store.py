"""Read and write the Secret and the caBundles on the API server.

Everything is read from the API server itself, never from an informer cache: a watch only says
*when* to read. Every write is conditional on the version that was read, so one of two replicas
wins, and the other reads again.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from certs.bundle import merge
from certs.ca_secret import render
from certs.webhook_configs import API, KINDS, ObservedConfigurations, WebhookConfiguration
from dispatcher.kube.client import object_path
from dispatcher.kube.errors import NOT_FOUND, KubeError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Mapping, Sequence

    from cryptography import x509

    from certs.ca_secret import CASecret
    from certs.settings import CertificateSettings
    from dispatcher.kube.client import KubeClient


class SecretStore:
    """The Secret with the CA."""

    def __init__(self, kube: KubeClient, settings: CertificateSettings) -> None:
        self._kube = kube
        self._settings = settings
        self.collection = f"/api/v1/namespaces/{settings.namespace}/secrets"
        self.path = object_path(self.collection, settings.secret)

    def read(self) -> dict[str, Any] | None:
        """Return the Secret, None where there is none; raises :class:`KubeError`."""
        try:
            return self._kube.get(self.path)
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def write(
        self, content: CASecret, current: Mapping[str, Any] | None, *, drop_request: bool = False
    ) -> dict[str, Any]:
        """Write *content* over *current*, or as a new Secret if that is None; return the Secret.

        Raises :class:`KubeError`: 409 or 404 if the Secret was changed, created or deleted since
        *current* was read.
        """
        secret = render(
            content,
            current,
            name=self._settings.secret,
            namespace=self._settings.namespace,
            drop_request=drop_request,
        )
        if current is None:
            return self._kube.create(self.collection, secret)
        return self._kube.update(self.path, secret)


class ConfigurationStore:
    """Our webhook configurations: those with the label of the settings."""

    def __init__(
        self,
        kube: KubeClient,
        settings: CertificateSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._label = settings.label
        self._monotonic = monotonic
        self._first_seen: dict[tuple[str, int], float] = {}
        self._lost_at = -math.inf

    def observe(self) -> ObservedConfigurations:
        """List our webhook configurations.

        Returns them with the seconds since each last changed. Remembers when each generation was
        first seen, and when one was last found deleted. Raises :class:`KubeError`.
        """
        items = [
            (kind, item)
            for kind in KINDS
            for item in self._kube.get(API + kind, {"labelSelector": self._label}).get("items")
            or ()
        ]

        now, generations = self._monotonic(), {_generation(item) for _, item in items}
        if not {uid for uid, _ in self._first_seen} <= {uid for uid, _ in generations}:
            self._lost_at = now
        self._first_seen = {key: at for key, at in self._first_seen.items() if key in generations}

        configurations = tuple(self._parse(kind, item) for kind, item in items)
        return ObservedConfigurations(configurations, now - self._lost_at)

    def write(
        self,
        observed: ObservedConfigurations,
        trusted: Sequence[x509.Certificate],
        *,
        retired: Collection[str],
        is_own: Callable[[x509.Certificate], bool],
        now: dt.datetime,
    ) -> tuple[ObservedConfigurations, list[str], list[KubeError]]:
        """Write the bundles that differ from what :func:`certs.bundle.merge` composes.

        Returns the configurations as they are afterwards, the names of those written, and the
        errors: a configuration that cannot be written does not keep the others from being written.
        """
        after: list[WebhookConfiguration] = []
        written: list[str] = []
        errors: list[KubeError] = []
        for configuration in observed.configurations:
            merged = {
                index: merge(entry.bundle, trusted, retired=retired, is_own=is_own, now=now)
                for index, entry in enumerate(configuration.entries)
            }
            changed = {
                index: bundle
                for index, bundle in merged.items()
                if bundle != configuration.entries[index].bundle
            }
            if not changed:
                after.append(configuration)
                continue

            try:
                item = self._kube.patch(configuration.path, configuration.patch(changed))
            except KubeError as error:
                after.append(configuration)
                errors.append(error)
            else:
                after.append(self._parse(configuration.kind, item))
                written.append(configuration.name)
        return ObservedConfigurations(tuple(after), observed.lost_for), written, errors

    def _parse(self, kind: str, item: Mapping[str, Any]) -> WebhookConfiguration:
        now = self._monotonic()
        first_seen = self._first_seen.setdefault(_generation(item), now)
        return WebhookConfiguration.parse(kind, item, now - first_seen)


def _generation(item: Mapping[str, Any]) -> tuple[str, int]:
    return item["metadata"]["uid"], item["metadata"].get("generation", 0)
