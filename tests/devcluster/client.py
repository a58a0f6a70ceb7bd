"""Read and change a cluster as its administrator."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.devcluster.apiread import Reader, api_path
from tests.devcluster.commands import ClusterError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.devcluster.layout import Layout

Command = subprocess.CompletedProcess[str]


class KubectlClient:
    """kubectl with the administrator's kubeconfig."""

    def __init__(self, layout: Layout, kubectl: Path) -> None:
        self.layout = layout
        self._kubectl = kubectl

    @property
    def program(self) -> Path:
        """Return the path of kubectl, for what :meth:`kubectl` cannot do."""
        return self._kubectl

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables that kubectl needs to reach the cluster."""
        variables = {
            "KUBECONFIG": os.fspath(self.layout.kubeconfig),
            "KUBECACHEDIR": os.fspath(self.layout.kubectl_cache),  # instead of ~/.kube/cache
        }
        for name in ("NO_PROXY", "no_proxy"):
            variables[name] = ",".join(filter(None, [os.environ.get(name), self.layout.api_ipv4]))
        return variables

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - as in commands.run
        check: bool = True,
        timeout: float | None = 180,
    ) -> Command:
        """Run kubectl. Raises CommandError if it fails and `check` is true."""
        command = [os.fspath(self._kubectl), *args]
        return run(command, input=input, env=self.environment, check=check, timeout=timeout)

    def get(self, *args: str) -> Any:
        """Return what `kubectl get ARGS -o json` prints, parsed. Raises CommandError.

        Simple reads are made without kubectl, which costs most of the time of a short poll. Where
        they fail, kubectl reads again, and its error says why.
        """
        path = api_path(args)
        if path is not None and (content := self._reader.read(path)) is not None:
            return content
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def exists(self, *args: str) -> bool:
        """Return whether `get` with these arguments finds the object; False if it fails."""
        path = api_path(args)
        if path is not None:
            return self._reader.read(path) is not None
        return self.kubectl("get", *args, check=False).returncode == 0

    @functools.cached_property
    def _reader(self) -> Reader:
        return Reader(self.layout.kubeconfig)

    def apply(self, manifest: str | Mapping[str, Any], *args: str, check: bool = True) -> Command:
        """Apply a manifest: YAML text, or one object."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", "-f", "-", *args, input=text, check=check)

    def wait_until_served(self, *kinds: str) -> None:
        """Wait until the API server serves *kinds*, the names of custom resources just created.

        The condition Established is not enough: kubectl finds a kind only when discovery has it
        too, and `kubectl wait` fails while a new object has no conditions yet.
        """
        served = ("get", ",".join(kinds), "--all-namespaces")
        self.wait_for(
            lambda: self.kubectl(*served, check=False).returncode == 0,
            120,
            f"{', '.join(kinds)} to be served",
        )

    def wait_for(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        """Poll until `condition()` is true. Raises ClusterError after `timeout` seconds.

        A `timeout` that is no promise only ends a test that hangs: use 120 s, since a machine may
        be many times slower than another.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"timed out after {timeout:.0f} s waiting for {what}")
            time.sleep(0.2)
