"""A host without any program: the root directory of a call of the installed plugin.

How it works: in the mount namespace of a test's node a folder is made into a root directory that
holds what every host of containers has (/proc, /dev/null, the runtime's folders, the containers'
network namespaces) and nothing else: no Python, no libraries, no shell. The agent's own code
installs the plugin into the directory of CNI plugins, where the real bridge and host-local lie,
which are static. A call is made by the runtime's own means, with that root.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.agent.installer import PluginInstaller
from tests.node.calls import LONG, Answer

if TYPE_CHECKING:
    from tests.node.harness import Node
    from tests.node.namespaces import Container

CONFS = "/etc/cni/net.d"
STORE = "/var/lib/cni"
STATE = f"{STORE}/genie"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_ROOT = """
mount -t tmpfs -o nosuid,nodev host {root}
mkdir -p {root}/proc {root}/dev {root}{confs} {root}{store} {root}/run/netns {root}{bin}
touch {root}/dev/null
mount -t proc -o nosuid,nodev,noexec proc {root}/proc
mount --bind /dev/null {root}/dev/null
mount --bind {folder}/conf {root}{confs}
mount --bind {bin} {root}{bin}
mount -t tmpfs -o nosuid,nodev,noexec state {root}{store}
"""

_HARDENED = """
mount -o remount,bind,ro,nosuid,nodev {root}{bin}
mount -o remount,bind,ro,nosuid,nodev,noexec {root}{confs}
mount -o remount,ro,nosuid,nodev,noexec {root}
"""


class BareHost:
    """The plugin of *payload*, installed for *containers* on a host that has nothing.

    ``hardened``: everything is mounted read-only and noexec, but for the directory of CNI plugins,
    which is only read-only, and for the folder of stateDir and of host-local's store, which is
    only noexec. (/proc can be written, as on every host: bridge turns forwarding on there.)
    """

    def __init__(
        self, node: Node, payload: Path, *containers: Container, hardened: bool = False
    ) -> None:
        self._node = node
        self.bin = node.folder / "cni-bin"
        self.bin.mkdir()
        for name in ("bridge", "host-local"):
            shutil.copy2(node.plugins / name, self.bin)
        self.plugin = PluginInstaller(payload, self.bin)
        assert self.plugin.install() == []
        for name, subnet in (("weave", "10.32.0.0/16"), ("canal", "10.244.0.0/16")):
            conf = node.bridge_conf(name, subnet)
            ipam = {**conf["ipam"], "dataDir": f"{STORE}/networks"}
            node.network(name, {**conf, "isDefaultGateway": True, "ipam": ipam})
        self._root = node.folder / "root"
        self._root.mkdir()
        self._sh(_ROOT)
        for container in containers:
            seen = f"{self._root}/run/netns/{container.id}"
            node.sh(f"touch {seen}; mount --bind {container.netns} {seen}")
        if hardened:
            self._sh(_HARDENED)

    def _sh(self, script: str) -> None:
        node = self._node
        places = {"root": self._root, "bin": self.bin, "confs": CONFS, "store": STORE}
        node.sh(script.format(folder=node.folder, **places))

    def path(self, inside: str) -> Path:
        """Return where the test sees a path of the host."""
        return Path(f"/proc/{self._node.pid}/root{self._root}{inside}")

    def files(self) -> list[str]:
        """Return every file of the host but those of CNI plugins and of the kernel."""
        listed = self._node.sh(f"find {self._root} -mount -type f -o -type c").split()
        return sorted(path.removeprefix(str(self._root)) for path in listed)

    def run(self, *program: str | Path) -> Answer:
        """Run *program* with that root, as a person would: no CNI variables."""
        chroot = ["chroot", self._root, *program]
        running = self._node.start({"PATH": PATH}, b"", program=chroot)
        out, err = running.process.communicate(timeout=LONG)
        seconds = time.monotonic() - running.started
        return Answer(running.process.returncode, out, err.decode(errors="replace"), seconds)

    def call(self, command: str, container: Container | None, annotation: str = "") -> Answer:
        """Call the plugin with that root, as the runtime does."""
        env = {"PATH": PATH, "CNI_PATH": str(self.bin)}
        if container is not None:
            env["CNI_NETNS"] = f"/run/netns/{container.id}"
        where: dict[str, Any] = {"confDirs": [CONFS], "stateDir": STATE}
        chroot = ["chroot", self._root, self.plugin.launcher]
        choice = annotation or None
        return self._node.call(command, container, choice, env=env, program=chroot, **where)

    def addresses(self, network: str) -> list[str]:
        """Return the addresses of *network* that host-local holds as given out."""
        names = (file.name for file in self.path(f"{STORE}/networks/{network}").glob("[0-9]*"))
        return sorted(names)

    def records(self) -> list[str]:
        """Return the containers that have a record."""
        return sorted(file.stem for file in self.path(STATE).glob("*.json"))
