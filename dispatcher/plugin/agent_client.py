"""Ask the node's agent for a pod's annotations, if the container runtime passes none.

cri-dockerd and CRI-O before 1.29 pass no annotations to CNI plugins. The plugin then connects to
the agent's unix socket, writes one JSON object and a newline, shuts down its sending side, and
reads one object to the end of the stream:

    request   {"version": 1, "namespace": "…", "name": "…", "uid": "…"}    uid "": unknown
    answer    {"annotations": {"cni": "weave"}}                            {} for a pod without
              {"error": {"code": 11, "msg": "…", "details": "…"}}          returned as it is

Namespace, name and UID come from CNI_ARGS. A call that names no pod, such as one of cnitool, is not
asked about. An agent that does not answer is an error; the pod never gets the default network
instead.
"""

from __future__ import annotations

from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM, socket
from time import monotonic

from dispatcher.cni_errors import TRY_AGAIN, CNIError
from dispatcher.jsontext import InvalidJSONError, dump, parse
from dispatcher.state.record import pod_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECONDS = 4.5
"""The longest exchange: with the start of the plugin it ends within 5 s. The agent takes 4 s."""

_MAX_ANSWER = 1 << 20
_MIN_TIMEOUT = 0.001  # 0 would make the socket non-blocking, whose error is another one


def pod_annotations(address: str, args: str) -> dict[str, str]:
    """Return the annotations of the pod that CNI_ARGS *args* name, those that choose networks.

    *address* is the agent's socket, "" if there is no agent. Raises :class:`CNIError`: the agent's
    own error, or one with code 11 if the agent gives no valid answer.
    """
    namespace, name, uid = pod_of(args)
    if not address or not name:
        return {}
    try:
        request = {"version": 1, "namespace": namespace, "name": name, "uid": uid}
        return _annotations(parse(_exchange(address, request)))
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from None
    except (InvalidJSONError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_answer(address, f"invalid answer: {error}") from None


def _exchange(address: str, request: dict[str, Any]) -> bytes:
    """Send *request*, and return the answer. Raises OSError, also at the deadline."""
    deadline = monotonic() + SECONDS
    agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)

    def before_deadline() -> socket:
        agent.settimeout(max(deadline - monotonic(), _MIN_TIMEOUT))
        return agent

    try:
        before_deadline().connect(address)
        before_deadline().sendall(dump(request) + b"\n")
        agent.shutdown(SHUT_WR)

        answer = b""
        while (chunk := before_deadline().recv(1 << 16)) and len(answer) < _MAX_ANSWER:
            answer += chunk
        return answer
    finally:
        agent.close()


def _annotations(answer: Any) -> dict[str, str]:
    """Return the annotations in *answer*. Raises the :class:`CNIError` in it."""
    if "error" in answer:
        error = answer["error"]
        raise CNIError(int(error["code"]), str(error["msg"]), str(error.get("details", "")))

    values = dict(answer["annotations"].items())
    if not all(isinstance(value, str) for value in values.values()):
        raise TypeError("an annotation is not a string")
    return values


def _no_answer(address: str, reason: str) -> CNIError:
    return CNIError(
        TRY_AGAIN,
        f"cannot get the pod's annotations from the agent ({address}): {reason}",
        "the container runtime passes no annotations; check that the agent runs on this node",
    )
