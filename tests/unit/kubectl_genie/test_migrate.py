"""``migrate`` says what objects of CNI-Genie and Multus become."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli.documents import Document, read_documents
from cli.lint import ERROR, LintContext, lint
from cli.merge_patch import merged
from cli.migrate import migrate
from cli.pod_migration import MigrationContext
from cli.pod_selections import DefinitionContext
from tests.unit.kubectl_genie.builders import CLUSTER, deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from typer.testing import Result

    from cli.migrate import Migration

    Run = Callable[..., Result]

NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT = "v1.multus-cni.io/default-network"
WEAVE = {"cniVersion": "0.3.0", "name": "weave", "plugins": [{"type": "weave-net"}, {"type": "x"}]}
CONTEXT = MigrationContext(default_network="canal", confs={"weave": WEAVE})


def pod(**annotations: str) -> dict[str, Any]:
    """Return a pod; of its keys, ``multus`` and ``default`` stand for the long ones."""
    known = {"multus": NETWORKS, "default": DEFAULT, "multi_ip": "multi-ip-preferences"}
    written = {known.get(key, key): value for key, value in annotations.items()}
    return {"kind": "Pod", "metadata": {"name": "web", "annotations": written}, "spec": {}}


def logical(name: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "Logicalnetwork", "metadata": metadata, "spec": spec}


def physical(name: str, **shared: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    spec = {"refer_nic": "eth0", "sharedStatus": shared}
    return {"kind": "PhysicalNetwork", "metadata": metadata, "spec": spec}


LOGICAL = [
    logical("net1", physicalNet="phy1", sub_subnet="10.32.0.0/24", plugin="ignored"),
    logical("net2", physicalNet="phy2", plugin="flannel"),
    logical("net3", physicalNet="phy1"),
    logical("net4", plugin="romana", sub_subnet="10.9.0.0/24"),
    logical("none"),
    physical("phy1", dedicatedNet=True, plugin="weave", subnet="10.32.0.0/16"),
    physical("phy2", dedicatedNet=False),
]


def plan(*values: dict[str, Any], context: MigrationContext = CONTEXT) -> Migration:
    return migrate([Document("cluster", value) for value in values], context)


def values(patch: Mapping[str, Any] | None) -> dict[str, str | None]:
    return {} if patch is None else dict(patch["metadata"]["annotations"])


PODS = [
    pytest.param(pod(cni="canal,weave@net1"), "same", {}, "means the same", id="a value of cni"),
    pytest.param(pod(cni=" weave\n"), "same", {}, "means the same", id="blanks"),
    pytest.param(pod(cni="genie"), "check", {"cni": ""}, "defaults", id="the word genie"),
    pytest.param(pod(cni=" "), "check", {}, "not the one with least load", id="the choice by load"),
    pytest.param(pod(cni="weave@net1"), "check", {}, "eth0", id="no network on eth0"),
    pytest.param(
        pod(cni="a,b,c,d,e"), "check", {}, "at most 4 networks", id="more than max-attachments"
    ),
    pytest.param(pod(cni="a,a,a"), "check", {}, "at most 2 attach", id="more than max-per-network"),
    pytest.param(
        pod(cni="", networks="net1@eth0, net2@eth4"),
        "check",
        {"cni": "net1@eth0,flannel@eth4", "networks": None},
        "networks: becomes cni",
        id="logical networks",
    ),
    pytest.param(
        pod(cni="", networks="net9"), "check", {}, '"net9" does not exist', id="a missing one"
    ),
    pytest.param(
        pod(cni="", networks="none"), "check", {}, '"none" names no plugin', id="one without plugin"
    ),
    pytest.param(
        pod(cni="canal", networks="net1"),
        "gone",
        {"networks": None},
        'CNI-Genie read it only beside an empty "cni"; remove it',
        id="logical networks beside a value of cni",
    ),
    pytest.param(
        pod(networks="net1"),
        "gone",
        {"networks": None},
        'CNI-Genie read it only beside an empty "cni"; remove it',
        id="logical networks without cni",
    ),
    pytest.param(
        pod(cni="canal", multi_ip="{}"),
        "check",
        {"multi-ip-preferences": None},
        "network-status",
        id="addresses written to the pod",
    ),
    pytest.param(
        pod(multus="macvlan-a, ops/macvlan-b@dmz"),
        "check",
        {"cni": "canal,macvlan-a@net1,macvlan-b@dmz", NETWORKS: None},
        "becomes cni",
        id="networks of Multus beside the default",
    ),
    pytest.param(
        pod(multus='[{"name": "a"}, {"name": "b", "namespace": "x", "interface": "b0"}]'),
        "check",
        {"cni": "canal,a@net1,b@b0", NETWORKS: None},
        "becomes cni",
        id="networks of Multus as JSON",
    ),
    pytest.param(
        pod(default="kube-system/weave", multus="a"),
        "check",
        {"cni": "weave,a@net1", NETWORKS: None, DEFAULT: None},
        f"{NETWORKS} and {DEFAULT}",
        id="a default network of Multus",
    ),
    pytest.param(
        pod(cni="weave", multus="a"),
        "check",
        {"cni": "weave,a@net1", NETWORKS: None},
        "becomes cni",
        id="both annotations",
    ),
    pytest.param(
        pod(multus='[{"name": "a", "ips": ["10.0.0.2"], "mac": "02:00:00:00:00:02"}]'),
        "check",
        {},
        "nothing here does what ips, mac asks for",
        id="addresses from the annotation",
    ),
    pytest.param(pod(multus="[{"), "check", {}, "not valid JSON", id="no JSON"),
    pytest.param(pod(multus="[3]"), "check", {}, "must be an object", id="no objects"),
    pytest.param(pod(multus="a,,b"), "check", {}, "the network name is missing", id="no name"),
    pytest.param(
        pod(multus=f"a.{'b' * 62}"), "check", {}, "is no name of a network", id="another grammar"
    ),
    pytest.param(
        pod(multus="a@eth0"), "check", {}, "eth0 is the interface of", id="the primary's interface"
    ),
]


@pytest.mark.parametrize(("value", "verdict", "changes", "message"), PODS)
def test_a_pod_keeps_its_networks(
    value: dict[str, Any], verdict: str, changes: dict[str, str | None], message: str
) -> None:
    """What stays, what a patch changes, and what a person must decide."""
    actual = plan(*LOGICAL, value).findings[len(LOGICAL) :]
    assert str(actual[0].verdict) == verdict
    assert message in actual[0].message
    assert values(actual[0].patch) == changes
    assert actual[0].command == "", "pods are created anew"


def test_without_a_known_default_the_network_on_eth0_must_be_given() -> None:
    """The namespace's own default counts before the cluster's."""
    unknown = MigrationContext()
    [finding] = plan(pod(multus="a"), context=unknown).findings
    assert (finding.patch, "--default-network" in finding.message) == (None, True)


def test_what_the_webhook_would_say_to_the_patched_object_is_said_now() -> None:
    """A patch that gives a fifth network, or an interface twice, is named with its fault."""
    _, fault = plan(pod(multus="a,b,c,d")).findings
    assert "must have at most 4 networks" in fault.message
    _, fault = plan(pod(multus="a@x,b@x")).findings
    assert "x" in fault.message


@given(
    st.lists(st.sampled_from(["a", "b", "ns/c", "d@x1", "e@x2"]), max_size=3, unique=True),
    st.sampled_from(["", "weave", "weave,canal@x9"]),
)
def test_a_patch_leads_to_an_object_that_is_admitted(items: list[str], cni: str) -> None:
    """Whatever the combination: no fault, no key that is ignored, and nothing left to migrate."""
    own = {"cni": cni} if cni else {}
    value = pod(multus=",".join(items), **own)
    [*findings] = plan(value).findings
    after = merged(value, findings[0].patch) if findings[0].patch else value
    faults = [
        each for each in lint([Document("f", after)], LintContext()) if each.severity == ERROR
    ]
    assert len(faults) == len(findings) - 1
    assert NETWORKS not in after["metadata"]["annotations"]
    assert {str(each.verdict) for each in plan(after).findings[:1]} == {
        "check" if faults else "same"
    }


def test_a_workload_gets_a_command_that_patches_its_template() -> None:
    """At the place where its kind has the template; quoted for a shell."""
    item = {**deployment("genie"), "kind": "Deployment"}
    [finding] = plan(item).findings
    words = shlex.split(finding.command)
    assert words[:6] == ["kubectl", "-n", "shop", "patch", "deployment", "web"]
    template = {"metadata": {"annotations": {"cni": ""}}}
    assert json.loads(words[-1]) == finding.patch == {"spec": {"template": template}}


def test_a_logical_network_with_a_subnet_becomes_a_configuration_and_a_definition() -> None:
    """The plugin's configuration from the node, with the subnet in its first plugin."""
    migration = plan(*LOGICAL)
    messages = {each.subject.split("/")[1]: each.message for each in migration.findings}
    assert messages["net1"] == "becomes the network net1: /etc/cni/genie.d/net1.conflist"
    assert messages["net2"] == "is the network flannel, which pods name instead"
    assert "give a node's configurations with --cni-conf" in messages["net4"]
    files = {each.path: each.conflist for each in migration.files}
    first = {"type": "weave-net", "ipam": {"subnet": "10.32.0.0/24"}}
    expected = {**WEAVE, "name": "net1", "plugins": [first, {"type": "x"}]}
    assert files["/etc/cni/genie.d/net1.conflist"] == expected
    assert files["/etc/cni/genie.d/net3.conflist"]["plugins"][0]["ipam"]["subnet"] == "10.32.0.0/16"
    definitions = {each["metadata"]["name"]: each for each in migration.definitions}
    assert json.loads(definitions["net1"]["spec"]["config"]) == expected
    assert "ipam" not in WEAVE["plugins"][0]


