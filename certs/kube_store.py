"""The effects on the API server: reading and writing the Secret and the caBundles.

Everything is read from the API server itself, never from a watch cache: a watch only says *when*
to look. Every write is conditional on the version that was read, so of two replicas one wins, and
the other reads again.
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
        self, stored: CASecret, found: Mapping[str, Any] | None, *, drop_request: bool = False
    ) -> dict[str, Any]:
        """Write *stored* over *found*, or as a new Secret; raises :class:`KubeError`.

        A Secret that changed, came or went since *found* was read is a conflict (409, 404).
        """
        secret = render(
            stored,
            found,
            name=self._settings.secret,
            namespace=self._settings.namespace,
            drop_request=drop_request,
        )
        if found is None:
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
        self._since: dict[tuple[str, int], float] = {}
        self._lost_at = -math.inf

    def read(self) -> ObservedConfigurations:
        """List them; raises :class:`KubeError`."""
        found = [
            (kind, item)
            for kind in KINDS
            for item in self._kube.get(API + kind, {"labelSelector": self._label}).get("items")
            or ()
        ]
        now, known = self._monotonic(), {_generation(item) for _, item in found}
        if not {uid for uid, _ in self._since} <= {uid for uid, _ in known}:
            self._lost_at = now
        self._since = {key: at for key, at in self._since.items() if key in known}
        return ObservedConfigurations(
            tuple(self._parse(kind, item) for kind, item in found), now - self._lost_at
        )

    def write(
        self,
        observed: ObservedConfigurations,
        trusted: Sequence[x509.Certificate],
        *,
        retired: Collection[str],
        is_own: Callable[[x509.Certificate], bool],
        now: dt.datetime,
    ) -> tuple[ObservedConfigurations, list[str], list[KubeError]]:
        """Give every entry its bundle, where it differs.

        Returns what is known afterwards, the names of the configurations written, and what
        failed: one configuration that cannot be written keeps no other from its bundle.
        """
        after: list[WebhookConfiguration] = []
        written: list[str] = []
        errors: list[KubeError] = []
        for one in observed.configurations:
            wanted = {
                index: merge(entry.bundle, trusted, retired=retired, is_own=is_own, now=now)
                for index, entry in enumerate(one.entries)
            }
            changed = {i: new for i, new in wanted.items() if new != one.entries[i].bundle}
            if not changed:
                after.append(one)
                continue
            try:
                kind = one.path.removeprefix(API).partition("/")[0]
                after.append(self._parse(kind, self._kube.patch(one.path, one.patch(changed))))
                written.append(one.name)
            except KubeError as error:
                after.append(one)
                errors.append(error)
        return ObservedConfigurations(tuple(after), observed.lost_for), written, errors

    def _parse(self, kind: str, item: Mapping[str, Any]) -> WebhookConfiguration:
        now = self._monotonic()
        since = self._since.setdefault(_generation(item), now)
        return WebhookConfiguration.parse(kind, item, now - since)


def _generation(item: Mapping[str, Any]) -> tuple[str, int]:
    return item["metadata"]["uid"], item["metadata"].get("generation", 0)
