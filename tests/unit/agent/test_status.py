from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.records import Records
from dispatcher.agent.status import MEMORY, Status, network_status
from dispatcher.conf import Conf
from dispatcher.kube.client import MERGE_PATCH, Kube, KubeError
from dispatcher.plugin import store
from dispatcher.plugin.record import ATTACHED, ATTACHING, Attachment, Record

if TYPE_CHECKING:
    from pathlib import Path

ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=u1"
WEAVE = {
    "interfaces": [
        {"name": "weave0", "mac": "00:00:00:00:00:01"},
        {"name": "eth0", "mac": "00:00:00:00:00:02", "mtu": 1450, "sandbox": "/run/netns/x"},
    ],
    "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"address": "fd00::2/64"}],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "::/0", "gw": "fd00::1"},
        {"dst": "10.9.0.0/16", "gw": "10.1.0.9"},
    ],
    "dns": {"nameservers": ["10.1.0.53"], "search": ["a.b"], "options": ["ndots:5"]},
}
CANAL = {"ips": [{"address": "10.2.0.2/24"}], "routes": [{"dst": "0.0.0.0/0", "gw": "10.2.0.1"}]}


def attached(
    network: str, interface: str, result: dict[str, Any], *, args: str = ARGS
) -> Attachment:
    conf = Conf(f"/etc/{network}", network, "1.0.0", [{"type": "bridge"}])
    made = Attachment(network, interface, "eth0", conf, args=args, primary=interface == "eth0")
    made.phase, made.result = ATTACHED, result
    return made


def record(container_id: str = "c1", args: str = ARGS) -> Record:
    pair = [attached("weave", "eth0", WEAVE, args=args), attached("canal", "net1", CANAL)]
    return Record(container_id, "/run/netns/x", pair)


def test_the_value_has_the_form_of_the_specification() -> None:
    """Addresses without prefix, mac and mtu of the pod's end, gateways of the primary alone."""
    assert json.loads(network_status(record()) or "") == [
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
    made = Record("c", "", [attached("weave", "eth0", {**WEAVE, "routes": routes})])
    [entry] = json.loads(network_status(made) or "")
    assert entry.get("gateway", []) == gateways


def test_a_result_without_anything_still_names_network_and_interface() -> None:
    """A layer-2 network gives no address."""
    entry = json.loads(network_status(Record("c", "", [attached("l2", "eth0", {})])) or "")
    assert entry == [{"name": "l2", "interface": "eth0", "default": True, "dns": {}}]


def test_there_is_no_status_before_everything_is_attached() -> None:
    """Half of the truth would be read as the whole."""
    unfinished = record()
    unfinished.attachments[1].phase = ATTACHING
    assert network_status(unfinished) is None


class Api(Kube):
    """Notes patches, and fails as it is told."""

    def __init__(self) -> None:
        self.patches: list[tuple[str, Any]] = []
        self.error: KubeError | None = None

    def patch(self, path: str, body: Any, kind: str = "", **_: Any) -> dict[str, Any]:
        """Note one."""
        assert kind == MERGE_PATCH
        if self.error:
            raise self.error
        self.patches.append((path, body))
        return {}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    store.write(str(tmp_path), record())
    return Records(tmp_path)


def test_each_record_is_written_once_by_namespace_name_and_uid(
    records: Records, tmp_path: Path
) -> None:
    """And no more, so that nobody else's later value is fought."""
    api = Api()
    status = Status(api, tmp_path)
    for _ in range(3):
        status.publish(records.read())
    [(path, body)] = api.patches
    assert path == "/api/v1/namespaces/ns/pods/p/status"
    assert body["metadata"]["uid"] == "u1"
    assert list(body["metadata"]["annotations"]) == ["k8s.v1.cni.cncf.io/network-status"]


def test_while_the_api_server_is_away_it_stays_due(records: Records, tmp_path: Path) -> None:
    """It is written when the API server is back."""
    api = Api()
    status = Status(api, tmp_path)
    api.error = KubeError(0, "NoAnswer", "away")
    with pytest.raises(KubeError):
        status.publish(records.read())
    api.error = None
    status.publish(records.read())
    assert len(api.patches) == 1


@pytest.mark.parametrize("code", [403, 404, 409, 422])
def test_a_pod_that_is_gone_replaced_or_not_ours_is_given_up(
    records: Records, tmp_path: Path, code: int
) -> None:
    """Another try could not end otherwise."""
    api = Api()
    status = Status(api, tmp_path)
    api.error = KubeError(code, "Reason", "refused")
    status.publish(records.read())
    api.error = None
    status.publish(records.read())
    assert api.patches == []


def test_a_container_that_comes_again_is_written_again(records: Records, tmp_path: Path) -> None:
    """What was written is forgotten with the record."""
    api = Api()
    status = Status(api, tmp_path)
    status.publish(records.read())
    store.remove(str(tmp_path), "c1")
    status.publish(records.read())
    store.write(str(tmp_path), record())
    status.publish(records.read())
    assert len(api.patches) == 2


def test_a_new_agent_does_not_write_again_what_another_may_have_changed_since(
    records: Records, tmp_path: Path
) -> None:
    """It remembers through a restart; what is new is written, what is gone forgotten."""
    api = Api()
    Status(api, tmp_path).publish(records.read())
    status = Status(api, tmp_path)
    status.publish(records.read())
    assert len(api.patches) == 1
    store.write(str(tmp_path), record("c2"))
    status.publish(records.read())
    assert len(api.patches) == 2
    memory = tmp_path / MEMORY
    assert json.loads(memory.read_bytes()).keys() == {"c1", "c2"}
    assert memory.stat().st_mode & 0o777 == 0o600
    for container in ("c1", "c2"):
        store.remove(str(tmp_path), container)
    Status(api, tmp_path).publish(records.read())
    assert not memory.exists()


def test_a_record_that_has_changed_is_written_by_a_new_agent_too(
    records: Records, tmp_path: Path
) -> None:
    """What is remembered is the value, not only the container."""
    api = Api()
    Status(api, tmp_path).publish(records.read())
    store.write(str(tmp_path), Record("c1", "", [attached("canal", "eth0", CANAL)]))
    Status(api, tmp_path).publish(records.read())
    assert len(api.patches) == 2


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_memory_that_cannot_be_read_is_none(
    records: Records, tmp_path: Path, content: bytes
) -> None:
    """Then everything is written once more."""
    (tmp_path / MEMORY).write_bytes(content)
    api = Api()
    Status(api, tmp_path).publish(records.read())
    assert len(api.patches) == 1


def test_a_record_without_a_pod_is_left_alone(tmp_path: Path) -> None:
    """A runtime other than Kubernetes' gives no names."""
    store.write(str(tmp_path), record(args=""))
    api = Api()
    Status(api, tmp_path).publish(Records(tmp_path).read())
    assert api.patches == []


def test_a_record_that_cannot_be_read_is_told_and_harms_no_other(
    records: Records, tmp_path: Path
) -> None:
    """It stays on the disk for those who can read it."""
    (tmp_path / "bad.json").write_text("{")
    found = records.read()
    assert found["bad"].record is None
    assert "CorruptRecord" in found["bad"].fault
    assert found["c1"].record is not None
    api = Api()
    Status(api, tmp_path).publish(found)
    assert len(api.patches) == 1
    assert (tmp_path / "bad.json").exists()


def test_an_unchanged_record_is_not_read_twice(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred pods cost two hundred stats, not two hundred files."""
    first = records.read()["c1"]
    monkeypatch.setattr(store, "read", None)
    assert records.read()["c1"] is first
