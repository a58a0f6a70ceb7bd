"""Whatever a delegate does, a call ends in time, reports the reason, and leaks nothing.

The faulty delegates are shell scripts in front of the real bridge plugin: fakes, since real ones
do not fail on demand. They attach for real before they fail, as a careless plugin would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from tests.node.calls import wait_for
from tests.node.harness import Left

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.harness import Node

NOTHING = Left({"weave": [], "canal": []}, [], [], [])
BOTH = "weave,canal@net1"
SIXTEEN = ",".join(["weave", *(f"canal@net{number}" for number in range(1, 16))])
ENDS_SOON = 20.0
"""Seconds: much less than a daemon's life, much more than a call takes on a busy machine."""

ON_ADD = '[ "$CNI_COMMAND $CNI_IFNAME" = "ADD net1" ] || exec $REAL/bridge\n'
ATTACH = "$REAL/bridge >/dev/null\n"

FAULTS = {
    "exits non-zero with an error": (
        ATTACH + """echo '{"code": 123, "msg": "no", "details": "why"}'; exit 7""",
        123,
        ": no",
    ),
    "exits non-zero and prints nothing": (ATTACH + "exit 7", 103, "exited with code 7"),
    "crashes with words": (ATTACH + "echo 'panic: why' >&2; exit 2", 103, "exited with code 2"),
    "exits non-zero and prints garbage": (
        ATTACH + "echo '<html>'; exit 1",
        103,
        "exited with code 1",
    ),
    "prints garbage": (ATTACH + "echo '<html>'", 103, "succeeded"),
    "prints what is not UTF-8": (ATTACH + r"printf '\377\376'", 103, "succeeded"),
    "prints two objects": (ATTACH + "echo '{} {}'", 103, "succeeded"),
    "prints a list": (ATTACH + "echo '[]'", 103, "succeeded"),
    "prints NaN": (ATTACH + """echo '{"ips": NaN}'""", 103, "succeeded"),
    "prints nothing": (ATTACH + "exit 0", 103, "but printed no result"),
    "prints a result without sense": (
        ATTACH + """echo '{"cniVersion": "1.0.0", "ips": [{"address": "nowhere"}]}'""",
        6,
        "nowhere",
    ),
    "prints 20 MB": (ATTACH + "head -c 20000000 /dev/zero", 103, "succeeded"),
    "is killed by a signal": (ATTACH + "kill -9 $$", 103, "signal 9"),
    "closes all its descriptors and fails": (
        ATTACH + "exec <&- >&- 2>&-; exit 3",
        103,
        "exited with code 3",
    ),
}


@pytest.mark.parametrize(("script", "code", "says"), FAULTS.values(), ids=FAULTS)
def test_add_is_rolled_back_when_a_delegate(node: Node, script: str, code: int, says: str) -> None:
    """ADD fails with the delegate's code and reason, and has released both networks."""
    pod = node.container("pod")
    node.delegate("bridge", ON_ADD + script)
    error = node.add(pod, BOTH).failed(code)
    assert "canal" in error["msg"]
    assert "net1" in error["msg"]
    assert says in error["msg"]
    assert node.left(pod) == NOTHING
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING


def test_a_delegate_may_close_stdin_early_and_need_not_read_it(node: Node) -> None:
    """An unread configuration of 300 KB neither blocks nor ends the plugin."""
    result = json.dumps({"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.9/24"}]})
    node.delegate("deaf", f"exec <&-\n[ $CNI_COMMAND != ADD ] || echo '{result}'")
    node.network("deaf", {"type": "deaf", "ballast": "x" * 300_000})
    pod = node.container("pod")
    assert node.add(pod, "deaf").succeeded()["ips"] == [{"address": "10.9.9.9/24"}]
    node.delete(pod, "deaf").succeeded()
    assert node.left(pod).state == []


def test_a_delegate_may_write_much_to_stderr(node: Node) -> None:
    """A megabyte on standard error does not block; its end is passed on as text."""
    noise = "head -c 1000000 /dev/zero | tr '\\0' '\\377' >&2"
    node.delegate("bridge", f"{noise}\necho >&2\necho bye >&2\nexec $REAL/bridge")
    pod = node.container("pod")
    added = node.add(pod, "weave")
    added.succeeded()
    assert added.err.endswith("\nbye\n")
    assert "b'" not in added.err
    node.delete(pod, "weave").succeeded()
    assert node.left(pod).links == []


