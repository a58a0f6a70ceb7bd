from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.network_status import (
    PASS_SECONDS,
    RETRY_SECONDS,
    STATE_FILE,
    NetworkStatusWriter,
    network_status,
)
from dispatcher.kube.errors import KubeError
from dispatcher.node.record_cache import RecordCache
from dispatcher.state import store
from dispatcher.state.record import ATTACHING, RELEASING, Record
from tests.unit.apiserver import Api, fail, pod_object
from tests.unit.builders import ARGS, CANAL_RESULT, WEAVE_RESULT, make_attachment, make_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.host import Clock


def test_the_value_has_the_form_of_the_specification() -> None:
    """Addresses without prefix, mac and mtu of the pod's end, gateways of the primary alone."""
    assert json.loads(network_status(make_record()) or "") == [
        {
            "name": "weave",
            "interface": "eth0",
            "ips": ["10.1.0.2", "fd00::2"],
            "mac": "00:00:00:00:00:02",
            "mtu": 1450,
            "default": True,
            "gateway": ["10.1.0.1", "fd00::1"],
            "dns": {"nameservers": ["10.1.0.53"], "search": ["a.b"]},
        },
        {
            "name": "canal",
            "interface": "net1",
            "ips": ["10.2.0.2"],
            "default": False,
            "dns": {},
        },
    ]


@pytest.mark.parametrize(
    ("routes", "gateways"),
    [
        ([{"dst": "0.0.0.0/0"}], ["10.1.0.1"]),
        ([{"dst": "::/0"}], []),
        ([{"dst": "10.9.0.0/16", "gw": "10.1.0.9"}], []),
        ([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "0.0.0.0/0"}], ["10.1.0.1"]),
    ],
    ids=["gateway of the address", "no gateway of that family", "no default route", "named once"],
)
def test_the_gateway_is_that_of_the_default_route(
    routes: list[dict[str, str]], gateways: list[str]
) -> None:
    """A default route without a next hop goes through the address's gateway (bridge does so)."""
    made = Record("c", "", [make_attachment("weave", "eth0", {**WEAVE_RESULT, "routes": routes})])
    [entry] = json.loads(network_status(made) or "")
    assert entry.get("gateway", []) == gateways


POD_END = {"name": "eth0", "sandbox": "/run/netns/x"}
HOST_END = {"name": "eth0"}
BRIDGE = {"name": "br0"}
OTHER_END = {"name": "extra0", "sandbox": "/run/netns/x"}


