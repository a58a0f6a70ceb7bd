"""Answers the plugin which networks a pod asks for, if the runtime passes no annotations.

Protocol, over the unix socket ``agentSocket`` of the conflist (default
``/run/genie/agent.sock``, a stream, answers user 0 alone):

1. The plugin connects and writes one JSON object on one line, at most 4 KiB, taken from
   CNI_ARGS::

       {"version": 1, "namespace": "default", "name": "web-0", "uid": "7c5f…"}

   ``uid`` is "" where the runtime does not pass K8S_POD_UID.
2. The agent answers with one JSON object on one line, at most 512 KiB, and closes. Either ::

       {"annotations": {"cni": "canal,weave@net1"}}

   with those that the pod has of the annotations that choose networks (:data:`SENT`), and for a
   static pod its source; others are never sent. Or an error, whose members are those of the CNI
   specification; the plugin returns it unchanged::

       {"error": {"code": 11, "msg": "…", "details": "…"}}

   ====  ==================================================  ==========================
   code  meaning                                             a retry helps
   ====  ==================================================  ==========================
   11    the API server does not answer, or is busy          yes
   120   the pod does not exist                              no: the pod was deleted
   121   the pod has another UID than the runtime's          no: it was replaced
   122   the agent may not read pods                         no: oldRuntimes is not set
   123   the request is not valid                            no
   ====  ==================================================  ==========================

The answer comes within :data:`DEADLINE` seconds. The plugin waits 4.5 s for the whole exchange, and
itself reports an agent that is missing or silent, with code 11.

Each request is one GET of one pod. The UID of a static pod on the node is not that of its mirror
pod in the API, which has it in an annotation; that one is accepted, too.
"""

from __future__ import annotations

import json
import socketserver
import struct
import threading
from pathlib import Path
from socket import SO_PEERCRED, SOL_SOCKET
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog

from dispatcher import keys
from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND, UNAUTHORIZED, KubeError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from dispatcher.kube.client import KubeClient

DEADLINE = 4.0
"""Seconds within which the agent answers a request."""

SENT = frozenset({keys.ANNOTATION, keys.ATTACHMENTS, *keys.SELECTION_KEYS})
"""The annotations that are sent of every pod."""

MAX_REQUEST = 4096

MAX_CALLS = 16
"""Requests served at once; any more are answered with code 11."""

TRY_AGAIN = 11
NO_POD = 120
OTHER_POD = 121
NOT_PERMITTED = 122
BAD_REQUEST = 123

UPGRADE_RUNTIME = (
    "this container runtime passes no annotations to CNI plugins: upgrade to containerd 1.7 or "
    "CRI-O 1.29, or later, or set oldRuntimes: true in the values of the Helm chart"
)

log = structlog.get_logger("annotations")


class LookupRefusedError(Exception):
    """The annotation of a pod cannot be answered: a code of the protocol, a sentence, details."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.answer = {"error": {"code": code, "msg": msg, "details": details}}


def answer(kube: KubeClient, line: bytes) -> dict[str, Any]:
    """Return the answer to the request *line*.

    It is an error object if the request is invalid or the look-up fails.
    """
    try:
        namespace, name, uid = _request(line)
        return {"annotations": _annotations(_pod(kube, namespace, name), uid, namespace, name)}
    except LookupRefusedError as refusal:
        return refusal.answer


def _request(line: bytes) -> tuple[str, str, str]:
    try:
        value = json.loads(line)
    except ValueError:
        raise LookupRefusedError(BAD_REQUEST, "the request is not valid JSON") from None
    if not isinstance(value, dict) or value.get("version") != 1:
        raise LookupRefusedError(BAD_REQUEST, 'the request must be an object with "version": 1')
    parts = [value.get(key) for key in ("namespace", "name", "uid")]
    if not all(isinstance(part, str) for part in parts) or not (parts[0] and parts[1]):
        message = '"namespace", "name" and "uid" must be strings, the first two not empty'
        raise LookupRefusedError(BAD_REQUEST, message)
    namespace, name, uid = map(str, parts)
    return namespace, name, uid


def _pod(kube: KubeClient, namespace: str, name: str) -> dict[str, Any]:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
    try:
        return kube.get(path, timeout=DEADLINE - 1)
    except KubeError as error:
        pod = f"pod {namespace}/{name}"
        if error.status == NOT_FOUND:
            raise LookupRefusedError(NO_POD, f"{pod} no longer exists") from None
        if error.status in {UNAUTHORIZED, FORBIDDEN}:
            message = f"the agent is not allowed to read {pod}"
            raise LookupRefusedError(NOT_PERMITTED, message, UPGRADE_RUNTIME) from None
        message = f"cannot read {pod} from the API server"
        raise LookupRefusedError(TRY_AGAIN, message, str(error)) from None


def _annotations(pod: Mapping[str, Any], uid: str, namespace: str, name: str) -> dict[str, str]:
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    if uid and uid not in {metadata["uid"], annotations.get(keys.MIRROR)}:
        message = f"pod {namespace}/{name} was replaced by another pod of the same name"
        raise LookupRefusedError(
            OTHER_POD, message, f"UID on the node {uid}, in the API {metadata['uid']}"
        )
    sent = SENT
    # Only of a mirror pod, which never runs itself, is the source that of the kubelet. An author
    # could write it into another pod, and so pass for a static pod, which needs no permission.
    if keys.MIRROR in annotations and uid != metadata["uid"]:
        sent = SENT | {keys.CONFIG_SOURCE}
    return {key: value for key, value in annotations.items() if key in sent}


def start(kube: KubeClient, path: Path, user: int = 0) -> socketserver.BaseServer:
    """Answer *user* on the socket *path*, in threads; return the server.

    Raises OSError if the socket cannot be created.
    """
    busy = threading.BoundedSemaphore(MAX_CALLS)

    class RequestHandler(socketserver.StreamRequestHandler):
        timeout = DEADLINE

        def handle(self) -> None:
            if _peer_uid(self.connection) != user:
                return
            try:
                line = self.rfile.readline(MAX_REQUEST + 1)
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")
            except OSError as error:
                log.warning("request of the plugin failed", error=str(error))

        @staticmethod
        def _answer(line: bytes) -> dict[str, Any]:
            if not busy.acquire(blocking=False):
                return LookupRefusedError(
                    TRY_AGAIN, "the agent is busy: too many requests at once"
                ).answer
            try:
                return answer(kube, line)
            finally:
                busy.release()

    path.unlink(missing_ok=True)
    server = _Server(str(path), RequestHandler)
    threading.Thread(target=server.serve_forever, name="annotations", daemon=True).start()
    return server


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def server_bind(self) -> None:
        super().server_bind()
        self._path = Path(str(self.server_address))
        self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino

    def server_close(self) -> None:
        super().server_close()
        try:
            # The socket may be that of a newer agent already.
            is_ours = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return
        if is_ours:
            self._path.unlink()


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return int(user)
