"""Leader election by a Lease (``coordination.k8s.io/v1``): one of several replicas holds it.

The same protocol as client-go's. A holder writes its name and the time into the Lease, again and
again. Another replica takes the Lease when it has not changed for :data:`DURATION`, by its own
clock, so the clocks of replicas need not agree. Every write is conditional on the version that was
read, so one of two replicas wins.

Rules:

- The Lease exists already: no right to create one is needed.
- A holder that cannot renew stops to hold the Lease before another replica may take it.
- Nothing runs in the background: :meth:`Lease.hold` renews if it is time to.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from dispatcher.kube.client import object_path
from dispatcher.kube.errors import CONFLICT, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dispatcher.kube.client import KubeClient

DURATION = 30.0
"""Seconds after which a Lease that has not changed is free."""

DEADLINE = 20.0
"""Seconds after its last renewal at which a holder stops to hold the Lease."""

RENEWAL = 8.0
"""Seconds between renewals."""

TIMEOUT = 5.0
"""Seconds for one call of the API."""


class Lease:
    """The Lease *name*, for the replica *identity*, which must be unique.

    *monotonic* and *wall* are the clocks; the time of *wall* is for people to read.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._kube = kube
        self._path = object_path(
            f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", name
        )
        self._identity = identity
        self._monotonic = monotonic
        self._wall = wall
        self._renewed_at: float | None = None
        self._observed: Mapping[str, Any] | None = None
        self._observed_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this replica holds the Lease now."""
        return self._renewed_at is not None and self._monotonic() < self._renewed_at + DEADLINE

    def hold(self) -> bool:
        """Take or renew the Lease if possible; return whether this replica holds it.

        Raises :class:`KubeError` if the Lease can be neither read nor written, and this replica
        does not hold it.
        """
        if self._renewed_at is not None and self._monotonic() < self._renewed_at + RENEWAL:
            return True

        try:
            self._take_or_renew()
        except KubeError as error:
            # Another replica was faster, or the holder may try again until its deadline.
            if error.status != CONFLICT and not self.is_held:
                raise
        return self.is_held

    def release(self) -> None:
        """Let another replica take the Lease at once. Raises :class:`KubeError`."""
        if not self.is_held:
            return
        self._renewed_at = None
        lease = self._kube.get(self._path, timeout=TIMEOUT)
        if self._holder(lease) == self._identity:
            self._write(lease, {"holderIdentity": ""})

    def _take_or_renew(self) -> None:
        now = self._monotonic()
        lease = self._kube.get(self._path, timeout=TIMEOUT)
        spec = lease.get("spec") or {}
        if spec != self._observed:
            self._observed, self._observed_at = spec, now

        holder = self._holder(lease)
        if holder == self._identity:
            self._write(lease, {})
        elif not holder or now >= self._observed_at + DURATION:
            transitions = spec.get("leaseTransitions") or 0
            self._write(
                lease,
                {
                    "holderIdentity": self._identity,
                    "acquireTime": self._now(),
                    "leaseTransitions": transitions + 1,
                },
            )
        else:
            self._renewed_at = None
            return
        self._renewed_at = now  # of before the calls: another replica counts from its reading

    def _write(self, lease: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        spec = {
            **(lease.get("spec") or {}),
            "leaseDurationSeconds": int(DURATION),
            "renewTime": self._now(),
            **values,
        }
        self._kube.update(self._path, {**lease, "spec": spec}, timeout=TIMEOUT)

    def _holder(self, lease: Mapping[str, Any]) -> str:
        return str((lease.get("spec") or {}).get("holderIdentity") or "")

    def _now(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
