"""Records: what is written is read again, whole, by this version and its neighbours."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.conf import Conf
from dispatcher.jsontext import MAX_DEPTH
from dispatcher.state import record, store
from dispatcher.state.record import Attachment, CorruptRecordError, NewerRecordError, Record
from tests.records import sealed

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FOR_THE_SYSTEM = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
RESULT = st.fixed_dictionaries(
    {
        "interfaces": st.lists(st.fixed_dictionaries({"name": TEXT}, optional={"mtu": VALUE})),
        "ips": st.lists(st.fixed_dictionaries({"address": TEXT}, optional={"interface": VALUE})),
        "routes": st.lists(st.fixed_dictionaries({"dst": TEXT}, optional={"gw": TEXT})),
        "dns": st.dictionaries(TEXT, VALUE, max_size=2),
    },
    optional={"later": VALUE},
)


LATER = st.fixed_dictionaries({}, optional={"later": VALUE})
"""Keys that a newer version wrote."""


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Draw any record."""
    attachments = []
    for _ in range(draw(st.integers(0, 3))):
        plugins = [{"type": "t", **draw(st.dictionaries(TEXT, VALUE, max_size=2)), "type2": 1}]
        conf = Conf("/f", draw(FOR_THE_SYSTEM), "1.0.0", plugins, disable_gc=draw(st.booleans()))
        attachment = Attachment(
            draw(FOR_THE_SYSTEM),
            draw(FOR_THE_SYSTEM),
            draw(FOR_THE_SYSTEM),
            conf,
            args=draw(FOR_THE_SYSTEM),
            capability_args=draw(st.dictionaries(TEXT, VALUE, max_size=2)),
            is_primary=draw(st.booleans()),
        )
        attachment.phase = draw(
            st.sampled_from(["planned", "attaching", "attached", "releasing", "parked"])
        )
        attachment.result = draw(st.none() | RESULT)
        attachment.failure = draw(st.none() | st.just({"since": 1, "code": 11, "msg": "m"}))
        attachment.extra = draw(LATER)
        attachments.append(attachment)
    made = Record("c1", draw(FOR_THE_SYSTEM), attachments)
    routes = draw(st.lists(st.binary(min_size=12, max_size=40), max_size=2))
    made.held_routes = [each.hex() for each in routes]
    made.extra = draw(LATER)
    return made


@given(records())
def test_what_is_written_is_read_again(made: Record) -> None:
    """Decoding what was encoded, and encoding that, gives the same bytes."""
    data = record.encode(made)
    assert record.encode(record.decode(data)) == data


@given(records(), st.integers(0, 2000))
def test_a_truncated_record_is_corrupt(made: Record, length: int) -> None:
    """No part of a record is mistaken for the whole."""
    data = record.encode(made)
    if length < len(data):
        with pytest.raises(CorruptRecordError):
            record.decode(data[:length])


def flipped(data: bytes, bit: int) -> bytes:
    """Return *data* with one bit of it changed."""
    byte, place = divmod(bit, 8)
    return data[:byte] + bytes([data[byte] ^ 1 << place]) + data[byte + 1 :]


def is_seen(data: bytes, changed: bytes) -> bool:
    """Tell whether *changed* is corrupt; where it is not, it must say what *data* says."""
    try:
        found = record.decode(changed)
    except CorruptRecordError:
        return True
    assert record.encode(found) == data
    return False


GOOD: dict[str, Any] = {
    "interfaces": [{"name": "eth0"}],
    "ips": [{"address": "10.0.0.1/8"}],
    "routes": [{"dst": "10.0.0.0/8"}],
    "dns": {},
}


def ordinary() -> bytes:
    """Return the record of a container with an address."""
    plugins = [{"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.32.1.0/24"}}]
    conf = Conf("/etc/cni/net.d/20-weave.conflist", "weave", "1.0.0", plugins)
    attachment = Attachment("weave", "eth0", "eth0", conf, args="K8S_POD_NAME=wéb", is_primary=True)
    attachment.phase = "attached"
    attachment.result = GOOD
    attachment.failure = {"since": 1_700_000_000, "code": 11, "msg": "m"}
    return record.encode(Record("c1", "/run/netns/c1", [attachment]))


