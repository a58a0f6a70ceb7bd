"""Results in every version of the specification, and from each to each."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cni_errors import DECODING_FAILURE, CNIError
from dispatcher.cni_result import decode, default_gateways, encode, family, is_default
from dispatcher.conf import VERSIONS

# One attachment as each shape of the specification has it.
ROUTES = [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "fd00::/8", "gw": "fd00::1"}]
DNS = {"nameservers": ["10.0.0.10"], "domain": "x", "search": ["a"], "options": ["b"]}
OLDEST = {
    "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": ROUTES[:1]},
    "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1", "routes": ROUTES[1:]},
    "dns": DNS,
}
IPS = [
    {"interface": 0, "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
    {"interface": 0, "address": "fd00::5/64", "gateway": "fd00::1"},
]
INTERFACES = [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/ns"}]
OLD = {
    "interfaces": INTERFACES,
    "ips": [{"version": v, **ip} for v, ip in zip("46", IPS, strict=True)],
    "routes": ROUTES,
    "dns": DNS,
}
NEW = {"interfaces": INTERFACES, "ips": IPS, "routes": ROUTES, "dns": DNS}
SHAPES: dict[str, dict[str, Any]] = {
    version: OLDEST if version < "0.3.0" else OLD if version < "1.0.0" else NEW
    for version in VERSIONS
}


def without_interfaces(shape: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a result that went through 0.1.0 or 0.2.0."""
    kept = {key: value for key, value in shape.items() if key != "interfaces"}
    if "ips" in kept:
        ips = [{k: v for k, v in ip.items() if k != "interface"} for ip in kept["ips"]]
        kept["ips"] = ips
    return kept


@pytest.mark.parametrize(("source", "target"), list(itertools.product(VERSIONS, VERSIONS)))
def test_a_result_goes_from_any_version_to_any(source: str, target: str) -> None:
    """Nothing that both versions can say is lost, and nothing appears."""
    converted = encode(decode({"cniVersion": source, **SHAPES[source]}, "0.1.0"), target)
    expected = SHAPES[target]
    if source < "0.3.0" and target >= "0.3.0":
        expected = without_interfaces(expected)
    assert converted == {"cniVersion": target, **expected}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("0.3.1", {"cniVersion": "0.3.1", "dns": {}}, id="dns always before 1.0.0"),
        pytest.param("1.0.0", {"cniVersion": "1.0.0"}, id="only with content since"),
        pytest.param("1.1.0", {"cniVersion": "1.1.0"}, id="and in 1.1.0"),
    ],
)
def test_an_empty_result(version: str, expected: dict[str, Any]) -> None:
    """Which fields appear is as libcni has it."""
    assert encode(decode({}, "1.0.0"), version) == expected


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_the_oldest_versions_need_an_address(version: str) -> None:
    """Without one there is no result to give."""
    with pytest.raises(CNIError, match="requires an address") as caught:
        encode(decode({"cniVersion": "1.0.0"}, "1.0.0"), version)
    assert caught.value.code == DECODING_FAILURE


def test_the_oldest_versions_have_routes_only_where_there_are_any() -> None:
    """A family without a route says nothing of routes."""
    said = {"ips": [{"address": "10.0.0.1/8"}], "routes": ROUTES[1:]}
    output = encode(decode(said, "1.0.0"), "0.1.0")
    assert output == {"cniVersion": "0.1.0", "ip4": {"ip": "10.0.0.1/8"}, "dns": {}}


def test_the_oldest_versions_keep_the_first_address_of_each_family() -> None:
    """Of several addresses, and of routes only what the family has."""
    said = {"ips": [{"address": "10.0.0.1/8"}, {"address": "10.0.0.2/8"}], "routes": ROUTES}
    assert encode(decode(said, "1.0.0"), "0.2.0") == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.1/8", "routes": ROUTES[:1]},
        "dns": {},
    }


def test_what_came_with_1_1_0_survives_in_new_versions_only() -> None:
    """Interfaces' mtu, socketPath and pciID; routes keep theirs in every version with routes."""
    said = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "a", "mtu": 1500, "socketPath": "/s", "pciID": "0:1"}],
        "routes": [
            {"dst": "10.0.0.0/8", "mtu": 9, "advmss": 8, "priority": 7, "table": 0, "scope": 0}
        ],
    }
    result = decode(said, "1.1.0")
    assert encode(result, "1.0.0") == {**said, "cniVersion": "1.0.0"}
    old = encode(result, "0.4.0")
    assert old["interfaces"] == [{"name": "a"}]
    assert old["routes"] == said["routes"]


def test_a_version_has_its_own_fields_only() -> None:
    """What came with 1.1.0 is unknown in a result of 0.4.0; a name is always there."""
    said = {"cniVersion": "0.4.0", "interfaces": [{"mtu": 1500, "mac": "x"}]}
    assert decode(said, "0.4.0")["interfaces"] == [{"name": "", "mac": "x"}]
    assert encode(decode(said, "0.4.0"), "0.3.0")["interfaces"] == [{"name": "", "mac": "x"}]


def test_unknown_and_empty_fields_are_dropped() -> None:
    """As libcni's types do it."""
    said = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "a", "mac": "", "colour": "red"}],
        "ips": [{"address": "10.0.0.1/8", "gateway": "", "interface": 0, "version": "4"}],
        "dns": {"nameservers": [], "domain": ""},
        "extra": 1,
    }
    assert encode(decode(said, "1.0.0"), "1.0.0") == {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "a"}],
        "ips": [{"interface": 0, "address": "10.0.0.1/8"}],
    }


