from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher import keys
from dispatcher.kube.errors import KubeError
from lifecycle.attach import AttachTest, TrialOptions
from lifecycle.trial import TrialError, manifest, plan
from tests.unit.apiserver import Api

OPTIONS = TrialOptions(
    "genie-system", "default", "cni-genie:1", "Never", ("pull",), has_webhook=True, timeout=20
)
TYPES = "canal=calico,portmap;weave=weave-net;xen=bridge"
PODS = "/api/v1/namespaces/default/pods"


def node(
    name: str, *networks: str, taint: str = "", types: str = TYPES, **absent: str
) -> dict[str, Any]:
    labels = dict.fromkeys(map(keys.network_label, networks), "true")
    labels |= {keys.network_label(key): value for key, value in absent.items()}
    taints = [{"key": "x", "effect": taint}] if taint else []
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**labels, "other": "true"},
            "annotations": {keys.PLUGIN_TYPES: types},
        },
        "spec": {"taints": taints},
    }


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([node("a", "canal")], ["canal"], id="the default alone"),
        pytest.param(
            [node("a", "canal", "weave", "xen")],
            ["canal", "weave,canal@net1"],
            id="the default, and another network with it",
        ),
        pytest.param(
            [node("a", "canal"), node("b", "weave")], ["canal"], id="no node with two networks"
        ),
        pytest.param(
            [node("a", "canal", weave="false")], ["canal"], id="a network that is not ready"
        ),
        pytest.param(
            [node("a", "canal"), node("b", "canal", "weave", taint="NoSchedule")],
            ["canal"],
            id="a node that takes no pods",
        ),
    ],
)
def test_pods_are_on_networks_that_a_node_has(
    nodes: list[dict[str, Any]], expected: list[str]
) -> None:
    """The last pod is the one to be refused."""
    pods, skipped = plan(nodes, "canal", has_webhook=True)
    assert [pod.value for pod in pods] == [*expected, "genie-test-no-such-network"]
    assert (skipped == "") == (len(expected) > 1)
    assert plan(nodes, "canal", has_webhook=False).pods[-1].value == "@"


CALICO = "calico,bandwidth,portmap"


@pytest.mark.parametrize(
    ("default", "others", "types", "second", "reason"),
    [
        pytest.param(
            "calico",
            ["k8s-pod-network"],
            f"calico={CALICO};k8s-pod-network={CALICO}",
            "",
            'both have the plugin "calico", which can attach a pod only once',
            id="Calico, whose file and network have two names",
        ),
        pytest.param(
            "flannel",
            ["cbr0"],
            "cbr0=flannel,portmap;flannel=flannel,portmap",
            "",
            'both have the plugin "flannel"',
            id="Flannel, likewise",
        ),
        pytest.param(
            "calico",
            ["k8s-pod-network", "weave"],
            f"calico={CALICO};k8s-pod-network={CALICO};weave=weave-net",
            "weave",
            "",
            id="Calico and a second network",
        ),
        pytest.param(
            "gke-ptp",
            ["gke-pod-network"],
            "gke-pod-network=ptp,portmap;gke-ptp=ptp,portmap",
            "",
            'it has the same plugins, and may be another name of "gke-ptp"',
            id="another plugin, with two names",
        ),
        pytest.param(
            "canal",
            ["weave"],
            "canal=bridge,portmap;weave=bridge,portmap",
            "weave",
            "",
            id="bridges, which attach a pod twice",
        ),
        pytest.param(
            "canal",
            ["a-multus"],
            "a-multus=multus;canal=calico",
            "",
            'its plugin "multus" attaches networks of its own choice',
            id="Multus, whose default may be the same network",
        ),
        pytest.param(
            "canal", ["weave"], "canal=calico", "", "not known", id="an agent that is starting"
        ),
        pytest.param("canal", [], "canal=calico", "", "no node has another", id="no other"),
    ],
)
def test_the_second_network_is_one_that_every_node_attaches_with_the_default(
    default: str, others: list[str], types: str, second: str, reason: str
) -> None:
    """A network has several names, and some plugins attach a pod only once."""
    nodes = [node("a", default, *others, types=types)]
    pods, skipped = plan(nodes, default, has_webhook=True)
    expected = [default, *([f"{second},{default}@net1"] if second else [])]
    assert [pod.value for pod in pods[:-1]] == expected
    assert reason in skipped
    assert bool(skipped) != bool(second)