START = 3.0
"""Seconds that a busy machine may need before the plugin's deadline starts."""

HANGS = {
    "alone": "exec sleep 600",
    "with a child": "sleep 600; true",
    "deaf to every signal it can be deaf to": "trap '' TERM INT HUP PIPE\nsleep 600; sleep 600",
    "and floods its output": "exec yes",
}


def test_a_delegate_that_hangs_is_killed_with_all_it_started(node: Node) -> None:
    """ADD ends within deadlineSeconds with code 11 and has released what was attached."""
    pods = {node.container(f"pod{number}"): hang for number, hang in enumerate(HANGS.values())}
    cases = "".join(f"{pod.id}) {hang} ;;\n" for pod, hang in pods.items())
    node.delegate("bridge", f"{ON_ADD}{ATTACH}case $CNI_CONTAINERID in\n{cases}esac")
    with ThreadPoolExecutor() as threads:  # each takes the whole of its time
        for answer in threads.map(lambda pod: node.add(pod, BOTH, deadlineSeconds=9), pods):
            answer.failed(cni_errors.TRY_AGAIN)
            assert answer.seconds < 9 + START
    assert node.left(*pods) == NOTHING


def test_sixteen_hanging_delegates_stay_inside_the_deadline(node: Node) -> None:
    """ADD and DEL of 16 networks whose delegates all hang end in time and keep the record."""
    pod = node.container("pod")
    node.delegate("bridge", "exec sleep 600")
    adding = node.add(pod, SIXTEEN, deadlineSeconds=4)
    adding.failed(cni_errors.TRY_AGAIN)
    assert adding.seconds < 4 + START
    assert node.phases(pod) == {"eth0": "releasing"}, "the only one that was begun"
    (node.bin / "bridge").unlink()
    node.add(pod, SIXTEEN).succeeded()
    node.delegate("bridge", "exec sleep 600")
    deleting = node.delete(pod, SIXTEEN, deadlineSeconds=4)
    deleting.failed(cni_errors.TRY_AGAIN)
    assert deleting.seconds < 4 + START
    assert node.processes() == []
    assert set(node.phases(pod).values()) == {"releasing"}
    assert len(node.phases(pod)) == 16
    (node.bin / "bridge").unlink()
    node.delete(pod, SIXTEEN).succeeded()
    assert node.left(pod) == NOTHING


DAEMONS = {
    "in its process group": "sleep 600 &",
    "in a session of its own": "setsid sleep 600 &",
}


@pytest.mark.parametrize("daemon", DAEMONS.values(), ids=DAEMONS)
@pytest.mark.parametrize("killed", [False, True], ids=["", "and the plugin is killed then"])
def test_no_call_waits_for_a_daemon_that_a_delegate_starts(
    node: Node, daemon: str, *, killed: bool
) -> None:
    """It keeps all descriptors; neither ADD, nor the next DEL, nor the caller waits for it."""
    pod = node.container("pod")
    kill = "kill -9 $PPID" if killed else ":"
    start = f"""
if [ $CNI_COMMAND = ADD ]; then {daemon}
echo $! >>$HERE/daemons; fi
[ "$CNI_COMMAND$CNI_IFNAME" != ADDnet1 ] || {kill}
exec $REAL/bridge"""
    node.delegate("bridge", start)
    adding = node.add(pod, BOTH)
    assert adding.killed == killed
    daemons = [int(pid) for pid in (node.folder / "daemons").read_text().split()]
    try:
        assert len(daemons) == 2
        if killed:
            # Now the daemons hold the lock, like a delegate that still works: DEL gives way.
            node.delete(pod, BOTH, deadlineSeconds=5).failed(cni_errors.TRY_AGAIN)
        else:
            deleting = node.delete(pod, BOTH)
            deleting.succeeded()
            assert max(adding.seconds, deleting.seconds) < ENDS_SOON
            assert node.processes() == ["sleep 600"] * 2
    finally:
        for pid in daemons:
            os.kill(pid, signal.SIGKILL)
    if killed:
        wait_for(lambda: node.delete(pod, BOTH).code == 0, "DEL after the daemons have ended")
    assert node.left(pod) == NOTHING


def _not_there(file: Path) -> None:
    file.unlink()


def _not_executable(file: Path) -> None:
    file.chmod(0o644)


def _not_a_program(file: Path) -> None:
    file.unlink()
    file.write_bytes(b"\x7fELF, but no more than that")
    file.chmod(0o755)


