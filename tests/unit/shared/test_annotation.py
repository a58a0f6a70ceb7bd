"""The grammar of the annotation, by table and by property."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher import annotation
from dispatcher.annotation import (
    InvalidAnnotationError,
    Selection,
    closest_name,
    normalise,
    parse,
    quote,
    shortlist,
)

ALNUM = string.ascii_letters + string.digits
INNER = ALNUM + "._-"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("canal", ["canal@eth0"], id="one name is the primary"),
        pytest.param("weave,canal@net1", ["weave@eth0", "canal@net1"], id="a second, named"),
        pytest.param("weave,canal", ["weave@eth0", "canal@eth1"], id="a second takes eth1"),
        pytest.param("weave@net1,canal", ["weave@net1", "canal@eth0"], id="primary may be last"),
        pytest.param(
            "a,b@eth1,c,d@eth3,e",
            ["a@eth0", "b@eth1", "c@eth2", "d@eth3", "e@eth4"],
            id="the lowest free number, past those that are named",
        ),
        pytest.param("a@eth1,b", ["a@eth1", "b@eth0"], id="a name ahead does not shift numbers"),
        pytest.param("weave,weave", ["weave@eth0", "weave@eth1"], id="one network twice"),
        pytest.param("Weave", ["Weave@eth0"], id="case is kept"),
        pytest.param("a_b.c-d", ["a_b.c-d@eth0"], id="inner punctuation"),
        pytest.param("a" * 63, ["a" * 63 + "@eth0"], id="63 characters"),
        pytest.param(
            f"a,b@{'i' * 15}", ["a@eth0", f"b@{'i' * 15}"], id="an interface of 15 characters"
        ),
        pytest.param(" weave\t, canal @ net1 ", ["weave@eth0", "canal@net1"], id="blanks"),
        pytest.param("weave\n", ["weave@eth0"], id="a YAML block ends in a newline"),
        pytest.param(
            "\r\nweave,\r\ncanal\n@\nnet1\r\n", ["weave@eth0", "canal@net1"], id="ends of lines"
        ),
        pytest.param(
            ",".join(f"n{i}" for i in range(16)),
            [f"n{i}@eth{i}" for i in range(16)],
            id="sixteen networks",
        ),
        pytest.param("", [], id="empty means choose for me"),
        pytest.param(" \t\r\n ", [], id="blank means choose for me"),
    ],
)
def test_a_value_selects(value: str, expected: list[str]) -> None:
    """A well-formed value gives each item its network and interface, in list order."""
    assert [f"{s.network}@{s.interface}" for s in parse(value)] == expected


@pytest.mark.parametrize(
    ("value", "reason", "position", "part"),
    [
        pytest.param("weave@", annotation.INVALID, 1, '"weave@"', id="nothing after @"),
        pytest.param("@net1,weave", annotation.INVALID, 1, "before", id="nothing before @"),
        pytest.param("weave,,canal", annotation.INVALID, 2, "missing", id="empty item"),
        pytest.param("weave,", annotation.INVALID, 2, "missing", id="trailing comma"),
        pytest.param("a/b", annotation.INVALID, 1, '"a/b"', id="slash"),
        pytest.param("..", annotation.INVALID, 1, '".."', id="parent folder"),
        pytest.param(
            "we\nave", annotation.INVALID, 1, '"we\\x0aave"', id="a newline inside a name"
        ),
        pytest.param("weave\v", annotation.INVALID, 1, '"weave\\x0b"', id="a vertical tab"),
        pytest.param("weave\x1c", annotation.INVALID, 1, '"weave\\x1c"', id="a file separator"),
        pytest.param("wea\0ve", annotation.INVALID, 1, '"wea\\x00ve"', id="NUL"),
        pytest.param("wéave", annotation.INVALID, 1, '"w\\xe9ave"', id="not ASCII"),
        pytest.param("\u2003weave", annotation.INVALID, 1, "\\u2003", id="a blank of Unicode"),
        pytest.param("\ud800", annotation.INVALID, 1, "\\ud800", id="lone surrogate"),
        pytest.param("-weave", annotation.INVALID, 1, '"-weave"', id="leading dash"),
        pytest.param("weave.", annotation.INVALID, 1, '"weave."', id="trailing dot"),
        pytest.param("a" * 64, annotation.INVALID, 1, "63 letters", id="64 characters"),
        pytest.param("a,b@" + "i" * 16, annotation.INVALID, 2, "15 letters", id="long interface"),
        pytest.param("a,b@lo", annotation.INVALID, 2, '"lo"', id="loopback"),
        pytest.param("a,b@all", annotation.INVALID, 2, '"all"', id="refused by the kernel"),
        pytest.param(
            "a,b@default", annotation.INVALID, 2, '"default"', id="refused by the kernel, too"
        ),
        pytest.param("a,b@.x", annotation.INVALID, 2, '".x"', id="interface with leading dot"),
        pytest.param("a@b@c", annotation.INVALID, 1, '"b@c"', id="two @"),
        pytest.param("a@eth0,b@eth0", annotation.DUPLICATE, 2, '"eth0"', id="one interface twice"),
        pytest.param("a@net1", annotation.REQUIRED, 0, "eth0", id="no primary"),
        pytest.param(",".join("a" * 17), annotation.TOO_MANY, 0, "16", id="17 networks"),
        pytest.param("a" * 1025, annotation.TOO_LONG, 0, "1025", id="1025 bytes"),
        pytest.param("é" * 513, annotation.TOO_LONG, 0, "1026", id="bytes are counted"),
        pytest.param(" " * 1025, annotation.TOO_LONG, 0, "1025", id="blanks count too"),
    ],
)
def test_a_value_is_refused(value: str, reason: str, position: int, part: str) -> None:
    """A malformed value is refused with the kind, the item and the words that help."""
    with pytest.raises(InvalidAnnotationError) as caught:
        parse(value)
    first = caught.value.faults[0]
    assert (first.reason, first.position) == (reason, position)
    assert part in str(first)


def test_all_faults_are_told_at_once() -> None:
    """A value with several faults names each of them, in order of their items."""
    with pytest.raises(InvalidAnnotationError) as caught:
        parse("a/b,weave@,c@x,d@x,")
    assert [(f.reason, f.position) for f in caught.value.faults] == [
        (annotation.INVALID, 1),
        (annotation.INVALID, 2),
        (annotation.DUPLICATE, 4),
        (annotation.INVALID, 5),
    ]
    assert str(caught.value).count("; ") == 3


def test_too_many_items_are_not_each_judged() -> None:
    """A thousand commas give a handful of faults, not a thousand lines of error."""
    with pytest.raises(InvalidAnnotationError) as caught:
        parse("," * 1000)
    assert len(caught.value.faults) == annotation.MAX_ITEMS + 1


networks = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
interfaces = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z").filter(
    lambda i: i not in annotation.RESERVED_INTERFACES
)
blanks = st.text(annotation.BLANKS, max_size=2)


@st.composite
def valid_values(draw: st.DrawFn) -> tuple[str, list[tuple[str, str | None]]]:
    """Draw a value that the grammar accepts, with blanks, and the items it was made of."""
    names = draw(st.lists(networks, min_size=1, max_size=8))
    chosen = draw(st.lists(interfaces, min_size=len(names), max_size=len(names), unique=True))
    primary = draw(st.integers(0, len(names) - 1))
    items: list[tuple[str, str | None]] = [
        (name, None if i == primary or draw(st.booleans()) else interface)
        for i, (name, interface) in enumerate(zip(names, chosen, strict=True))
    ]
    text = ",".join(
        draw(blanks)
        + name
        + draw(blanks)
        + ("" if interface is None else "@" + draw(blanks) + interface + draw(blanks))
        for name, interface in items
    )
    return text, items


@given(valid_values())
def test_interfaces_are_distinct_and_one_is_the_primary(
    drawn: tuple[str, list[tuple[str, str | None]]],
) -> None:
    """Each item keeps its network and named interface; no interface occurs twice."""
    text, items = drawn
    selections = parse(text)
    assert [s.network for s in selections] == [name for name, _ in items]
    for selection, (_, interface) in zip(selections, items, strict=True):
        assert interface in {None, selection.interface}
    assert len({s.interface for s in selections}) == len(selections)
    assert sum(s.is_primary for s in selections) == 1


@given(valid_values())
def test_normalising_is_idempotent_and_keeps_the_meaning(
    drawn: tuple[str, list[tuple[str, str | None]]],
) -> None:
    """The normal form has no blanks, selects the same, and is its own normal form."""
    text, _ = drawn
    normal = normalise(text)
    assert not set(normal) & set(annotation.BLANKS)
    assert parse(normal) == parse(text)
    assert normalise(normal) == normal


@given(st.text(alphabet=INNER + "@, \t\r\n/é\0", max_size=60))
@example("\ud800")
@example("," * 30)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text raises anything but InvalidAnnotationError, and every fault prints in ASCII."""
    try:
        parse(text)
        told = "nothing to tell"
    except InvalidAnnotationError as error:
        told = str(error).replace("…", "")
    assert told
    assert told.isascii()
    assert told.isprintable()


