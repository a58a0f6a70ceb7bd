"""A node whose container runtime calls Multus, or has it installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.agent.reconciler import NodeReconciler
    from tests.unit.host import Clock, Host, RecordedEvents


@pytest.mark.parametrize("plugin_type", ["multus", "multus-shim"])
def test_multus_is_not_replaced_unless_a_setting_allows_it(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    events: RecordedEvents,
    plugin_type: str,
) -> None:
    """Its file sorts after ours, so the runtime would call it no more; an Event says so."""
    multus = host.network("multus-cni-network", [plugin_type], file="00-multus.conf")
    multus.write_text(f'{{"cniVersion": "1.0.0", "name": "m", "type": "{plugin_type}"}}')
    host.network("canal")
    host.executable("bridge", plugin_type)
    ours = host.conf / "00-genie.conflist"

    assert "allowReplacingMultus: true" in make_reconciler().reconcile().problem
    assert not ours.exists()
    assert not (host.bin / "genie").exists()
    [(_, reason, message)] = events.emitted
    assert reason == "NotInstalled"
    assert f"the container runtime calls Multus ({multus})" in message

    assert make_reconciler(allow_replacing_multus=True).reconcile().problem == ""
    assert ours.exists()


def test_an_installed_genie_stays_where_multus_comes_later(
    host: Host, reconciler: NodeReconciler
) -> None:
    """The runtime still calls Genie, and pods have its networks. Removed, it does not come back."""
    host.executable("multus")
    multus = host.network("m", ["multus"], file="00-multus.conflist")
    assert reconciler.reconcile().problem == ""
    ours = host.conf / "00-genie.conflist"
    assert ours.exists()
    ours.unlink()
    assert str(multus) in reconciler.reconcile().problem
    assert not ours.exists()


@pytest.mark.parametrize("shadow", ["05-canal.conflist", "05-broken.conf"])
def test_multus_that_the_runtime_does_not_call_is_nothing_to_replace(
    host: Host, make_reconciler: Callable[..., NodeReconciler], shadow: str
) -> None:
    """Only the first file counts, also one that cannot be used."""
    host.network("m", ["multus"], file="70-multus.conflist")
    host.network("canal")
    host.executable("bridge", "multus")
    if shadow.endswith(".conf"):
        (host.conf / shadow).write_text("{")
    else:
        host.network("canal", file=shadow)
    assert make_reconciler().reconcile().problem == ""


def test_genie_waits_while_the_daemon_of_multus_restarts(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """It removes its file when it ends, and starts with the node like the agent; not for ever."""
    host.network("canal")
    host.executable("bridge", "multus-shim")
    ours = host.conf / "00-genie.conflist"
    reconciler = make_reconciler(start_seconds=300)
    problem = reconciler.reconcile().problem
    assert problem.startswith(f"Multus is on this node ({host.bin}/multus-shim) without")
    assert "waits up to 300 s" in problem

    clock.now += 299
    multus = host.network("m", ["multus-shim"], file="00-multus.conflist")
    assert "the container runtime calls Multus" in reconciler.reconcile().problem
    multus.unlink()
    clock.now += 299
    assert "waits up to 300 s" in reconciler.reconcile().problem
    assert not ours.exists()

    clock.now += 1
    assert reconciler.reconcile().problem == ""
    assert ours.exists()


@pytest.mark.parametrize(
    "settings",
    [{"attachment_definitions_mode": "enforce"}, {"allow_replacing_multus": True}],
    ids=["enforce", "allowed"],
)
def test_genie_does_not_wait_where_it_may_take_over(
    host: Host, make_reconciler: Callable[..., NodeReconciler], settings: dict[str, Any]
) -> None:
    """With "enforce" it attaches the definitions itself."""
    host.network("canal")
    host.executable("bridge", "multus")
    assert make_reconciler(start_seconds=300, **settings).reconcile().problem == ""


def test_a_removed_multus_is_replaced_at_once(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """Its executable is gone, too."""
    host.network("canal")
    host.executable("bridge", "multus")
    reconciler = make_reconciler(start_seconds=300)
    assert reconciler.reconcile().problem != ""
    (host.bin / "multus").unlink()
    assert reconciler.reconcile().problem == ""
