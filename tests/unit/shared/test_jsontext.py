"""JSON as the node reads and writes it, by table and by property."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import jsontext
from dispatcher.jsontext import MAX_DEPTH, InvalidJSONError, Number, dump, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    """Return what the standard library would have read."""
    if isinstance(value, Number):
        return json.loads(value.text)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


@given(VALUES, st.booleans())
def test_what_the_standard_library_writes_is_read_the_same(
    value: Any,
    ascii_only: bool,  # noqa: FBT001 - hypothesis calls it by name
) -> None:
    """Any JSON document means here what it means to the standard library."""
    assert plain(parse(json.dumps(value, ensure_ascii=ascii_only).encode())) == value


@given(VALUES)
def test_what_we_write_is_read_back_the_same(value: Any) -> None:
    """Writing loses nothing that was read."""
    read = parse(json.dumps(value).encode())
    assert parse(dump(read)) == read
    assert json.loads(dump(read)) == value


@given(VALUES)
def test_a_number_that_is_kept_changes_nothing_around_it(value: Any) -> None:
    """What the C encoder writes, and what is written beside a number that it does not know."""
    assert dump([value, Number("1.0")]) == b"[" + dump(value) + b",1.0]"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("12345678901234567890123", id="a large integer"),
        pytest.param("-0", id="minus zero"),
        pytest.param("1.10", id="a trailing zero"),
        pytest.param("0.1000000000000000055511151231257827", id="more digits than a double"),
        pytest.param("1E5", id="an exponent"),
        pytest.param("9" * 5000, id="more digits than int() takes"),
        pytest.param("[1,2.0,-3e-2]", id="numbers in a list"),
        pytest.param('{"b":1,"a":{"z":null,"y":[]}}', id="the order of keys"),
        pytest.param('"é😀\\u0001"', id="unicode"),
        pytest.param('"\\ud800"', id="a lone surrogate"),
    ],
)
def test_text_is_written_as_it_was_read(text: str) -> None:
    """Numbers, order and letters come out as they went in."""
    assert dump(parse(text.encode())).decode() == text


@pytest.mark.parametrize(
    ("data", "part"),
    [
        pytest.param(b"", "a value is expected", id="nothing"),
        pytest.param(b" \n ", "a value is expected", id="blanks"),
        pytest.param(b"{", "property name", id="an open object"),
        pytest.param(b'{"a":1} x', "nothing more", id="something behind"),
        pytest.param(b"{'a':1}", "property name", id="single quotes"),
        pytest.param(b'{"a":1,}', "property name", id="a trailing comma"),
        pytest.param(b'"a\x00b"', "control character", id="a raw NUL"),
        pytest.param(b'"a\nb"', "control character", id="a raw newline"),
        pytest.param(b"\xef\xbb\xbf{}", "a value is expected", id="a byte order mark"),
        pytest.param(b'"\xff"', "byte 1 is not UTF-8", id="not UTF-8"),
        pytest.param(b"NaN", "NaN is not JSON", id="NaN"),
        pytest.param(b'{"a":-Infinity}', "-Infinity is not JSON", id="an infinity"),
        pytest.param(b"[1e400]", "1e400 is too large", id="beyond a double"),
        pytest.param(b'{"a":1,"a":1}', '"a" stands twice', id="a key twice"),
        pytest.param(b'[{"x":{"a":1,"b":2,"a":3}}]', '"a" stands twice', id="a key twice, deep"),
        pytest.param(
            b'{"\\ud800":1,"\\ud800":1}', r'"\ud800" stands twice', id="a surrogate twice"
        ),
        pytest.param(b"[" * 101 + b"]" * 101, "nested deeper", id="a little too deep"),
        pytest.param(b'{"a":' * 150 + b"1" + b"}" * 150, "nested deeper", id="objects too deep"),
        pytest.param(b"[" * 200_000, "nested deeper", id="far too deep, and open"),
    ],
)
def test_what_is_refused(data: bytes, part: str) -> None:
    """Whatever is not JSON, or would not survive, is refused in one sentence."""
    with pytest.raises(InvalidJSONError) as caught:
        parse(data)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_repeated_key_behind_many_others_is_refused_in_linear_time() -> None:
    """An object of a hostile author may have as many keys as its size allows."""
    keys = ",".join(f'"{number}":0' for number in range(50_000))
    start = time.process_time()
    with pytest.raises(InvalidJSONError, match='"49999" stands twice'):
        parse(f'{{{keys},"49999":0}}'.encode())
    assert time.process_time() - start < 2  # some 40 ms; to count each key takes half a minute


def test_the_deepest_nesting_that_is_read() -> None:
    """The limit itself is allowed, and can be written."""
    data = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert dump(parse(data)) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No input gets past :class:`InvalidJSONError`, and what is read can be written."""
    try:
        value = parse(data)
    except InvalidJSONError:
        return
    dump(value)


def test_numbers_compare_by_their_spelling() -> None:
    """A number that is kept as text is equal to the same text only."""
    assert Number("1.0") == Number("1.0")
    assert Number("1.0") != Number("1.00")
    assert Number("1.0") != math.inf
    assert len({Number("1e3"), Number("1e3")}) == 1
    assert repr(Number("1e3")) == "Number(1e3)"


def test_a_scanner_that_fails_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Python 3.13 it needs a module for its errors that is not loaded yet."""
    real = jsontext._scan
    failures = iter([SystemError("no error was set")])

    def scan(text: str, start: int) -> Any:
        for failure in failures:
            raise failure
        return real(text, start)

    monkeypatch.setattr(jsontext, "_scan", scan)
    assert parse(b"[1]") == [1]


def test_figures_of_ours_are_written_beside_what_was_read() -> None:
    """Floats are made here only, and are numbers like the others."""
    assert dump({"seconds": 0.25, "kept": Number("1.0")}) == b'{"seconds":0.25,"kept":1.0}'
    assert dump({"seconds": 0.25}) == b'{"seconds":0.25}'
