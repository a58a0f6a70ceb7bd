"""JSON with the place of each value: the same values as the fast reader, and where they stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher import jsontext
from dispatcher.jsontext import InvalidJSONError
from dispatcher.nad.json_places import MisplacedJSONError, PlacedJSON

if TYPE_CHECKING:
    from dispatcher.nad.json_places import Path

DEPTH = 5
pieces = st.lists(
    st.sampled_from([*'[]{},:" \n\t', "null", "true", "1", "-", "1e9", '"a"', '"b"', "x", "\\"]),
    max_size=14,
).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def fast(text: str) -> tuple[bool, Any]:
    try:
        return True, jsontext.parse(text.encode(), DEPTH)
    except InvalidJSONError:
        return False, None


def slow(text: str) -> tuple[bool, Any]:
    """Return what this module reads; a key that stands twice counts as a refusal."""
    try:
        placed = PlacedJSON(text, DEPTH)
    except MisplacedJSONError as error:
        return error.offset not in range(len(text) + 1), None
    return not placed.repeated, None if placed.repeated else placed.value


@given(pieces | values.map(json.dumps) | values.map(lambda value: json.dumps(value, indent=1)))
def test_it_reads_what_the_fast_reader_reads(text: str) -> None:
    """And refuses what that refuses, at a place of the text; a key twice is reported."""
    assert slow(text) == fast(text)


def paths(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Return each value in *value* with its path."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    deeper = [paths(each, (*path, key)) for key, each in inner]
    return {path: value, **{key: each for more in deeper for key, each in more.items()}}


@settings(max_examples=40)
@given(values, st.sampled_from([None, 0, 3]))
def test_each_value_and_key_stands_where_it_is_reported(value: Any, indent: int | None) -> None:
    """A reader that starts there reads the same."""
    text = json.dumps(value, indent=indent)
    placed = PlacedJSON(text, 100)
    scan = json.JSONDecoder().raw_decode
    assert {path: scan(text, offset)[0] for path, offset in placed.offsets.items()} == paths(value)
    assert all(scan(text, at)[0] == path[-1] for path, at in placed.key_offsets.items())
