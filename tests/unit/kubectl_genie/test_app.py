from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from cli import app, output, session
from cli.reader import Reader
from cli.session import own_version
from dispatcher import keys
from dispatcher.kube.errors import KubeError
from tests.unit.kubectl_genie.builders import (
    APPS,
    CLUSTER,
    GENIE,
    FakeAPI,
    node,
    pod,
    workload,
)
from webhook.network_objects import NetworkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typer.testing import Result

    Run = Callable[..., Result]

NETWORKS = """\
NETWORK  READY  DEFAULT OF   PLUGINS    PROBLEM
canal    2/2    the cluster  calico
weave    1/2    shop         weave-net  not attachable on n2
"""

PODS = """\
POD  ASKED FOR    ATTACHED             NODE  PROBLEM
web  weave,canal  weave@eth0=10.0.0.2  n1
                  canal@eth1=10.1.0.2
new  weave                             n1    not attached yet: weave; kubectl
                                             describe pod shows the Events
"""

STATUS = """\
ok      agent            2 of 2 pods ready
ok      webhook          2 of 2 pods ready
ok      version          cni-genie:0.1.0, plugin 0.1.0-518f2aaabced on 2 nodes
ok      mode             install
ok      default network  canal
ok      certificates     CA valid until 2099-12-31 00:00Z, leaves until
                         2099-12-03 16:53Z
ok      network canal    ready on 2 of 2 nodes
warning network weave    ready on 1 of 2 nodes; not attachable on n2
                         -> kubectl describe node n2 shows Events
ok      admission        pods in namespace default may name canal, weave
"""


VERSION = f"""\
PART           VERSION             NODES      PROBLEM
client         {own_version()}
genie-webhook  cni-genie:0.1.0
genie-agent    cni-genie:0.1.0
plugin         0.1.0-518f2aaabced  2: n1, n2
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("version",), VERSION, id="version"),
        pytest.param(("networks",), NETWORKS, id="networks"),
        pytest.param(("pods", "-n", "shop"), PODS, id="pods of a namespace"),
        pytest.param(("status",), STATUS, id="status"),
    ],
)
def test_a_table_fits_into_80_columns(run: Run, words: tuple[str, ...], expected: str) -> None:
    """The whole text, as people see it."""
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert result.stdout == expected
    assert max(map(len, result.stdout.splitlines())) <= output.WIDTH


@pytest.mark.parametrize("words", [("networks",), ("pods", "-A"), ("status",), ("version",)])
def test_json_and_yaml_say_the_same(run: Run, words: tuple[str, ...]) -> None:
    """And nothing else is on standard output."""
    data = json.loads(run(*words, "-o", "json").stdout)
    assert data
    assert yaml.safe_load(run(*words, "-o", "yaml").stdout) == data


def test_keys_of_json_are_in_camel_case(run: Run) -> None:
    """As Kubernetes' own."""
    [canal, _] = json.loads(run("networks", "-o", "json").stdout)
    assert canal == {
        "name": "canal",
        "ready": ["n1", "n2"],
        "notReady": [],
        "absent": [],
        "types": ["calico"],
        "isDefault": True,
        "defaultOf": [],
        "allowedIn": None,
    }


def test_pods_can_be_limited_to_one_network(run: Run) -> None:
    """Asked for, or attached."""
    actual = json.loads(run("pods", "-n", "shop", "--network", "canal", "-o", "json").stdout)
    assert [each["name"] for each in actual] == ["web"]


def test_what_may_not_be_read_is_named_and_the_rest_is_shown(run: Run) -> None:
    """A namespaced developer sees his pods, and why there is no more."""
    result = run("status", forbidden=("/api/v1/nodes", f"{APPS}/daemonsets"))
    assert result.exit_code == 0
    assert "you may not list nodes" in result.stdout
    assert result.stderr.startswith(
        "note: incomplete, since you may not list daemonsets in namespace"
    )
    assert result.stderr.endswith(", list nodes\n")
    result = run("pods", "-n", "shop", forbidden=("/api/v1/namespaces/shop/pods",))
    assert result.stdout == "No pods in namespace shop.\n"
    assert "list pods in namespace shop" in result.stderr
    result = run("networks", forbidden=("/api/v1/nodes",))
    assert "list nodes" in result.stderr


def published(name: str, ready: int, configured: int, *, default: bool = False) -> dict[str, Any]:
    """Return an object networks.cni-genie.io of a cluster with three nodes."""
    status = NetworkStatus(ready, configured, 3, default, ("bridge", "portmap"))
    return {"spec": {"network": name, "description": "fast"}, "status": status.to_json()}


