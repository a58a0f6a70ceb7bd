"""Compare how Genie and libcni read, refuse and convert results.

``cniconvert`` (tests/devcluster/build/gomod/cnitool) is a few lines around the pinned library. It
reads a plugin's output as a container runtime would, and prints it in another version of CNI.
Genie's conversion must be equal, and must fail where libcni's fails. Addresses are compared by
value, since libcni spells them anew and Genie passes them on as they were written.

Intended differences, each with a test below:

- An entry without address or destination is refused; libcni prints ``<nil>`` for it. So is a null
  among interfaces, addresses or routes, on which libcni panics, depending on the versions.
- The family of an address is taken from the address, never from a field that contradicts it.
- A version has its own fields only: 0.1.0 and 0.2.0 no route's ``mtu``, and always an address.
- Keys are as the specification spells them; Go's JSON takes ``IPS`` for ``ips``.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.cni_errors import CNIError
from dispatcher.cni_result import decode, encode
from dispatcher.conf import VERSIONS
from dispatcher.jsontext import dump, parse
from tests.devcluster.build import gobuild

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = ("0.1.0", "0.2.0")
NEWEST = ("1.0.0", "1.1.0")
ROUTE = ("mtu", "advmss", "priority", "table", "scope")
ADDRESSES = ("address", "gateway", "ip", "dst", "gw")

many = settings(max_examples=600)


class Libcni:
    """The library, in a process of its own."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def convert(self, printed: Any, conf_version: str, version: str) -> Any:
        """Return what libcni makes of *printed*, None for an error."""
        request = {"confVersion": conf_version, "printed": printed, "version": version}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(self.process.stdout.readline())
        assert ("result" in answer) != ("error" in answer), answer
        return answer.get("result")


@pytest.fixture(scope="module")
def libcni() -> Iterator[Libcni]:
    """Give libcni."""
    converter = Libcni(str(gobuild.build(gobuild.CNITOOL) / "cniconvert"))
    yield converter
    converter.process.communicate()


def ours(printed: Any, conf_version: str, version: str) -> Any:
    """Return what we make of *printed*, None for an error."""
    try:
        result = encode(decode(parse(json.dumps(printed).encode()), conf_version), version)
    except CNIError:
        return None
    return json.loads(dump(result))


