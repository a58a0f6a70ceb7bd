"""Two versions of the plugin on one node, as during an upgrade, and after one is taken back.

The version before this one comes from the history (:mod:`tests.predecessor`). The next one is made
from the tree: the same sources with the record's format counted up and with keys in the record that
today's version does not know. All are built and installed as real plugins; each call says which of
them is run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.annotation import InvalidAnnotationError, normalise
from dispatcher.state import record, record_reader
from tests import predecessor as of_history
from tests.node.calls import wait_for
from tests.unit.state.builders import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.node.harness import Node

    Build = Callable[[dict[str, str]], Path]

_TREE = Path(__file__).parents[2]
BOTH = "weave,canal@net1"
TRY_AGAIN = 11

NEXT = {
    f"FORMAT = {record.FORMAT}": f"FORMAT = {record.FORMAT + 1}",
    '"netns": record.netns,': '"netns": record.netns, "future": {"of": "the record"},',
    '"phase": attachment.phase,': '"phase": attachment.phase, "future": "of the attachment",',
}
"""Today's record.py -> the next version's, whose records today's plugin can still use."""

BEYOND = NEXT | {
    f"OLDEST_READER = {record.OLDEST_READER}": f"OLDEST_READER = {record.FORMAT + 1}",
}
"""The same, of a version whose records today's plugin cannot use, and they say so."""


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Give a function that builds the plugin from a copy of the tree with a changed record.py."""

    def build(changes: dict[str, str]) -> Path:
        copy = tmp_path_factory.mktemp("tree")
        shutil.copytree(_TREE / "dispatcher", copy / "dispatcher")
        shutil.copy(_TREE / "pyproject.toml", copy)
        source = copy / "dispatcher" / "state" / "record.py"
        text = source.read_text()
        for old, new in changes.items():
            assert len(re.findall(rf"^\s*{re.escape(old)}", text, re.MULTILINE)) == 1, old
            text = re.sub(rf"^(\s*){re.escape(old)}", rf"\g<1>{new}", text, flags=re.MULTILINE)
        source.write_text(text)
        command = [sys.executable, "-m", "dispatcher.build.bundle", str(copy / "out")]
        subprocess.run(command, cwd=copy, check=True, capture_output=True)
        return copy / "out" / "genie"

    return build


@pytest.fixture(scope="session")
def next_genie(build: Build) -> Path:
    """Give the launcher of the next version."""
    return build(NEXT)


@pytest.fixture(scope="session")
def previous_genie(predecessor: Path) -> Path:
    """Give the launcher of the version before this one."""
    command = [sys.executable, "-m", of_history.BUILD, str(predecessor / "out")]
    subprocess.run(command, cwd=predecessor, check=True, capture_output=True)
    return predecessor / "out" / "genie"


@pytest.fixture(params=["previous", "next"])
def other_genie(request: pytest.FixtureRequest) -> Path:
    """Give the launcher of each version that this one meets on a node."""
    launcher: Path = request.getfixturevalue(f"{request.param}_genie")
    return launcher


@pytest.fixture(scope="session")
def beyond_genie(build: Build) -> Path:
    """Give the launcher of a version whose records today's cannot use."""
    return build(BEYOND)


def test_a_record_of_another_version_is_checked_and_freed_by_this_one(
    node: Node, other_genie: Path
) -> None:
    """An upgrade, and one that was taken back: the record has another format, and is used."""
    before = node.left()
    pod = node.container("pod")
    node.add(pod, BOTH, program=[other_genie]).succeeded()
    assert node.records()["pod"]["format"] in {of_history.FORMAT, record.FORMAT + 1}
    assert node.links(pod) == ["eth0", "net1"]
    node.check(pod).succeeded()
    node.delete(pod).succeeded()
    assert node.left(pod).links == before.links
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})


def test_a_record_of_this_version_is_checked_and_freed_by_another(
    node: Node, other_genie: Path
) -> None:
    """A downgrade, and the next upgrade: the pod is of another age than what deletes it."""
    before = node.left()
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    assert node.records()["pod"]["format"] == record.FORMAT
    node.check(pod, program=[other_genie]).succeeded()
    node.delete(pod, program=[other_genie]).succeeded()
    assert node.left(pod).links == before.links
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})