@pytest.mark.parametrize("stated", [..., None, "", 3], ids=["absent", "null", "empty", "a number"])
def test_a_result_without_a_version_has_that_of_its_configuration(stated: Any) -> None:
    """The same bytes mean different things in different versions."""
    said = dict(OLDEST) if stated is ... else {"cniVersion": stated, **OLDEST}
    assert decode(said, "0.2.0")["ips"][0]["address"] == "10.1.0.5/16"
    assert decode(said, "1.0.0")["ips"] == []


@pytest.mark.parametrize(
    ("said", "part"),
    [
        pytest.param({"cniVersion": "3"}, '"3" is not supported', id="a version nobody speaks"),
        pytest.param({"ips": {}}, '"ips" is not a list', id="ips of a wrong type"),
        pytest.param({"ips": [1]}, "not an object", id="an ip of a wrong type"),
        pytest.param({"ips": [{}]}, "not an address", id="an ip without address"),
        pytest.param({"ips": [{"address": 1}]}, '"address" is not a string', id="a number"),
        pytest.param({"ips": [{"address": "10.0.0.1"}]}, "prefix length", id="no prefix length"),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/33"}]}, "prefix length", id="too long a prefix"
        ),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/00320"}]}, "prefix length", id="one behind zeros"
        ),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/9999999"}]}, "prefix length", id="a very long one"
        ),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/x"}]}, "prefix length", id="words for a prefix"
        ),
        pytest.param({"ips": [{"address": "10.0.0/8"}]}, "not an address", id="half an address"),
        pytest.param({"ips": [{"address": "1:2/8"}]}, "not an address", id="half a long one"),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]}, '"gateway"', id="a bad gateway"
        ),
        pytest.param({"interfaces": [1]}, '"interfaces"', id="an interface of a wrong type"),
        pytest.param({"interfaces": [{"name": 1}]}, '"name"', id="an interface's name"),
        pytest.param({"interfaces": [{"mtu": "9"}]}, '"mtu" is not a whole', id="an mtu in words"),
        pytest.param({"interfaces": [{"mtu": True}]}, '"mtu"', id="a boolean for an mtu"),
        pytest.param({"routes": [1]}, '"routes"', id="a route of a wrong type"),
        pytest.param({"dns": {"search": "a"}}, "list of strings", id="a word for a list"),
        pytest.param({"dns": {"search": [1]}}, "list of strings", id="a list of numbers"),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/8", "interface": "0"}]},
            '"interface"',
            id="an index in words",
        ),
        pytest.param({"routes": [{"dst": "x"}]}, "not an address", id="a route to nowhere"),
        pytest.param({"dns": [1]}, '"dns"', id="dns as a list"),
        pytest.param({"cniVersion": "0.2.0", "ip4": []}, '"ip4"', id="ip4 of a wrong type"),
    ],
)
def test_a_result_is_refused(said: dict[str, Any], part: str) -> None:
    """What cannot be understood says which part, with code 6."""
    with pytest.raises(CNIError) as caught:
        decode(said, "1.0.0")
    assert caught.value.code == DECODING_FAILURE
    assert part in caught.value.msg


@pytest.mark.parametrize(
    ("cidr", "expected"),
    [
        ("10.0.0.1/8", 4),
        ("fd00::1/64", 6),
        ("::ffff:10.0.0.1/104", 4),
        ("::/0", 6),
        ("0.0.0.0/0", 4),
        ("10.0.0.1/0000032", 4),
        (f"10.0.0.1/{'0' * 5000}8", 4),
    ],
    ids=lambda value: str(value)[:24],
)
def test_families(cidr: str, expected: int) -> None:
    """IPv4 in IPv6 counts as IPv4, as in Go's library."""
    assert family(cidr) == expected


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("::0/0", True),
        ("10.0.0.0/8", False),
        ("0.0.0.0/1", False),
        ("10.0.0.0/0", True),
    ],
)
def test_default_routes(dst: str, *, expected: bool) -> None:
    """A destination of length 0 is a default route, of either family."""
    assert is_default({"dst": dst}) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ip", "address", "dst", "gw", "gateway", "routes", "name", "version"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["cniVersion", "ip4", "ip6", "ips", "interfaces", "routes", "dns"]), JSON
    ),
    st.sampled_from(VERSIONS),
    st.sampled_from(VERSIONS),
)
def test_any_object_is_converted_or_refused(
    said: dict[str, Any], conf_version: str, target: str
) -> None:
    """No object gets past :class:`CNIError`; what is converted is a fixed point."""
    try:
        output = encode(decode(said, conf_version), target)
    except CNIError:
        return
    assert encode(decode(output, "0.1.0"), target) == output


def test_the_gateways_of_default_routes() -> None:
    """The route's own, else the first of an address of its family, else none."""
    ips = [{"address": "fd00::2/64", "gateway": "fd00::1"}, {"address": "10.0.0.2/24"}]
    routes = [{"dst": "10.1.0.0/16", "gw": "10.0.0.9"}, {"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    said = {"cniVersion": "1.0.0", "ips": ips, "routes": routes}
    assert default_gateways(decode(said, "1.0.0")) == {4: "", 6: "fd00::1"}
    routes[1]["gw"] = "10.0.0.3"
    assert default_gateways(decode(said, "1.0.0")) == {4: "10.0.0.3", 6: "fd00::1"}
    routes[1]["gw"] = "fe80::1"
    assert default_gateways(decode(said, "1.0.0")) == {6: "fd00::1"}


def test_a_default_route_of_another_table_has_no_say() -> None:
    """It stands for policy routing; a pod has no way out by it."""
    routes = [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "table": 100}]
    assert default_gateways(decode({"cniVersion": "1.1.0", "routes": routes}, "1.1.0")) == {}
    routes[0]["table"] = 254
    assert default_gateways(decode({"cniVersion": "1.1.0", "routes": routes}, "1.1.0")) != {}
