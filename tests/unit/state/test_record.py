"""The format of a record: what is written is read again by this version and its neighbours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.conf import Conf
from dispatcher.jsontext import MAX_DEPTH
from dispatcher.state import record, record_reader
from dispatcher.state.record import Attachment, CorruptRecordError, NewerRecordError, Record
from tests.records import sealed
from tests.unit.state.builders import VALUE, records

if TYPE_CHECKING:
    from collections.abc import Callable


@given(records())
def test_what_is_written_is_read_again(made: Record) -> None:
    """Decoding what was encoded, and encoding that, gives the same bytes."""
    data = record.encode(made)
    assert record.encode(record_reader.decode(data)) == data


@given(records(), st.integers(0, 2000))
def test_a_truncated_record_is_corrupt(made: Record, length: int) -> None:
    """No part of a record is mistaken for the whole."""
    data = record.encode(made)
    if length < len(data):
        with pytest.raises(CorruptRecordError):
            record_reader.decode(data[:length])


def flipped(data: bytes, bit: int) -> bytes:
    """Return *data* with one bit of it changed."""
    byte, place = divmod(bit, 8)
    return data[:byte] + bytes([data[byte] ^ 1 << place]) + data[byte + 1 :]


def is_seen(data: bytes, changed: bytes) -> bool:
    """Tell whether *changed* is corrupt; where it is not, it must say what *data* says."""
    try:
        result = record_reader.decode(changed)
    except CorruptRecordError:
        return True
    assert record.encode(result) == data
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
    assert record.encode(record_reader.decode(write(ordinary()))) == ordinary()


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
        record_reader.decode(json.dumps(value).encode())
    for other in (1, record.FORMAT + 1):
        result = record_reader.decode(json.dumps({**value, "format": other}).encode())
        assert result.netns == value["netns"]
        written = record.encode(result)
        assert written.count(b'"checksum"') == 1
        assert record.encode(record_reader.decode(written)) == written


@given(st.binary(max_size=60) | VALUE.map(lambda value: json.dumps(value).encode()))
def test_any_other_file_is_corrupt(data: bytes) -> None:
    """Whatever stands there, reading ends in an error that is ours."""
    with pytest.raises(CorruptRecordError):
        record_reader.decode(data)


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
        assert record_reader.decode(data).container_id == "c1"
    else:
        with pytest.raises(error):
            record_reader.decode(data)


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
    assert record.encode(record_reader.decode(data)) == data


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
    assert record_reader.decode(sealed(value)).attachments[0].result == GOOD
    conf = {**attachment["conf"], **change.get("conf", {})}
    value["attachments"] = [{**attachment, **change, "conf": conf}]
    with pytest.raises(CorruptRecordError, match=r'^it(s| has) .*"\w+"'):
        record_reader.decode(sealed(value))


def test_a_pod_is_known_from_cni_args() -> None:
    """Keys come in any order, and some runtimes leave them out."""
    args = "IgnoreUnknown=1;K8S_POD_UID=u;K8S_POD_NAME=p=q;K8S_POD_NAMESPACE=n"
    attachment = Attachment("w", "eth0", "eth0", Conf("/f", "n", "1.0.0", []), args=args)
    assert Record("c", "", [attachment]).pod == ("n", "p=q", "u")
    assert Record("c", "", []).pod == ("", "", "")
