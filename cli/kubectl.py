"""Exec by the kubernetes library: run a command in a container.

Only functions import the library, because it takes a quarter of a second to load.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cli.on_node import Ran
from dispatcher.kube.errors import FORBIDDEN, KubeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubernetes import client
    from kubernetes.client import ApiException

    from cli.session import Access

SECONDS = 60
"""How long a command on a node may take."""

_HANDSHAKE = re.compile(r"Handshake status (\d+)")


def core(access: Access) -> client.CoreV1Api:
    """Return the API of the kubeconfig. Raises KubeError."""
    from kubernetes import client, config  # noqa: PLC0415 - see the module

    settings = client.Configuration()
    try:
        config.load_kube_config(
            config_file=access.kubeconfig or None,
            context=access.context or None,
            client_configuration=settings,
        )
    except config.ConfigException as error:
        message = f"cannot log in to Kubernetes: {error}"
        raise KubeError(0, "NoConfiguration", message) from None
    return client.CoreV1Api(client.ApiClient(settings))


def execute(
    api: client.CoreV1Api, namespace: str, pod: str, container: str, command: Sequence[str]
) -> Ran:
    """Run *command* in a container, as ``kubectl exec`` does. Raises KubeError."""
    from kubernetes.client import ApiException  # noqa: PLC0415 - see the module
    from kubernetes.stream import stream  # noqa: PLC0415 - see the module

    try:
        running = stream(
            api.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=container,
            command=list(command),
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
    except ApiException as error:
        raise _refusal(error, namespace, pod) from None
    running.run_forever(timeout=SECONDS)
    if running.is_open():
        running.close()
        raise KubeError(0, "Timeout", f"exec in pod {pod}: no end after {SECONDS} s")
    return Ran(running.read_stdout(), running.read_stderr(), running.returncode or 0)


def _refusal(error: ApiException, namespace: str, pod: str) -> KubeError:
    """Return why a command could not be started.

    The library knows a refused handshake by its text alone, in which headers and body follow.
    """
    reason = str(error.reason or "")
    match = _HANDSHAKE.search(reason)
    status = int(match[1]) if match else error.status or 0
    if status == FORBIDDEN:
        fix = f"you may not create pods/exec in namespace {namespace}"
        return KubeError(status, "Forbidden", f"pod {pod}: its node cannot be asked: {fix}")
    text = f"HTTP status {status}" if status else reason.splitlines()[0] if reason else "no answer"
    return KubeError(0, "NoAnswer", f"pod {pod}: its node cannot be asked: {text}")