def _a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOILED = {
    "is missing": _not_there,
    "is not executable": _not_executable,
    "is not a program": _not_a_program,
    "is a directory": _a_directory,
}
spoiled = pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)


def _canal_of_its_own_type(node: Node) -> Path:
    """Give canal a plugin type that only the test's folder has, and return its executable."""
    node.network("canal", node.bridge_conf("canal", "10.244.0.0/16", kind="own"))
    return node.delegate("own", "exec $REAL/bridge")


@spoiled
def test_add_attaches_nothing_when_a_delegate(node: Node, spoil: type) -> None:
    """ADD fails with the reason; the network before it is released or was never attached."""
    pod = node.container("pod")
    spoil(_canal_of_its_own_type(node))
    error = node.add(pod, BOTH).failed(cni_errors.CANNOT_RUN)
    assert "canal" in error["msg"]
    assert "own" in error["msg"]
    left = node.left(pod)
    assert (left.links, left.processes, any(left.addresses.values())) == ([], [], False)


@spoiled
def test_between_add_and_del_a_delegate(node: Node, spoil: type) -> None:
    """DEL fails for parkAfterSeconds, then parks it and succeeds; later everything is released."""
    pod = node.container("pod")
    file = _canal_of_its_own_type(node)
    node.add(pod, BOTH).succeeded()
    kept = node.folder / "kept"
    shutil.copy2(file, kept)
    spoil(file)
    node.delete(pod, BOTH).failed(cni_errors.CANNOT_RUN)
    assert node.phases(pod) == {"net1": "releasing"}
    assert (node.addresses("weave"), len(node.addresses("canal"))) == ([], 1)
    wait_for(lambda: node.delete(pod, BOTH, parkAfterSeconds=1).code == 0, "parking")
    assert node.phases(pod) == {"net1": "parked"}
    assert len(node.addresses("canal")) == 1
    if file.is_dir():
        file.rmdir()
    kept.replace(file)
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING


def test_an_executable_that_is_being_written_is_retried(node: Node) -> None:
    """ETXTBSY, as while an installer copies in place, is retried for a few seconds."""
    pod = node.container("pod")
    shutil.copy2(node.plugins / "bridge", node.bin / "bridge")
    # The installer begins in the plugin's own time: as the delegate just before the busy one.
    write = "exec 9<>$HERE/bin/bridge; sleep 0.3 & echo '{}'"
    node.delegate("installer", f"[ $CNI_COMMAND != ADD ] || {{ {write}; }}")
    node.network("weave", {"type": "installer"}, node.bridge_conf("weave", "10.32.0.0/16"))
    answer = node.add(pod, "weave")
    answer.succeeded()
    assert answer.seconds > 0.3
    node.delete(pod, "weave").succeeded()
    assert node.left(pod).links == []


def test_an_executable_that_stays_busy_is_an_error_and_leaves_nothing(node: Node) -> None:
    """Lasting ETXTBSY counts as "cannot be executed"; a delegate that never ran blocks no DEL."""
    pod = node.container("pod")
    own = _canal_of_its_own_type(node)
    shutil.copy2(node.plugins / "bridge", own)
    with own.open("r+b"):
        answer = node.add(pod, BOTH, deadlineSeconds=9)
        answer.failed(cni_errors.CANNOT_RUN)
        assert answer.seconds < 9 + START
        assert node.left(pod) == Left({"weave": []}, [], [], [])
        node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == Left({"weave": []}, [], [], [])


CHAINS: dict[str, list[dict[str, Any]]] = {
    "the only plugin": [],
    "behind one that ran": [{"type": "bridge", "bridge": "canal0", "isGateway": True}],
}


@pytest.mark.parametrize("before", CHAINS.values(), ids=CHAINS)
def test_what_a_delegate_of_a_missing_interpreter_leaves(
    node: Node, before: list[dict[str, Any]]
) -> None:
    """ADD fails with code 107 and has released everything; DEL succeeds at once."""
    pod = node.container("pod")
    chain = [{**each, "ipam": node.ipam("10.244.0.0/16")} for each in before]
    node.network("canal", *chain, {"type": "odd"})
    node.delegate("odd", "").write_text("#!/no/such/interpreter\n")
    node.add(pod, BOTH).failed(cni_errors.CANNOT_RUN)
    left = node.left(pod)
    assert (left.links, left.state, any(left.addresses.values())) == ([], [], False)
    node.delete(pod, BOTH).succeeded()
