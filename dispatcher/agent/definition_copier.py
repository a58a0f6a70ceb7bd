"""Copies the cluster's NetworkAttachmentDefinitions to this node while a setting says so.

The list comes as a watch that begins with all objects (``sendInitialEvents``, in Kubernetes 1.34
and newer): one object at a time, from the API server's memory. A list would hold all definitions of
the cluster in memory at once, each of up to 1.5 MiB.

The custom resource is the cluster's, not Genie's. While it does not exist the copies stay as they
are, and the agent asks again, after a minute at most.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import structlog

from dispatcher import networks
from dispatcher.agent.definition_copies import DefinitionCopies
from dispatcher.kube.reflector import Reflector
from dispatcher.nad import definition, definition_copy
from dispatcher.nad.tenant_templates import TenantRules

if TYPE_CHECKING:
    from dispatcher.kube.client import KubeClient
    from dispatcher.node.settings import NodeSettings

MISSING_SECONDS = 60.0
"""Longest time between two requests while the custom resource does not exist."""

INITIAL_END = "k8s.io/initial-events-end"
"""On the bookmark that ends the initial events of a watch (Kubernetes API concepts)."""

log = structlog.get_logger("definitions")


class DefinitionReflector(Reflector):
    """Passes each definition of the cluster to *copies*."""

    def __init__(self, kube: KubeClient, copies: DefinitionCopies, start_delay: float) -> None:
        super().__init__(
            kube,
            definition.COLLECTION,
            start_delay=start_delay,
            missing_delay=MISSING_SECONDS,
        )
        self._copies = copies

    def _list(self) -> None:
        self._copies.begin_list()

    def _watch_query(self) -> dict[str, str]:
        if self._version:
            return super()._watch_query()
        return {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "resourceVersion": "0",
        }

    def _apply(self, event_type: str, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        is_initial = not self._version
        if event_type == "BOOKMARK":
            if is_initial and (metadata.get("annotations") or {}).get(INITIAL_END) != "true":
                return
            if is_initial:
                self._copies.end_list()
                self._synced.set()
        elif event_type == "DELETED":
            self._copies.remove(metadata["namespace"], metadata["name"])
        else:
            self._copies.put(definition.read(item))

        # A watch can be resumed only after the end of its initial events.
        if not is_initial or event_type == "BOOKMARK":
            self._version = metadata["resourceVersion"]


class DefinitionCopier:
    """Keeps the copies of one node; :meth:`refresh` is called every few seconds."""

    def __init__(self, kube: KubeClient, settings: NodeSettings) -> None:
        self._kube = kube
        self._settings = settings
        self._lock = threading.Lock()
        self._copies = self._new_copies()
        self._reflector: DefinitionReflector | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the copies once were all that the API server had."""
        return self._copies.is_complete

    def refresh(self, *, is_leaving: bool) -> None:
        """Start to copy, or stop and remove the copies, and write the sign of life.

        *is_leaving*: Genie leaves this node. Raises OSError.
        """
        with self._lock:
            if is_leaving or not self._settings.copies_definitions:
                self._withdraw()
            else:
                self._copy()

    def _copy(self) -> None:
        if self._reflector is None:
            self._copies = self._new_copies()
            self._copies.open()
            delay = random.uniform(0, self._settings.attachment_definitions_delay_seconds)  # noqa: S311 - jitter
            self._reflector = DefinitionReflector(self._kube, self._copies, delay)
            self._reflector.start()
        if (age := self._reflector.age) is not None:
            self._copies.sign(age)

    def stop(self) -> None:
        """Stop to copy; the copies stay."""
        if self._reflector is not None:
            self._reflector.stop()

    def _new_copies(self) -> DefinitionCopies:
        settings = self._settings
        return DefinitionCopies(
            settings.state_dir / definition_copy.DIRECTORY,
            TenantRules(frozenset(settings.trusted_namespaces), settings.tenant_templates),
            self._name_owner,
        )

    def _withdraw(self) -> None:
        self.stop()
        self._reflector = None
        self._copies.withdraw()

    def _name_owner(self, name: str) -> str:
        """Return which network of this node has the CNI name *name*, or ""."""
        scan = networks.scan(self._settings.conf_dirs)
        owners = [network for network, conf in scan.confs.items() if conf.name == name]
        # The file 10-canal.conflist has two names, of which people know the short one.
        return f'the network "{min(owners, key=len)}" of this node' if owners else ""
