"""A node in a folder for the whole program, whose one delegate is a shell script."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from dispatcher.plugin import main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLUGIN = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" = ADD ] && echo '{"ips":[{"address":"10.0.0.9/24"}]}'
exit 0
"""


class Node:
    """A folder with one network `net`, whose plugin is a shell script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = folder / "bin" / "genie"
        self.warnings = ""
        self.launcher.parent.mkdir()
        self.launcher.touch()
        plugin = folder / "bin" / "plug"
        plugin.write_text(PLUGIN)
        plugin.chmod(0o755)
        conf = {"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "plug"}]}
        (folder / "net.conflist").write_text(json.dumps(conf))

    def environ(self, command: str, **changes: str) -> dict[str, str]:
        """Return what a runtime sets."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/none",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder / "bin"),
            "CNI_ARGS": "K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_UID=u",
            **changes,
        }

    def conf(self, **changes: Any) -> bytes:
        """Return what a runtime writes."""
        return json.dumps(
            {
                "cniVersion": "1.1.0",
                "name": "genie",
                "type": "genie",
                "default": "net",
                "confDirs": [str(self.folder)],
                "stateDir": str(self.folder / "state"),
                **changes,
            }
        ).encode()

    def call(self, command: str, data: bytes | None = None, **changes: str) -> tuple[int, Any]:
        """Run one call. Return its exit code, and what it printed or None."""
        stdin = self.conf() if data is None else data
        code, out, self.warnings = run(self.environ(command, **changes), stdin, str(self.launcher))
        return code, json.loads(out) if out else None


def run(environ: Mapping[str, str], data: bytes, launcher: str) -> tuple[int, bytes, str]:
    """Run one call in this process. Return its exit code, standard output and standard error."""
    stdin, stdout, stderr = (os.memfd_create(name) for name in ("stdin", "stdout", "stderr"))
    try:
        os.pwrite(stdin, data, 0)
        code = main.run(environ, launcher, stdin=stdin, stdout=stdout, stderr=stderr)
        out, err = (os.pread(file, os.fstat(file).st_size, 0) for file in (stdout, stderr))
        return code, out, err.decode()
    finally:
        for file in (stdin, stdout, stderr):
            os.close(file)