def test_every_bit_of_a_record_counts() -> None:
    """A disk that changes one makes no other record: but for its format, it says what it said."""
    data = ordinary()
    unseen = [bit for bit in range(8 * len(data)) if not is_seen(data, flipped(data, bit))]
    of_format = data.index(b'"format":2') + len(b'"format":')
    assert {bit // 8 for bit in unseen} <= {of_format}


@given(records(), st.data())
def test_a_bit_that_is_changed_is_never_another_record(made: Record, data: st.DataObject) -> None:
    """Whatever the record holds."""
    content = record.encode(made)
    is_seen(content, flipped(content, data.draw(st.integers(0, 8 * len(content) - 1))))


REWRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "with a line's end": lambda data: data + b"\n",
    "indented": lambda data: json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode(),
    "in ASCII": lambda data: json.dumps(json.loads(data)).encode(),
}


@pytest.mark.parametrize("write", REWRITTEN.values(), ids=REWRITTEN)
def test_a_record_that_an_editor_wrote_out_again_says_the_same(
    write: Callable[[bytes], bytes],
) -> None:
    """The checksum is of what is said, not of blanks."""
    assert record.encode(record.decode(write(ordinary()))) == ordinary()


UNSEALED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no checksum": lambda value: {k: v for k, v in value.items() if k != "checksum"},
    "a checksum of another record": lambda value: {**value, "netns": "/other"},
    "a checksum in a string": lambda value: {**value, "checksum": str(value["checksum"])},
    "a key behind its checksum": lambda value: {**value, "more": 1},
}


