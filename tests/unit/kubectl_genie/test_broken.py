"""Broken situations: each command ends with its exit code and a sentence, without a traceback."""

from __future__ import annotations

import io
import json
import re
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from cli import app, kubectl, session
from cli.on_node import Ran
from dispatcher.kube.errors import KubeError
from tests.unit.kubectl_genie.builders import (
    APPS,
    CLUSTER,
    GENIE,
    FakeAPI,
    agent_pod,
    node,
    workload,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Outcome = tuple[int, str, str]

COMMANDS: dict[str, tuple[str, ...]] = {
    "status": (),
    "networks": (),
    "pods": ("-A",),
    "explain": ("web", "-n", "shop"),
    "lint": ("-f", "MANIFEST", "--from-cluster"),
    "migrate": (),
    "preflight": (),
    "doctor": (),
    "attachments": ("n1",),
    "logs": ("n1",),
    "bundle": ("--file", "BUNDLE"),
    "uninstall": ("--dry-run",),
    "version": (),
}


def command_line(command: str, directory: Path) -> list[str]:
    """Return a command with its words; its files are in *directory*."""
    manifest = directory / "pod.yaml"
    manifest.write_text("{kind: Pod, metadata: {name: a, annotations: {cni: canal}}}")
    files = {"MANIFEST": str(manifest), "BUNDLE": str(directory / "b.tgz")}
    return [command, *(files.get(word, word) for word in COMMANDS[command])]


@pytest.fixture
def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Return a function that runs the whole program; *api* answers instead of an API server."""

    def call(words: list[str], api: FakeAPI | None = None) -> Outcome:
        if api is not None:
            monkeypatch.setattr(session, "open_client", lambda _: api)
            monkeypatch.setattr(kubectl, "core", lambda _: None)
        with pytest.raises(SystemExit) as ended:
            app.main(words)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        code = ended.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return call


class ForbiddenAPI(FakeAPI):
    """An API server that forbids everything, as to an account without any role."""

    def get(self, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Refuse."""
        raise KubeError(403, "Forbidden", f"{path} is forbidden: User cannot do that")

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer reviews of one's own rights, which every account may ask for; refuse others."""
        del body
        assert path.endswith("selfsubjectaccessreviews")
        return {"status": {"allowed": False}}


FORBIDDEN: dict[str, tuple[int, str]] = {
    "status": (0, "list daemonsets in namespace genie-system"),
    "networks": (0, "list nodes"),
    "pods": (0, "list pods"),
    "explain": (1, "get pods in namespace shop"),
    "lint": (0, "list nodes"),
    "migrate": (0, "list cronjobs"),
    "preflight": (0, "list nodes"),
    "doctor": (2, "nodes are asked through pods in namespace genie-system, which you may not list"),
    "attachments": (2, "which you may not list"),
    "logs": (2, "which you may not list"),
    "bundle": (0, "list events"),
    "uninstall": (2, "is forbidden"),
    "version": (0, "list daemonsets in namespace genie-system"),
}


@pytest.mark.parametrize("command", app.COMMANDS)
def test_without_any_right_a_command_names_the_right_that_is_missing(
    run_main: Callable[..., Outcome], tmp_path: Path, command: str
) -> None:
    """And never shows an empty cluster as if it were one."""
    code, _, err = run_main(command_line(command, tmp_path), ForbiddenAPI({}))
    expected_code, sentence = FORBIDDEN[command]
    assert (code, sentence in err) == (expected_code, True), err


def kubeconfig(directory: Path) -> str:
    """Return a kubeconfig of an API server that nothing listens for."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path = directory / "config"
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize("command", app.COMMANDS)
def test_an_api_server_that_cannot_be_reached_is_one_line_with_the_fix(
    run_main: Callable[..., Outcome], tmp_path: Path, command: str
) -> None:
    """Of every command; nothing is on standard output."""
    words = [*command_line(command, tmp_path), "--kubeconfig", kubeconfig(tmp_path)]
    code, out, err = run_main(words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.match(r"kubectl genie: (GET|POST) /\S+: no answer from the API server: ", err)
    assert err.endswith(f"({app.UNREACHABLE_FIX})\n")
    assert not (tmp_path / "b.tgz").exists(), "an archive of failures"


@pytest.mark.parametrize("content", [None, "{", "[]", "{clusters: [], contexts: []}"])
@pytest.mark.parametrize("command", app.COMMANDS)
def test_without_a_usable_kubeconfig_a_command_says_how_to_give_one(
    run_main: Callable[..., Outcome], tmp_path: Path, command: str, content: str | None
) -> None:
    """None, one that is no YAML, and one without a context."""
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    words = [*command_line(command, tmp_path), "--kubeconfig", str(path)]
    code, out, err = run_main(words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("kubectl genie: cannot log in to Kubernetes: ")
    assert err.endswith("(set KUBECONFIG, or give --kubeconfig and --context)\n")


def with_node3(objects: dict[str, Any]) -> dict[str, Any]:
    """Return *objects* with a node n3 that has no Genie."""
    return {**objects, "/api/v1/nodes": [*objects["/api/v1/nodes"], [node("n3")]]}


OLD_AND_NEW = [
    node("n1", plugin="0.0.9-a", canal="true"),
    node("n2", plugin="0.1.0-b", canal="true"),
]

CASES: list[Any] = [
    pytest.param(
        ["status"],
        {f"{APPS}/deployments": [workload("Deployment", "genie-webhook", 2, 0)]},
        1,
        r"failed +webhook +0 of 2 pods ready\n +-> see which pods are not ready: kubectl -n",
        id="status: the webhook is down",
    ),
    pytest.param(
        ["status"],
        {f"{APPS}/daemonsets": [workload("DaemonSet", "genie-agent", 2, 1)]},
        1,
        r"failed +agent +1 of 2 pods ready\n +-> see which pods are not ready: kubectl -n",
        id="status: an agent is down",
    ),
    pytest.param(
        ["doctor", "n2"],
        {f"{GENIE}/pods": [agent_pod("n1")]},
        2,
        r"node n2: no running agent in namespace genie-system \(nodes with one: n1\); kubectl -n "
        r"genie-system get pods -o wide shows why",
        id="doctor: an agent is down",
    ),
    pytest.param(
        ["networks"],
        with_node3(CLUSTER),
        0,
        r"canal +2/3 +the cluster +calico +no configuration on n3\n",
        id="networks: a node without Genie",
    ),
    pytest.param(
        ["version"],
        with_node3(CLUSTER),
        0,
        r"plugin +none +1: n3 +Genie is not installed there",
        id="version: a node without Genie",
    ),
    pytest.param(
        ["status"],
        {"/api/v1/nodes": OLD_AND_NEW},
        0,
        r"warning +version +cni-genie:0.1.0, plugin 0.0.9-a on 1 node, plugin\s+0.1.0-b on 1 node\n"
        r" +-> the agents are 0.1.0: kubectl genie doctor",
        id="status: a plugin of another version",
    ),
]


@pytest.mark.parametrize(("words", "change", "code", "sentence"), CASES)
def test_a_fault_names_object_problem_and_fix(
    run_main: Callable[..., Outcome],
    words: list[str],
    change: dict[str, Any],
    code: int,
    sentence: str,
) -> None:
    """With the exit code of docs/kubectl-genie.md."""
    ended, out, err = run_main(words, FakeAPI({**CLUSTER, **change}))
    assert ended == code
    assert re.search(sentence, out + err), out + err


def answer(monkeypatch: pytest.MonkeyPatch, ran: Ran) -> None:
    """Let every command on a node answer with *ran*."""
    monkeypatch.setattr(kubectl, "execute", lambda *_: ran)


def test_a_node_whose_plugin_is_gone_is_named(
    run_main: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chroot` ends with 127; that is not the exit code of this command."""
    answer(monkeypatch, Ran("", "chroot: failed to run command", 127))
    code, _, err = run_main(["doctor", "n1"], FakeAPI(CLUSTER))
    assert code == 1
    assert "n1: /opt/cni/bin/genie cannot be started: kubectl genie status shows whether" in err
    assert "n1: chroot: failed to run command" in err


def test_a_node_that_prints_no_json_is_named(
    run_main: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its genie may be an older one."""
    answer(monkeypatch, Ran("Usage: genie", "", 2))
    code, out, err = run_main(["doctor", "n1", "-o", "json"], FakeAPI(CLUSTER))
    assert (code, out) == (2, "")
    assert "node n1: its genie printed no JSON" in err


@pytest.mark.parametrize(
    "words",
    [
        ["bundle", "--file", "/dev/null/b.tgz"],
        ["migrate", "--file", "-", "--cni-conf", "/dev/null/net.d"],
        ["migrate", "--file", "-", "--write", "/dev/null/converted"],
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    run_main: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """With exit code 2, and the reason of the system."""
    answer(monkeypatch, Ran("{}", "", 0))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    code, _, err = run_main(words, FakeAPI({**CLUSTER, "/api/v1/events": []}))
    assert code == 2
    assert re.search(rf"kubectl genie: {words[-1]}\S*: Not a directory\n$", err)


def test_a_cluster_without_an_agent_is_one_line(run_main: Callable[..., Outcome]) -> None:
    """Which names the command that says more."""
    code, out, err = run_main(["doctor"], FakeAPI({**CLUSTER, f"{GENIE}/pods": []}))
    assert (code, out) == (2, "")
    assert err == (
        "kubectl genie: no running agent in namespace genie-system; "
        "kubectl genie status says more\n"
    )


class FailingAPI(FakeAPI):
    """An API server that cannot list Genie's pods, as while its storage fails."""

    def get(self, path: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Fail for the pods alone."""
        if path == f"{GENIE}/pods":
            raise KubeError(500, "InternalError", f"GET {path}: etcdserver: no leader")
        return super().get(path, *arguments, **options)


def test_a_bundle_says_what_it_lacks(run_main: Callable[..., Outcome], tmp_path: Path) -> None:
    """In the archive itself, since the supporter sees nothing else."""
    words = command_line("bundle", tmp_path)
    code, out, _ = run_main(words, FailingAPI({**CLUSTER, "/api/v1/events": []}))
    assert (code, out) == (0, f"{words[-1]}\n")
    with tarfile.open(words[-1]) as archive:
        names = {each.name.partition("/")[2]: each for each in archive.getmembers()}
        for name in ("webhook.txt", "nodes.txt", "errors.txt"):
            content = archive.extractfile(names[name])
            assert content is not None
            assert "etcdserver: no leader" in content.read().decode()
    assert "settings.json" in names