def meant(value: Any, key: str = "") -> Any:
    """Return *value* with its addresses spelled in one way."""
    if isinstance(value, dict):
        return {name: meant(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [meant(each, key) for each in value]
    return _spelled(value) if key in ADDRESSES else value


def _spelled(text: str) -> str:
    plain, slash, bits = text.partition("/")
    address = ipaddress.ip_address(plain)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        # As Go prints it: of the prefix only what goes beyond the 96 bits in front.
        address, bits = address.ipv4_mapped, bits and str(max(int(bits) - 96, 0))
    return f"{address}{slash}{int(bits) if bits else ''}"


# -- results ---------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
WHOLE = st.integers(-(2**40), 2**40)


def _fields(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={key: value | st.none() for key, value in fields.items()}
    )


V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).flatmap(
    lambda ip: st.sampled_from([str(ip), ip.exploded, ip.exploded.upper()])
) | V4.map("::ffff:{}".format)


def _with_bits(address: str) -> st.SearchStrategy[str]:
    bits = st.integers(0, 32) if ":" not in address else st.integers(96, 128)
    return bits.map(lambda number: f"{address}/{number}")


CIDR4, CIDR6 = V4.flatmap(_with_bits), V6.flatmap(_with_bits)
CIDR6 |= st.sampled_from(["::/0", "2001:db8::/32", "fd00::7/64", "::1/128"])
CIDR4 |= st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/08"])
DNS = _fields(
    nameservers=st.lists(TEXT, max_size=2),
    domain=TEXT,
    search=st.lists(TEXT, max_size=2),
    options=st.lists(TEXT, max_size=2),
)
INTERFACE = _fields(
    name=TEXT, mac=TEXT, mtu=WHOLE, sandbox=TEXT, socketPath=TEXT, pciID=TEXT, colour=TEXT
)


def _is_v4(cidr: str) -> bool:
    return ":" not in cidr or ipaddress.IPv6Address(cidr.partition("/")[0]).ipv4_mapped is not None


@st.composite
def _ips(draw: st.DrawFn, version: str) -> dict[str, Any]:
    address = draw(CIDR4 | CIDR6)
    stated = {} if version in NEWEST else {"version": "4" if _is_v4(address) else "6"}
    more = draw(_fields(interface=st.integers(-1, 3), gateway=V4 | V6 | st.just(""), colour=TEXT))
    return {**stated, "address": address, **more}


@st.composite
def _routes(draw: st.DrawFn, dst: st.SearchStrategy[str], *, oldest: bool) -> dict[str, Any]:
    more = {} if oldest else dict.fromkeys(ROUTE, WHOLE)
    return {"dst": draw(dst), **draw(_fields(gw=V4 | V6 | st.just(""), **more))}


@st.composite
def results(draw: st.DrawFn, version: str) -> dict[str, Any]:
    """Draw what an honest plugin may print in *version*."""
    made: dict[str, Any] = draw(_fields(dns=DNS, extra=TEXT))
    if version not in OLDEST:
        route = _routes(CIDR4 | CIDR6, oldest=False)
        lists = _fields(
            interfaces=st.lists(INTERFACE, max_size=2),
            ips=st.lists(_ips(version), max_size=3),
            routes=st.lists(route, max_size=3),
        )
        return {"cniVersion": version, **made, **draw(lists)}
    parts = draw(st.sampled_from([("ip4",), ("ip6",), ("ip4", "ip6")]))
    for key in parts:
        cidr = CIDR4 if key == "ip4" else CIDR6.filter(lambda text: not _is_v4(text))
        routes = st.lists(_routes(cidr, oldest=True), max_size=2)
        made[key] = {"ip": draw(cidr), **draw(_fields(gateway=V4 | V6, routes=routes))}
    return {"cniVersion": version, **made}


# -- what holds ------------------------------------------------------------------------------

version = st.sampled_from(VERSIONS)


@many
@given(st.data(), version, version, version)
def test_an_honest_result_is_converted_as_libcni_does_it(
    libcni: Libcni, data: st.DataObject, conf_version: str, source: str, target: str
) -> None:
    """From any version to any, whatever the configuration's own: the same fields and values."""
    printed = data.draw(results(source))
    expected = libcni.convert(printed, conf_version, target)
    assert meant(ours(printed, conf_version, target)) == meant(expected)


@many
@given(st.data(), version, version, st.sampled_from([..., None, "", 3, [], False]))
def test_a_result_that_states_no_version_has_its_configurations(
    libcni: Libcni, data: st.DataObject, source: str, target: str, stated: Any
) -> None:
    """Left out, null, empty, or not a string: libcni puts the configuration's in its place."""
    printed = data.draw(results(source))
    del printed["cniVersion"]
    if stated is not ...:
        printed["cniVersion"] = stated
    expected = libcni.convert(printed, source, target)
    assert meant(ours(printed, source, target)) == meant(expected)


NUMBERS = (0, 1, -1, 1.5, 1e3, 10**30, True, False)
WORDS = (
    "",
    "x",
    "1.2.3.4",
    "::1/129",
    "10.0.0.1/33",
    "::1%lo/64",
    "01.2.3.4/8",
    "1.2.3/8",
    "1.2.3.4/",
    "/8",
    "1.2.3.4/8/8",
    "1.2.3.4/+8",
    "1.2.3.4/ 8",
    "1:2/8",
    "\u0663.2.3.4/8",
    "1.2.3.4/\u0663",
)
ODD = st.sampled_from([*NUMBERS, *WORDS, [], [1], ["x"], {}, {"a": 1}, None])


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield (*path, key)
        if isinstance(each, (dict, list)):
            yield from _places(each, (*path, key))


def _differs_on_purpose(path: tuple[Any, ...], odd: Any) -> bool:
    last = path[-1]
    of_address = last in {"ip4", "ip6"} or (isinstance(last, int) and "interfaces" not in path)
    if last == "cniVersion":
        return bool(odd != "x")  # the others are the test above
    if last == "version":
        return isinstance(odd, str) or odd is None
    return (
        (odd is None and isinstance(last, int))
        or (isinstance(odd, dict) and of_address)
        or (last in {"ip", "address", "dst"} and odd is None)
    )


@many
@given(st.data(), version, version, ODD)
def test_a_result_with_one_odd_value_is_refused_where_libcni_refuses_it(
    libcni: Libcni, data: st.DataObject, source: str, target: str, odd: Any
) -> None:
    """Of a wrong type or without sense, wherever it stands: the runtime could not read it."""
    printed = data.draw(results(source))
    places = [path for path in _places(printed) if not _differs_on_purpose(path, odd)]
    if not places:
        return
    *path, last = data.draw(st.sampled_from(places))
    inner: Any = printed
    for key in path:
        inner = inner[key]
    inner[last] = odd
    expected = libcni.convert(printed, source, target)
    if target in OLDEST and expected is not None and not {"ip4", "ip6"} & expected.keys():
        expected = None  # see the exceptions
    assert meant(ours(printed, source, target)) == meant(expected)


ADDRESS_LIKE = st.text(st.sampled_from("0123456789abcdefF:::.../"), min_size=1, max_size=18)
LENGTH = st.from_regex(r"0{0,6}[0-9]{1,6}", fullmatch=True)


@many
@given(
    ADDRESS_LIKE | st.tuples(V4 | V6, TEXT | LENGTH).map("/".join),
    st.sampled_from(["address", "gw"]),
)
@example("10.0.0.1/0000032", "address")
@example("10.0.0.1/00320", "address")
@example("10.0.0.1/000320000", "address")
@example(f"10.0.0.1/{'0' * 5000}", "address")
def test_an_address_is_one_where_it_is_one_for_libcni(libcni: Libcni, text: str, key: str) -> None:
    """Whatever stands in its place, with or without the length of a prefix."""
    if key == "gw":
        printed: dict[str, Any] = {"routes": [{"dst": "10.0.0.0/8", "gw": text}]}
    else:
        printed = {"ips": [{"address": text}]}
    expected = libcni.convert(printed, "1.0.0", "1.1.0")
    result = ours(printed, "1.0.0", "1.1.0")
    assert (result is None) == (expected is None)


# -- what differs on purpose -----------------------------------------------------------------

IP = {"address": "10.0.0.1/8"}
OLDEST_IP = {"ip": "10.0.0.1/8"}
REFUSED = {
    "an address that is left out": ({"ips": [{}]}, "1.0.0", "1.0.0"),
    "a destination that is left out": ({"routes": [{}]}, "1.0.0", "1.0.0"),
    "an ip4 without an address": ({"ip4": {}}, "0.2.0", "0.2.0"),
    "a null among the interfaces": ({"interfaces": [None]}, "1.0.0", "1.0.0"),
    "a null among the addresses": ({"ips": [None]}, "1.0.0", "1.0.0"),
    "a null among the routes": ({"ips": [IP], "routes": [None]}, "1.0.0", "0.4.0"),
    "a null among the name servers": ({"dns": {"nameservers": [None]}}, "1.0.0", "1.0.0"),
    "the oldest versions without an address": ({}, "0.1.0", "0.2.0"),
}


@pytest.mark.parametrize(("printed", "source", "target"), REFUSED.values(), ids=REFUSED)
def test_we_refuse_what_libcni_takes(
    libcni: Libcni, printed: dict[str, Any], source: str, target: str
) -> None:
    """Each of these leaves somebody further on with an address that is none."""
    assert libcni.convert(printed, source, target) is not None
    assert ours(printed, source, target) is None


OURS = {
    "a family that the address denies": (
        {"ips": [{"version": "6", **IP}]},
        ("0.4.0", "0.3.1"),
        {"cniVersion": "0.3.1", "ips": [{"version": "4", **IP}], "dns": {}},
    ),
    "a family that is not said": (
        {"ips": [IP]},
        ("0.4.0", "0.2.0"),
        {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8"}, "dns": {}},
    ),
    "a route's mtu in 0.2.0": (
        {"ip4": {**OLDEST_IP, "routes": [{"dst": "10.0.0.0/8", "mtu": 9}]}},
        ("0.2.0", "0.2.0"),
        {
            "cniVersion": "0.2.0",
            "ip4": {**OLDEST_IP, "routes": [{"dst": "10.0.0.0/8"}]},
            "dns": {},
        },
    ),
    "keys in capitals": ({"IPS": [IP]}, ("1.0.0", "1.1.0"), {"cniVersion": "1.1.0"}),
}


@pytest.mark.parametrize(("printed", "versions", "expected"), OURS.values(), ids=OURS)
def test_we_convert_otherwise(
    libcni: Libcni, printed: dict[str, Any], versions: tuple[str, str], expected: dict[str, Any]
) -> None:
    """Ours is what the specification says of the version."""
    assert ours(printed, *versions) == expected
    assert libcni.convert(printed, *versions) != expected
