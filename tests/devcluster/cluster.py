"""Start a cluster, talk to it, look into it, take it down: the interface for tests and demo."""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.devcluster import bin as shell_programs
from tests.devcluster import cleanup, interrupts, machine, state
from tests.devcluster.build.cache import locked
from tests.devcluster.build.programs import Programs, prepare
from tests.devcluster.client import Command, KubectlClient
from tests.devcluster.commands import ClusterError, log_progress, step
from tests.devcluster.control_plane import ControlPlane
from tests.devcluster.credentials import create as create_credentials
from tests.devcluster.layout import MAX_NODES
from tests.devcluster.network import fabric, outside
from tests.devcluster.node.node import Node, prepare_mount_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.devcluster.processes import Daemon

DEFAULT_NAME = "genie"
BOTH_NETWORKS = ("canal", "weave")
ONE_NODE = {"node1": BOTH_NETWORKS}
_NODE_TIMEOUT = 120.0  # seconds for a node to become Ready


class Cluster(KubectlClient):
    """A running cluster; `up` and `attach` return one."""

    def __init__(self, desired: state.State, programs: Programs) -> None:
        super().__init__(desired.layout, programs.control_plane["kubectl"])
        self.name = desired.name
        self.programs = programs
        self._state = desired
        self.control_plane = ControlPlane(self.layout, programs.control_plane, desired.api_server)
        self.nodes = {
            name: Node(self.layout.node(name, desired.number(name))) for name in desired.nodes
        }

    # ---- life cycle

    @classmethod
    def up(
        cls,
        name: str = DEFAULT_NAME,
        nodes: Mapping[str, Sequence[str]] | None = None,
        *,
        api_server: str = "current",
    ) -> Cluster:
        """Start a cluster without Genie, or return the running one of that name.

        `nodes` maps each node to its networks (see networks.NETWORKS). Nodes that a running
        cluster lacks are added; a cluster with other programs or other networks is replaced.
        `api_server` is "current" or "oldest" (the oldest version that Genie supports).

        Raises ClusterError. After an error or Ctrl-C only the logs remain.
        """
        if nodes is None:
            nodes = ONE_NODE
        machine.extend_path()
        machine.check_machine(state.state_folder())
        machine.raise_inotify_limit()
        desired = state.new(name, {n: list(networks) for n, networks in nodes.items()}, api_server)
        programs = prepare(api_server)
        desired.programs = programs.digest
        with locked(desired.layout.lock), _clean_up_on_failure(desired):
            return cls._converge(desired, programs)

    @classmethod
    def attach(cls, name: str = DEFAULT_NAME) -> Cluster:
        """Return the running cluster of that name. Raises ClusterError if there is none."""
        machine.extend_path()
        existing = state.load(name)
        if existing is None or not existing.ready:
            raise ClusterError(
                f"cluster {name} does not run: start it with "
                f"`python -m tests.devcluster up --name {name}`"
            )
        return cls(existing, prepare(existing.api_server))

    def down(self) -> None:
        """Take the cluster down; return when everything except the logs is gone."""
        take_down(self.name)

    def is_running(self) -> bool:
        """Return whether every daemon of the control plane and of the nodes runs."""
        return all(service.pid() is not None for service in self.services())

    def services(self) -> list[Daemon]:
        """Return every daemon of the control plane and of the nodes."""
        of_nodes = [service for node in self.nodes.values() for service in node.services.values()]
        return [*self.control_plane.services.values(), *of_nodes]

    @classmethod
    def _converge(cls, desired: state.State, programs: Programs) -> Cluster:
        existing = state.load(desired.name)
        if existing is not None and existing.ready:
            cluster = cls(existing, programs)
            if cluster._serves(desired) and cluster.is_running():
                cluster._add_missing(desired.nodes)
                return cluster
        if existing is not None:
            log_progress(f"cluster {desired.name}: taking down an earlier one of that name")
        cleanup.take_down((existing or desired).layout)
        shutil.rmtree(desired.layout.logs, ignore_errors=True)
        with step(f"cluster {desired.name}: starting"):
            state.reserve(desired)
            cluster = cls(desired, programs)
            cluster._start()
        return cluster

    def _serves(self, desired: state.State) -> bool:
        """Return whether programs and networks are the desired ones; nodes may be missing."""
        existing = self._state
        same_networks = all(
            existing.nodes.get(node, networks) == networks
            for node, networks in desired.nodes.items()
        )
        return existing.programs == desired.programs and same_networks

    def _start(self) -> None:
        fabric.create_control_plane(self.layout)
        outside.create(self.layout)
        prepare_mount_namespaces(self.layout)

        # Tokens are read once, so nodes that may be added later need theirs now.
        possible_nodes = {f"node{number}" for number in range(1, MAX_NODES + 1)} | {*self.nodes}
        create_credentials(self.control_plane.credentials, self.layout, possible_nodes)
        self.control_plane.write_files()
        shell_programs.write(self.layout, self.programs.control_plane["kubectl"])

        with ThreadPoolExecutor() as executor:
            control_plane = executor.submit(self.control_plane.start_all)
            try:
                for created in [executor.submit(self._create_node, n) for n in self.nodes.values()]:
                    created.result()
                control_plane.result()
            except BaseException:  # a Ctrl-C does not wait until the API server is ready
                self.control_plane.cancel_start()
                raise

        self._join_nodes(self.nodes.values())
        self.wait_for(self._accepts_pods, _NODE_TIMEOUT, "the default service account")
        self._state.ready = True
        self._state.save()

    def _add_missing(self, nodes: Mapping[str, list[str]]) -> None:
        missing = {name: networks for name, networks in nodes.items() if name not in self.nodes}
        if not missing:
            return
        self._state.nodes |= missing
        self._state.ready = False
        self._state.save()

        added = {n: Node(self.layout.node(n, self._state.number(n))) for n in missing}
        with step(f"cluster {self.name}: adding {', '.join(missing)}"):
            with ThreadPoolExecutor() as executor:
                list(executor.map(self._create_node, added.values()))
            self._join_nodes(added.values())
        self.nodes |= added
        self._state.ready = True
        self._state.save()

    def _create_node(self, node: Node) -> None:
        node.create(self._state.nodes[node.name], self.programs.sets)
        node.log_in(self.control_plane.credentials)
        node.start("containerd")
        for archive in self.programs.small_images:
            node.import_image(archive)

    def _join_nodes(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            node.start("kubelet")
            node.start("kube-proxy")
        for node in nodes:
            is_ready = functools.partial(self._is_ready, node)
            self.wait_for(is_ready, _NODE_TIMEOUT, f"{node.name} to be Ready")

    def _is_ready(self, node: Node) -> bool:
        for service in node.services.values():
            service.check()
        if not self.exists("node", node.name):
            return False
        conditions = self.get("node", node.name)["status"].get("conditions", [])
        return {"Ready": "True"} in [{each["type"]: each["status"]} for each in conditions]

    def _accepts_pods(self) -> bool:
        return self.exists("serviceaccount", "default")

    # ---- nodes and pods

    def node(self, name: str) -> Node:
        """Return a node by name."""
        return self.nodes[name]

    def networks(self, node: str) -> list[str]:
        """Return the names of the networks that a node was created with."""
        return self._state.nodes[node]

    def node_of(self, pod: str, namespace: str = "default") -> Node:
        """Return the node that a pod runs on."""
        return self.nodes[self.get("pod", pod, "-n", namespace)["spec"]["nodeName"]]

    def sandbox_of(self, pod: str, namespace: str = "default") -> str:
        """Return the id of a pod's newest sandbox, which is CNI's container id."""
        return self.node_of(pod, namespace).sandbox("find", namespace, pod)

    def pod_netns(self, pod: str, namespace: str = "default") -> str:
        """Return the path of a pod's network namespace, as its node knows it."""
        return _netns(self.node_of(pod, namespace), pod, namespace)

    def in_pod(
        self, pod: str, argv: Sequence[str], namespace: str = "default", *, check: bool = True
    ) -> Command:
        """Run one of the machine's programs (`ip`, `curl`) in a pod's network namespace."""
        node = self.node_of(pod, namespace)
        netns = _netns(node, pod, namespace)
        return node.run(["nsenter", f"--net={netns}", "--", *argv], check=check)


def _netns(node: Node, pod: str, namespace: str) -> str:
    return node.sandbox("netns", node.sandbox("find", namespace, pod))


def is_running(name: str) -> bool:
    """Return whether there is a cluster of that name with all its daemons running."""
    existing = state.load(name)
    return existing is not None and existing.ready and Cluster.attach(name).is_running()


@contextlib.contextmanager
def reserved(name: str) -> Iterator[None]:
    """Reserve a cluster's name for this process, against all users of the machine.

    The reservation ends with the process, however that ends. Raises ClusterError when another
    process holds the name.
    """
    with socket.socket(socket.AF_UNIX) as reservation:
        try:
            # An abstract address: the kernel frees it, and no file is left behind.
            reservation.bind(f"\0genie-cluster/{name}")
        except OSError as error:
            raise ClusterError(
                f"cluster {name} is in use by another demo or test run: wait until it has ended"
            ) from error
        yield


def take_down(name: str) -> bool:
    """Take a cluster down in any state; return whether there was one, or a part of one."""
    machine.extend_path()
    existing = state.load(name)
    desired = existing or state.new(name, {}, "current")
    with locked(desired.layout.lock):
        existed = existing is not None or fabric.namespaces(desired.layout) != []
        cleanup.take_down(desired.layout)
    return existed


@contextlib.contextmanager
def _clean_up_on_failure(desired: state.State) -> Iterator[None]:
    """Take the cluster down when its start fails or is interrupted."""
    with interrupts.as_interrupts():
        try:
            yield
        except BaseException:
            log_progress(
                f"cluster {desired.name}: cleaning up; its logs stay in {desired.layout.logs}"
            )
            existing = state.load(desired.name) or desired
            cleanup.take_down(existing.layout)
            raise