PUBLISHED = {
    **CLUSTER,
    "/apis/cni-genie.io/v1alpha1/networks": [
        published("canal", 3, 3, default=True),
        published("weave", 1, 2),
        published("gpu", 0, 0),
    ],
}
WITHOUT_NODES = ("/api/v1/nodes",)


def test_who_may_not_list_nodes_sees_the_published_networks(run: Run) -> None:
    """With numbers of nodes instead of their names."""
    result = run("networks", objects=PUBLISHED, forbidden=WITHOUT_NODES)
    assert [line.split() for line in result.stdout.splitlines()[1:3]] == [
        ["canal", "3/3", "the", "cluster", "bridge,portmap"],
        ["weave", "1/3", "bridge,portmap", "not", "attachable", "on", "1", "node;", "no"],
    ]
    assert "list nodes" in result.stderr
    [_, weave, _] = json.loads(
        run("networks", "-o", "json", objects=PUBLISHED, forbidden=WITHOUT_NODES).stdout
    )
    assert weave == {
        "name": "weave",
        "readyNodes": 1,
        "configuredNodes": 2,
        "totalNodes": 3,
        "types": ["bridge", "portmap"],
        "isDefault": False,
        "description": "fast",
    }


def test_lint_knows_the_published_networks(run: Run, tmp_path: Path) -> None:
    """Where nodes may not be listed, and no others."""
    file = tmp_path / "pod.yaml"
    file.write_text("{kind: Pod, metadata: {name: a, annotations: {cni: wave}}}")
    words = ("lint", "-f", str(file), "--from-cluster")
    result = run(*words, objects=PUBLISHED, forbidden=WITHOUT_NODES)
    assert result.exit_code == 1
    assert 'supported values: "canal", "gpu", "weave" (did you mean "weave"?)' in result.stdout


def test_a_cluster_without_genie_fails_with_what_to_do(run: Run) -> None:
    """Exit code 1, for scripts."""
    objects = {
        "/api/v1/nodes": [node("n1")],
        "/api/v1/namespaces": [],
        f"{APPS}/daemonsets": [],
        f"{APPS}/deployments": [],
        f"{GENIE}/pods": [],
    }
    result = run("status", objects=objects)
    assert result.exit_code == 1
    assert "genie-system/genie-agent does not exist" in result.stdout
    assert "-> install Genie" in result.stdout


def test_an_api_server_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a traceback; exit code 2."""

    def fail(_: object, **_options: object) -> None:
        raise KubeError(0, "Unreachable", "GET /api/v1/nodes: no answer")

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "kubectl genie: GET /api/v1/nodes: no answer\n"


@pytest.mark.parametrize("command", app.COMMANDS)
def test_every_command_has_help_with_examples_and_exit_codes(run: Run, command: str) -> None:
    """A purpose, options, and a line to copy."""
    text = run(command, "--help").stdout
    assert text.startswith(f"Usage: kubectl genie {command} ")
    assert f"Examples:\n    kubectl genie {command}" in text
    assert "  Exit codes:\n    0  " in text
    assert "    2  wrong option, file or kubeconfig" in text
    assert "--kubeconfig" in text
    assert "--context" in text
    assert max(map(len, text.splitlines())) <= output.WIDTH


def test_nothing_that_strangers_wrote_reaches_the_terminal_raw(run: Run) -> None:
    """An annotation can hold escape sequences."""
    hostile = pod("web", "weave\x1b[31m", phase="Pending")
    result = run("pods", "-n", "shop", objects={"/api/v1/namespaces/shop/pods": [hostile]})
    assert "\x1b" not in result.stdout


LOADED = """
import sys
from cli.app import COMMANDS, main
for command in ["", *COMMANDS]:
    try:
        main([command, "--help"] if command else ["--help"])
    except SystemExit:
        heavy = {"cli.session", "kubernetes", "rich", "yaml", "urllib3", "webhook", "pydantic"}
        heavy -= {"pydantic"} if command else set()  # typer needs it for options
        print("loaded by", command, sorted(heavy.intersection(sys.modules)))
"""


def test_help_lists_every_command_whole_in_80_columns(run: Run) -> None:
    """Without what commands run, which takes longer to load; so does the help of a command."""
    text = run("--help").stdout
    for name, entry in app.COMMANDS.items():
        assert f"  {name} " in text
        assert entry.summary in text
    assert "  Examples:\n    kubectl genie status\n" in text
    assert "  Exit codes:\n    0  all is well\n" in text
    assert max(map(len, text.splitlines())) <= output.WIDTH
    result = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    loaded = [line for line in result.stdout.splitlines() if line.startswith("loaded by")]
    assert len(loaded) == 1 + len(app.COMMANDS)
    assert [line for line in loaded if not line.endswith(" []")] == []


EXPLAINED = """\
Pod shop/web: chosen by the pod's annotation
  eth0            weave  (primary)
  eth1            canal
  nodes that can attach all: 1 of 2: n1
  warning: "canal" works only as the primary (on eth0): plugin "calico" leaves
    other interfaces unreachable
