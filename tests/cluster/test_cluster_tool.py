"""The cluster tool: its clusters work, and taking one down leaves nothing behind.

Leftovers are searched for on the machine (mounts, links, namespaces, control groups, processes),
without the tool.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.names import name_of
from tests.devcluster import cleanup, state
from tests.devcluster.cluster import Cluster, take_down
from tests.devcluster.commands import CommandError
from tests.devcluster.layout import OUTSIDE_IPV4, OUTSIDE_IPV6
from tests.devcluster.node.cgroups import hierarchies
from tests.devcluster.processes import start_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
NAME = name_of("tool")
NETNS = Path("/run/netns")
FOLDERS = ("/etc/cni", "/opt/cni", "/var/lib/cni", "/var/lib/kubelet", "/etc/kubernetes")
FOLDERS_OF_THE_MACHINE = [folder for folder in FOLDERS if Path(folder).exists()]
"""Those of a node's folders that the machine had before the tests."""


def tool(*args: str) -> list[str]:
    return [sys.executable, "-m", "tests.devcluster", *args, "--name", NAME]


def run_tool(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(tool(*args), cwd=PROJECT, capture_output=True, text=True, check=False)


def leftovers(name: str) -> list[str]:
    """Return everything that the machine has with names of a cluster."""
    folder = str(state.state_folder() / name)
    remains = [f"namespace {path.name}" for path in NETNS.glob(f"{name}.*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    remains += [f"mount {line}" for line in mounts if f"{folder}/" in line or f"/{name}." in line]
    for alias in Path("/sys/class/net").glob("*/ifalias"):
        with contextlib.suppress(OSError):  # a link of another cluster, which is gone now
            if alias.read_text().split()[-1:] == [name]:
                remains.append(f"link {alias.parent.name}")
    groups = (hierarchy / "genie-cluster" / name for hierarchy in hierarchies())
    remains += [f"control group {group}" for group in groups if group.exists()]
    remains += [f"folder {folder}"] if Path(folder).exists() else []
    return remains


def still_running(processes: dict[int, int]) -> list[int]:
    return [pid for pid, started in processes.items() if start_time(pid) == started]


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "nginx:latest", "imagePullPolicy": "IfNotPresent"}
    metadata = {"name": name, "labels": {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }


def wait_ready(cluster: Cluster, *pods: str) -> None:
    names = [f"pod/{name}" for name in pods]
    cluster.kubectl("wait", "--for=condition=Ready", "--timeout=120s", *names)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Begin and end a test without a cluster of this name."""
    take_down(NAME)
    yield
    take_down(NAME)
    assert leftovers(NAME) == []


@pytest.mark.usefixtures("nothing_left")
def test_pods_on_two_nodes_reach_each_other_services_and_the_outside() -> None:
    """Across nodes, by pod address and by Service; logs and exec work through the kubelets."""
    cluster = Cluster.up(NAME, {"node1": ["weave"], "node2": ["weave"]})
    for number in (1, 2):
        cluster.apply(pod(f"web{number}", nodeName=f"node{number}"))
    wait_ready(cluster, "web1", "web2")
    cluster.kubectl("expose", "pod", "web2", "--port=80")
    service = cluster.get("service", "web2")["spec"]["clusterIP"]
    ipv4, ipv6 = (entry["ip"] for entry in cluster.get("pod", "web2")["status"]["podIPs"])

    def page(address: str) -> str:
        return cluster.in_pod("web1", ["curl", "-sSm5", f"http://{address}/"], check=False).stdout

    cluster.wait_for(functools.partial(page, ipv4), 120, "the pod to serve")  # it has no probe
    assert "pod: web2" in page(ipv4)
    assert "pod: web2" in page(f"[{ipv6}]")
    cluster.wait_for(functools.partial(page, service), 120, "the service to be routed")
    assert "pod: web2" in page(service)
    assert f"address: {OUTSIDE_IPV4}:80" in page(OUTSIDE_IPV4)
    assert f"address: [{OUTSIDE_IPV6}]:80" in page(f"[{OUTSIDE_IPV6}]")
    got = cluster.kubectl("exec", "web1", "--", "/nginx", "-get", f"http://{ipv4}/").stdout
    assert "pod: web2" in got
    assert "web1 serves on :80" in cluster.kubectl("logs", "web1").stdout


@pytest.mark.usefixtures("nothing_left")
def test_a_cluster_can_be_stopped_in_part_reused_and_taken_down_beside_another() -> None:
    """All in the life of one cluster, since its start takes longest."""
    cluster = Cluster.up(NAME)
    cluster.apply(pod("web"))
    wait_ready(cluster, "web")
    assert_pods_survive_without_components(cluster)
    assert_up_reuses_and_adds(cluster)

    other = f"{NAME}-b"
    try:
        two = Cluster.up(other)
        cluster.kubectl("create", "namespace", "only-in-one")
        assert two.kubectl("get", "namespace", "only-in-one", check=False).returncode == 1

        assert_down_leaves_nothing(cluster)

        assert two.is_running()
        assert two.kubectl("get", "nodes").returncode == 0
    finally:
        take_down(other)
    assert leftovers(other) == []


def assert_pods_survive_without_components(cluster: Cluster) -> None:
    """Stop the API server and the kubelet, reach the pod, and start both again."""
    address = cluster.get("pod", "web")["status"]["podIP"]
    node = cluster.node("node1")
    cluster.control_plane.stop("kube-apiserver")
    node.stop("kubelet")
    with pytest.raises(CommandError):
        cluster.get("nodes")
    assert "pod: web" in node.run(["curl", "-sm5", f"http://{address}/"]).stdout

    cluster.control_plane.start("kube-apiserver")
    node.start("kubelet")
    wait_ready(cluster, "web")
    assert cluster.is_running()


def assert_up_reuses_and_adds(cluster: Cluster) -> None:
    """Ask for a second node: no process is replaced, and the node has its own networks only."""
    pids = {daemon.name: daemon.pid() for daemon in cluster.services()}
    grown = Cluster.up(NAME, {"node1": ["canal", "weave"], "node2": ["weave"]})
    assert {d.name: d.pid() for d in grown.services() if d.name in pids} == pids
    assert len(grown.get("nodes")["items"]) == 2
    confs = grown.node("node2").path("/etc/cni/net.d").iterdir()
    assert [file.name for file in confs] == ["20-weave.conflist"]

    lines = run_tool_env()
    assert lines[0] == NAME  # GENIE_CLUSTER: the tests that are run now use this cluster
    assert json.loads("\n".join(lines[1:]))["current-context"] == NAME


def assert_down_leaves_nothing(cluster: Cluster) -> None:
    """Take the cluster down while a pod runs; none of the node's folders was the machine's."""
    assert cluster.node("node1").run(["ls", *FOLDERS]).returncode == 0
    assert [folder for folder in FOLDERS if Path(folder).exists()] == FOLDERS_OF_THE_MACHINE
    processes = cleanup.processes(cluster.layout)
    assert len(processes) > len(cluster.services()) + 1  # shim, pause and the pod's own
    assert len(leftovers(NAME)) > 4

    cluster.down()
    assert still_running(processes) == []
    assert leftovers(NAME) == []


def run_tool_env() -> list[str]:
    """Evaluate the output of `env` in a shell; return $GENIE_CLUSTER and the kubeconfig."""
    prints = f"{sys.executable} -m tests.devcluster env --name {NAME}"
    script = f'eval "$({prints})"; echo "$GENIE_CLUSTER"; cat "$KUBECONFIG"'
    result = subprocess.run(["sh", "-c", script], cwd=PROJECT, capture_output=True, check=True)
    return result.stdout.decode().splitlines()


MOMENTS: list[Any] = [
    pytest.param((NETNS / f"{NAME}.cp").exists, id="its first namespace is there"),
    pytest.param(
        lambda: any(state.state_folder().glob(f"{NAME}/nodes/*/containerd.pid.json")),
        id="containerd was started",
    ),
    pytest.param(
        lambda: any(state.state_folder().glob(f"{NAME}/nodes/*/kubelet.pid.json")),
        id="the kubelet was started",
    ),
]


def interrupted(reached: Callable[[], bool], number: int) -> subprocess.CompletedProcess[str]:
    """Start `up`, send it a signal when *reached* is true, and return its result."""
    # As from a terminal, also where the tests themselves were started to ignore Ctrl-C.
    command = ["env", "--default-signal=INT", *tool("up", "--bare")]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as started:
        deadline = time.monotonic() + 300
        while not reached():
            assert started.poll() is None, started.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started.send_signal(number)
        _, output = started.communicate(timeout=120)
    return subprocess.CompletedProcess(started.args, started.returncode, "", output)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("reached", MOMENTS)
def test_down_removes_what_a_killed_up_has_left(reached: Callable[[], bool]) -> None:
    """After `kill -9` at any moment, a later `down` finds the leftovers by their names."""
    killed = interrupted(reached, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert leftovers(NAME) != []
    present = state.load(NAME)
    assert present is not None
    processes = cleanup.processes(present.layout)
    result = run_tool("down")
    assert result.returncode == 0, result.stderr
    assert still_running(processes) == []
    assert leftovers(NAME) == []


@pytest.mark.usefixtures("nothing_left")
def test_up_after_a_killed_up_starts_a_whole_cluster() -> None:
    """It needs no `down` before."""
    interrupted(MOMENTS[1].values[0], signal.SIGKILL)
    result = run_tool("up", "--bare")
    assert result.returncode == 0, result.stderr
    assert "taking down an earlier one of that name" in result.stderr
    cluster = Cluster.attach(NAME)
    assert [node["metadata"]["name"] for node in cluster.get("nodes")["items"]] == ["node1"]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_up_cleans_up_by_itself(number: int) -> None:
    """It reports that; its exit code is 130, as usual after an interrupt."""
    result = interrupted(MOMENTS[1].values[0], number)
    assert result.returncode == 130, result.stderr
    assert "cleaning up" in result.stderr
    assert leftovers(NAME) == []


@pytest.mark.usefixtures("nothing_left")
def test_down_ends_a_cluster_whose_state_file_is_missing() -> None:
    """It finds the cluster by its names alone."""
    cluster = Cluster.up(NAME)
    processes = cleanup.processes(cluster.layout)
    (cluster.layout.state / state.FILE).unlink()
    result = run_tool("down")
    assert result.returncode == 0, result.stderr
    assert still_running(processes) == []


@pytest.mark.usefixtures("nothing_left")
def test_the_oldest_api_server_runs_pods_too() -> None:
    """The API server is 1.34, the nodes have the newest version."""
    cluster = Cluster.up(NAME, api_server="oldest")
    version = json.loads(cluster.kubectl("version", "-o", "json").stdout)
    assert version["serverVersion"]["gitVersion"].startswith("v1.34.")
    cluster.apply(pod("web"))
    wait_ready(cluster, "web")


@pytest.fixture
def copy() -> Iterator[Path]:
    """Yield a copy of the tool for every user, with a folder of all programs except Go."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in PROJECT.glob("tests/devcluster/**/*"):
            if part.is_file() and "__pycache__" not in part.parts:
                target = folder / part.relative_to(PROJECT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(part, target)
        (folder / "without-go").mkdir()
        for known in ("/usr/bin", "/usr/sbin"):
            for program in Path(known).iterdir():
                link = folder / "without-go" / program.name
                if program.name != "go" and not link.is_symlink():
                    link.symlink_to(program)
        yield folder


LACKS: list[Any] = [
    pytest.param(["setpriv", "--reuid=65534", "--clear-groups"], "needs root", id="root"),
    pytest.param(["env", "PATH=without-go"], "needs Go 1.26.6 or newer on the PATH", id="Go"),
    pytest.param(["env", "GENIE_STATE=/proc/no/such"], "lacks overlayfs", id="a file system"),
]


@pytest.mark.parametrize(("command", "words"), LACKS)
def test_missing_requirements_are_reported_before_anything_is_changed(
    tmp_path: Path, copy: Path, command: list[str], words: str
) -> None:
    """One line, exit code 1, nothing created: not even the cache."""
    env = {**os.environ, "GENIE_CACHE": str(tmp_path / "cache"), "GENIE_STATE": str(tmp_path / "s")}
    up = ["/usr/bin/python3", "-m", "tests.devcluster", "up", "--bare", "--name", NAME]
    result = subprocess.run(
        [*command, *up], cwd=copy, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("error: this machine cannot run a cluster: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
