"""Default routes: the primary's alone, and what happens when the kernel refuses a step."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from dispatcher.cni_errors import (
    DELEGATE_FAILED,
    INVALID_ANNOTATION,
    INVALID_NETNS,
    IO_FAILURE,
    CNIError,
)
from dispatcher.state import store
from tests.unit.plugin.rig import Rig, error_of, failure
from tests.unit.plugin.rtnetlink import link, route

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFUSED = PermissionError(1, "Operation not permitted")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Give a node whose networks all add a default route."""
    return Rig(tmp_path)


ORDERS = [
    ",".join(items)
    for count in (2, 3, 4)
    for items in itertools.permutations(["weave", "canal@a", "weave@b", "canal@c"][:count])
]


@pytest.mark.parametrize("annotation", ORDERS)
def test_the_default_route_is_the_primarys_in_every_order(rig: Rig, annotation: str) -> None:
    """Every network adds a default route; the record holds none after ADD."""
    rig.run("ADD", annotation)
    assert rig.pod.ways_out == ["eth0"]
    secondaries = [each.partition("@")[2] for each in annotation.split(",") if "@" in each]
    assert sorted(rig.pod.ignored) == sorted(secondaries)
    assert "heldRoutes" not in rig.record()
    assert rig.pod.opened == 0
    rig.run("DEL")
    assert rig.delegates.held == set()


def test_one_network_never_opens_the_namespace(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod with one network pays nothing for this."""
    monkeypatch.setattr(rig.pod, "open", lambda _: pytest.fail("the namespace was opened"))
    rig.run("ADD", "weave")
    rig.run("DEL")


@pytest.mark.parametrize(
    ("annotation", "earlier", "opened_before"),
    [
        pytest.param("weave,canal@net1", False, False, id="the pod's primary does not wait"),
        pytest.param("canal@net1,weave", False, True, id="a secondary may find a route"),
        pytest.param("weave", True, True, id="the primary of a second call finds the first's"),
    ],
)
def test_the_first_delegate_gets_its_configuration_before_the_namespace_is_opened(
    rig: Rig, annotation: str, *, earlier: bool, opened_before: bool
) -> None:
    """Unless there may be a route to remove first: opening takes longer than a plugin starts."""
    if earlier:
        rig.run("ADD", "canal")
    seen: list[bool] = []
    run = rig.delegates.__class__.__call__

    class Watching(type(rig.delegates)):  # type: ignore[misc]
        def __call__(
            self, conf: Any, variables: Any, deadline: float, first: Any, then: Any
        ) -> Any:
            def before_input() -> None:
                if first:
                    first()
                seen.append(bool(rig.pod.opened))

            return run(self, conf, variables, deadline, before_input, then)

    rig.delegates.__class__ = Watching
    rig.run("ADD", annotation, interface="eth7" if earlier else "eth0")
    assert seen[0] == opened_before


def test_a_primary_without_a_default_route_leaves_the_pod_without(rig: Rig) -> None:
    """A secondary never adds one in its place."""
    rig.delegates.without_route = {"w1", "w2"}
    rig.run("ADD", "weave,canal@net1")
    assert rig.pod.ways_out == []


def test_a_network_without_a_kernel_interface(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A userspace network: there is nothing to check and nothing to remove."""
    attach = rig.pod.attach
    monkeypatch.setattr(
        rig.pod, "attach", lambda name, **how: None if name == "net1" else attach(name, **how)
    )
    rig.run("ADD", "canal@net1,weave")
    rig.run("DEL")
    rig.run("ADD", "weave,canal@net1")
    assert (rig.pod.ways_out, rig.pod.ignored) == (["eth0"], [])


def after_each_add(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, action: Callable[[str], object]
) -> None:
    """Let the ADD of every delegate end with *action*, which gets the interface."""
    attach = rig.pod.attach

    def attach_and_act(interface: str, **how: bool) -> None:
        attach(interface, **how)
        action(interface)

    monkeypatch.setattr(rig.pod, "attach", attach_and_act)


def test_an_advertised_route_of_the_primary_stays_in_place(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither held nor removed; one of a secondary is removed."""

    def learn(interface: str) -> None:
        advertised = route(link(rig.pod.interfaces[interface]), family=10, protocol=9)
        rig.pod.routes.append(advertised)

    after_each_add(rig, monkeypatch, learn)
    rig.run("ADD", "weave,canal@net1")
    assert rig.pod.ways_out == ["eth0", "eth0"]


def test_the_record_has_the_routes_before_they_are_removed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On disk, as the request that creates them again."""
    held: list[list[str]] = []

    def look(_: object, gone: object) -> None:
        held.append(rig.record().get("heldRoutes", []))
        rig.pod.routes.remove(gone.body)  # type: ignore[attr-defined]

    monkeypatch.setattr("tests.unit.plugin.kernel.Model.remove", look)
    rig.run("ADD", "weave,canal@net1")
    eth0 = route(link(rig.pod.interfaces["eth0"])).hex()
    assert held == [[eth0], [eth0]]  # the primary's is removed, and then the secondary's


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ("default_routes", "cannot read the pod's default routes: "),
        ("remove", "cannot remove the pod's default routes before attaching its next network: "),
        ("index", 'cannot remove the default routes added by network "weave" on interface eth0: '),
        ("restore", "cannot restore the pod's default routes: "),
    ],
)
def test_a_step_that_the_kernel_refuses_fails_the_add(
    rig: Rig, refused: str, sentence: str
) -> None:
    """Code 5, with the kernel's reason; everything is rolled back."""
    rig.pod.faults[refused] = REFUSED
    with pytest.raises(CNIError, match=sentence + r".*not permitted") as caught:
        rig.run("ADD", "weave,canal@net1")
    assert caught.value.code == IO_FAILURE
    assert (rig.delegates.held, rig.records, rig.pod.opened) == (set(), [], 0)


