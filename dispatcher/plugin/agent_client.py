"""The node's agent is asked for a pod's annotation, where the runtime does not hand it over.

How it works: containerd before 1.5 and CRI-O before 1.29 pass no annotations. The plugin
then connects to the agent's unix socket, writes one JSON object and a newline, ends its half,
and reads one object until the end of the stream:

    request   {"version": 1, "namespace": "…", "name": "…", "uid": "…"}    uid "": not known
    answer    {"annotations": {"cni": "weave"}}                            {} for a pod without
              {"error": {"code": 11, "msg": "…", "details": "…"}}          returned as it is

The parts of the request are those of CNI_ARGS. The agent answers within 4 s, and the plugin
waits :data:`SECONDS` at most for the whole exchange.

Rules of this file: a call that names no pod (a person with cnitool) is not asked about; no
answer is an error that says so, never the default network.
"""

from __future__ import annotations

from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM, socket
from time import monotonic

from dispatcher import keys
from dispatcher.cni_errors import TRY_AGAIN, CNIError
from dispatcher.jsontext import InvalidJSONError, dump, parse
from dispatcher.state.record import pod_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECONDS = 4.5
"""How long the exchange may take: with the start of the plugin it is over within 5 s."""

_MAX_ANSWER = 1 << 20
_SOON = 0.001  # 0 would mean not to wait at all, and be another error


def annotation(address: str, args: str) -> str:
    """Return the value of ``cni`` on the pod that CNI_ARGS *args* name, "" for none.

    *address* is the agent's socket, "" where there is no agent. Raises :class:`CNIError`: the
    agent's own, or one with code 11 when it cannot be asked.
    """
    namespace, name, uid = pod_of(args)
    if not address or not name:
        return ""
    try:
        request = {"version": 1, "namespace": namespace, "name": name, "uid": uid}
        return _judge(parse(_exchange(address, request)))
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from None
    except (InvalidJSONError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_answer(address, f"its answer cannot be understood: {error}") from None


def _exchange(address: str, request: dict[str, Any]) -> bytes:
    until = monotonic() + SECONDS
    agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)

    def in_time() -> socket:
        agent.settimeout(max(until - monotonic(), _SOON))
        return agent

    try:
        in_time().connect(address)
        in_time().sendall(dump(request) + b"\n")
        agent.shutdown(SHUT_WR)
        answer = b""
        while (chunk := in_time().recv(1 << 16)) and len(answer) < _MAX_ANSWER:
            answer += chunk
        return answer
    finally:
        agent.close()


def _judge(said: Any) -> str:
    if "error" in said:
        error = said["error"]
        raise CNIError(int(error["code"]), str(error["msg"]), str(error.get("details", "")))
    value = said["annotations"].get(keys.ANNOTATION, "")
    if not isinstance(value, str):
        raise TypeError("the annotation is not a string")
    return value


def _no_answer(address: str, reason: str) -> CNIError:
    return CNIError(
        TRY_AGAIN,
        f"the runtime passes no annotations, and Genie's agent ({address}) cannot be asked: "
        f"{reason}",
        "is the agent's pod running on this node?",
    )
