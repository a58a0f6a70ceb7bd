"""Talking to a cluster's API server as its administrator, through kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.devcluster.commands import ClusterError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.devcluster.layout import Layout

Command = subprocess.CompletedProcess[str]


class KubectlClient:
    """kubectl, with the administrator's kubeconfig."""

    def __init__(self, layout: Layout, kubectl: Path) -> None:
        self.layout = layout
        self._kubectl = kubectl

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables with which kubectl reaches the cluster."""
        reachable = {
            "KUBECONFIG": os.fspath(self.layout.kubeconfig),
            "KUBECACHEDIR": os.fspath(self.layout.kubectl_cache),  # else ~/.kube/cache
        }
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
        """Run kubectl. Raises CommandError if it fails, unless `check` is false."""
        command = [os.fspath(self._kubectl), *args]
        return run(command, input=input, env=self.environment, check=check, timeout=timeout)

    def get(self, *args: str) -> Any:
        """Return what `kubectl get` prints as JSON."""
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def apply(self, manifest: str | Mapping[str, Any], *args: str, check: bool = True) -> Command:
        """Apply YAML text, or one object."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", "-f", "-", *args, input=text, check=check)

    def wait_for(self, holds: Callable[[], object], timeout: float, what: str) -> None:
        """Return when `holds()` is true. Raises ClusterError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {timeout:.0f} s in vain for {what}")
            time.sleep(0.2)