"""


def test_a_pod_that_exists_is_explained(run: Run) -> None:
    """From its annotation, the cluster's nodes and its namespace."""
    objects = {**CLUSTER, "/api/v1/namespaces/shop/pods/web": pod("web", "weave,canal")}
    result = run("explain", "web", "-n", "shop", objects=objects)
    assert (result.exit_code, result.stdout) == (0, EXPLAINED)


@pytest.mark.parametrize(
    ("minimum", "forbidden", "network"),
    [
        pytest.param("50", (), "weave", id="half of the nodes are enough"),
        pytest.param("51", (), "canal", id="half of the nodes are too few"),
        pytest.param("51", WITHOUT_NODES, "canal", id="by the published networks"),
        pytest.param("50", WITHOUT_NODES, "weave", id="by the published networks, enough"),
    ],
)
def test_a_pod_whose_network_is_chosen_is_explained(
    run: Run, minimum: str, forbidden: Sequence[str], network: str
) -> None:
    """From the list of its namespace, the nodes, and the webhook's own setting."""
    webhook = workload("Deployment", "genie-webhook", 2, 2)
    [container, _] = webhook["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "GENIE_CHOOSE_MINIMUM", "value": minimum}]
    shop = {"metadata": {"name": "shop", "annotations": {keys.CHOOSE: "weave,canal"}}}
    objects = {
        **PUBLISHED,
        f"{APPS}/deployments": [webhook],
        "/api/v1/namespaces": [shop],
        "/api/v1/namespaces/shop/pods/web": pod("web", ""),
    }
    result = run("explain", "web", "-n", "shop", objects=objects, forbidden=forbidden)
    first, attachment, *_ = result.stdout.splitlines()
    assert first == "Pod shop/web: chosen by the list of its namespace, by availability"
    assert attachment.split() == ["eth0", network, "(primary)"]


def test_attachments_that_are_ignored_are_marked(run: Run, tmp_path: Path) -> None:
    """As text with the annotation behind each, and as data in a list of their own."""
    file = tmp_path / "pod.yaml"
    annotations = f"{{cni: weave, {keys.NETWORKS}: shop/macvlan@data}}"
    file.write_text(f"{{kind: Pod, metadata: {{name: a, annotations: {annotations}}}}}")
    result = run("explain", "-f", str(file), "-n", "shop")
    assert f"\n  data            shop/macvlan  (ignored: {keys.NETWORKS})\n" in result.stdout
    [data] = json.loads(run("explain", "-f", str(file), "-o", "json").stdout)
    assert data["ignored"] == [
        {"interface": "data", "network": "shop/macvlan", "annotation": keys.NETWORKS}
    ]


def test_the_pods_of_a_file_are_explained(run: Run, tmp_path: Path) -> None:
    """Each with its own namespace; a refusal is exit code 1."""
    file = tmp_path / "all.yaml"
    file.write_text(
        "{kind: Pod, metadata: {name: a, namespace: shop, annotations: {cni: cannal, CNI: x}}}\n"
        "---\n{kind: Service}\n"
        "---\n{kind: Job, metadata: {name: b}, spec: {template: {spec: {containers: []}}}}\n"
    )
    result = run("explain", "-f", str(file), "-n", "other")
    assert result.exit_code == 1
    assert "Pod shop/a: chosen by" in result.stdout
    assert "refused: metadata.annotations[cni]" in result.stdout
    assert "\n\nJob other/b: chosen by the default of the cluster\n" in result.stdout
    assert json.loads(run("explain", "-f", str(file), "-o", "json").stdout)[0]["refusals"]


@pytest.mark.parametrize("words", [(), ("web", "-f", "x")])
def test_explain_takes_a_pod_or_a_file(run: Run, words: tuple[str, ...]) -> None:
    """Exit code 2, as for every wrong command line."""
    assert run("explain", *words).exit_code == 2


def test_a_command_with_a_typing_mistake_gets_a_suggestion(run: Run) -> None:
    """As a network with one does."""
    result = run("networkz")
    assert result.exit_code == 2
    assert "No such command 'networkz'. Did you mean 'networks'?" in result.stderr


@pytest.mark.parametrize("name", ["missing", "pod/missing"])
def test_a_pod_that_does_not_exist_is_exit_code_1(run: Run, name: str) -> None:
    """With a sentence; kubectl's way to write the name is understood."""
    result = run("explain", name, "-n", "shop")
    assert (result.exit_code, result.stdout) == (1, "There is no pod missing in namespace shop.\n")


def test_lint_fails_for_an_error_and_passes_for_a_warning(run: Run, tmp_path: Path) -> None:
    """So that CI stops for what the webhook would refuse, and for nothing else."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("{kind: Pod, metadata: {name: a, annotations: {cni: canal, networks: b}}}")
    bad.write_text("{kind: Pod, metadata: {name: a, annotations: {cni: cannal}}}")
    result = run("lint", "-f", str(good), "--networks", "canal")
    assert (result.exit_code, result.stdout.count("warning:")) == (0, 1)
    result = run("lint", "-f", str(tmp_path), "--networks", "canal")
    assert (result.exit_code, result.stdout.count("error:")) == (1, 1)


def test_lint_can_ask_the_cluster(run: Run, tmp_path: Path) -> None:
    """For its networks, and for what its namespaces allow."""
    file = tmp_path / "pod.yaml"
    file.write_text(
        "{kind: Pod, metadata: {name: a, namespace: shop, annotations: {cni: flannel}}}"
    )
    result = run("lint", "-f", str(file), "--from-cluster")
    assert result.exit_code == 1
    assert 'supported values: "canal", "weave"' in result.stdout
    result = run("lint", "-f", str(file), "--from-cluster", forbidden=("/api/v1/nodes",))
    assert result.exit_code == 0
    assert "you may not list nodes" in result.stderr


def test_lint_prints_a_report_for_programs(run: Run, tmp_path: Path) -> None:
    """And nothing else; its exit code is that of the text."""
    file = tmp_path / "pod.yaml"
    file.write_text("{kind: Pod, metadata: {name: a, annotations: {cni: '@'}}}")
    result = run("lint", "-f", str(file), "-o", "sarif")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["version"] == "2.1.0"


def test_lint_reads_standard_input() -> None:
    """The end of a pipe of helm or kustomize."""
    result = CliRunner().invoke(
        app.app, ["lint", "-f", "-"], input="{kind: Pod, metadata: {annotations: {cni: '@'}}}"
    )
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"a: b: c", "pod.yaml:1:5: not YAML", id="no YAML"),
        pytest.param(b"\xff\xfe\xfa", "pod.yaml: 'utf-8' codec can't decode", id="no text"),
        pytest.param(None, "pod.yaml: No such file or directory\n", id="no file"),
    ],
)
def test_a_manifest_that_cannot_be_read_ends_with_exit_code_2(
    run: Run, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    """Which is not the exit code of a fault that was found."""
    file = tmp_path / "pod.yaml"
    if content is not None:
        file.write_bytes(content)
    result = run("lint", "-f", str(file))
    assert result.exit_code == 2
    assert expected in result.stderr


CLUSTER_ENTRY = {"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}
USER = {"name": "u", "user": {}}


def test_a_namespace_that_is_not_given_is_the_one_of_the_kubeconfig(
    run: Run, tmp_path: Path
) -> None:
    """As with kubectl; `default` where there is none."""
    config = tmp_path / "config"
    context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}
    content = {
        "contexts": [context],
        "current-context": "c",
        "clusters": [CLUSTER_ENTRY],
        "users": [USER],
    }
    config.write_text(json.dumps(content))
    assert "web" in run("pods", "--kubeconfig", str(config)).stdout
    missing = str(tmp_path / "missing")
    objects: dict[str, Any] = {"/api/v1/namespaces/default/pods": []}
    assert "namespace default" in run("pods", "--kubeconfig", missing, objects=objects).stdout


@pytest.mark.parametrize("text", [NETWORKS, PODS, STATUS, EXPLAINED])
def test_the_page_shows_what_the_command_prints(text: str) -> None:
    """docs/kubectl-genie.md has the same tables."""
    page = (Path(__file__).parents[3] / "docs" / "kubectl-genie.md").read_text()
    assert "\n".join(line.rstrip() for line in text.splitlines()) in page


@pytest.mark.parametrize("command", ["status", "networks", "version"])
def test_a_command_reads_each_thing_once(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A cluster of 5,000 nodes takes seconds to list."""
    api = FakeAPI({**CLUSTER, "/api/v1/nodes": [node("n1", canal="true", weave="true")]})
    monkeypatch.setattr(session, "connect", lambda _: Reader(api))
    assert CliRunner().invoke(app.app, [command]).exit_code == 0
    lists = [(path, query.get("labelSelector")) for path, query in api.requests]
    assert len(lists) == len(set(lists))