def test_a_plugin_that_removes_another_interface_fails_the_add(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names both networks; everything is rolled back."""

    def meddle(interface: str) -> None:
        if interface == "net1":
            rig.pod.detach("eth0")

    after_each_add(rig, monkeypatch, meddle)
    sentence = (
        'network "canal" cannot be combined with network "weave" in one pod: its ADD on interface '
        "net1 removed interface eth0"
    )
    with pytest.raises(CNIError, match=sentence) as caught:
        rig.run("ADD", "weave,canal@net1")
    assert caught.value.code == DELEGATE_FAILED
    assert (rig.delegates.held, rig.records) == (set(), [])


LATER = "canal@net1,canal,weave@net2"


def test_of_two_calls_the_earlier_ones_primary_is_the_pods(rig: Rig) -> None:
    """A later call with several networks adds no default route."""
    rig.run("ADD", "weave")
    rig.run("ADD", LATER, interface="eth7")
    assert rig.pod.ways_out == ["eth0"]
    rig.run("DEL", interface="eth7")
    assert rig.pod.ways_out == ["eth0"]


def test_a_later_call_that_fails_gives_the_earlier_one_its_routes_back(rig: Rig) -> None:
    """They were held when the second network of the later call failed."""
    rig.run("ADD", "weave")
    rig.delegates.faults["ADD", "w2"] = failure()
    with pytest.raises(CNIError, match="no address left"):
        rig.run("ADD", LATER, interface="eth7")
    assert rig.pod.ways_out == ["eth0"]
    assert "heldRoutes" not in rig.record()


def test_the_del_after_a_killed_call_gives_the_earlier_one_its_routes_back(rig: Rig) -> None:
    """From the record, but only routes of interfaces that still exist."""
    rig.run("ADD", "weave")
    rig.run("ADD", LATER, interface="eth7")
    kept, gone = rig.pod.routes.copy(), route(link(99))
    rig.pod.routes.clear()
    _hold(rig, *kept, gone)
    rig.run("DEL", interface="eth7")
    assert rig.pod.routes == kept
    assert "heldRoutes" not in rig.record()


def test_a_route_that_cannot_be_restored_stops_no_release(rig: Rig) -> None:
    """DEL succeeds with a warning; the next call for the container tries again."""
    rig.run("ADD", "weave")
    rig.run("ADD", LATER, interface="eth7")
    kept = rig.pod.routes.copy()
    rig.pod.routes.clear()
    _hold(rig, *kept)
    rig.pod.faults["restore"] = REFUSED
    rig.run("DEL", interface="eth7")
    [warning] = rig.warnings
    assert warning.startswith("cannot restore the default routes of container c1: ")
    assert rig.record()["heldRoutes"] == [each.hex() for each in kept]

    rig.pod.faults.clear()
    rig.run("ADD", LATER, interface="eth7")
    assert rig.pod.routes == kept
    assert "heldRoutes" not in rig.record()


def test_routes_are_given_back_only_in_the_namespace_of_the_call(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorded path below /proc may belong to another pod, so GC and reaper restore none."""
    rig.run("ADD", "weave")
    rig.run("ADD", LATER, interface="eth7")
    _hold(rig, *rig.pod.routes)
    monkeypatch.setattr(rig.pod, "open", lambda _: pytest.fail("the namespace was opened"))
    rig.run("DEL", interface="eth7", netns="")
    assert rig.record()["heldRoutes"]


def test_routes_of_a_namespace_that_is_gone_are_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are gone with the namespace."""
    rig.run("ADD", "weave")
    rig.run("ADD", LATER, interface="eth7")
    _hold(rig, *rig.pod.routes)

    def gone(netns: str) -> NoReturn:
        raise CNIError(INVALID_NETNS, f"cannot enter the network namespace {netns}")

    monkeypatch.setattr(rig.pod, "open", gone)
    rig.run("DEL", interface="eth7")
    assert "heldRoutes" not in rig.record()


def test_an_add_after_one_that_was_killed_inherits_no_held_routes(rig: Rig) -> None:
    """All attachments of the killed one are released first, with their routes."""
    rig.run("ADD", "weave,canal@net1")
    record = store.read(str(rig.state), "c1")
    assert record is not None
    record.attachments[1].phase = "attaching"
    record.held_routes = [each.hex() for each in rig.pod.routes]
    store.write_synced(str(rig.state), record)
    rig.run("ADD", "weave")
    assert "heldRoutes" not in rig.record()


def test_a_later_call_with_one_network_adds_no_default_route(rig: Rig) -> None:
    """The pod already has its primary."""
    rig.run("ADD", "weave")
    rig.run("ADD", "canal", interface="eth7")
    assert rig.pod.ways_out == ["eth0"]


def test_combinations_are_checked_over_both_calls(rig: Rig) -> None:
    """Plugins that can attach a pod only once are refused in the later call."""
    rig.network("first", "calico")
    rig.network("second", "calico")
    rig.run("ADD", "first")
    assert error_of(rig, "ADD", "second", interface="eth7").code == INVALID_ANNOTATION
    assert [name for _, name, _, _ in rig.delegates.held] == ["eth0"]


def test_a_later_call_keeps_what_a_newer_version_wrote_into_the_record(rig: Rig) -> None:
    """Unknown keys survive."""
    rig.run("ADD", "weave")
    record = store.read(str(rig.state), "c1")
    assert record is not None
    record.extra["later"] = {"a": 1}
    store.write_synced(str(rig.state), record)
    rig.run("ADD", "canal", interface="eth7")
    assert rig.record()["later"] == {"a": 1}


def test_a_default_route_that_a_secondary_adds_through_the_primary_is_removed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the primary's own routes count, and those that its routers advertise."""

    def meddle(interface: str) -> None:
        if interface == "net1":
            rig.pod.routes.append(route(link(rig.pod.interfaces["eth0"]), protocol=4))

    after_each_add(rig, monkeypatch, meddle)
    rig.run("ADD", "weave,canal@net1")
    assert rig.pod.routes == [route(link(rig.pod.interfaces["eth0"]))]


def _hold(rig: Rig, *routes: bytes) -> None:
    """Write the record as a kill leaves it while these routes are held."""
    record = store.read(str(rig.state), "c1")
    assert record is not None
    record.held_routes = [each.hex() for each in routes]
    store.write_synced(str(rig.state), record)
