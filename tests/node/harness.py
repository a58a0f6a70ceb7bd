"""A node for one test: namespaces of its own, real CNI plugins, and the built plugin as a process.

How it works: a :class:`Node` keeps one process in a new network and mount namespace. Bridges and
routes of "the host" are in that network namespace; /var/lib and /run are the test's own folders
in that mount namespace, and so are the pods' network namespaces, each bound to a file. When the
keeper ends, the kernel removes all of it: nothing of the machine is ever touched. A call of the
plugin is one process inside both namespaces, its pid the plugin's own, so a test can kill it.

Rules of this file: no waiting for a fixed time, only for a condition with an end; the invariant
of the protocol (standard output is empty or one JSON object) is held against every call.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LONG = 60.0
"""How long a call, or a condition, may take before the test gives up, seconds."""

_KEEPER = """
set -e
mount --bind "$1" /var/lib
mount --bind "$2" /run
ip link set lo up
echo ready
exec cat
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of the plugin gave: exit code, both streams, and how long it took."""

    code: int
    out: bytes
    err: str
    seconds: float

    @property
    def said(self) -> Any:
        """The object on standard output, None if there is none."""
        return json.loads(self.out) if self.out else None

    @property
    def killed(self) -> bool:
        """Whether the plugin was ended by SIGKILL."""
        return self.code == -signal.SIGKILL

    def succeeded(self) -> Any:
        """Return the result; fail the test with the error where there was one."""
        assert self.code == 0, f"{self.out!r} {self.err}"
        return self.said

    def failed(self, code: int | None = None) -> dict[str, Any]:
        """Return the error; fail the test where there was none, or not one with *code*."""
        assert self.code == 1, f"exit code {self.code}: {self.out!r} {self.err}"
        assert code in {None, self.said["code"]}, self.said
        error: dict[str, Any] = self.said
        return error


@dataclass(slots=True)
class Running:
    """A call that has begun: ``process`` is the plugin itself."""

    process: subprocess.Popen[bytes]
    started: float

    def kill(self) -> None:
        """Send SIGKILL to the plugin, and to nothing else."""
        self.process.kill()

    def answer(self) -> Answer:
        """Wait for the end, and return what was said."""
        said, err = self.process.communicate(timeout=LONG)
        out = said or b""  # None where the test has closed it
        seconds = time.monotonic() - self.started
        if self.process.returncode >= 0:
            assert_protocol(out)
        return Answer(self.process.returncode, out, err.decode(errors="replace"), seconds)


def assert_protocol(out: bytes) -> None:
    """Hold standard output against "empty, or exactly one JSON object"."""
    assert out == b"" or isinstance(json.loads(out), dict), out


@dataclass(frozen=True, slots=True)
class Container:
    """A container: its id, and the path of its network namespace."""

    id: str
    netns: Path


@dataclass(frozen=True, slots=True)
class Left:
    """What is on a node: what a test compares before and after."""

    addresses: dict[str, list[str]]
    links: list[str]
    state: list[str]
    processes: list[str]


@dataclass(slots=True)
class Node:
    """A node with Genie; ``folder`` is the test's own, ``genie`` the built launcher."""

    folder: Path
    genie: Path
    plugins: Path
    default: str = "weave"
    options: dict[str, Any] = field(default_factory=dict)
    _keeper: subprocess.Popen[bytes] | None = None

    # -- the node itself ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        for name in ("bin", "conf", "ipam", "netns", "var-lib", "run"):
            (self.folder / name).mkdir()
        keeper = ["unshare", "--net", "--mount", "--propagation", "private"]
        folders = [str(self.folder / "var-lib"), str(self.folder / "run")]
        self._keeper = subprocess.Popen(
            [*keeper, "sh", "-c", _KEEPER, "sh", *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n", "the node's namespaces were not made"
        return self

    def __exit__(self, *exception: object) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)  # a test that failed left them
        if self._keeper is not None:
            self._keeper.communicate()

    @property
    def pid(self) -> int:
        """The process that keeps the node's namespaces."""
        assert self._keeper is not None
        return self._keeper.pid

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

    def inside(self, *, net: Path | None = None) -> list[str]:
        """Return the words that run a program on the node, in the network namespace *net*."""
        words = ["nsenter", f"--target={self.pid}", "--mount"]
        # The path means something only once the mount namespace is entered: hence two programs.
        return [*words, *(["--net"] if net is None else ["nsenter", f"--net={net}"]), "--"]

    def sh(self, script: str, *, net: Path | None = None, check: bool = True) -> str:
        """Run a shell script on the node and return what it printed."""
        done = subprocess.run(
            [*self.inside(net=net), "sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )
        assert not check or done.returncode == 0, f"{script}: {done.stderr}"
        return done.stdout

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
        """Install a plugin that injects a fault: a shell script, $REAL the real plugins' folder."""
        file = self.bin / kind
        fresh = self.folder / f"{kind}.new"
        fresh.write_text(f"#!/bin/sh\nREAL={self.plugins}\nHERE={self.folder}\n{script}\n")
        fresh.chmod(0o755)
        fresh.replace(file)
        return file

    # -- containers --------------------------------------------------------------------------

    def container(self, name: str) -> Container:
        """Make a container: a network namespace of its own."""
        path = self.folder / "netns" / name
        path.touch()
        subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "unshare", f"--net={path}", "true"],
            check=True,
            timeout=LONG,
        )
        return Container(name, path)

    def reboot(self, container: Container) -> None:
        """Take the container's network namespace away, as a reboot does."""
        peers = len(self.links()) - len(self.links(container))
        self.sh(f"umount {container.netns}")
        container.netns.unlink()
        wait_for(lambda: len(self.links()) == peers, "the kernel to remove the namespace")

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
        """Begin a call with this environment and standard input."""
        given = self.folder / f"stdin-{time.monotonic_ns()}-{os.urandom(4).hex()}"
        given.write_bytes(stdin)
        with given.open("rb") as file:
            given.unlink()
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
        """Begin a call; *conf* are further keys of Genie's own configuration."""
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
        """Make a call and wait for its answer (see :meth:`begin`)."""
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

    # -- what is there -----------------------------------------------------------------------

    def addresses(self, network: str) -> list[str]:
        """Return the addresses of *network* that host-local's store holds as given out."""
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

    def links(self, container: Container | None = None) -> list[str]:
        """Return the interfaces of a container; of the node itself without its bridges."""
        net = None if container is None else container.netns
        listed = json.loads(self.sh("ip -json -details link", net=net))
        kinds = {each["ifname"]: each.get("linkinfo", {}).get("info_kind") for each in listed}
        return sorted(name for name, kind in kinds.items() if name != "lo" and kind != "bridge")

    def routes(self, container: Container, family: int = 4) -> list[dict[str, Any]]:
        """Return the routes of a container's main table."""
        found: list[dict[str, Any]] = json.loads(
            self.sh(f"ip -{family} -json route", net=container.netns) or "[]"
        )
        return found

    def processes(self) -> list[str]:
        """Return the command lines of what runs on the node and does not end within a second."""
        end = time.monotonic() + 1
        while (running := self._processes()) and time.monotonic() < end:
            time.sleep(0.005)
        return sorted(filter(None, map(_command_line, running)))

    def _processes(self) -> list[int]:
        ours = _mount_namespace(self.pid)
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if pid != self.pid and _mount_namespace(pid) == ours]

    def left(self, *containers: Container) -> Left:
        """Return what is on the node and, of *containers*, inside them."""
        store = self.folder / "ipam"
        own = {".gc.lock", "journal"}
        files = self.state.iterdir() if self.state.is_dir() else ()
        return Left(
            {network.name: self.addresses(network.name) for network in store.iterdir()},
            [*self.links(), *(f"{c.id}/{name}" for c in containers for name in self.links(c))],
            sorted(file.name for file in files if file.name not in own),
            self.processes(),
        )


def _mount_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""  # it has ended


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until *condition* holds; fail the test if it does not within :data:`LONG`."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"waited {LONG:.0f} s for {what}"
        time.sleep(0.005)
