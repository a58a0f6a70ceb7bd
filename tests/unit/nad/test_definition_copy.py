"""The file of a definition's copy: what is written is read again, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.nad.definition import Definition
from dispatcher.nad.definition_copy import (
    FORMAT,
    StaleCopyError,
    SyncState,
    decode,
    decode_sync,
    encode,
    encode_sync,
)


@given(st.text(), st.text(), st.text(max_size=300), st.text())
def test_a_copy_is_read_as_it_was_written(uid: str, config: str, resource: str, why: str) -> None:
    """A definition that is refused has no config there."""
    definition = Definition("ns", "a", uid=uid, config=config, resource=resource)
    copy = decode(encode(definition, why))
    assert (copy.uid, copy.hash, copy.refused) == (uid, definition.short_hash, why)
    assert (copy.config, copy.resource) == ("" if why else config, resource)


@given(st.none() | st.frozensets(st.text()))
def test_what_a_pod_may_ask_of_a_tenant_is_read_as_it_was_written(
    cni_args: frozenset[str] | None,
) -> None:
    """None: any arguments, as of a copy without the key; a value of another type is no copy."""
    definition = Definition("ns", "a", uid="u", config="c")
    written = encode(definition, "", cni_args)
    assert decode(written).cni_args == cni_args
    assert (cni_args is None) == (b"cniArgs" not in written)
    for value in ("x", 1, [None]):
        with pytest.raises(StaleCopyError):
            decode(json.dumps({**json.loads(written), "cniArgs": value}).encode())


@given(st.integers(0, 1 << 40), st.booleans())
def test_the_state_of_all_copies_is_read_as_it_was_written(alive: int, is_complete: bool) -> None:  # noqa: FBT001 - hypothesis passes it by position
    """In whole seconds."""
    state = decode_sync(encode_sync(SyncState(alive + 0.7, is_complete=is_complete)))
    assert (state.alive, state.is_complete) == (alive, is_complete)


@given(st.binary(max_size=40))
def test_other_bytes_are_no_copy(data: bytes) -> None:
    """The agent writes the file again."""
    for read in (decode, decode_sync):
        with pytest.raises(StaleCopyError):
            read(data)


@pytest.mark.parametrize("key", ["format", "uid", "hash", "config", "resource", "refused"])
def test_a_copy_without_a_field_cannot_be_read(key: str) -> None:
    """Nor one of another format; keys of a later version are ignored."""
    value = json.loads(encode(Definition("ns", "a", uid="u", config="c"), ""))
    assert decode(json.dumps({**value, "later": 1}).encode()).config == "c"
    for changed in ({**value, key: 2}, {name: value[name] for name in value if name != key}):
        with pytest.raises(StaleCopyError):
            decode(json.dumps(changed).encode())


@pytest.mark.parametrize(
    "changes", [{"alive": "1"}, {"alive": True}, {"complete": 1}, {"format": FORMAT + 1}], ids=str
)
def test_a_state_with_a_field_of_another_type_cannot_be_read(changes: dict[str, object]) -> None:
    """It counts as missing."""
    value = json.loads(encode_sync(SyncState(1.0, is_complete=True)))
    with pytest.raises(StaleCopyError):
        decode_sync(json.dumps(value | changes).encode())