BROKEN = {"plugins": [{"type": "../x"}]}
FAULTS = [
    pytest.param(logical("a", sub_subnet="10.0.0.0/8"), "names no plugin", id="no plugin"),
    pytest.param(
        logical("a", plugin="weave", sub_subnet="10.0.0.0/99"),
        'has the subnet "10.0.0.0/99": write a range',
        id="no subnet",
    ),
    pytest.param(
        logical("a", plugin="weave", sub_subnet="10.0.0.0"), 'subnet "10.0.0.0"', id="an address"
    ),
    pytest.param(
        logical("a.b" * 30, plugin="weave", sub_subnet="10.0.0.0/8"),
        "but a network name must consist of at most 63",
        id="a name that no network can have",
    ),
    pytest.param(
        logical("a", plugin="broken", sub_subnet="10.0.0.0/8"),
        "is broken, whose configuration is invalid: spec.config: plugins[0].type: ",
        id="a configuration of the node that is invalid",
    ),
]


@pytest.mark.parametrize(("value", "message"), FAULTS)
def test_a_logical_network_that_cannot_be_converted_is_named(
    value: dict[str, Any], message: str
) -> None:
    """With the reason; nothing is written for it."""
    context = MigrationContext(confs={"weave": WEAVE, "broken": BROKEN})
    migration = plan(value, context=context)
    [finding] = migration.findings
    assert finding.subject == f"Logicalnetwork default/{value['metadata']['name']}"
    assert (str(finding.verdict), message in finding.message) == ("check", True)
    assert (list(migration.files), list(migration.definitions)) == ([], [])


def test_equal_names_in_two_namespaces_become_two_networks() -> None:
    """A node has one network of a name."""
    both = [
        logical("a", each, plugin="weave", sub_subnet=f"10.{n}.0.0/16")
        for n, each in enumerate(("x", "y"))
    ]
    assert {each.conflist["name"] for each in plan(*both).files} == {"x-a", "y-a"}


OBJECTS = [
    pytest.param("DaemonSet", "genie-plugin", {}, "gone", "remove it", id="CNI-Genie itself"),
    pytest.param("DaemonSet", "kube-multus-ds", {}, "gone", "remove it", id="Multus itself"),
    pytest.param(
        "NetworkPolicy", "p", {"genieNetworkpolicy": "[]"}, "gone", "is not read", id="a policy"
    ),
]


@pytest.mark.parametrize(("kind", "name", "annotations", "verdict", "message"), OBJECTS)
def test_objects_that_only_the_old_software_reads_are_named(
    kind: str, name: str, annotations: dict[str, str], verdict: str, message: str
) -> None:
    """Also in kube-system, where pods are left alone."""
    metadata = {"name": name, "namespace": "kube-system", "annotations": annotations}
    [finding] = plan({"kind": kind, "metadata": metadata, "spec": {}}).findings
    assert (str(finding.verdict), message in finding.message) == (verdict, True)


