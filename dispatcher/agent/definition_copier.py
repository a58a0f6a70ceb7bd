"""Copies the cluster's NetworkAttachmentDefinitions to this node while a setting says so.

:mod:`dispatcher.kube.definition_reflector` follows them. While the cluster does not have the kind,
the copies stay as they are. If another program removes or changes a copy, all definitions are
listed again, at most once in :data:`RELIST_SECONDS`: a list costs the API server more than a watch.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import networks
from dispatcher.agent.definition_copies import DefinitionCopies
from dispatcher.kube.definition_reflector import DefinitionReflector
from dispatcher.nad import definition_copy
from dispatcher.nad.tenant_templates import TenantRules

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.kube.client import KubeClient
    from dispatcher.node.settings import NodeSettings

RELIST_SECONDS = 60.0
"""Shortest time between two lists because of lost copies."""

log = structlog.get_logger("definitions")


class DefinitionCopier:
    """Keeps the copies of one node; :meth:`refresh` is called every few seconds.

    *clock* is monotonic.
    """

    def __init__(
        self,
        kube: KubeClient,
        settings: NodeSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._copies = self._new_copies()
        self._reflector: DefinitionReflector | None = None
        self._relist_at = clock()
        """When the next list because of a lost copy may begin."""

    @property
    def is_complete(self) -> bool:
        """Whether the copies once were all that the API server had."""
        return self._copies.is_complete

    def refresh(self, *, is_leaving: bool) -> None:
        """Start copying, or stop and remove the copies, and write the sign of life.

        *is_leaving*: Genie leaves this node. Raises OSError.
        """
        with self._lock:
            if is_leaving or not self._settings.copies_definitions:
                self._withdraw()
            else:
                self._copy()

    def _copy(self) -> None:
        if self._reflector is None:
            most = self._settings.attachment_definitions_delay_seconds
            self._start(random.uniform(0, most))  # noqa: S311 - jitter
        elif path := self._copies.find_loss():
            now = self._clock()
            delay = max(0.0, self._relist_at - now)
            self._relist_at = now + delay + RELIST_SECONDS
            log.warning("copy lost; listing definitions again", path=path, seconds=round(delay))
            self._restart(delay)

        if self._reflector is not None and (age := self._reflector.age) is not None:
            self._copies.sign(age)

    def _start(self, delay: float) -> None:
        """Read which copies there are, and follow the definitions after *delay* seconds."""
        self._copies = self._new_copies()
        self._copies.open()
        self._reflector = DefinitionReflector(self._kube, self._copies, delay)
        self._reflector.start()

    def _restart(self, delay: float) -> None:
        """Start anew; ``.synced`` now says whether the copies are complete."""
        self.stop()
        self._copies.close()
        self._reflector = None  # if the copies cannot be read now, the next refresh starts
        self._start(delay)

    def stop(self) -> None:
        """Stop copying; the copies stay."""
        if self._reflector is not None:
            self._reflector.stop()

    def _new_copies(self) -> DefinitionCopies:
        settings = self._settings
        return DefinitionCopies(
            settings.state_dir / definition_copy.DIRECTORY,
            TenantRules(frozenset(settings.trusted_namespaces), settings.tenant_templates),
            self._cni_names,
        )

    def _withdraw(self) -> None:
        self.stop()
        self._reflector = None
        self._copies.withdraw()

    def _cni_names(self) -> dict[str, str]:
        """Return the CNI names that networks of this node have, each with its owner."""
        scan = networks.scan(self._settings.conf_dirs)
        # The file 10-canal.conflist has two names, of which people know the short one: the last.
        longest_first = sorted(scan.confs, key=len, reverse=True)
        return {
            scan.confs[network].name: f'the network "{network}" of this node'
            for network in longest_first
        }
