"""``default-route``: the pod's default gateways are those of one attachment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.definitions.default_gateways import with_metrics
from dispatcher.plugin.netlink import Route, default_route
from dispatcher.state.record import CorruptRecordError
from dispatcher.state.record_reader import decode
from tests.unit.plugin.rig import error_of

if TYPE_CHECKING:
    from tests.unit.plugin.definitions.rig import DefinitionRig

V4, V6 = "10.1.0.1", "fd00::1"
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "net1", "sandbox": "/ns"}],
    "ips": [{"address": "10.1.0.2/16"}],
    "routes": [{"dst": "10.9.0.0/16"}, {"dst": "0.0.0.0/0", "gw": "10.1.0.9"}, {"dst": "::/0"}],
}


@pytest.fixture
def rig(rig: DefinitionRig) -> DefinitionRig:
    """Return a node on which every plugin reports default routes of both families."""
    rig.delegates.results = {"c1": RESULT, "b1": RESULT, "r2": RESULT}
    return rig


def selection(*gateways: str, name: str = "blue") -> dict[str, Any]:
    return {"name": name, "default-route": list(gateways)}


def routes(rig: DefinitionRig, interface: str) -> list[str]:
    """Return the routes in the recorded result of *interface*."""
    [found] = [each for each in rig.record()["attachments"] if each["interface"] == interface]
    return [
        " ".join(map(str, (each["dst"], each.get("gw", "-"), each.get("priority", 0))))
        for each in found["result"]["routes"]
    ]


def test_the_gateways_take_the_place_of_the_primarys(rig: DefinitionRig) -> None:
    """Of both families; the results say so, and CHECK gets them."""
    rig.attach([selection(V4, V6, "10.1.0.3")], "ns/blue")
    index = rig.pod.interfaces["net1"]
    expected = [(V4, 0), (V6, 1), ("10.1.0.3", 1)]
    assert rig.pod.routes == [default_route(each, index, n).body for each, n in expected]
    assert rig.pod.ignored == ["net1", "eth0", "net1"]
    assert routes(rig, "eth0") == ["10.9.0.0/16 - 0"]
    assert routes(rig, "net1") == [
        "10.9.0.0/16 - 0",
        f"0.0.0.0/0 {V4} 0",
        f"::/0 {V6} 1",
        "0.0.0.0/0 10.1.0.3 1",
    ]
    assert rig.record()["attachments"][1]["defaultRoute"] == [V4, V6, "10.1.0.3"]

    rig.delegates.confs.clear()
    rig.run("CHECK")
    assert rig.delegates.confs[1]["prevResult"]["routes"][1] == {"dst": "0.0.0.0/0", "gw": V4}
    rig.run("DEL")
    assert (rig.delegates.held, rig.records) == (set(), [])


def test_the_other_family_stays_the_primarys(rig: DefinitionRig) -> None:
    """Its route is in the primary's result, and not in that of the secondary."""
    rig.attach([selection(V6)], "ns/blue")
    assert rig.pod.ways_out == ["eth0", "net1"]
    assert routes(rig, "eth0") == ["10.9.0.0/16 - 0", "0.0.0.0/0 10.1.0.9 0"]
    assert routes(rig, "net1") == ["10.9.0.0/16 - 0", f"::/0 {V6} 1"]


def test_an_empty_list_changes_nothing(rig: DefinitionRig) -> None:
    """The default routes are the primary's."""
    rig.attach([selection()], "ns/blue")
    assert rig.pod.ways_out == ["eth0"]
    assert "defaultRoute" not in rig.record()["attachments"][1]


def test_the_primary_may_have_gateways_of_its_own(rig: DefinitionRig) -> None:
    """It is the only attachment, or has secondaries behind it."""
    primary = f'[{{"name": "blue", "namespace": "ns", "default-route": ["{V4}"]}}]'
    for networks, marks in ((None, ()), ("red", ("ns/red",))):
        rig.attach(networks, "=ns/blue", *marks, default=primary)
        assert rig.pod.ways_out == ["eth0"]
        assert routes(rig, "eth0") == ["10.9.0.0/16 - 0", "::/0 - 0", f"0.0.0.0/0 {V4} 0"]
        rig.run("DEL")
    assert rig.pod.opened == 0


@pytest.mark.parametrize("method", ["index", "remove", "restore", "default_routes"])
def test_a_kernel_that_refuses_makes_add_fail(
    rig: DefinitionRig, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is rolled back. The only attachment is the primary, so no other step asks the kernel."""
    monkeypatch.setitem(rig.pod.faults, method, OSError(101, "Network is unreachable"))
    primary = f'[{{"name": "blue", "namespace": "ns", "default-route": ["{V4}"]}}]'
    with pytest.raises(CNIError, match="Network is unreachable") as caught:
        rig.attach(None, "=ns/blue", default=primary)
    assert caught.value.code == cni_errors.IO_FAILURE
    assert (rig.delegates.held, rig.records, rig.pod.opened) == (set(), [], 0)


def test_an_attachment_without_an_interface_has_no_gateways(
    rig: DefinitionRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A userspace network."""
    monkeypatch.setattr(rig.pod, "attach", lambda *_, **__: None)
    with pytest.raises(CNIError, match="the interface does not exist") as caught:
        rig.attach([selection(V4)], "ns/blue")
    assert caught.value.code == cni_errors.DELEGATE_FAILED
    assert (rig.delegates.held, rig.records) == (set(), [])


def test_a_container_with_attachments_of_another_call_gets_no_gateways(rig: DefinitionRig) -> None:
    """A DEL of this call alone could not give the other its routes back."""
    rig.run("ADD", "weave")
    with pytest.raises(CNIError, match='cannot have "default-route"') as caught:
        rig.attach([selection(V4)], "ns/blue", interface="eth7")
    assert caught.value.code == cni_errors.INVALID_ANNOTATION
    assert len(rig.record()["attachments"]) == 1


def test_a_later_call_keeps_the_gateways(rig: DefinitionRig) -> None:
    """They are the pod's default routes while its network is attached, and after that."""
    rig.attach([selection(V4)], "ns/blue")
    before = list(rig.pod.routes)
    rig.run("ADD", "weave", interface="eth7")
    assert rig.pod.routes == before


def test_metrics_follow_the_order_in_each_family() -> None:
    """The kernel takes 0 for 1024 in IPv6, which would put the first gateway last."""
    gateways = [V6, V4, "fd00::2", "10.1.0.3"]
    assert with_metrics(gateways) == list(zip(gateways, [1, 0, 2, 1], strict=True))


@pytest.mark.parametrize("gateway", [V4, V6])
def test_a_route_has_its_family_and_interface(gateway: str) -> None:
    """As the kernel lists it."""
    route = Route(default_route(gateway, 7, 3).body)
    assert (route.family, set(route.interfaces)) == (6 if ":" in gateway else 4, {7})
    assert not route.is_advertised


def test_a_record_with_other_gateways_is_corrupt(rig: DefinitionRig) -> None:
    """Each is a text."""
    rig.attach([selection(V4)], "ns/blue")
    value = rig.record()
    value["attachments"][1]["defaultRoute"] = [4]
    rig.rewrite(value)
    with pytest.raises(CorruptRecordError, match="defaultRoute"):
        decode((rig.state / "c1.json").read_bytes())
    assert error_of(rig, "CHECK").code == cni_errors.NOT_ATTACHED
