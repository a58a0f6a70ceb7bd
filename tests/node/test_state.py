"""The state directory may be full, read-only or missing, and a record may be anything.

Each test counts the real host-local's addresses: none is leaked, whatever could not be written.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from dispatcher.state.record import FORMAT
from tests.node.harness import Left
from tests.records import sealed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.node.harness import Node
    from tests.node.namespaces import Container

NOTHING = Left({"weave": [], "canal": []}, [], [], [])
BOTH = "weave,canal@net1"
PAGE = 4096


def _small_disk(node: Node, pages: int) -> None:
    """Put the state directory on a file system of so many pages, one for its own root."""
    folder = node.folder / "state"
    node.sh(f"mkdir -m 700 {folder}; mount -t tmpfs -o size={pages * PAGE},mode=700 tmpfs {folder}")


def _fill(node: Node) -> Path:
    """Fill the file system of the state directory, and return the file that does."""
    ballast = node.state / ".ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * PAGE):
                pass
        except OSError:
            return ballast
    raise AssertionError("a loop over a full disk ends by an error")


@pytest.mark.parametrize("pages", [1, 2, 3, 4, 5, 8])
def test_a_state_directory_of_a_few_pages_leaks_nothing(node: Node, pages: int) -> None:
    """Wherever the space ends, ADD succeeds or releases everything, and DEL releases everything."""
    _small_disk(node, pages)
    pods = [node.container(f"pod{number}") for number in range(3)]
    answers = [node.add(pod, BOTH) for pod in pods]
    for pod, answer in zip(pods, answers, strict=True):
        if answer.code:
            answer.failed(cni_errors.IO_FAILURE)
            assert node.links(pod) == []
        else:
            assert node.links(pod) == ["eth0", "net1"]
    held = sum(not answer.code for answer in answers)
    assert {1: held == 0, 8: held == 3}.get(pages, True), "the table covers both ends"
    assert {len(node.addresses(name)) for name in ("weave", "canal")} == {held}
    for pod in pods:
        node.delete(pod, BOTH).succeeded()
    assert not any(node.left(*pods).addresses.values())
    assert (node.left(*pods).links, node.records()) == ([], {})


def test_add_on_a_full_disk_attaches_nothing(node: Node) -> None:
    """The record cannot be written, so no delegate is started."""
    pod = node.container("pod")
    _small_disk(node, 8)
    node.add(pod, BOTH).succeeded()
    node.delete(pod, BOTH).succeeded()
    _fill(node)
    node.delegate("bridge", "[ $CNI_COMMAND = DEL ] || touch $HERE/was-called\nexec $REAL/bridge")
    error = node.add(pod, BOTH).failed(cni_errors.IO_FAILURE)
    assert "No space" in error["msg"]
    assert node.links(pod) == []
    assert not (node.folder / "was-called").exists()


def test_del_on_a_full_disk_frees_all(node: Node) -> None:
    """A release needs no write."""
    pod = node.container("pod")
    _small_disk(node, 8)
    node.add(pod, BOTH).succeeded()
    ballast = _fill(node)
    answer = node.delete(pod, BOTH)
    assert (node.links(pod), node.addresses("weave"), node.addresses("canal")) == ([], [], [])
    ballast.unlink()
    if answer.code:
        answer.failed(cni_errors.IO_FAILURE)
        node.delete(pod, BOTH).succeeded()
    assert node.records() == {}


def _read_only(node: Node) -> None:
    folder = node.folder / "state"
    node.sh(f"mkdir -p -m 700 {folder}; mount --bind {folder} {folder}")
    node.sh(f"mount -o remount,bind,ro {folder}")


def test_add_on_a_read_only_state_directory_attaches_nothing(node: Node) -> None:
    """Without a record there is no attachment: the error names the directory."""
    pod = node.container("pod")
    _read_only(node)
    error = node.add(pod, BOTH).failed(cni_errors.IO_FAILURE)
    assert "Read-only" in error["msg"]
    assert node.links(pod) == []
    node.delete(pod, BOTH).succeeded()


def test_del_on_a_read_only_state_directory_frees_all(node: Node) -> None:
    """DEL releases what the record describes; the record stays until it can be removed."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    _read_only(node)
    for _ in range(2):
        node.delete(pod, BOTH).failed(cni_errors.IO_FAILURE)
        assert (node.links(pod), node.addresses("weave"), node.addresses("canal")) == ([], [], [])
    node.sh(f"umount {node.folder}/state")
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING


def test_a_missing_state_directory_is_made_for_root_alone(node: Node) -> None:
    """ADD creates it with its parents; directories are 0700 and files 0600."""
    pod = node.container("pod")
    state = node.folder / "not" / "yet" / "there"
    node.add(pod, BOTH, stateDir=str(state)).succeeded()
    assert state.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in state.iterdir()} == {0o600}
    node.delete(pod, BOTH, stateDir=str(state)).succeeded()
    assert node.left(pod) == NOTHING
    assert list(state.glob("*.json*")) == []


def test_del_succeeds_where_the_state_directory_is_missing(node: Node) -> None:
    """Without a record, DEL calls the default network, as the runtime would without Genie."""
    pod = node.container("pod")
    node.add(pod, "weave").succeeded()
    (node.folder / "state").rename(node.folder / "lost")
    node.delete(pod, "weave").succeeded()
    assert node.left(pod).addresses == {"weave": []}
    assert node.left(pod).links == []


