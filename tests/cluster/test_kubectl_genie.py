"""``kubectl genie`` on a real cluster: as administrator, and as developer with one namespace."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cli.app import COMMANDS
from cli.commands.removal import connect
from lifecycle.uninstall import Settings
from tests.cluster.support.admission import replicas
from tests.cluster.support.node_networks import node_networks
from tests.cluster.support.pods import pod_manifest, wait_until_ready
from tests.devcluster.commands import run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

    Ran = subprocess.CompletedProcess[str]


def genie(kubeconfig: Path, *words: str, stdin: str | None = None) -> Ran:
    """Run a command as `kubectl genie` does, with the user of *kubeconfig*."""
    command = [sys.executable, "-m", "cli", *words]
    return run(command, env={"KUBECONFIG": os.fspath(kubeconfig)}, input=stdin, check=False)


def data(kubeconfig: Path, *words: str) -> Any:
    """Return what a command prints as JSON."""
    result = genie(kubeconfig, *words, "--output", "json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def admin(cluster: Cluster) -> Path:
    return cluster.layout.kubeconfig


@pytest.fixture
def developer(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """Return the kubeconfig of an account with the role admin in *namespace*, and no other."""
    cluster.kubectl("create", "serviceaccount", "dev", "-n", namespace)
    role = ("--clusterrole=admin", f"--serviceaccount={namespace}:dev")
    cluster.kubectl("create", "rolebinding", "dev", *role, "-n", namespace)
    token = cluster.kubectl("create", "token", "dev", "-n", namespace).stdout.strip()
    config = yaml.safe_load(cluster.layout.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    config["contexts"][0]["context"]["namespace"] = namespace
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_status_passes_on_a_cluster_where_pods_are_attached(admin: Path) -> None:
    """Every check is made, and none fails; the webhook's pods are asked for their leaves."""
    checks = data(admin, "status", "--wait", "--timeout", "60")
    assert {each["state"] for each in checks} == {"ok"}, checks
    [certificates] = [each for each in checks if each["subject"] == "certificates"]
    dates = r"\d{4}-\d\d-\d\d \d\d:\d\dZ"
    expected = rf"CA valid until {dates}, leaves until {dates}"
    assert re.fullmatch(expected, certificates["message"]), certificates
    subjects = {each["subject"] for each in checks}
    names = {"agent", "webhook", "certificates", "default network", "network canal", "admission"}
    assert names <= subjects


def test_status_waits_for_the_webhook_and_for_a_node_that_can_run_pods(
    cluster: Cluster, admin: Path
) -> None:
    """The API server admits pods without the webhook, and a cordoned node keeps its labels."""
    configuration = "mutatingwebhookconfiguration/cni-genie"
    uncalled = [{"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": 1}]
    path = "{.webhooks[0].clientConfig.service.port}"
    port = cluster.kubectl("get", configuration, "-o", f"jsonpath={path}").stdout
    broken = json.dumps(uncalled)
    mended = json.dumps([{**uncalled[0], "value": int(port)}])
    cluster.kubectl("cordon", "node1")
    try:
        cluster.kubectl("patch", configuration, "--type=json", "-p", broken)
        result = genie(admin, "status", "--wait", "--timeout", "4", "-o", "json")
        assert result.returncode == 1
        assert "no pod can run there: node1 is cordoned" in result.stdout
        assert "the API server does not call the webhook" in result.stdout
        assert "waiting: network canal: " in result.stderr
    finally:
        cluster.kubectl("uncordon", "node1")
        cluster.kubectl("patch", configuration, "--type=json", "-p", mended)
    assert genie(admin, "status", "--wait", "--timeout", "30").returncode == 0


def test_networks_are_those_of_the_nodes(admin: Path) -> None:
    """With the default, the plugins, and where they are ready."""
    actual = {each["name"]: each for each in data(admin, "networks")}
    assert actual.keys() >= {"canal", "weave"}  # labels of other tests may just be going
    assert actual["canal"]["ready"] == ["node1"]
    assert actual["canal"]["isDefault"] is True
    assert "bridge" in actual["canal"]["types"]