@pytest.mark.parametrize("change", UNSEALED.values(), ids=UNSEALED)
def test_a_checksum_counts_in_a_record_of_this_format_alone(
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Other versions keep it, as a key that they do not know, beside what they have changed."""
    value = change(json.loads(ordinary()))
    with pytest.raises(CorruptRecordError, match="does not match its checksum"):
        record.decode(json.dumps(value).encode())
    for other in (1, record.FORMAT + 1):
        found = record.decode(json.dumps({**value, "format": other}).encode())
        assert found.netns == value["netns"]
        written = record.encode(found)
        assert written.count(b'"checksum"') == 1
        assert record.encode(record.decode(written)) == written


@given(st.binary(max_size=60) | VALUE.map(lambda value: json.dumps(value).encode()))
def test_any_other_file_is_corrupt(data: bytes) -> None:
    """Whatever stands there, reading ends in an error that is ours."""
    with pytest.raises(CorruptRecordError):
        record.decode(data)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"format": 3}, None, id="newer, and readable"),
        pytest.param(
            {"format": 3, "oldestReader": 3}, NewerRecordError, id="newer, and not readable"
        ),
        pytest.param({"format": 1}, None, id="older"),
        pytest.param({"format": "1"}, CorruptRecordError, id="a format of a wrong type"),
        pytest.param({"attachments": {}}, None, id="no attachments in an object"),
        pytest.param({"attachments": [1]}, CorruptRecordError, id="an attachment of a wrong type"),
        pytest.param({"netns": None}, CorruptRecordError, id="a netns of a wrong type"),
    ],
)
def test_formats(change: dict[str, Any], error: type[Exception] | None) -> None:
    """Neighbouring versions read one another's records, or refuse in time."""
    value = json.loads(record.encode(Record("c1", "/ns", [])))
    data = sealed({**value, **change})
    if error is None:
        assert record.decode(data).container_id == "c1"
    else:
        with pytest.raises(error):
            record.decode(data)


@pytest.mark.parametrize("where", ["conf", "capability_args", "result"])
def test_what_is_nested_as_deep_as_may_be_is_read_again(where: str) -> None:
    """A record holds whole configurations: they stand deeper in it than in files of their own."""
    deep: Any = []
    for _ in range(MAX_DEPTH - 4):
        deep = [deep]
    attachment = Attachment("w", "eth0", "eth0", Conf("/f", "n", "1.0.0", [{"type": "t"}]))
    if where == "conf":
        attachment.conf.plugins[0]["deep"] = deep
    else:
        setattr(attachment, where, {**GOOD, "deep": deep})
    data = record.encode(Record("c1", "", [attachment]))
    assert record.encode(record.decode(data)) == data


FOREIGN: dict[str, dict[str, Any]] = {
    "a result without its parts": {"result": {}},
    "a result that is a list": {"result": []},
    "addresses that are none": {"result": {**GOOD, "ips": [{}]}},
    "addresses in an object": {"result": {**GOOD, "ips": {}}},
    "an interface without a name": {"result": {**GOOD, "interfaces": [{"mac": "x"}]}},
    "a route of a number": {"result": {**GOOD, "routes": [{"dst": 1}]}},
    "dns in a list": {"result": {**GOOD, "dns": []}},
    "a version nobody speaks": {"conf": {"cniVersion": "1.2.0"}},
    "a version that is a list": {"conf": {"cniVersion": []}},
    "plugins in an object": {"conf": {"plugins": {"type": "x"}}},
    "a plugin without a type": {"conf": {"plugins": [{}]}},
    "capabilities in a list": {"conf": {"plugins": [{"type": "t", "capabilities": ["x"]}]}},
    "capability arguments in a list": {"capabilityArgs": []},
    "an interface with a NUL": {"interface": "eth0\0"},
    "a plugin's type with a NUL": {"conf": {"plugins": [{"type": "t\0"}]}},
    "a failure in words": {"failure": "no"},
    "a failure of no time": {"failure": {"since": "now", "code": 1, "msg": ""}},
    "a failure without words": {"failure": {"since": 1, "code": 1}},
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_what_no_call_could_work_with_is_corrupt(change: dict[str, Any]) -> None:
    """JSON of the right outline with something else inside: no DEL fails on it for ever."""
    made = Attachment("n", "eth0", "eth0", Conf("/f", "n", "1.0.0", [{"type": "t"}]))
    made.result = GOOD
    value = json.loads(record.encode(Record("c1", "/ns", [made])))
    [attachment] = value["attachments"]
    assert record.decode(sealed(value)).attachments[0].result == GOOD
    conf = {**attachment["conf"], **change.get("conf", {})}
    value["attachments"] = [{**attachment, **change, "conf": conf}]
    with pytest.raises(CorruptRecordError, match="Error: "):
        record.decode(sealed(value))


def test_a_pod_is_known_from_cni_args() -> None:
    """Keys come in any order, and some runtimes leave them out."""
    args = "IgnoreUnknown=1;K8S_POD_UID=u;K8S_POD_NAME=p=q;K8S_POD_NAMESPACE=n"
    attachment = Attachment("w", "eth0", "eth0", Conf("/f", "n", "1.0.0", []), args=args)
    assert Record("c", "", [attachment]).pod == ("n", "p=q", "u")
    assert Record("c", "", []).pod == ("", "", "")


def test_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    """Mode 0600 in a directory of 0700, made with what is above it."""
    state = f"{tmp_path}/a/b"
    old = os.umask(0)
    try:
        store.make_dir(state)
        store.make_dir(state)
        store.write_synced(state, Record("c1", "/ns", []))
    finally:
        os.umask(old)
    assert stat.S_IMODE(Path(state).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(state, "c1.json").stat().st_mode) == 0o600
    store.write_synced(state, Record("c1", "/other", []))
    found = store.read(state, "c1")
    assert found is not None
    assert found.netns == "/other"
    assert [file.name for file in Path(state).iterdir()] == ["c1.json"]
    assert list(store.container_ids(state)) == ["c1"]
    store.remove(state, "c1")
    store.remove(state, "c1")
    assert store.read(state, "c1") is None
    assert not store.exists(state, "c1")
    assert list(store.container_ids(f"{state}/none")) == []


def test_a_write_that_fails_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a record nor a temporary file is left."""
    state = str(tmp_path)
    store.write_synced(state, Record("c1", "/old", []))

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posix.fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_synced(state, Record("c1", "/new", []))
    found = store.read(state, "c1")
    assert found is not None
    assert found.netns == "/old"
    assert [file.name for file in Path(state).iterdir()] == ["c1.json"]


def test_a_first_record_is_whole_before_it_has_its_name(tmp_path: Path) -> None:
    """In between a delegate starts; were the plugin killed, the next call would find the record."""
    state = str(tmp_path)
    finish = store.stage(state, Record("c1", "/ns", []))
    assert not store.exists(state, "c1")
    assert record.decode((tmp_path / "c1.json.tmp").read_bytes()).netns == "/ns"
    finish()
    assert [file.name for file in tmp_path.iterdir()] == ["c1.json"]


def test_a_further_record_has_its_name_at_once(tmp_path: Path) -> None:
    """The next call would take the one that is there already, and look for no other."""
    state = str(tmp_path)
    store.write_synced(state, Record("c1", "/old", []))
    finish = store.stage(state, Record("c1", "/new", []))
    for _ in range(2):
        found = store.read(state, "c1")
        assert found is not None
        assert found.netns == "/new"
        finish()


def test_a_file_system_that_is_full_gets_no_half_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made, its content finds no room."""

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posix.write", full)
    with pytest.raises(OSError, match="No space"):
        store.stage(str(tmp_path), Record("c1", "/ns", []))
    assert list(tmp_path.iterdir()) == []


NOTHING_LEFT = {
    "a file of no length": lambda data: data[:0],
    "zeros": lambda data: b"\0" * len(data),
    "half of it": lambda data: data[: len(data) // 2],
}


@pytest.mark.parametrize("cut", NOTHING_LEFT.values(), ids=NOTHING_LEFT)
def test_a_power_cut_leaves_the_last_record_that_was_waited_for(
    tmp_path: Path, cut: Callable[[bytes], bytes]
) -> None:
    """A step that was only noted may be lost, and with it nothing else."""
    state = str(tmp_path)
    store.write_synced(state, Record("c1", "/certain", []))
    for netns in ("/noted", "/noted again"):
        store.write_unsynced(state, Record("c1", netns, []))
        found = store.read(state, "c1")
        assert found is not None
        assert found.netns == netns
    file = tmp_path / "c1.json"
    file.write_bytes(cut(file.read_bytes()))
    found = store.read(state, "c1")
    assert found is not None
    assert found.netns == "/certain"
    store.write_synced(state, Record("c1", "/new", []))
    assert [each.name for each in tmp_path.iterdir()] == ["c1.json"]
    store.write_unsynced(state, Record("c1", "/noted", []))
    store.remove(state, "c1")
    assert list(tmp_path.iterdir()) == []


def test_a_note_is_waited_for_where_there_are_no_second_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have no hard links: a step is then written like the first record."""
    synced: list[int] = []
    store.write_synced(str(tmp_path), Record("c1", "/old", []))

    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("posix.link", refused)
    monkeypatch.setattr("posix.fdatasync", synced.append)
    store.write_unsynced(str(tmp_path), Record("c1", "/new", []))
    found = store.read(str(tmp_path), "c1")
    assert found is not None
    assert (found.netns, len(synced)) == ("/new", 1)


@pytest.mark.parametrize("links", [True, False], ids=["", "where there are no second names"])
def test_a_corrupt_record_is_kept_beside_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """And in its place, until another takes it."""

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr("posix.link", refused)
    (tmp_path / "c1.json").write_bytes(b"{")
    aside = store.keep_corrupt_copy(str(tmp_path), "c1")
    assert Path(aside).read_bytes() == (tmp_path / "c1.json").read_bytes() == b"{"
    assert stat.S_IMODE(Path(aside).stat().st_mode) & 0o077 == 0 or links


def test_two_first_calls_make_the_directory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds it made."""
    mkdir = os.mkdir

    def both(path: str, mode: int) -> None:
        mkdir(path, mode)
        mkdir(path, mode)

    monkeypatch.setattr("posix.mkdir", both)
    store.make_dir(f"{tmp_path}/a/b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("content", "recovered"),
    [(..., False), (b"", False), (b'{"format":1', False), (b"whole", True)],
    ids=["nothing", "an empty file", "half a record", "a record"],
)
def test_a_record_that_was_not_renamed_is_recovered(
    tmp_path: Path, content: Any, *, recovered: bool
) -> None:
    """A folder is not waited for: a power cut may leave the first record its temporary name."""
    if content is not ...:
        whole = record.encode(Record("c1", "/ns", []))
        (tmp_path / "c1.json.tmp").write_bytes(whole if content == b"whole" else content)
    assert store.commit_staged(str(tmp_path), "c1") is recovered
    assert store.exists(str(tmp_path), "c1") is recovered


def test_a_record_of_another_container_is_corrupt(tmp_path: Path) -> None:
    """A copied file does not free somebody else's network."""
    (tmp_path / "c2.json").write_bytes(record.encode(Record("c1", "", [])))
    with pytest.raises(CorruptRecordError, match="c1"):
        store.read(str(tmp_path), "c2")


def test_a_temporary_file_is_never_followed(tmp_path: Path) -> None:
    """A symbolic link in its place is replaced, not written through."""
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "c1.json.tmp").symlink_to(target)
    store.write_synced(str(tmp_path), Record("c1", "", []))
    assert target.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c1.json", "target"]
    assert not (tmp_path / "c1.json").is_symlink()
