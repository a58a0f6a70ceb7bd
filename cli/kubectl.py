"""Exec and logs by the kubernetes library: run a command in a container, and read its log.

Only functions import the library, because it takes a quarter of a second to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.on_node import Ran
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubernetes import client

    from cli.session import Access

SECONDS = 60
"""How long a command on a node may take."""


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
    from kubernetes.client import ApiException  # noqa: PLC0415
    from kubernetes.stream import stream  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

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
        raise KubeError(error.status or 0, str(error.reason), f"exec in pod {pod}") from None
    except HTTPError as error:
        raise KubeError(0, "NoAnswer", f"exec in pod {pod}: {error}") from None
    running.run_forever(timeout=SECONDS)
    if running.is_open():
        running.close()
        raise KubeError(0, "Timeout", f"exec in pod {pod}: no end after {SECONDS} s")
    return Ran(running.read_stdout(), running.read_stderr(), running.returncode or 0)


def log(api: client.CoreV1Api, namespace: str, pod: str, container: str, lines: int) -> str:
    """Return the last *lines* of a container's log. Raises KubeError."""
    from kubernetes.client import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        text = api.read_namespaced_pod_log(pod, namespace, container=container, tail_lines=lines)
    except ApiException as error:
        raise KubeError(error.status or 0, str(error.reason), f"log of pod {pod}") from None
    except HTTPError as error:
        raise KubeError(0, "NoAnswer", f"log of pod {pod}: {error}") from None
    return str(text)
