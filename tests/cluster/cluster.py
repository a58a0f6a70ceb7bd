"""A cluster as tests and the demo use it: start it, talk to it, look into it, take it down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.cluster import bin as shell_programs
from tests.cluster import cleanup, fabric, machine, outside, state
from tests.cluster.cache import locked
from tests.cluster.commands import ClusterError, run, say, step
from tests.cluster.control_plane import ControlPlane
from tests.cluster.credentials import create as create_credentials
from tests.cluster.node import Node, prepare_mount_namespaces
from tests.cluster.programs import Programs, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEFAULT_NAME = "genie"
BOTH_NETWORKS = ("canal", "weave")
ONE_NODE = {"node1": BOTH_NETWORKS}
_NODE_PATIENCE = 60.0  # seconds for a node to become Ready

Command = subprocess.CompletedProcess[str]


class Cluster:
    """A running cluster. Get one from `up` or `attach`."""

    def __init__(self, asked: state.State, programs: Programs) -> None:
        self.name = asked.name
        self.layout = asked.layout
        self.programs = programs
        self._state = asked
        self.control_plane = ControlPlane(self.layout, programs.control_plane)
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
        cluster lacks is added. `api_server` is "current" or "oldest" (the oldest that Genie
        supports). Raises ClusterError; then, and on Ctrl-C, nothing is left but the logs.
        """
        wanted = {node: list(networks) for node, networks in (nodes or ONE_NODE).items()}
        machine.extend_path()
        machine.check_machine(state.state_folder())
        programs = prepare(api_server)
        asked = state.new(name, wanted, api_server)
        with locked(asked.layout.lock), _clean_up_on_failure(asked):
            return cls._converge(asked, programs)

    @classmethod
    def _converge(cls, asked: state.State, programs: Programs) -> Cluster:
        present = state.load(asked.name)
        if present is not None:
            if cls._is_usable(present, programs):
                return cls(present, programs)._add_missing(asked)
            say(f"cluster {asked.name}: taking down what is left of an earlier one")
        cleanup.take_down((present or asked).layout)
        with step(f"cluster {asked.name}: starting"):
            asked.save()
            cluster = cls(asked, programs)
            cluster._start()
        return cluster

    @classmethod
    def attach(cls, name: str = DEFAULT_NAME) -> Cluster:
        """Return the running cluster of that name. Raises ClusterError if it does not run."""
        machine.extend_path()
        present = state.load(name)
        if present is None:
            raise ClusterError(f"there is no cluster {name}: start it with `up --name {name}`")
        return cls(present, prepare(present.api_server))

    def down(self) -> None:
        """Take the cluster down and wait until nothing of it is left."""
        take_down(self.name)

    @staticmethod
    def _is_usable(present: state.State, programs: Programs) -> bool:
        cluster = Cluster(present, programs)
        services = [cluster.control_plane, *cluster.nodes.values()]
        return present.ready and all(service.is_running() for service in services)

    def _start(self) -> None:
        state_now = self._state
        fabric.create_control_plane(self.layout)
        outside.create(self.layout)
        prepare_mount_namespaces(self.layout)
        names = [f"node{number}" for number in range(1, 10)]
        create_credentials(self.control_plane.credentials, self.layout, {*names, *self.nodes})
        self.control_plane.write_kubeconfigs()
        shell_programs.write(self.layout, self.programs.control_plane["kubectl"])
        with ThreadPoolExecutor() as together:
            starting = together.submit(self.control_plane.start_all)
            for node in self.nodes.values():
                self._create_node(node)
            starting.result()
        self._join_nodes(list(self.nodes.values()))
        state_now.ready = True
        state_now.save()

    def _create_node(self, node: Node) -> None:
        node.create(self._state.nodes[node.name], self.programs.sets)
        node.log_in(self.control_plane.credentials)
        node.start("containerd")
        for archive in self.programs.small_images:
            node.import_image(archive)

    def _join_nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.start("kubelet")
            node.start("kube-proxy")
        for node in nodes:
            self.wait_for(
                lambda node=node: self._is_ready(node), _NODE_PATIENCE, f"{node.name} to be Ready"
            )

    def _is_ready(self, node: Node) -> bool:
        for service in node.services.values():
            service.check()
        query = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", node.name, "-o", query, check=False).stdout == "True"

    def _add_missing(self, asked: state.State) -> Cluster:
        missing = {name: nets for name, nets in asked.nodes.items() if name not in self.nodes}
        if not missing:
            return self
        self._state.nodes |= missing
        self._state.ready = False
        self._state.save()
        added = [Node(self.layout.node(name, self._state.number(name))) for name in missing]
        with step(f"cluster {self.name}: adding {', '.join(missing)}"):
            for node in added:
                self._create_node(node)
                self.nodes[node.name] = node
            self._join_nodes(added)
        self._state.ready = True
        self._state.save()
        return self

    # ---- what tests do with a cluster

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables with which kubectl reaches this cluster."""
        reachable = {"KUBECONFIG": os.fspath(self.layout.kubeconfig)}
        for name in ("NO_PROXY", "no_proxy"):
            reachable[name] = ",".join(filter(None, [os.environ.get(name), self.layout.api_ipv4]))
        return reachable

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - as in commands.run
        check: bool = True,
        timeout: float | None = 120,
    ) -> Command:
        """Run kubectl as the cluster's administrator."""
        program = self.programs.control_plane["kubectl"]
        return run(
            [program, *args], input=input, env=self.environment, check=check, timeout=timeout
        )

    def get(self, *args: str) -> Any:
        """Return what `kubectl get` prints as JSON."""
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def apply(self, manifest: str | Mapping[str, Any], *args: str, check: bool = True) -> Command:
        """Apply YAML text, or one object."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", "-f", "-", *args, input=text, check=check)

    def node(self, name: str) -> Node:
        """Return a node by name."""
        return self.nodes[name]

    def wait_for(self, holds: Callable[[], object], timeout: float, what: str) -> None:
        """Return when `holds()` is true. Raises ClusterError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {timeout:.0f} s in vain for {what}")
            time.sleep(0.2)


def take_down(name: str) -> bool:
    """Take a cluster down, whatever state it is in; return whether there was anything of it."""
    machine.extend_path()
    present = state.load(name)
    asked = present or state.new(name, {}, "current")
    with locked(asked.layout.lock):
        existed = present is not None or bool(fabric.namespaces(asked.layout))
        cleanup.take_down(asked.layout)
    return existed


@contextlib.contextmanager
def _clean_up_on_failure(asked: state.State) -> Iterator[None]:
    """Take the cluster down when its start fails or is interrupted, also by SIGTERM."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except BaseException:
        say(f"cluster {asked.name}: start failed, cleaning up; logs stay in {asked.layout.logs}")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        present = state.load(asked.name) or asked
        cleanup.take_down(present.layout)
        raise
    finally:
        signal.signal(signal.SIGTERM, former)