def definition(name: str, namespace: str, config: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    spec = {} if config is None else {"config": config}
    return {"kind": "NetworkAttachmentDefinition", "metadata": metadata, "spec": spec}


def test_a_definition_becomes_a_configuration_of_the_nodes() -> None:
    """A single plugin becomes a list; a name that two namespaces use is named."""
    single = '{"cniVersion": "0.4.0", "name": "x", "type": "macvlan"}'
    actual = plan(
        definition("a", "shop", single), definition("b", "shop", None), definition("b", "ops", None)
    )
    assert [each.conflist for each in actual.files] == [
        {"cniVersion": "0.4.0", "name": "a", "plugins": [{"type": "macvlan"}]}
    ]
    assert "as /etc/cni/genie.d/a.conflist" in actual.findings[0].message
    assert "pods name the node's network b" in actual.findings[1].message
    assert "rename those of other namespaces" in actual.findings[1].message


@pytest.mark.parametrize("config", ["{", "[null]", "[" * 9000, '{"type":"../x"}'])
def test_a_definition_that_is_invalid_is_named(config: str) -> None:
    """With its fault, whatever a tenant has written; it becomes no configuration."""
    migration = plan(definition("b", "ops", config))
    [finding] = migration.findings
    assert finding.subject == "NetworkAttachmentDefinition ops/b"
    assert finding.message.startswith("cannot be attached: spec.config: ")
    assert migration.files == []


def test_where_definitions_are_attached_they_stay_as_they_are() -> None:
    """With the pods that select them; what admission would refuse is named."""
    rules = LintContext(definitions=DefinitionContext("enforce"))
    context = MigrationContext(rules, "canal")
    single = '{"cniVersion": "0.4.0", "name": "x", "type": "macvlan"}'
    migration = plan(
        definition("a", "shop", single),
        definition("bad", "shop", "{"),
        pod(multus="a"),
        pod(default="a", cni=" "),
        pod(multus="a@@"),
        context=context,
    )
    results = [(str(each.verdict), each.message) for each in migration.findings]
    assert [verdict for verdict, _ in results] == ["same", "check", "same", "same", "check"]
    assert results[2][1] == f'{NETWORKS}: "a" means the same'
    assert [each.patch for each in migration.findings] == [None] * 5
    assert (list(migration.files), list(migration.definitions)) == ([], [])


def test_objects_without_networks_and_excluded_namespaces_are_left_out() -> None:
    """Most objects of a cluster are."""
    system = pod(cni="genie")
    system["metadata"]["namespace"] = "kube-system"
    assert (
        plan(system, {"kind": "Pod"}, {"kind": "Service", "metadata": {"name": "s"}}).findings == []
    )


TABLE = """\
check   Deployment shop/web
        cni: "genie" is no network here; "" leaves the choice to defaults
        -> kubectl -n shop patch deployment web --type=merge -p \
'{"spec": {"template": {"metadata": {"annotations": {"cni": ""}}}}}'
check   LogicalNetwork shop/fast
        is weave with the subnet 10.1.0.0/16: to convert it, give a node's
        configurations with --cni-conf

Objects with networks that stay the same: 1
A patch of a template replaces the workload's pods.
"""
FOREIGN = (
    "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions",
    "/apis/alpha.network.k8s.io/v1/logicalnetworks",
    "/apis/alpha.network.k8s.io/v1/physicalnetworks",
)


def cluster() -> dict[str, Any]:
    fast = logical("fast", "shop", plugin="weave", sub_subnet="10.1.0.0/16")
    lists = ("apps/v1/statefulsets", "apps/v1/daemonsets", "apps/v1/replicasets", "batch/v1/jobs")
    return {
        **CLUSTER,
        "/api/v1/replicationcontrollers": [],
        **{f"/apis/{each}": [] for each in (*lists, "batch/v1/cronjobs")},
        "/apis/apps/v1/deployments": [deployment("genie")],
        "/apis/networking.k8s.io/v1/networkpolicies": [],
        FOREIGN[1]: [fast],
    }


def test_the_cluster_is_scanned(run: Run) -> None:
    """Kinds that it does not have are no objects; the limits are those of the webhook."""
    result = run("migrate", objects=cluster())
    assert (result.exit_code, result.stdout) == (1, TABLE)
    actual = json.loads(run("migrate", "-o", "json", objects=cluster()).stdout)
    assert {each["verdict"] for each in actual["findings"]} == {"same", "check"}


def test_files_are_read_with_their_places_and_networks_are_written(
    run: Run, tmp_path: Path
) -> None:
    """Configurations for the nodes, and the definitions as YAML that kubectl applies."""
    manifest, confs, out = (tmp_path / name for name in ("all.yaml", "net.d", "out"))
    manifest.write_text(yaml.safe_dump_all([*LOGICAL, pod(cni="", networks="net1")]))
    confs.mkdir()
    (confs / "10-weave.conflist").write_text(json.dumps(WEAVE))
    (confs / "20-broken.conf").write_text("{")
    result = run("migrate", "-f", str(manifest), "--cni-conf", str(confs), "--write", str(out))
    assert result.exit_code == 1
    line = next(
        d.place("").line for d in read_documents(manifest.read_text(), "") if d.kind == "Pod"
    )
    assert f"check   Pod web  ({manifest}:{line})\n" in result.stdout
    assert "Pods must be created anew" in result.stdout
    assert "Converted networks: 2" in result.stdout
    assert {each.name for each in (out / "genie.d").iterdir()} == {"net1.conflist", "net3.conflist"}
    written = yaml.safe_load_all((out / "network-attachment-definitions.yaml").read_text())
    assert [(each["kind"], each["metadata"]["name"]) for each in written] == [
        ("NetworkAttachmentDefinition", "net1"),
        ("NetworkAttachmentDefinition", "net3"),
    ]


def test_nothing_to_do_is_exit_code_0(run: Run, tmp_path: Path) -> None:
    """With the count of what stays the same."""
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(yaml.safe_dump(pod(cni="canal")))
    result = run("migrate", "-f", str(manifest))
    expected = "Nothing needs a change.\n\nObjects with networks that stay the same: 1\n"
    assert (result.exit_code, result.stdout) == (0, expected)