STUBBORN = """
if [ "$CNI_COMMAND" = DEL ] && [ -e "$HERE/stubborn" ]; then
  echo '{"cniVersion": "1.0.0", "code": 100, "msg": "not now"}'
  exit 1
fi
exec "$REAL/bridge"
"""
"""A bridge plugin whose DEL fails while a file is there."""


def test_what_one_version_did_not_finish_the_other_does(node: Node, next_genie: Path) -> None:
    """Next, this, next: what this version does not know of a record survives its rewriting."""
    node.delegate("stubborn", STUBBORN)
    node.bridge("canal", "10.244.0.0/16", kind="stubborn")
    pod = node.container("pod")
    node.add(pod, BOTH, program=[next_genie]).succeeded()
    (node.folder / "stubborn").touch()
    node.delete(pod).failed()
    kept = node.records()["pod"]
    assert kept["format"] == record.FORMAT
    assert kept["future"] == {"of": "the record"}
    assert [(each["network"], each["future"]) for each in kept["attachments"]] == [
        ("canal", "of the attachment")
    ]
    assert (node.addresses("weave"), len(node.addresses("canal"))) == ([], 1)
    (node.folder / "stubborn").unlink()
    node.delete(pod, program=[next_genie]).succeeded()
    assert (node.addresses("canal"), node.records()) == ([], {})


ORDERS = {
    "upgraded, and taken back": ["previous", "this", "previous"],
    "upgraded": ["previous", "this", "this"],
    "taken back, and upgraded again": ["this", "previous", "this"],
    "taken back": ["this", "previous", "previous"],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_record_survives_every_rewriting_where_the_node_is(
    node: Node, genie: Path, previous_genie: Path, order: list[str]
) -> None:
    """ADD, a DEL that frees one of two networks, a DEL that frees the other; nothing is corrupt."""
    versions = {"this": genie, "previous": previous_genie}
    formats = {"this": record.FORMAT, "previous": of_history.FORMAT}
    first, second, third = order
    node.delegate("stubborn", STUBBORN)
    node.bridge("canal", "10.244.0.0/16", kind="stubborn")
    pod = node.container("pod")
    node.add(pod, BOTH, program=[versions[first]]).succeeded()
    assert node.records()["pod"]["format"] == formats[first]
    (node.folder / "stubborn").touch()
    deleting = node.delete(pod, program=[versions[second]])
    deleting.failed(100)
    assert node.records()["pod"]["format"] == formats[second]
    assert (node.addresses("weave"), len(node.addresses("canal"))) == ([], 1)
    (node.folder / "stubborn").unlink()
    last = node.delete(pod, program=[versions[third]])
    last.succeeded()
    assert "corrupt" not in deleting.err + last.err
    left = node.left(pod)
    assert (left.links, left.state, any(left.addresses.values())) == ([], [], False)


REWRITE = f"""
import sys
from {of_history.RECORD} import decode, encode
for line in sys.stdin:
    print(encode(decode(bytes.fromhex(line))).hex(), flush=True)
"""


@pytest.fixture(scope="module")
def rewritten(predecessor: Path) -> Iterator[Callable[[bytes], bytes]]:
    """Give what the version before this one makes of a record when it reads and writes it."""
    command = [sys.executable, "-IS", "-c", f"import sys; sys.path[:0] = ['.']{REWRITE}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=predecessor, stdin=pipe, stdout=pipe, text=True) as worker:
        stdin, stdout = worker.stdin, worker.stdout
        assert stdin
        assert stdout

        def rewrite(data: bytes) -> bytes:
            print(data.hex(), file=stdin, flush=True)
            return bytes.fromhex(stdout.readline())

        yield rewrite
        stdin.close()


@given(made=records())
def test_what_the_predecessor_rewrites_says_the_same(
    rewritten: Callable[[bytes], bytes], made: record.Record
) -> None:
    """Whatever the record holds, once and again; the checksum that it keeps is no matter."""
    data = record.encode(made)
    theirs = rewritten(data)
    assert b'"format":1,' in theirs
    assert record.encode(record_reader.decode(theirs)) == data
    made.netns = "/another"
    changed = rewritten(record.encode(made))
    assert record_reader.decode(changed).netns == "/another"
    assert rewritten(changed) == changed


SLOW = """
if [ "$CNI_COMMAND" = ADD ]; then
  touch "$HERE/begun"
  until [ -e "$HERE/go" ]; do sleep 0.02; done
  sleep 0.5
fi
exec "$REAL/bridge"
"""
"""A bridge plugin that waits for the test, and then takes its time."""


@pytest.mark.parametrize("first", ["this", "the other"])
def test_an_add_that_one_version_was_killed_in_is_freed_by_the_other(
    node: Node, genie: Path, other_genie: Path, first: str
) -> None:
    """The node's agent switches versions while a pod is being attached, and the call dies."""
    versions = {"this": genie, "the other": other_genie}
    [second] = versions.keys() - {first}
    node.delegate("slow", SLOW)
    node.bridge("canal", "10.244.0.0/16", kind="slow")
    pod = node.container("pod")
    running = node.begin("ADD", pod, BOTH, program=[versions[first]])
    wait_for((node.folder / "begun").exists, "canal's ADD")
    running.kill()
    assert running.answer().killed
    (node.folder / "go").touch()
    node.delete(pod, program=[versions[second]]).succeeded()
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})
    assert node.links(pod) == []