def test_pods_show_what_was_asked_for_and_what_was_attached(
    cluster: Cluster, admin: Path, developer: Path, namespace: str
) -> None:
    """The same for an administrator, and for a developer in his own namespace."""
    cluster.apply(pod_manifest("both", "weave,canal@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "both")
    cluster.wait_for(
        lambda: data(admin, "pods", "-n", namespace)[0]["attached"], 120, "the network-status"
    )
    [row] = data(developer, "pods")
    assert row == data(admin, "pods", "-n", namespace)[0]
    assert (row["asked"], row["problem"]) == ("weave,canal@net1", "")
    attached = {each["interface"]: each["network"] for each in row["attached"]}
    assert attached == {"eth0": "weave", "net1": "canal"}

    [explained] = data(admin, "explain", "both", "-n", namespace)
    planned = {each["interface"]: each["network"] for each in explained["attachments"]}
    assert (planned, explained["nodes"]) == (attached, ["node1"])


def test_nodes_report_through_the_agents_pods(
    cluster: Cluster, admin: Path, namespace: str
) -> None:
    """The node's own doctor and records, and the logs of both containers, without SSH."""
    cluster.apply(pod_manifest("web", "weave"), "-n", namespace)
    wait_until_ready(cluster, namespace, "web")
    reports = data(admin, "doctor")
    assert reports.keys() == {"node1"}
    assert "web" in json.dumps(data(admin, "attachments", "node1")["node1"])
    result = genie(admin, "logs", "node1", "--tail", "20")
    assert {line.split()[0] for line in result.stdout.splitlines()} == {"agent", "reaper"}
    result = genie(admin, "doctor", "node9")
    assert (result.returncode, result.stdout) == (2, "")
    assert "node node9: no running agent" in result.stderr


AS_DEVELOPER: list[tuple[tuple[str, ...], int, str, str]] = [
    (("networks",), 0, "canal    1/1    the cluster", "list nodes"),
    (("status",), 0, "you may not list workloads in namespace genie-system", "list nodes"),
    (("status", "--wait", "--timeout", "1"), 0, "may name networks", "list nodes"),
    (("version",), 0, "client", "list daemonsets in namespace genie-system"),
    (("pods", "-A"), 0, "NAMESPACE", "list pods"),
    (("explain", "web"), 0, "eth0            weave  (primary)", "list nodes"),
    (("lint", "-f", "-", "--from-cluster"), 1, 'is not allowed in namespace "', "list nodes"),
    (("preflight",), 0, "API server", "list cronjobs"),
    (("migrate",), 0, "stay the same: 1", "list network-attachment-definitions"),
    (("uninstall", "--dry-run"), 2, "", "forbidden"),
    (("doctor",), 2, "", "nodes are asked through pods in namespace genie-system"),
    (("attachments", "node1"), 2, "", "which you may not list"),
    (("logs", "node1"), 2, "", "which you may not list"),
    (("bundle", "--file", "BUNDLE"), 0, "BUNDLE", "list events"),
]


def test_a_developer_gets_what_he_may_see_and_the_reason_from_every_command(
    cluster: Cluster, developer: Path, namespace: str, tmp_path: Path
) -> None:
    """Neither a traceback nor an empty answer that looks like an empty cluster."""
    cluster.kubectl("annotate", "namespace", namespace, "cni-genie.io/allowed=weave")
    cluster.apply(pod_manifest("web", "weave"), "-n", namespace)
    manifest = pod_manifest("other", "canal")
    manifest["metadata"]["namespace"] = namespace
    for words, code, shown, note in AS_DEVELOPER:
        arguments = [word.replace("BUNDLE", f"{tmp_path}/b.tgz") for word in words]
        result = genie(developer, *arguments, stdin=json.dumps(manifest))
        expected = shown.replace("BUNDLE", f"{tmp_path}/b.tgz")
        assert (result.returncode, expected in result.stdout) == (code, True), (words, result)
        assert note in result.stderr, words
        assert "Traceback" not in result.stderr, words
    assert {words[0] for words, *_ in AS_DEVELOPER} == set(COMMANDS)


LEAK = """#!/bin/sh
[ "$CNI_COMMAND" = DEL ] && exit 0
echo '{"cniVersion": "1.0.0", "code": 999, "msg": "log-in failed: password=planted-in-event"}'
exit 1
"""

LEAKY = {
    "cniVersion": "1.0.0",
    "name": "leaky",
    "plugins": [{"type": "leaky", "etcd": {"password": "planted-in-conflist"}}],
}


@pytest.fixture
def leaky(cluster: Cluster) -> Iterator[None]:
    """Give node1 the network leaky, whose plugin prints a password, until the test ends.

    The pods of the test must be gone before, since the plugin releases them: ask for it first.
    """
    program = cluster.node("node1").path("/opt/cni/bin/leaky")
    program.write_text(LEAK)
    program.chmod(0o755)
    with node_networks(cluster, "node1", LEAKY):
        yield
    program.unlink()


def planted_pod(network: str) -> dict[str, Any]:
    """Return a pod with a secret in an annotation and in a variable."""
    pod = pod_manifest("planted", network)
    pod["metadata"]["annotations"]["example.org/token"] = "planted-in-annotation"
    [container] = pod["spec"]["containers"]
    container["env"] = [{"name": "DB_PASSWORD", "value": "planted-in-env"}]
    return pod


def webhook_logs(cluster: Cluster) -> str:
    """Return what the replicas of the webhook have logged."""
    pods = [pod["metadata"]["name"] for pod in replicas(cluster)]
    return "".join(cluster.kubectl("logs", "-n", "genie-system", pod).stdout for pod in pods)


def test_an_uninstall_knows_the_mode_that_it_set_itself(
    cluster: Cluster, admin: Path, namespace: str
) -> None:
    """The API server records who changed the mode last, in each way to change it."""
    name = ("configmap", "genie", "-n", namespace)
    cluster.kubectl("create", *name, "--from-literal=mode=install")
    access = connect(os.fspath(admin), "", namespace)

    def choose(mode: str) -> None:
        patch = json.dumps({"data": {"mode": mode}})
        cluster.kubectl("patch", *name, "--type=merge", "-p", patch)

    for restore in (choose, lambda mode: apply_mode(cluster, namespace, mode)):
        access.set_mode("disable", "install")
        assert access.settings() == Settings("disable", "install")
        restore("install")
        choose("disable")
        assert access.settings() == Settings("disable", "disable")
        choose("install")

    access.set_mode("remove", "install")
    apply_mode(cluster, namespace, "remove")
    assert access.settings() == Settings("remove", "remove")
    access.set_mode("disable", "remove")
    assert access.settings() == Settings("disable", "remove")


def apply_mode(cluster: Cluster, namespace: str, mode: str) -> None:
    """Set the mode as Flux and Argo CD may do: by a server-side apply."""
    metadata = {"name": "genie", "namespace": namespace}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    flags = ("--server-side", "--force-conflicts", "--field-manager=flux")
    cluster.apply({**manifest, "data": {"mode": mode}}, *flags)


def test_a_bundle_has_logs_and_reports_and_none_of_the_planted_secrets(
    cluster: Cluster, admin: Path, leaky: None, namespace: str, tmp_path: Path
) -> None:
    """Secrets in a Secret, a pod, a plugin's configuration, an Event, and a line of a log."""
    del leaky
    values = ("--from-literal=password=planted-in-secret", "-n", "genie-system")
    cluster.kubectl("create", "secret", "generic", "planted", *values)
    try:
        cluster.wait_for(
            lambda: "leaky" in {each["name"] for each in data(admin, "networks")},
            60,
            "the network leaky",
        )
        pod = planted_pod("leaky")
        cluster.wait_for(
            lambda: cluster.apply(pod, "-n", namespace, check=False).returncode == 0,
            120,
            "the webhook to know the network leaky",
        )
        refused = planted_pod("unknown,token=planted-in-log")
        cluster.apply(refused, "-n", namespace, check=False)
        cluster.wait_for(
            lambda: "token=planted-in-log" in webhook_logs(cluster), 120, "the line of the log"
        )
        events = ("events", "-n", namespace, "-o", "json")
        cluster.wait_for(
            lambda: "planted-in-event" in cluster.kubectl("get", *events).stdout, 60, "the Event"
        )
        result = genie(admin, "bundle", "--file", f"{tmp_path}/b.tgz")
    finally:
        cluster.kubectl("delete", "secret", "planted", "-n", "genie-system")

    assert result.returncode == 0, result.stderr
    with tarfile.open(tmp_path / "b.tgz") as archive:
        files = {
            each.name.partition("/")[2]: archive.extractfile(each).read().decode()  # type: ignore[union-attr]
            for each in archive.getmembers()
        }
    assert "errors.txt" not in files, files["errors.txt"]
    assert {"nodes/node1/agent.log", "nodes/node1/reaper.log"} <= files.keys()
    webhook = "".join(text for name, text in files.items() if name.startswith("webhook/"))
    assert "token=(removed)" in webhook
    assert "log-in failed: password=(removed)" in files["events.json"]
    leaked = [name for name, text in files.items() if "planted-in" in text]
    assert leaked == []


def test_lint_with_the_cluster_says_what_kubectl_apply_says(
    cluster: Cluster, admin: Path, namespace: str
) -> None:
    """Field and sentence, before anything is applied."""
    manifest = pod_manifest("typo", "cannal@eth0,weave")
    manifest["metadata"]["namespace"] = namespace
    result = genie(admin, "lint", "-f", "-", "--from-cluster", stdin=json.dumps(manifest))
    assert result.returncode == 1
    message = result.stdout.split("metadata.annotations[cni]: ", 1)[1].strip()
    applied = cluster.apply(manifest, "--dry-run=server", check=False)
    assert message in applied.stderr.replace("\n", " ")


def test_the_versions_are_those_of_the_images_and_of_the_files_on_the_nodes(
    cluster: Cluster, admin: Path
) -> None:
    """The node's own command says the same of its plugin."""
    parts = {each["part"]: each for each in data(admin, "version")}
    assert parts["genie-agent"]["version"] == parts["genie-webhook"]["version"]
    own = cluster.node("node1").run(["/opt/cni/bin/genie", "version"]).stdout
    assert parts["plugin"]["version"] in own
    assert parts["plugin"]["nodes"] == ["node1"]


def test_a_patch_of_migrate_keeps_what_the_kubernetes_api_accepts(
    cluster: Cluster, admin: Path, namespace: str
) -> None:
    """The command is run as it is printed; afterwards the template is one that stays the same."""
    pod = pod_manifest("web", "")
    annotations = {"k8s.v1.cni.cncf.io/networks": "weave"}
    template = {"metadata": {"annotations": annotations, "labels": {"a": "b"}}, "spec": pod["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    metadata = {"name": "web", "namespace": namespace}
    value = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    cluster.apply(value)

    def needs() -> list[dict[str, Any]]:
        result = genie(admin, "migrate", "--output", "json")
        subject = f"Deployment {namespace}/web"
        return [
            each for each in json.loads(result.stdout)["findings"] if each["subject"] == subject
        ]

    [finding] = needs()
    cluster.kubectl(*shlex.split(finding["command"])[1:])
    [finding] = needs()
    assert (finding["verdict"], "canal,weave@net1" in finding["message"]) == ("same", True)


def test_kubectl_runs_the_command_and_its_completion(
    cluster: Cluster, admin: Path, tmp_path: Path
) -> None:
    """Both are programs on the PATH; completion answers by kubectl's own protocol."""
    for name, module in (
        ("kubectl-genie", "cli.app"),
        ("kubectl_complete-genie", "cli.completion"),
    ):
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import main\nmain()\n")
        program.chmod(0o755)
    tools = cluster.layout.bin
    env = {
        "KUBECONFIG": os.fspath(admin),
        "PATH": f"{tmp_path}:{tools}:{os.environ['PATH']}",
        "PYTHONPATH": os.fspath(Path.cwd()),
    }
    result = run(["kubectl", "genie", "networks", "-o", "json"], env=env)
    assert {each["name"] for each in json.loads(result.stdout)} >= {"canal", "weave"}
    result = run(["kubectl", "__complete", "genie", "doctor", ""], env=env)
    assert result.stdout.splitlines() == ["node1", ":4"]
    result = run(["kubectl", "__complete", "genie", "pods", "--network", "w"], env=env)
    assert result.stdout.splitlines() == ["weave", ":4"]