def test_a_state_directory_that_is_a_file_is_an_error_of_add_only(node: Node) -> None:
    """ADD fails; DEL of a container that was never attached succeeds."""
    pod = node.container("pod")
    (node.folder / "state").write_text("a file")
    node.add(pod, BOTH).failed(cni_errors.IO_FAILURE)
    assert node.links(pod) == []
    node.delete(pod, BOTH).succeeded()


def _flipped(data: bytes) -> bytes:
    """Change an address by one bit: 10.32.0.2 becomes 10.32.0.3."""
    match = re.search(rb'"address":"10[.]32[.]0[.]\d', data)
    assert match
    at = match.end() - 1
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


CORRUPT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut after a byte": lambda data: data[:1],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut before its last byte": lambda data: data[:-1],
    "zeros, as a crash leaves them": lambda data: b"\0" * len(data),
    "not JSON": lambda _: b"<html>",
    "another program's JSON": lambda _: b'{"containers": ["a", "b"]}',
    "a list": lambda _: b"[]",
    "without its attachments": lambda data: _without(data, "attachments"),
    "without its format": lambda data: _without(data, "format"),
    "of another container": lambda data: sealed({**json.loads(data), "containerID": "dop"}),
    "changed by one bit": _flipped,
    "nested without end": lambda _: b"[" * 100_000,
}


def _without(data: bytes, key: str) -> bytes:
    value = json.loads(data)
    del value[key]
    return sealed(value)


@pytest.mark.parametrize("spoil", CORRUPT.values(), ids=CORRUPT)
def test_del_frees_all_with_a_record_that_is(node: Node, spoil: Callable[[bytes], bytes]) -> None:
    """DEL sets it aside and uses the annotations of its own call."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    record = node.state / "pod.json"
    spoilt = spoil(record.read_bytes())
    record.write_bytes(spoilt)
    answer = node.delete(pod, BOTH)
    answer.succeeded()
    assert "pod.json.corrupt" in answer.err
    assert (node.state / "pod.json.corrupt").read_bytes() == spoilt
    (node.state / "pod.json.corrupt").unlink()
    assert node.left(pod) == NOTHING


OF_THE_POD = ["pod.json", "pod.json.tmp", "pod.json.synced", "pod.lock"]
PLACES = [*OF_THE_POD, ".gc.lock", ".released", "journal"]
FAR_FROM_ITS_DEADLINE = 30.0
"""Seconds; a call has 90."""


@pytest.mark.parametrize("place", PLACES)
def test_no_call_waits_for_a_pipe_at(node: Node, place: str) -> None:
    """ADD and DEL succeed as if it did not exist; in the place of a record it is set aside."""
    pod = node.container("pod")
    pipe = node.state / place
    node.add(pod, BOTH).succeeded()
    node.delete(pod, BOTH).succeeded()
    for call in (node.add, node.delete):
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        answer = call(pod, BOTH)
        answer.succeeded()
        assert answer.seconds < FAR_FROM_ITS_DEADLINE
        if place == "pod.json":
            assert "pod.json.corrupt: it is not a regular file" in answer.err
            (node.state / "pod.json.corrupt").unlink()
    assert node.left(pod) == NOTHING


def test_a_corrupt_record_does_not_keep_a_container_from_being_attached_again(node: Node) -> None:
    """ADD sets it aside and writes a new one, from which DEL releases everything."""
    pod = node.container("pod")
    node.add(pod, "weave").succeeded()
    node.delete(pod, "weave").succeeded()
    (node.state / "pod.json").write_bytes(b"")
    node.add(pod, BOTH).succeeded()
    assert node.phases(pod) == {"eth0": "attached", "net1": "attached"}
    node.delete(pod, BOTH).succeeded()
    (node.state / "pod.json.corrupt").unlink()
    assert node.left(pod) == NOTHING


def test_a_record_that_cannot_be_read_is_an_error_and_stays(node: Node) -> None:
    """A directory in its place simulates a failing disk; DEL guesses nothing."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    kept = node.state / "kept"
    (node.state / "pod.json").rename(kept)
    (node.state / "pod.json").mkdir()
    error = node.delete(pod, BOTH).failed(cni_errors.IO_FAILURE)
    assert "pod.json" in error["msg"]
    (node.state / "pod.json").rmdir()
    kept.rename(node.state / "pod.json")
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING


def _rewrite(node: Node, pod: Container, **changes: Any) -> bytes:
    file = node.state / f"{pod.id}.json"
    file.write_bytes(sealed({**json.loads(file.read_bytes()), **changes}))
    return file.read_bytes()


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
def test_a_newer_incompatible_record_is_an_error_and_never_set_aside(
    node: Node, command: str
) -> None:
    """The error has code 11 and names the file and the fix; the file is not changed."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    newer = _rewrite(node, pod, format=99, oldestReader=98)
    error = node.call(command, pod, BOTH).failed(cni_errors.TRY_AGAIN)
    assert "pod.json" in error["msg"]
    assert "upgrade" in error["details"]
    assert (node.state / "pod.json").read_bytes() == newer
    assert (len(node.addresses("weave")), len(node.addresses("canal"))) == (1, 1)


def test_a_newer_compatible_record_is_used(node: Node) -> None:
    """DEL of this version releases what the next version attached."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    _rewrite(node, pod, format=FORMAT + 1, colour="green")
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING
