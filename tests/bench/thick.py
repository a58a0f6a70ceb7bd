"""Multus with its daemon ("thick"), for benchmarks in namespaces of their own.

The daemon is a process of this benchmark. It finds its API server as a pod does, by variables and
the files of its service account, and :mod:`tests.bench.kube_api` answers it. Its informer caches
contain the pods from the beginning, as on a node.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.bench import kube_api
from tests.bench.plugin import timed
from tests.bench.process_cost import children_seconds, processor_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.plugin import Bench

_ACCOUNT = Path("/run/secrets/kubernetes.io/serviceaccount")
_START = 30.0  # seconds for the daemon


class Thick:
    """The running daemon, and its shim, which a runtime would call."""

    def __init__(self, bench: Bench, shim: Path, conf: Path, daemon: int) -> None:
        self._bench = bench
        self._shim = shim
        self._conf = conf.read_bytes()
        self._daemon = daemon

    def call(self, command: str, container: str, netns: Path) -> float:
        """Call the shim for the pod of *netns*; return its processor's time in milliseconds."""
        environ = self._bench.environ(command, container, netns, "eth0")
        environ["CNI_ARGS"] = (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={kube_api.NAMESPACE};K8S_POD_NAME={netns.name}"
        )
        return timed([str(self._shim)], environ, self._conf)[1]

    def milliseconds(self) -> float:
        """Return the processor time of the daemon and of the plugins that it has executed."""
        return 1000 * (processor_seconds(self._daemon) + children_seconds(self._daemon))


@contextlib.contextmanager
def running(bench: Bench, programs: Path, pods: Sequence[str]) -> Iterator[Thick]:
    """Run the daemon for *pods*, with the first of the bench's networks as the default.

    Mounts a file system over /run: call it only in a mount namespace of its own.
    """
    folder = bench.folder / "thick"
    folder.mkdir()
    certificate = _log_in(folder)
    conf = folder / "00-multus.conf"
    with kube_api.running({}, "", pods=pods, certificate=certificate) as api:
        address = urlsplit(api.address)
        environ = {
            "PATH": os.environ["PATH"],
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
        }
        command = [str(programs / "multus-daemon"), f"-config={_settings(bench, folder)}"]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, env=environ, stdout=log, stderr=log) as daemon,
        ):
            try:
                _wait_for(conf, daemon, folder / "log")
                yield Thick(bench, programs / "multus-shim", conf, daemon.pid)
            finally:
                daemon.terminate()


def _settings(bench: Bench, folder: Path) -> Path:
    """Write the daemon's configuration, which lets it write that of the shim.

    The default network has its name: :mod:`tests.devcluster.network.multus_daemon` says why.
    """
    file = folder / "daemon-config.json"
    file.write_text(
        json.dumps(
            {
                "cniVersion": "1.0.0",
                "logLevel": "error",
                "logToStderr": True,
                "binDir": str(bench.plugins),
                "cniDir": str(folder / "cache"),
                "socketDir": str(folder / "socket"),
                "daemonSocketDir": str(folder / "socket"),
                "confDir": str(bench.folder / "conf"),
                "clusterNetwork": bench.confs[0]["name"],
                "multusConfigFile": "auto",
                "multusAutoconfigDir": str(bench.folder / "conf"),
                "cniConfigDir": str(folder),
            }
        )
    )
    return file


def _log_in(folder: Path) -> Path:
    """Write what a pod has of its service account; return the API server's certificate and key."""
    subprocess.run(["mount", "-t", "tmpfs", "genie-bench", "/run"], check=True)
    _ACCOUNT.mkdir(parents=True)
    (_ACCOUNT / "token").write_text("none")
    file = folder / "server.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subject = ["-nodes", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(file), "-out", str(_ACCOUNT / "ca.crt")]
    subprocess.run([*new, *subject, *files], check=True, capture_output=True)
    with file.open("a") as both:
        both.write((_ACCOUNT / "ca.crt").read_text())
    return file


def _wait_for(conf: Path, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while not (conf.exists() and conf.read_bytes()):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"Multus' daemon does not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)