def test_a_second_network_that_one_node_cannot_attach_is_not_tested() -> None:
    """The scheduler may choose that node."""
    nodes = [node("a", "canal", "weave"), node("b", "canal", "weave", types="canal=x;weave=x")]
    assert len(plan(nodes, "canal", has_webhook=True).pods) == 2


@pytest.mark.parametrize(
    ("nodes", "default", "sentence"),
    [
        ([node("a", "canal")], "", "no default network is set"),
        ([node("a", "weave")], "canal", 'label network.cni-genie.io/canal="true"'),
        ([], "canal", "no schedulable node"),
    ],
)
def test_an_installation_that_attaches_nothing_is_a_sentence(
    nodes: list[dict[str, Any]], default: str, sentence: str
) -> None:
    """With what to do."""
    with pytest.raises(TrialError, match=sentence):
        plan(nodes, default, has_webhook=True)


def test_the_pods_meet_the_profile_restricted() -> None:
    """The namespace of the test may enforce it; without a token they can do nothing."""
    [pod, _] = plan([node("a", "canal")], "canal", has_webhook=True).pods
    spec = manifest(pod, "i", "Always", ("pull",))["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["imagePullSecrets"] == [{"name": "pull"}]


class Rig:
    """An API server that attaches each pod when it is read, as *statuses* say."""

    def __init__(self, *nodes: dict[str, Any], default: str = "canal") -> None:
        self.api = Api(*nodes)
        self.api.add(
            {
                "kind": "ConfigMap",
                "metadata": {"name": "genie", "namespace": "genie-system"},
                "data": {"default-network": default},
            }
        )
        self.api.before = self.admit
        self.refuses = True
        self.refused = KubeError(422, "Invalid", 'The Pod "x" is invalid')
        self.now = 0.0
        self.lines: list[str] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        self.attached: dict[str, dict[str, str]] = {
            "genie-test-default": {"eth0": "canal"},
            "genie-test-two": {"eth0": "weave", "net1": "canal"},
        }

    def admit(self, method: str, path: str) -> None:
        """Refuse the last pod; run the others."""
        if method == "POST" and self.refuses:
            body = self.api.calls[-1].body
            if body["metadata"]["name"] == "genie-test-refused":
                raise self.refused
        if method == "GET" and path in self.api.objects and path.startswith(PODS):
            self.start(self.api.objects[path])

    def start(self, pod: dict[str, Any]) -> None:
        """Give the pod its status and attachments."""
        name = pod["metadata"]["name"]
        running = {"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}]}
        pod["status"] = self.statuses.get(name, running)
        pod["spec"]["nodeName"] = "a"
        entries = [{"name": n, "interface": i} for i, n in self.attached.get(name, {}).items()]
        if entries:
            pod["metadata"]["annotations"][keys.NETWORK_STATUS] = json.dumps(entries)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def run(self, options: TrialOptions = OPTIONS) -> bool:
        """Run the test."""
        return AttachTest(
            self.api.client(),
            options,
            report=self.lines.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        ).run()

    def pods(self) -> list[str]:
        """Return the names of the pods that are left."""
        return [path.rpartition("/")[2] for path in self.api.objects if path.startswith(PODS)]


BOTH = node("a", "canal", "weave")


def test_every_pod_is_created_reported_and_deleted() -> None:
    """With its addresses; the refusal with its sentence."""
    rig = Rig(BOTH)
    assert rig.run()
    unknown = "cni: genie-test-no-such-network"
    assert rig.lines == [
        "ok      genie-test-default: cni: canal: 10.0.0.2 on a",
        "ok      genie-test-two: cni: weave,canal@net1: 10.0.0.2 on a",
        f'ok      genie-test-refused: {unknown}: refused: The Pod "x" is invalid (422 Invalid)',
    ]
    assert rig.pods() == []


def test_a_test_without_a_second_network_says_so_and_passes() -> None:
    """As on every cluster of one network."""
    rig = Rig(node("a", "canal", "k8s-pod-network", types="canal=calico;k8s-pod-network=calico"))
    assert rig.run()
    assert rig.lines[1].startswith("skipped genie-test-two: no network can be tested together")


def test_pods_of_an_earlier_test_are_deleted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that failed stays until then; the kubelet needs a while to end it."""
    rig = Rig(BOTH)
    metadata = {"name": "genie-test-two", "namespace": "default", "annotations": {}}
    old = {"kind": "Pod", "metadata": metadata}
    rig.api.add({**old, "spec": {}})
    remove, ending = rig.api.remove, list[str]()

    def end(seconds: float) -> None:
        rig.now += seconds
        while ending:
            remove(ending.pop())

    monkeypatch.setattr(rig.api, "remove", ending.append)
    monkeypatch.setattr(rig, "sleep", end)
    assert rig.run()
    assert rig.pods() == []


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        pytest.param(
            {"phase": "Pending", "conditions": [{"message": "0/1 nodes are available"}]},
            "it is not running yet: 0/1 nodes are available",
            id="not scheduled",
        ),
        pytest.param(
            {
                "phase": "Pending",
                "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}],
            },
            "it is not running yet: ImagePullBackOff",
            id="no image",
        ),
        pytest.param({}, "it is not running yet: Pending", id="nothing known"),
    ],
)
def test_a_pod_that_does_not_start_in_time_fails_and_stays(
    status: dict[str, Any], problem: str
) -> None:
    """So that its Events say why."""
    rig = Rig(BOTH)
    rig.statuses["genie-test-two"] = status
    assert not rig.run()
    see = "kubectl -n default describe pod genie-test-two"
    line = f"failed  genie-test-two: cni: weave,canal@net1: {problem}; see {see}"
    assert rig.lines[1] == line
    assert rig.pods() == ["genie-test-two"]
    assert rig.now >= OPTIONS.timeout


@pytest.mark.parametrize(
    ("attached", "problem"),
    [({}, "it has no k8s.v1.cni.cncf.io/network-status yet"), ({"eth0": "canal"}, "canal@eth0")],
)
def test_a_pod_on_other_networks_fails(attached: dict[str, str], problem: str) -> None:
    """It runs, and was not attached by Genie, or not as asked."""
    rig = Rig(BOTH)
    rig.attached["genie-test-two"] = attached
    assert not rig.run()
    assert problem in rig.lines[1]


def test_a_pod_that_is_created_though_it_must_be_refused_fails_the_test() -> None:
    """And is deleted."""
    rig = Rig(BOTH)
    rig.refuses = False
    assert not rig.run()
    assert rig.lines[-1].endswith("it was created, and must be refused")
    assert rig.pods() == []


def test_a_refusal_of_a_pod_that_must_start_fails_the_test() -> None:
    """For example by an allow-list of the namespace."""
    rig = Rig(BOTH)

    def refuse(method: str, _path: str) -> None:
        if method == "POST":
            raise KubeError(403, "Forbidden", "not allowed")

    rig.api.before = refuse
    assert not rig.run()
    assert rig.lines[0].startswith("failed  genie-test-default: cni: canal: not allowed")


@pytest.mark.parametrize("name", ["genie-test-default", "genie-test-refused"])
def test_an_error_that_is_no_refusal_is_an_error(name: str) -> None:
    """Nothing is known then."""
    rig = Rig(BOTH)

    def fail(method: str, _path: str) -> None:
        if method == "POST" and rig.api.calls[-1].body["metadata"]["name"] == name:
            raise KubeError(500, "InternalError", "boom")
        rig.admit(method, _path)

    rig.api.before = fail
    with pytest.raises(KubeError, match="boom"):
        rig.run()


def test_a_delete_that_fails_is_an_error() -> None:
    """A pod that is left would be counted as this test's."""
    rig = Rig(BOTH)

    def fail(method: str, _path: str) -> None:
        if method == "DELETE":
            raise KubeError(500, "InternalError", "boom")

    rig.api.before = fail
    with pytest.raises(KubeError, match="boom"):
        rig.run()


def test_an_installation_without_a_default_fails_with_a_sentence() -> None:
    """Nothing is created."""
    rig = Rig(BOTH, default="")
    assert not rig.run()
    assert "no default network is set" in rig.lines[0]
