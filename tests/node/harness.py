"""A node for one test: its own namespaces, real CNI plugins, and the built plugin.

How it works: :class:`Node` adds to the host's namespaces (:mod:`tests.node.namespaces`) the
folders that the plugin works with. A call (:mod:`tests.node.calls`) is one process inside both
namespaces, its pid the plugin's own. :meth:`Node.left` is what a test compares before and after.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from tests.node.calls import Answer, Running
from tests.node.namespaces import Container, Host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Left:
    """The content of a node, which tests compare before and after."""

    addresses: dict[str, list[str]]
    links: list[str]
    state: list[str]
    processes: list[str]


@dataclass(slots=True)
class Node(Host):
    """A node with Genie: ``genie`` is the built launcher, ``plugins`` has the real ones."""

    genie: Path
    plugins: Path
    default: str = "weave"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "conf", "ipam"):
            (self.folder / name).mkdir()

    @property
    def state(self) -> Path:
        """The plugin's stateDir, as the plugin sees it whatever is mounted there."""
        return Path(f"/proc/{self.pid}/root{self.folder}/state")

    @property
    def bin(self) -> Path:
        """The first directory of CNI_PATH: what stands here replaces a real plugin."""
        return self.folder / "bin"

    @property
    def cache(self) -> Path:
        """The cache of libcni, /var/lib/cni/results for the plugin."""
        return self.folder / "var-lib" / "cni" / "results"

    # -- networks and delegates --------------------------------------------------------------

    def network(self, name: str, *plugins: dict[str, Any], version: str = "1.0.0") -> Path:
        """Install a network whose chain is *plugins*."""
        conf = {"cniVersion": version, "name": name, "plugins": list(plugins)}
        file = self.folder / "conf" / f"10-{name}.conflist"
        file.write_text(json.dumps(conf))
        return file

    def bridge(self, name: str, subnet: str, *, kind: str = "bridge", **ipam: Any) -> Path:
        """Install a network of the real bridge and host-local plugins."""
        return self.network(name, self.bridge_conf(name, subnet, kind=kind, **ipam))

    def bridge_conf(
        self, name: str, *subnets: str, kind: str = "bridge", **ipam: Any
    ) -> dict[str, Any]:
        """Return a bridge plugin's configuration, with host-local for addresses."""
        return {
            "type": kind,
            "bridge": f"{name}0",
            "isGateway": True,
            "ipam": self.ipam(*subnets, **ipam),
        }

    def ipam(self, *subnets: str, **more: Any) -> dict[str, Any]:
        """Return host-local's configuration, with the store in the test's folder."""
        ranges = [[{"subnet": subnet}] for subnet in subnets]
        store = str(self.folder / "ipam")
        return {"type": "host-local", "dataDir": store, "ranges": ranges, **more}

    def delegate(self, kind: str, script: str) -> Path:
        """Install a shell script as a plugin, to inject a fault; $REAL has the real plugins."""
        file = self.bin / kind
        fresh = self.folder / f"{kind}.new"
        fresh.write_text(f"#!/bin/sh\nREAL={self.plugins}\nHERE={self.folder}\n{script}\n")
        fresh.chmod(0o755)
        fresh.replace(file)
        return file

    # -- calls -------------------------------------------------------------------------------

    def conf(self, annotation: str | None = None, **more: Any) -> dict[str, Any]:
        """Return Genie's own configuration as a runtime hands it over."""
        annotations = {} if annotation is None else {keys.ANNOTATION: annotation}
        return {
            "cniVersion": "1.1.0",
            "name": "genie",
            "type": "genie",
            "default": self.default,
            "confDirs": [str(self.folder / "conf")],
            "stateDir": f"{self.folder}/state",
            "runtimeConfig": {keys.POD_ANNOTATIONS: annotations},
            **self.options,
            **more,
        }

    def environ(self, command: str, container: Container | None, **more: str) -> dict[str, str]:
        """Return the environment of a call."""
        environ = {"CNI_COMMAND": command, "CNI_PATH": f"{self.bin}:{self.plugins}"}
        if container is not None:
            environ |= {
                "CNI_CONTAINERID": container.id,
                "CNI_NETNS": str(container.netns),
                "CNI_IFNAME": "eth0",
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME={container.id}",
            }
        return {"PATH": os.environ["PATH"], **environ, **more}

    def start(
        self,
        environ: Mapping[str, str],
        stdin: bytes,
        *,
        program: Sequence[str | Path] | None = None,
    ) -> Running:
        """Start a call with this environment and standard input."""
        stdin_file = self.folder / f"stdin-{time.monotonic_ns()}-{os.urandom(4).hex()}"
        stdin_file.write_bytes(stdin)
        with stdin_file.open("rb") as file:
            stdin_file.unlink()
            started = time.monotonic()
            process = subprocess.Popen(
                [*self.inside(), *(program or [self.genie])],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environ,
            )
        return Running(process, started)

    def begin(
        self,
        command: str,
        container: Container | None = None,
        annotation: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        program: Sequence[str | Path] | None = None,
        **conf: Any,
    ) -> Running:
        """Start a call; *conf* are more keys of Genie's own configuration."""
        environ = self.environ(command, container, **(env or {}))
        stdin = json.dumps(self.conf(annotation, **conf)).encode()
        return self.start(environ, stdin, program=program)

    def call(
        self,
        command: str,
        container: Container | None = None,
        annotation: str | None = None,
        **more: Any,
    ) -> Answer:
        """Call and wait for the answer (see :meth:`begin`)."""
        return self.begin(command, container, annotation, **more).answer()

    def add(self, container: Container, annotation: str | None = None, **more: Any) -> Answer:
        """ADD."""
        return self.call("ADD", container, annotation, **more)

    def delete(self, container: Container, annotation: str | None = None, **more: Any) -> Answer:
        """DEL."""
        return self.call("DEL", container, annotation, **more)

    def check(self, container: Container, **more: Any) -> Answer:
        """CHECK."""
        return self.call("CHECK", container, **more)

    def gc(self, *valid: tuple[str, str], **more: Any) -> Answer:
        """GC, with the attachments of our network that are valid: (container, interface)."""
        listed = [{"containerID": container, "ifname": name} for container, name in valid]
        conf: dict[str, Any] = {"cni.dev/valid-attachments": listed}
        return self.call("GC", **conf, **more)

    def status(self, **more: Any) -> Answer:
        """STATUS."""
        return self.call("STATUS", **more)

    # -- state of the node -----------------------------------------------------------------------

    def addresses(self, network: str) -> list[str]:
        """Return the addresses of *network* that host-local has allocated."""
        store = self.folder / "ipam" / network
        names = (file.name for file in store.iterdir()) if store.is_dir() else ()
        return sorted(name for name in names if name[0].isdigit() or ":" in name)

    def records(self) -> dict[str, Any]:
        """Return the records by container, as they stand on disk."""
        return {file.stem: json.loads(file.read_bytes()) for file in self.state.glob("*.json")}

    def phases(self, container: Container) -> dict[str, str]:
        """Return the phase of each interface in the container's record."""
        file = self.state / f"{container.id}.json"
        attachments = json.loads(file.read_bytes())["attachments"] if file.exists() else []
        return {each["interface"]: each["phase"] for each in attachments}

    def left(self, *containers: Container) -> Left:
        """Return the content of the node and the links inside *containers*."""
        store = self.folder / "ipam"
        own = {".gc.lock", ".released", "journal"}
        files = self.state.iterdir() if self.state.is_dir() else ()
        return Left(
            {network.name: self.addresses(network.name) for network in store.iterdir()},
            [*self.links(), *(f"{c.id}/{name}" for c in containers for name in self.links(c))],
            sorted(file.name for file in files if file.name not in own),
            self.processes(),
        )
