import os
from pathlib import Path

import pytest

from tests.devcluster import cluster, state
from tests.devcluster.build.programs import Programs
from tests.devcluster.client import KubectlClient
from tests.devcluster.commands import ClusterError
from tests.devcluster.control_plane import ControlPlane
from tests.devcluster.processes import Daemon

SERVICES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@pytest.fixture
def new_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> state.State:
    monkeypatch.setenv("GENIE_STATE", str(tmp_path))
    return state.new("genie", {"node1": ["canal"]}, "current")


def test_kubectl_keeps_its_cache_with_the_cluster(new_state: state.State) -> None:
    """Not in ~/.kube, which is the user's; it goes when the cluster does."""
    kubectl = KubectlClient(new_state.layout, Path("kubectl"))
    folder = kubectl.environment["KUBECACHEDIR"]
    assert Path(folder).is_relative_to(new_state.layout.state)


def test_a_cluster_is_used_by_one_run_at_a_time() -> None:
    """A second process gets an error; other names, and later runs, are free."""
    name = f"genie-unit-test-{os.getpid()}"
    with cluster.reserved(name):
        with pytest.raises(ClusterError, match=f"cluster {name} is in use by another"):
            cluster.reserved(name).__enter__()
        with cluster.reserved(f"{name}-b"):
            pass
    with cluster.reserved(name):
        pass


def test_a_cluster_with_files_but_without_daemons_does_not_run(new_state: state.State) -> None:
    """Its files do not count: a killed run may have left them."""
    assert not cluster.is_running("genie")
    new_state.save()
    assert not cluster.is_running("genie")


def test_an_interrupted_start_does_not_wait_for_the_api_server(
    new_state: state.State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take half a minute. The API server is a fake that is never ready."""
    plane = ControlPlane(new_state.layout, dict.fromkeys(SERVICES, Path()), "current")
    monkeypatch.setattr(Daemon, "check", lambda _service: None)
    monkeypatch.setattr(plane, "_is_ready", lambda: False)
    plane.cancel_start()
    with pytest.raises(ClusterError, match="is not ready"):
        plane.wait_until_ready(patience=3600)


@pytest.mark.parametrize(
    ("nodes", "serves"),
    [
        pytest.param({"node1": ["canal"]}, True, id="the same"),
        pytest.param({"node2": ["weave"]}, True, id="a node that it lacks"),
        pytest.param({"node1": ["canal", "weave"]}, False, id="other networks"),
    ],
)
def test_a_running_cluster_is_reused_for_the_networks_it_has(
    new_state: state.State, nodes: dict[str, list[str]], *, serves: bool
) -> None:
    """A node's networks cannot change while it runs, so the cluster is replaced."""
    programs = Programs({}, {"kubectl": Path("kubectl")} | dict.fromkeys(SERVICES, Path()), [])
    new_state.programs = "x"
    present = cluster.Cluster(new_state, programs)
    other = state.new("genie", nodes, "current")
    other.programs = "x"
    assert present._serves(other) is serves
    other.programs = "y"
    assert not present._serves(other)
