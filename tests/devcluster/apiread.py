"""Read objects from a cluster's API server in this process.

A test reads thousands of times, and on a small machine the start of as many kubectl processes takes
more time than all that the test waits for.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TIMEOUT = 10.0  # seconds for one answer

CORE = "/api/v1"
NAMESPACED = {
    "pod": (CORE, "pods"),
    "event": (CORE, "events"),
    "service": (CORE, "services"),
    "configmap": (CORE, "configmaps"),
    "serviceaccount": (CORE, "serviceaccounts"),
    "daemonset": ("/apis/apps/v1", "daemonsets"),
    "deployment": ("/apis/apps/v1", "deployments"),
    "endpointslice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
}
CLUSTER_WIDE = {"node": (CORE, "nodes"), "namespace": (CORE, "namespaces")}
_OPTIONS = {"-l": "labelSelector", "--field-selector": "fieldSelector"}


def api_path(arguments: Sequence[str]) -> str | None:
    """Return the path that `kubectl get` with these arguments reads; None if kubectl must do it.

    Supported are RESOURCE [NAME], -n NAMESPACE, -A, -l SELECTOR and --field-selector SELECTOR.
    """
    words = list(arguments)
    namespace: str | None = "default"
    query = {}
    names = []
    while words:
        word = words.pop(0)
        if word == "-A":
            namespace = None
        elif word == "-n" and words:
            namespace = words.pop(0)
        elif word in _OPTIONS and words:
            query[_OPTIONS[word]] = words.pop(0)
        elif word.startswith("-") or "/" in word or "," in word:
            return None
        else:
            names.append(word)
    if not 1 <= len(names) <= 2 or (len(names) == 2 and (query or namespace is None)):
        return None

    resource = names[0].removesuffix("s")
    if resource in CLUSTER_WIDE:
        group, plural = CLUSTER_WIDE[resource]
        parts = [group, plural]
    elif resource in NAMESPACED:
        group, plural = NAMESPACED[resource]
        parts = [group, plural] if namespace is None else [group, "namespaces", namespace, plural]
    else:
        return None
    path = "/".join([*parts, *names[1:]])
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


class Reader:
    """Reads from one API server as the user of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        content = json.loads(kubeconfig.read_text())
        [cluster], [user] = content["clusters"], content["users"]
        self._server = cluster["cluster"]["server"]
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        self._opener = _opener(cluster["cluster"]["certificate-authority-data"])

    def read(self, path: str) -> Any | None:
        """Return the object at a path of the API; None after any error."""
        url = f"{self._server}{path}"
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - https always
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return json.load(answer)
        except (OSError, ValueError):  # HTTPError and URLError among them
            return None


def _opener(ca_data: str) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cadata=base64.b64decode(ca_data).decode())
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # without the machine's proxy
        urllib.request.HTTPSHandler(context=context),
    )
