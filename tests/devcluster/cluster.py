"""A cluster as tests and the demo use it: start it, talk to it, look into it, take it down."""

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
_NODE_PATIENCE = 60.0  # seconds for a node to become Ready


class Cluster(KubectlClient):
    """A running cluster. Get one from `up` or `attach`."""

    def __init__(self, asked: state.State, programs: Programs) -> None:
        super().__init__(asked.layout, programs.control_plane["kubectl"])
        self.name = asked.name
        self.programs = programs
        self._state = asked
        self.control_plane = ControlPlane(self.layout, programs.control_plane, asked.api_server)
        self.nodes = {
            name: Node(self.layout.node(name, asked.number(name))) for name in asked.nodes
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
        """Start a cluster without Genie, or return the one of that name that runs.

        `nodes` maps each node to its networks (see networks.NETWORKS); a node that a running
        cluster lacks is added, and one that runs with other programs or networks is replaced.
        `api_server` is "current" or "oldest" (the oldest that Genie supports). Raises
        ClusterError; then, and on Ctrl-C, nothing is left but the logs.
        """
        if nodes is None:
            nodes = ONE_NODE
        machine.extend_path()
        machine.check_machine(state.state_folder())
        asked = state.new(name, {n: list(networks) for n, networks in nodes.items()}, api_server)
        programs = prepare(api_server)
        asked.programs = programs.digest
        with locked(asked.layout.lock), _clean_up_on_failure(asked):
            return cls._converge(asked, programs)

    @classmethod
    def attach(cls, name: str = DEFAULT_NAME) -> Cluster:
        """Return the running cluster of that name. Raises ClusterError if it does not run."""
        machine.extend_path()
        present = state.load(name)
        if present is None or not present.ready:
            raise ClusterError(f"there is no cluster {name}: start it with `up --name {name}`")
        return cls(present, prepare(present.api_server))

    def down(self) -> None:
        """Take the cluster down and wait until nothing of it is left."""
        take_down(self.name)

    def is_running(self) -> bool:
        """Say whether every process of the control plane and of the nodes runs."""
        return all(service.pid() is not None for service in self.services())

    def services(self) -> list[Daemon]:
        """Return every process of the control plane and of the nodes."""
        of_nodes = [service for node in self.nodes.values() for service in node.services.values()]
        return [*self.control_plane.services.values(), *of_nodes]

    @classmethod
    def _converge(cls, asked: state.State, programs: Programs) -> Cluster:
        present = state.load(asked.name)
        if present is not None and present.ready:
            cluster = cls(present, programs)
            if cluster._serves(asked) and cluster.is_running():
                cluster._add_missing(asked.nodes)
                return cluster
        if present is not None:
            log_progress(f"cluster {asked.name}: taking down what is left of an earlier one")
        cleanup.take_down((present or asked).layout)
        shutil.rmtree(asked.layout.logs, ignore_errors=True)
        with step(f"cluster {asked.name}: starting"):
            state.reserve(asked)
            cluster = cls(asked, programs)
            cluster._start()
        return cluster

    def _serves(self, asked: state.State) -> bool:
        """Say whether the cluster has these programs, and its nodes the networks asked for."""
        present = self._state
        alike = (present.nodes.get(n, networks) == networks for n, networks in asked.nodes.items())
        return present.programs == asked.programs and all(alike)

    def _start(self) -> None:
        fabric.create_control_plane(self.layout)
        outside.create(self.layout)
        prepare_mount_namespaces(self.layout)
        later = {f"node{number}" for number in range(1, MAX_NODES + 1)}
        create_credentials(self.control_plane.credentials, self.layout, later | {*self.nodes})
        self.control_plane.write_files()
        shell_programs.write(self.layout, self.programs.control_plane["kubectl"])
        with ThreadPoolExecutor() as together:
            starting = together.submit(self.control_plane.start_all)
            try:
                for node in self.nodes.values():
                    self._create_node(node)
                starting.result()
            except BaseException:  # a Ctrl-C does not wait until the API server is ready
                self.control_plane.give_up()
                raise
        self._join_nodes(self.nodes.values())
        self.wait_for(self._takes_pods, _NODE_PATIENCE, "the default service account")
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
            for node in added.values():
                self._create_node(node)
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
            self.wait_for(is_ready, _NODE_PATIENCE, f"{node.name} to be Ready")

    def _is_ready(self, node: Node) -> bool:
        for service in node.services.values():
            service.check()
        query = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", node.name, "-o", query, check=False).stdout == "True"

    def _takes_pods(self) -> bool:
        return self.kubectl("get", "serviceaccount", "default", check=False).returncode == 0

    # ---- what tests look into

    def node(self, name: str) -> Node:
        """Return a node by name."""
        return self.nodes[name]

    def networks(self, node: str) -> list[str]:
        """Return the names of the networks that a node was made with."""
        return self._state.nodes[node]

    def node_of(self, pod: str, namespace: str = "default") -> Node:
        """Return the node that a pod runs on."""
        query = "jsonpath={.spec.nodeName}"
        return self.nodes[self.kubectl("get", "pod", pod, "-n", namespace, "-o", query).stdout]

    def sandbox_of(self, pod: str, namespace: str = "default") -> str:
        """Return the id of a pod's newest sandbox, which is CNI's container id."""
        return self.node_of(pod, namespace).sandbox("find", namespace, pod)

    def pod_netns(self, pod: str, namespace: str = "default") -> str:
        """Return the path of a pod's network namespace, as its node knows it."""
        node = self.node_of(pod, namespace)
        return node.sandbox("netns", node.sandbox("find", namespace, pod))

    def in_pod(
        self, pod: str, argv: Sequence[str], namespace: str = "default", *, check: bool = True
    ) -> Command:
        """Run one of the machine's programs (`ip`, `curl`) in a pod's network namespace."""
        netns = self.pod_netns(pod, namespace)
        node = self.node_of(pod, namespace)
        return node.run(["nsenter", f"--net={netns}", "--", *argv], check=check)


def is_running(name: str) -> bool:
    """Say whether there is a cluster of that name, and all of it runs."""
    present = state.load(name)
    return present is not None and present.ready and Cluster.attach(name).is_running()


@contextlib.contextmanager
def reserved(name: str) -> Iterator[None]:
    """Keep a cluster's name to this process, for a use that none may share.

    It ends with the process, however that ends, and is known to all users of the machine. Raises
    ClusterError when another process has it.
    """
    with socket.socket(socket.AF_UNIX) as mark:
        try:
            mark.bind(f"\0genie-cluster/{name}")  # a name in the kernel: no file is left behind
        except OSError as taken:
            raise ClusterError(
                f"another demo or test run uses the cluster {name} now: wait until it has ended"
            ) from taken
        yield


def take_down(name: str) -> bool:
    """Take a cluster down, whatever state it is in; return whether there was anything of it."""
    machine.extend_path()
    present = state.load(name)
    asked = present or state.new(name, {}, "current")
    with locked(asked.layout.lock):
        existed = present is not None or fabric.namespaces(asked.layout) != []
        cleanup.take_down(asked.layout)
    return existed


@contextlib.contextmanager
def _clean_up_on_failure(asked: state.State) -> Iterator[None]:
    """Take the cluster down when its start fails or is interrupted."""
    with interrupts.as_interrupts():
        try:
            yield
        except BaseException:
            log_progress(f"cluster {asked.name}: cleaning up; the logs stay in {asked.layout.logs}")
            present = state.load(asked.name) or asked
            cleanup.take_down(present.layout)
            raise