@pytest.mark.parametrize("command", ["DEL", "CHECK"])
def test_a_record_that_this_version_cannot_use_is_an_error_and_stays_as_it_is(
    node: Node, beyond_genie: Path, command: str
) -> None:
    """Trying again helps once the newer version is back: so 11, and nothing is touched."""
    pod = node.container("pod")
    node.add(pod, BOTH, program=[beyond_genie]).succeeded()
    file = node.state / "pod.json"
    before, links = file.read_bytes(), node.links(pod)
    error = node.call(command, pod).failed(TRY_AGAIN)
    assert f"format {record.FORMAT + 1}" in error["msg"] + error.get("details", "")
    assert (file.read_bytes(), node.links(pod)) == (before, links)
    assert [path.name for path in node.state.iterdir() if "corrupt" in path.name] == []
    node.delete(pod, program=[beyond_genie]).succeeded()
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})


def test_a_record_that_this_version_cannot_use_is_nobody_elses_trouble(
    node: Node, beyond_genie: Path
) -> None:
    """Beside it other pods come and go."""
    strange, pod = node.container("strange"), node.container("pod")
    node.add(strange, BOTH, program=[beyond_genie]).succeeded()
    node.add(pod, BOTH).succeeded()
    node.check(pod).succeeded()
    node.delete(pod).succeeded()
    assert list(node.records()) == ["strange"]
    assert node.links(strange) == ["eth0", "net1"]


# ---- the webhook is newer than the plugin

_NETWORK = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_ITEM = f"{_NETWORK}(?:@[A-Za-z0-9][A-Za-z0-9._-]{{0,14}})?"
FIRST_RELEASE = re.compile(f"(?:{_ITEM}(?:,{_ITEM}){{0,15}})?", re.ASCII)
"""What the plugin of 0.1.0 understands. Written out here on purpose, and not to be changed: nodes
that still have that plugin do not learn of a grammar that has grown."""


@given(
    st.lists(
        st.tuples(
            st.from_regex(rf"\A[ \t]*{_NETWORK}[ \t]*\Z"),
            st.none() | st.from_regex(r"\A[ \t]*[A-Za-z0-9._-]{1,16}[ \t]*\Z"),
        ),
        max_size=17,
    )
    | st.text(max_size=40).map(lambda text: [(text, None)])
)
def test_the_webhook_writes_only_what_the_plugin_of_the_first_release_can_read(
    items: list[tuple[str, str | None]],
) -> None:
    """Whatever a person writes: what is stored is normal form, or the pod is refused."""
    written = ",".join(name if at is None else f"{name}@{at}" for name, at in items)
    try:
        stored = normalise(written)
    except InvalidAnnotationError:
        return
    assert FIRST_RELEASE.fullmatch(stored)
    assert len(stored) <= 1024