@given(st.text(max_size=200))
def test_a_quoted_text_is_one_printable_line(text: str) -> None:
    """Whatever a pod author writes, what we print of it is short, printable and quoted."""
    quoted = quote(text)
    assert quoted.isprintable()
    assert quoted[0] == quoted[-1] == '"'
    assert len(quoted) <= 64 * 6 + 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("wave", "weave", id="a missing letter"),
        pytest.param("clico", "calico", id="a missing vowel"),
        pytest.param("WEAVE", "weave", id="another case"),
        pytest.param("caanl", "canal", id="letters swapped"),
        pytest.param("xyzzy", None, id="nothing like it"),
        pytest.param("", None, id="nothing at all"),
    ],
)
def test_the_nearest_name(name: str, expected: str | None) -> None:
    """A typing mistake leads to the name that was meant; a strange name leads nowhere."""
    assert closest_name(name, ["weave", "canal", "calico", "flannel"]) == expected


def test_an_unknown_name_is_compared_with_few_of_many_known_ones() -> None:
    """15,000 names kept the webhook busy for a second; what was meant is still among the few."""
    known = {f"{letter}et-{number}" for letter in "mnop" for number in range(4000)}
    assert len(shortlist("net-unknown", known)) == annotation.MAX_COMPARED
    assert closest_name("wave", {*known, "Weave"}) == "Weave"
    few = sorted(known)[: annotation.MAX_COMPARED]
    assert shortlist("net-unknown", few) is few


def test_values_compare_by_content_and_print_readably() -> None:
    """Selections and faults can be compared, hashed and read in a test's output."""
    assert Selection("a", "eth0") == Selection("a", "eth0")
    assert len({Selection("a", "eth0"), Selection("a", "eth0")}) == 1
    assert Selection("a", "eth0") != "a@eth0"
    assert repr(Selection("a", "eth1")) == "Selection(a@eth1)"
    fault = annotation.Fault(annotation.REQUIRED, 0, None, "a reason")
    assert repr(fault) == "Fault(Required value: a reason)"
