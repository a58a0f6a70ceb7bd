from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.host import clock, events, host, make_reconciler, signals, sigterm_soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.agent.reconciler import NodeReconciler
    from tests.unit.host import Host

__all__ = ["clock", "events", "host", "make_reconciler", "signals", "sigterm_soon"]


@pytest.fixture
def reconciler(host: Host, make_reconciler: Callable[..., NodeReconciler]) -> NodeReconciler:
    """Return a reconciler that has installed Genie, with the default network canal."""
    host.network("canal")
    host.executable("bridge")
    reconciler = make_reconciler()
    assert reconciler.reconcile().problem == ""
    return reconciler