@pytest.mark.parametrize(
    ("interfaces", "places", "shown"),
    [
        ([BRIDGE, POD_END], [1, 1], "ab"),
        ([BRIDGE, POD_END], [0, 1], "b"),
        ([HOST_END, POD_END], [0, 1], "b"),
        ([POD_END, OTHER_END], [1, 0], "b"),
        ([POD_END, OTHER_END], [None, 1], "a"),
        ([POD_END], [7, -1], "ab"),
        ([BRIDGE], [0, 0], "ab"),
        ([], [0, None], "ab"),
        ([OTHER_END, POD_END], [0, 0], ""),
    ],
    ids=[
        "all on the pod's interface",
        "one on the bridge",
        "one on the host's end, which has the same name",
        "one on another interface of the pod",
        "one that does not say where it is",
        "on interfaces that are not listed",
        "the plugin lists the host's side alone",
        "the plugin lists no interface",
        "none on the pod's interface",
    ],
)
def test_only_addresses_of_the_attachments_own_interface_are_listed(
    interfaces: list[dict[str, str]], places: list[int | None], shown: str
) -> None:
    """An address that names no interface counts; ``interface`` is an index into the list."""
    ips: list[dict[str, Any]] = [
        {"address": f"{address}/24"} | ({} if place is None else {"interface": place})
        for address, place in zip(("10.0.0.1", "10.0.0.2"), places, strict=True)
    ]
    result = {"interfaces": interfaces, "ips": ips, "routes": [], "dns": {}}
    [entry] = json.loads(
        network_status(Record("c", "", [make_attachment("x", "eth0", result)])) or ""
    )
    names = {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert entry.get("ips", []) == [names[letter] for letter in shown]


def test_the_primary_comes_first_wherever_the_annotation_lists_it() -> None:
    """Then the secondaries in the order of the list; each says whether it is the default."""
    made = [
        make_attachment(name, at, CANAL_RESULT)
        for name, at in (("x", "net1"), ("y", "eth0"), ("z", "net2"))
    ]
    entries = json.loads(network_status(Record("c", "", made)) or "")
    assert [(entry["name"], entry["default"]) for entry in entries] == [
        ("y", True),
        ("x", False),
        ("z", False),
    ]


def test_there_is_no_status_of_what_is_being_released() -> None:
    """What a roll-back or a DEL has left looks whole, and is not what the pod has."""
    left = make_record()
    left.attachments[0].phase = RELEASING
    assert network_status(left) is None


def test_a_result_without_anything_still_names_network_and_interface() -> None:
    """A layer-2 network gives no address."""
    entry = json.loads(network_status(Record("c", "", [make_attachment("l2", "eth0", {})])) or "")
    assert entry == [{"name": "l2", "interface": "eth0", "default": True, "dns": {}}]


def test_the_gateways_that_a_pod_asked_for_are_listed() -> None:
    """The specification's key ``default-route``."""
    attachment = make_attachment("ns/blue", "net1", {})
    attachment.default_route = ["10.0.0.1", "fd00::1"]
    [entry] = json.loads(network_status(Record("c", "", [attachment])) or "")
    assert entry["default-route"] == ["10.0.0.1", "fd00::1"]


def test_there_is_no_status_before_everything_is_attached() -> None:
    """Half of the truth would be read as the whole."""
    unfinished = make_record()
    unfinished.attachments[1].phase = ATTACHING
    assert network_status(unfinished) is None


def test_there_is_no_status_from_what_a_failed_add_left() -> None:
    """The roll-back's DEL failed: the address is still taken, and the pod does not have it."""
    left = make_record()
    left.attachments.pop()
    left.attachments[0].failure = {"code": 11, "msg": "not now"}
    assert network_status(left) is None


def make_api(*pods: str) -> Api:
    """Return an API server with the pod of :func:`make_record`, or with those of :func:`of_pod`."""
    if not pods:
        return Api(pod_object("ns", "p", "u1"))
    return Api(*(pod_object("ns", name, f"uid-{name}") for name in pods))


def pods_written(api: Api) -> list[str]:
    """Return the names of the pods that were written to."""
    return [call.path.split("/")[-2] for call in api.applied]


@pytest.fixture
def records(tmp_path: Path) -> RecordCache:
    store.write_synced(str(tmp_path), make_record())
    return RecordCache(tmp_path)


def test_each_record_is_written_once_by_namespace_name_and_uid(
    records: RecordCache, tmp_path: Path
) -> None:
    """And no more, so that nobody else's later value is fought."""
    api = make_api()
    status = NetworkStatusWriter(api.client(), tmp_path)
    for _ in range(3):
        status.publish(records.read())
    [(_, path, body)] = api.applied
    assert path == "/api/v1/namespaces/ns/pods/p/status"
    assert body["metadata"]["uid"] == "u1"
    assert list(body["metadata"]["annotations"]) == ["k8s.v1.cni.cncf.io/network-status"]


def test_multus_writes_the_status_of_its_pods_itself(tmp_path: Path) -> None:
    """With its definitions, of which Genie knows nothing, so nothing is written over it."""
    record = make_record()
    record.attachments[0].conf.plugins[0]["type"] = "multus"
    assert network_status(record) is None
    store.write_synced(str(tmp_path), record)
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(RecordCache(tmp_path).read())
    assert api.applied == []


def test_while_the_api_server_is_away_it_stays_due(records: RecordCache, tmp_path: Path) -> None:
    """It is written when the API server is back."""
    api = make_api()
    status = NetworkStatusWriter(api.client(), tmp_path)
    api.before = fail(KubeError(0, "NoAnswer", "away"))
    with pytest.raises(KubeError):
        status.publish(records.read())
    api.before = lambda _method, _path: None
    status.publish(records.read())
    assert len(api.applied) == 1


@pytest.mark.parametrize("code", [404, 409, 422])
def test_a_pod_that_is_gone_or_was_replaced_is_given_up(
    records: RecordCache, tmp_path: Path, code: int
) -> None:
    """Another try could not end otherwise."""
    api = make_api()
    status = NetworkStatusWriter(api.client(), tmp_path)
    api.before = fail(KubeError(code, "Reason", "refused"))
    status.publish(records.read())
    api.before = lambda _method, _path: None
    status.publish(records.read())
    assert api.applied == []


def of_pod(name: str) -> str:
    return ARGS.replace("K8S_POD_NAME=p", f"K8S_POD_NAME={name}").replace("u1", f"uid-{name}")


@pytest.mark.parametrize("code", [400, 403, 500])
def test_one_pod_that_is_refused_keeps_no_other_from_its_status(
    tmp_path: Path, clock: Clock, code: int
) -> None:
    """It is tried again after a while, since what refuses it may pass, but not at every turn."""
    for name in "abc":
        store.write_synced(str(tmp_path), make_record(f"c-{name}", args=of_pod(name)))
    records = RecordCache(tmp_path)
    api = make_api(*"abc")
    path = "/api/v1/namespaces/ns/pods/b/"
    api.before = fail(KubeError(code, "Reason", "refused"), path=path)
    status = NetworkStatusWriter(api.client(), tmp_path, clock)
    status.publish(records.read())
    assert sorted(pods_written(api)) == ["a", "c"]
    api.before = lambda _method, _path: None
    status.publish(records.read())
    assert len(api.applied) == 2
    clock.now += RETRY_SECONDS
    status.publish(records.read())
    assert sorted(pods_written(api)) == ["a", "b", "c"]


def test_a_slow_api_server_is_written_to_in_passes_and_none_is_written_twice(
    tmp_path: Path, clock: Clock
) -> None:
    """A pass ends long before kubelet takes the thread for stuck; an agent killed then goes on."""
    names = [f"p{number:03d}" for number in range(20)]
    for name in names:
        store.write_synced(str(tmp_path), make_record(f"c-{name}", args=of_pod(name)))
    records = RecordCache(tmp_path)
    api = make_api(*names)
    seconds = 10.0

    def take_time(_method: str, _path: str) -> None:
        clock.now += seconds

    api.before = take_time
    passes, is_more_due = 0, True
    while is_more_due:
        is_more_due = NetworkStatusWriter(api.client(), tmp_path, clock).publish(records.read())
        passes += 1
        assert len(api.applied) * seconds <= passes * (PASS_SECONDS + seconds)
    assert sorted(pods_written(api)) == names


def test_of_two_sandboxes_of_a_pod_the_later_speaks(tmp_path: Path) -> None:
    """Also where the dead one's container id comes later, and it is freed only half."""
    store.write_synced(str(tmp_path), make_record("z-dead"))
    os.utime(tmp_path / "z-dead.json", (1, 1))
    store.write_synced(
        str(tmp_path), Record("a-living", "", [make_attachment("canal", "eth0", CANAL_RESULT)])
    )
    records, api = RecordCache(tmp_path), make_api()
    status = NetworkStatusWriter(api.client(), tmp_path)
    status.publish(records.read())
    half_freed = make_record("z-dead")
    half_freed.attachments[0].failure = {"code": 11}
    store.write_synced(str(tmp_path), half_freed)
    status.publish(records.read())
    [(_, _, body)] = api.applied
    assert [each["name"] for each in written(body)] == ["canal"]


def written(body: Any) -> Any:
    return json.loads(body["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])


def test_a_record_that_is_being_freed_is_not_written(records: RecordCache, tmp_path: Path) -> None:
    """A DEL takes one attachment after another from it; also of that a new agent knows."""
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    store.write_synced(
        str(tmp_path), Record("c1", "", [make_attachment("weave", "eth0", WEAVE_RESULT)])
    )
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    assert len(api.applied) == 1


def test_a_container_that_comes_again_is_written_again(
    records: RecordCache, tmp_path: Path
) -> None:
    """What was written is forgotten with the record."""
    api = make_api()
    status = NetworkStatusWriter(api.client(), tmp_path)
    status.publish(records.read())
    store.remove(str(tmp_path), "c1")
    status.publish(records.read())
    store.write_synced(str(tmp_path), make_record())
    status.publish(records.read())
    assert len(api.applied) == 2


def test_a_new_agent_does_not_write_again_what_another_may_have_changed_since(
    records: RecordCache, tmp_path: Path
) -> None:
    """It remembers through a restart; what is new is written, what is gone forgotten."""
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    status = NetworkStatusWriter(api.client(), tmp_path)
    status.publish(records.read())
    assert len(api.applied) == 1
    store.write_synced(str(tmp_path), make_record("c2"))
    status.publish(records.read())
    assert len(api.applied) == 2
    state_file = tmp_path / STATE_FILE
    assert json.loads(state_file.read_bytes()).keys() == {"c1", "c2"}
    assert state_file.stat().st_mode & 0o777 == 0o600
    for container in ("c1", "c2"):
        store.remove(str(tmp_path), container)
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    assert not state_file.exists()


def test_the_state_file_is_not_written_only_because_a_pod_has_gone(
    records: RecordCache, tmp_path: Path
) -> None:
    """The next pod's write removes it there, so a pod costs one write."""
    store.write_synced(str(tmp_path), make_record("c2", args=of_pod("q")))
    state_file = tmp_path / STATE_FILE
    status = NetworkStatusWriter(make_api("q").client(), tmp_path)
    status.publish(records.read())
    first = state_file.stat()
    store.remove(str(tmp_path), "c1")
    status.publish(records.read())
    assert state_file.stat() == first
    store.write_synced(str(tmp_path), make_record("c3"))
    status.publish(records.read())
    assert json.loads(state_file.read_bytes()).keys() == {"c2", "c3"}


def test_a_record_that_has_grown_is_written_by_a_new_agent_too(
    records: RecordCache, tmp_path: Path
) -> None:
    """A runtime may attach a container once more, under another interface."""
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    grown = make_record()
    grown.attachments.append(make_attachment("canal", "net2", CANAL_RESULT))
    store.write_synced(str(tmp_path), grown)
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    assert len(api.applied) == 2


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"c1": "2"}'])
def test_a_state_file_that_cannot_be_read_is_none(
    records: RecordCache, tmp_path: Path, content: bytes
) -> None:
    """Then everything is written once more."""
    (tmp_path / STATE_FILE).write_bytes(content)
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(records.read())
    assert len(api.applied) == 1


def test_a_record_without_a_pod_is_left_alone(tmp_path: Path) -> None:
    """A runtime other than Kubernetes' gives no names."""
    store.write_synced(str(tmp_path), make_record(args=""))
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(RecordCache(tmp_path).read())
    assert api.applied == []


def test_a_record_that_cannot_be_read_harms_no_other(records: RecordCache, tmp_path: Path) -> None:
    """It stays on the disk for those who can read it."""
    (tmp_path / "bad.json").write_text("{")
    found = records.read()
    assert found["bad"].record is None
    assert found["bad"].fault.startswith("it is not valid JSON: ")
    assert found["c1"].record is not None
    api = make_api()
    NetworkStatusWriter(api.client(), tmp_path).publish(found)
    assert len(api.applied) == 1
    assert (tmp_path / "bad.json").exists()


def test_an_unchanged_record_is_not_read_twice(
    records: RecordCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred pods cost two hundred stats, not two hundred files."""
    first = records.read()["c1"]
    monkeypatch.setattr(store, "read", None)
    assert records.read()["c1"] is first
