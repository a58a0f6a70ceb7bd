from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.reaper.cri import METHOD, CRIError, call, list_sandboxes, sandbox_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Connection = h2.connection.H2Connection


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def response(*names: str) -> bytes:
    """Build a ListPodSandboxResponse with fields of every wire type around those that are read."""
    noise = (
        varint(5 << 3)
        + varint(1 << 60)
        + varint(6 << 3 | 1)
        + bytes(8)
        + varint(7 << 3 | 5)
        + bytes(4)
    )
    return b"".join(
        field(1, noise + field(1, name.encode()) + field(2, metadata(f"uid-{name[-4:]}")))
        for name in names
    )


def metadata(uid: str) -> bytes:
    """Build a PodSandboxMetadata: name, uid, namespace, attempt."""
    parts = (b"p", uid.encode(), b"n")
    return b"".join(field(at, part) for at, part in enumerate(parts, 1)) + varint(4 << 3) + b"\1"


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message


class Runtime:
    """A runtime that answers one request as the test says; tests/cluster has a real one."""

    def __init__(self, path: Path, reply: Callable[[Connection, socket.socket], None]) -> None:
        self.requests: list[dict[str, str]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._reply = reply
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Wait for the one exchange to end."""
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        http = Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        with connection:
            while True:
                connection.sendall(http.data_to_send())
                received = connection.recv(65536)
                if not received:
                    return  # the client's time was over before it had sent its request
                for event in http.receive_data(received):
                    if isinstance(event, h2.events.RequestReceived):
                        self.requests.append(
                            {str(name): str(value) for name, value in event.headers}
                        )
                    if isinstance(event, h2.events.StreamEnded):
                        self._reply(http, connection)
                        with contextlib.suppress(OSError):  # the client may have closed it
                            connection.sendall(http.data_to_send())
                            connection.shutdown(socket.SHUT_WR)
                            while connection.recv(65536):
                                pass
                        return


def replying(
    body: bytes, status: str | None = "0", message: str = ""
) -> Callable[[Connection, socket.socket], None]:
    def reply(http: Connection, connection: socket.socket) -> None:
        http.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        for start in range(0, len(body), 10_000):
            http.send_data(1, body[start : start + 10_000])
            connection.sendall(http.data_to_send())
        trailers: list[Any] = [("grpc-status", status)] if status else [("x", "y")]
        trailers += [("grpc-message", message)] if message else []
        http.send_headers(1, trailers, end_stream=True)

    return reply


def ask(path: Path, reply: Callable[[Connection, socket.socket], None], own: str = "") -> set[str]:
    runtime = Runtime(path, reply)
    try:
        return list_sandboxes(path, own)
    finally:
        runtime.close()
        assert runtime.requests[0][":path"] == METHOD


def test_the_ids_of_all_sandboxes_are_returned(tmp_path: Path) -> None:
    """Fields of other wire types are skipped."""
    assert ask(tmp_path / "s", replying(framed(response("a1", "b2")))) == {"a1", "b2"}


def test_a_runtime_that_runs_the_reapers_pod_is_trusted(tmp_path: Path) -> None:
    """It is the kubelet's."""
    answer = replying(framed(response("a1", "b2")))
    assert ask(tmp_path / "s", answer, "uid-b2") == {"a1", "b2"}


@pytest.mark.parametrize("others", [[], ["a1"]], ids=["no sandbox", "others' sandboxes"])
def test_a_runtime_without_the_reapers_pod_is_an_error(tmp_path: Path, others: list[str]) -> None:
    """A second runtime, left from a migration, has no pods: all of them would seem to be gone."""
    with pytest.raises(CRIError, match="does not run this node's pods; set GENIE_RUNTIME_SOCKET"):
        ask(tmp_path / "s", replying(framed(response(*others))), "uid-b2")


def test_a_node_without_pods_has_none(tmp_path: Path) -> None:
    """An empty message is a whole response."""
    assert ask(tmp_path / "s", replying(framed(b""))) == set()


def test_a_long_response_arrives_whole(tmp_path: Path) -> None:
    """In many frames."""
    names = [f"{number:064d}" for number in range(500)]
    assert ask(tmp_path / "s", replying(framed(response(*names)))) == set(names)


def broken_off(http: Connection, connection: socket.socket) -> None:
    http.send_headers(1, [(":status", "200")])
    http.send_data(1, framed(response("a1"))[:9])
    connection.sendall(http.data_to_send())


def reset(http: Connection, _: socket.socket) -> None:
    http.reset_stream(1)


def not_http(_: Connection, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(replying(b"", "12", "unknown"), "refuses .* unknown", id="refused"),
        pytest.param(replying(framed(b""), None), "status missing", id="no status"),
        pytest.param(
            replying(framed(response("a"))[:-1]), "whole uncompressed message", id="cut short"
        ),
        pytest.param(
            replying(b"\1" + framed(b"")[1:]), "whole uncompressed message", id="compressed"
        ),
        pytest.param(replying(framed(field(1, field(2, b"x")))), "has no id", id="no id"),
        pytest.param(broken_off, "closed the connection", id="connection ends"),
        pytest.param(reset, "aborted the call", id="stream reset"),
        pytest.param(not_http, "closed the connection", id="not HTTP/2"),
    ],
)
def test_a_response_that_cannot_be_trusted_is_an_error(
    tmp_path: Path, reply: Callable[[Connection, socket.socket], None], words: str
) -> None:
    """It is never a set without some of the sandboxes."""
    with pytest.raises(CRIError, match=words):
        ask(tmp_path / "s", reply)


def test_a_slow_response_ends_at_the_deadline(tmp_path: Path) -> None:
    """Though each part arrives in time."""

    def trickle(http: Connection, connection: socket.socket) -> None:
        http.send_headers(1, [(":status", "200")])
        with contextlib.suppress(OSError):  # the client closes the connection
            for _ in range(300):
                http.send_data(1, b"\0")
                connection.sendall(http.data_to_send())
                time.sleep(0.01)

    runtime = Runtime(tmp_path / "s", trickle)
    try:
        with pytest.raises(CRIError, match="timed out"):
            call(tmp_path / "s", METHOD, b"", seconds=0.1)
    finally:
        runtime.close()


def test_a_missing_socket_is_an_error(tmp_path: Path) -> None:
    """It names the path: the runtime is down, or the setting is wrong."""
    with pytest.raises(CRIError, match=r"the runtime at .*/never does not answer: "):
        list_sandboxes(tmp_path / "never", "")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_are_a_cri_error(message: bytes) -> None:
    """There is no other error."""
    with contextlib.suppress(CRIError):
        list(sandbox_ids(message))


@given(st.lists(st.text(min_size=1, max_size=300)), st.data())
def test_a_response_cut_anywhere_never_gives_a_wrong_id(
    names: list[str], data: st.DataObject
) -> None:
    """The ids that are read are the first of the whole response."""
    message = response(*names)
    end = data.draw(st.integers(0, len(message)))
    seen: list[str] = []
    with contextlib.suppress(CRIError):
        seen.extend(sandbox_ids(message[:end]))
    assert seen == names[: len(seen)]
