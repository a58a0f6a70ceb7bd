"""A real agent of a simulated node: a process of this machine, in folders of its own.

It logs in as a pod does, with a token bound to a Pod of that node, so the API server and the
policies treat it as the node's agent. Its networks are configurations of real plugins, which
nothing calls. It mounts the token in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import urllib3

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_START = f"""
mount -t tmpfs -o mode=0755 none /var/run
mkdir -p {_ACCOUNT}
cp "$1"/* {_ACCOUNT}
exec "$2" -m dispatcher.agent
"""
"""A shell program; $1 is the folder with token and CA, $2 the interpreter."""


class NodeFolders(NamedTuple):
    """The folders of a simulated node, all below *root*."""

    root: Path

    @property
    def account(self) -> Path:
        """The folder with token and CA."""
        return self.root / "account"

    @property
    def conf(self) -> Path:
        """The folder of the runtime's network configurations."""
        return self.root / "etc/cni/net.d"

    @property
    def bin(self) -> Path:
        """The folder of the CNI plugins."""
        return self.root / "opt/cni/bin"

    def fill(self, networks: Iterable[str], plugins: Path, ca: Path) -> None:
        """Create the folders with a configuration of each network, the *plugins* and the CA."""
        for folder in (self.account, self.conf, self.bin):
            folder.mkdir(parents=True)
        (self.account / "ca.crt").write_bytes(ca.read_bytes())
        for program in plugins.iterdir():
            (self.bin / program.name).symlink_to(program)
        for name in networks:
            steps = [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}]
            conflist = {"cniVersion": "1.0.0", "name": name, "plugins": steps}
            (self.conf / f"10-{name}.conflist").write_text(json.dumps(conflist))


class AgentProcess:
    """The agent of *node*; *environ* has further settings."""

    def __init__(
        self, node: str, folders: NodeFolders, port: int, environ: Mapping[str, str]
    ) -> None:
        self.node = node
        self._folders = folders
        self._url = f"http://127.0.0.1:{port}/readyz"
        root = folders.root
        self._environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "GENIE_NODE_NAME": node,
            "GENIE_PORT": str(port),
            "GENIE_CNI_BIN_DIR": str(folders.bin),
            "GENIE_CNI_CONF_DIR": str(folders.conf),
            "GENIE_EXTRA_CONF_DIR": str(root / "etc/genie"),
            "GENIE_STATE_DIR": str(root / "state"),
            "GENIE_SOCKET": str(root / "agent.sock"),
            **environ,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output goes to a file in its folder."""
        script = ["sh", "-ec", _START, "agent", str(self._folders.account), sys.executable]
        command = ["unshare", "--mount", "--propagation", "private", *script]
        with (self._folders.root / "agent.log").open("ab") as output:
            self._process = subprocess.Popen(
                command, env=self._environ, stdout=output, stderr=output
            )

    def kill(self) -> None:
        """Kill the process, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def is_ready(self) -> bool:
        """Return whether the agent's own probe says so."""
        try:
            answer = urllib3.request("GET", self._url, timeout=5, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    def log(self) -> str:
        """Return the end of its output."""
        return (self._folders.root / "agent.log").read_text()[-2000:]
