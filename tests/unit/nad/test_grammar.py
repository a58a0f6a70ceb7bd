"""The annotations that select NetworkAttachmentDefinitions, by table."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dispatcher.annotation import DUPLICATE, INVALID, REQUIRED, TOO_LONG, TOO_MANY, UNSUPPORTED
from dispatcher.nad.faults import InvalidSelectionsError, SelectionFault
from dispatcher.nad.grammar import MAX_BYTES, npwg_warning, parse
from dispatcher.nad.report import MAX_FAULTS
from dispatcher.nad.selection import as_json


def faults_of(value: str) -> tuple[SelectionFault, ...]:
    with pytest.raises(InvalidSelectionsError) as caught:
        parse(value)
    assert caught.value.faults
    return caught.value.faults


SHORT = [
    pytest.param("", [], id="empty selects nothing"),
    pytest.param(" \t\r\n", [], id="blank selects nothing"),
    pytest.param("blue", [("", "blue", "")], id="a name in the pod's namespace"),
    pytest.param("shop/blue", [("shop", "blue", "")], id="another namespace"),
    pytest.param("shop/blue@data", [("shop", "blue", "data")], id="an interface"),
    pytest.param("a,a", [("", "a", ""), ("", "a", "")], id="one network twice"),
    pytest.param(" a ,\n b / c @ d\n", [("", "a", ""), ("b", "c", "d")], id="blanks"),
    pytest.param("a.b-c.d", [("", "a.b-c.d", "")], id="dots, as objects may have"),
    pytest.param("a@Net_1.x", [("", "a", "Net_1.x")], id="an interface as in cni"),
    pytest.param(f"{'n' * 63}/{'a' * 253}", [("n" * 63, "a" * 253, "")], id="longest names"),
]


@pytest.mark.parametrize(("value", "expected"), SHORT)
def test_the_short_form_selects(value: str, expected: list[tuple[str, str, str]]) -> None:
    """Each item gives its namespace, name and interface, in order."""
    assert [(s.namespace, s.name, s.interface) for s in parse(value)] == expected


FULL = {
    "name": "blue",
    "namespace": "shop",
    "interface": "data",
    "ips": ["10.0.0.2/24", "2001:db8::5"],
    "mac": "02-23-45-67-89-0A",
    "infiniband-guid": "24:8A:07:03:00:8d:ae:2f",
    "cni-args": {"vlan": 4.50, "deep": [{"x": None}]},
    "portMappings": [
        {"hostPort": 8080, "containerPort": 80},
        {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
    ],
    "bandwidth": {"ingressRate": 2048, "ingressBurst": 300, "egressRate": 8000},
    "default-route": ["10.0.0.1", "10.0.0.254", "2001:db8::1"],
    "example.org/extra": 7,
}


def test_the_json_form_selects_with_all_that_a_pod_may_ask() -> None:
    """Addresses of hardware and protocols come in one spelling; foreign keys are ignored."""
    [selection] = parse(f"\n {json.dumps([FULL], indent=1)}\n")
    assert (selection.namespace, selection.name, selection.interface) == ("shop", "blue", "data")
    assert selection.ips == ("10.0.0.2/24", "2001:db8::5")
    assert selection.mac == "02:23:45:67:89:0a"
    assert selection.infiniband_guid == "24:8a:07:03:00:8d:ae:2f"
    assert selection.default_route == ("10.0.0.1", "10.0.0.254", "2001:db8::1")
    mappings = [
        (each.host_port, each.container_port, each.protocol, each.host_ip)
        for each in selection.port_mappings
    ]
    assert mappings == [(8080, 80, "tcp", ""), (53, 5353, "udp", "192.0.2.1")]
    assert selection.bandwidth is not None
    assert selection.bandwidth.ingress_rate == 2048
    assert selection.bandwidth.egress_burst == 0
    assert as_json([selection]).count("4.5") == 1
    assert "example.org" not in as_json([selection])


@pytest.mark.parametrize(
    ("element", "attribute", "expected"),
    [
        pytest.param({"namespace": ""}, "namespace", "", id="an empty namespace is the pod's own"),
        pytest.param({"mac": "0223.4567.8901"}, "mac", "02:23:45:67:89:01", id="a MAC with dots"),
        pytest.param({"default-route": []}, "default_route", (), id="no gateway"),
        pytest.param({}, "default_route", None, id="default routes as they come"),
        pytest.param({"cni-args": {}}, "cni_args", {}, id="no argument"),
        pytest.param(
            {"ipam-claim-reference": "vm1.blue"}, "ipam_claim_reference", "vm1.blue", id="claim"
        ),
        pytest.param(
            {"ips": ["::ffff:10.0.0.1/128"]}, "ips", ("::ffff:10.0.0.1/128",), id="mapped"
        ),
    ],
)
def test_a_key_may_be(element: dict[str, Any], attribute: str, expected: object) -> None:
    """What the specification permits at the edges."""
    [selection] = parse(json.dumps([{"name": "a", **element}]))
    assert getattr(selection, attribute) == expected


REFUSED = [
    pytest.param("a,,b", INVALID, 2, 2, "the network name is missing", id="empty item"),
    pytest.param("a,", INVALID, 2, 2, "extra comma", id="trailing comma"),
    pytest.param("a, /b", INVALID, 2, 3, "before", id="no namespace"),
    pytest.param("ns/", INVALID, 1, 0, "a name must follow", id="no name"),
    pytest.param("a@", INVALID, 1, 0, "interface name must follow", id="nothing after @"),
    pytest.param("@x", INVALID, 1, 0, "253 lower-case", id="nothing before @"),
    pytest.param("a/b/c", INVALID, 1, 0, '"a/b"', id="two slashes"),
    pytest.param("a@b@c", INVALID, 1, 0, '"b@c"', id="two @"),
    pytest.param("Blue", INVALID, 1, 0, "lower-case", id="upper case"),
    pytest.param("a..b", INVALID, 1, 0, '"a..b"', id="an empty label"),
    pytest.param("n.s/a", INVALID, 1, 0, "a namespace must", id="a namespace with a dot"),
    pytest.param(f"{'n' * 64}/a", INVALID, 1, 0, "63 lower-case", id="a long namespace"),
    pytest.param("a" * 254, INVALID, 1, 0, "253", id="a long name"),
    pytest.param("a@lo", INVALID, 1, 0, '"lo"', id="loopback"),
    pytest.param("a@all", INVALID, 1, 0, '"all"', id="a name that the kernel refuses"),
    pytest.param(f"a@{'i' * 16}", INVALID, 1, 0, "15 letters", id="a long interface"),
    pytest.param("a\u00a0", INVALID, 1, 0, "\\xa0", id="a blank of Unicode"),
    pytest.param("\ud800", INVALID, 1, 0, "\\ud800", id="a lone surrogate"),
    pytest.param("a," * 32 + "a", TOO_MANY, 0, 0, "at most 32 networks (has 33)", id="33 items"),
    pytest.param(" " * (MAX_BYTES + 1), TOO_LONG, 0, 0, "65536 bytes", id="long"),
    pytest.param("é" * (MAX_BYTES // 2 + 1), TOO_LONG, 0, 0, "65536 bytes", id="bytes count"),
    pytest.param('{"name":"a"}', INVALID, 0, 0, "list of objects", id="an object alone"),
    pytest.param(' "a"', INVALID, 0, 1, "list of objects", id="a string alone"),
    pytest.param('[{"name":"a"', INVALID, 0, 12, '"," or "}" is expected', id="cut off"),
    pytest.param('[{"name":"a"},]', INVALID, 0, 14, "a value is expected", id="comma at the end"),
    pytest.param('[{name:"a"}]', INVALID, 0, 2, "a key in double quotes", id="a bare key"),
    pytest.param('[{"name" "a"}]', INVALID, 0, 9, '":" is expected', id="no colon"),
    pytest.param('[{"name":"a}]', INVALID, 0, 9, "Unterminated string", id="no end of a string"),
    pytest.param(
        '[{"name":"a\n"}]', INVALID, 0, 11, "Invalid control character", id="a raw newline"
    ),
    pytest.param('[{"x.y":NaN}]', INVALID, 0, 8, "NaN is not JSON", id="NaN"),
    pytest.param('[{"x.y":1e999}]', INVALID, 0, 8, "too large", id="beyond a double"),
    pytest.param("[] []", INVALID, 0, 3, "nothing more", id="two values"),
    pytest.param('["\ud800"]', INVALID, 0, 0, "not UTF-8", id="a lone surrogate in JSON"),
    pytest.param("[" * 33 + "]" * 33, INVALID, 0, 32, "deeper than 32", id="nested too deep"),
    pytest.param("[null]", INVALID, 1, 1, "must be an object", id="null"),
    pytest.param("[3]", INVALID, 1, 1, '"3"', id="a number"),
    pytest.param("[{}]", REQUIRED, 1, 1, '"name" is missing', id="no name in JSON"),
    pytest.param('[{"name":null}]', INVALID, 1, 9, "a name must", id="a name that is null"),
    pytest.param('[{"Name":"a"}]', UNSUPPORTED, 1, 2, 'did you mean "name"?', id="upper-case key"),
    pytest.param(json.dumps([{"name": "a"}] * 33), TOO_MANY, 0, 0, "has 33", id="33 objects"),
]


@pytest.mark.parametrize(("value", "reason", "position", "offset", "part"), REFUSED)
def test_a_value_is_refused(value: str, reason: str, position: int, offset: int, part: str) -> None:
    """With the reason, the item, the place in the text, and the words that help."""
    faults = faults_of(value)
    about = [f for f in faults if part in str(f)]
    assert [(f.reason, f.position, f.offset) for f in about] == [(reason, position, offset)]


def port(**changes: Any) -> dict[str, Any]:
    return {"portMappings": [{"hostPort": 1, "containerPort": 1, **changes}]}


LONG = "x" * 500
HOST, POD = "portMappings[0].hostPort", "portMappings[0].containerPort"
RATE, BURST = "bandwidth.ingressRate", "bandwidth.egressBurst"
CLAIM = "ipam-claim-reference"
KEYS = {
    "a misspelt key": ({"names": 1}, "names", 'unknown key (did you mean "name"?)'),
    "a key unlike any": ({LONG: 1}, "x", "unknown key; keys of other programs contain a dot"),
    "a lone surrogate as key": ({"\ud800": 1}, r"\ud800", "unknown key"),
    "an escape in a key": ({"bandwidth": {"\x1b": 1}}, r"bandwidth.\x1b", "unknown key"),
    "a device": ({"deviceID": "0000:00:1f"}, "deviceID", "may not name a device of the node"),
    "a namespace in upper case": ({"namespace": "A"}, "namespace", "a namespace must"),
    "a namespace that is null": ({"namespace": None}, "namespace", "a namespace must"),
    "an empty interface": ({"interface": ""}, "interface", "15 letters"),
    "a number as interface": ({"interface": 1}, "interface", "15 letters"),
    "an interface that the kernel refuses": ({"interface": "default"}, "interface", "15 letters"),
    "no address": ({"ips": []}, "ips", "at least one address"),
    "an address as text": ({"ips": "10.0.0.1"}, "ips", "must be a list"),
    "a prefix too long": ({"ips": ["10.0.0.1/33"]}, "ips[0]", "IP address"),
    "an IPv6 prefix too long": ({"ips": ["::1/129"]}, "ips[0]", "IP address"),
    "a prefix without a length": ({"ips": ["10.0.0.1/"]}, "ips[0]", "IP address"),
    "an octal prefix": ({"ips": ["10.0.0.1/08"]}, "ips[0]", "IP address"),
    "a prefix in Arabic digits": ({"ips": ["10.0.0.1/\u0661"]}, "ips[0]", "IP address"),
    "an octal byte": ({"ips": ["10.0.0.01"]}, "ips[0]", "IP address"),
    "an IPv6 zone": ({"ips": ["fe80::1%eth0"]}, "ips[0]", "IP address"),
    "an address with NUL": ({"ips": ["10.0.0.1\0"]}, "ips[0]", "IP address"),
    "a number as address": ({"ips": ["10.0.0.1", 3]}, "ips[1]", "IP address"),
    "a MAC of 5 bytes": ({"mac": "02:23:45:67:89"}, "mac", "of 6 bytes"),
    "a MAC with another letter": ({"mac": "02:23:45:67:89:0g"}, "mac", "of 6 bytes"),
    "a MAC in uneven parts": ({"mac": "0:223:45:67:89:01"}, "mac", "of 6 bytes"),
    "a multicast MAC": ({"mac": "03:23:45:67:89:01"}, "mac", "must not be a multicast"),
    "the broadcast MAC": ({"mac": "ff:ff:ff:ff:ff:ff"}, "mac", "must not be a multicast"),
    "a MAC of zeros": ({"mac": "00:00:00:00:00:00"}, "mac", "zeros"),
    "a number as MAC": ({"mac": 1}, "mac", "of 6 bytes"),
    "a GUID of 6 bytes": ({"infiniband-guid": "02:23:45:67:89:01"}, "infiniband-guid", "8 bytes"),
    "arguments in a list": ({"cni-args": [1]}, "cni-args", "must be an object"),
    "arguments that are null": ({"cni-args": None}, "cni-args", "must be an object"),
    "no port": ({"portMappings": []}, "portMappings", "at least one"),
    "a port that is no object": ({"portMappings": [1]}, "portMappings[0]", "must be an object"),
    "a port without the pod's": (
        {"portMappings": [{"hostPort": 1}]},
        "portMappings[0]",
        'the key "containerPort" is missing',
    ),
    "a port too high": (port(hostPort=65536), HOST, "1 to 65535"),
    "port 0": (port(hostPort=0), HOST, "1 to 65535"),
    "a boolean as port": (port(hostPort=True), HOST, "1 to 65535"),
    "a fraction as port": (port(containerPort=80.0), POD, "1 to 65535"),
    "a protocol": (port(protocol="icmp"), "portMappings[0].protocol", '"tcp", "udp", "sctp"'),
    "a host IP": (port(hostIP="x"), "portMappings[0].hostIP", "of the node"),
    "a key of a port": (
        port(hostport=1),
        "portMappings[0].hostport",
        'unknown key (did you mean "hostPort"',
    ),
    "no limit": ({"bandwidth": {}}, "bandwidth", "at least one of"),
    "a rate of zero": ({"bandwidth": {"ingressRate": 0}}, RATE, "bits per second"),
    "a huge rate": ({"bandwidth": {"ingressRate": 10**18}}, RATE, "18 digits"),
    "a burst without rate": ({"bandwidth": {"egressBurst": 1}}, BURST, 'the key "egressRate"'),
    "a key of bandwidth": ({"bandwidth": {"rate": 1}}, "bandwidth.rate", "unknown key"),
    "a gateway as text": ({"default-route": "10.0.0.1"}, "default-route", "list of gateways"),
    "a gateway with prefix": (
        {"default-route": ["10.0.0.1/24"]},
        "default-route[0]",
        "without a prefix",
    ),
    "an empty claim": ({CLAIM: ""}, CLAIM, "a name must"),
    "a claim and addresses": ({"ips": ["10.0.0.1"], CLAIM: "c"}, CLAIM, '"ips": remove one'),
}


@pytest.mark.parametrize(("element", "field", "part"), KEYS.values(), ids=KEYS)
def test_a_key_of_an_object_is_refused(element: dict[str, Any], field: str, part: str) -> None:
    """With its path in the item, and its line and column in the value."""
    value = json.dumps([{"name": "first"}, {"name": "a", **element}], indent=1)
    [fault] = faults_of(value)
    assert fault.position == 2
    assert fault.reason == (
        UNSUPPORTED if "unknown key" in part else REQUIRED if "is missing" in part else INVALID
    )
    assert f": item 2: {field}" in str(fault)
    assert part in fault.brief
    assert value.splitlines()[fault.line - 1][fault.column - 1] in '"[{0123456789tn'
    assert value[: fault.offset].count("\n") == fault.line - 1
    assert str(fault) == f"{fault.brief} (line {fault.line} column {fault.column})"


def test_all_faults_are_reported_at_once() -> None:
    """In the order in which they stand, a repeated key among them."""
    value = '[null,{"name":"A","name":"B","mac":1,"Mac":2},\n'
    value += '{"ips":[],"default-route":[]},{"name":"c","default-route":["x"]}]'
    assert [(f.reason, f.position, f.line) for f in faults_of(value)] == [
        (INVALID, 1, 1),
        (DUPLICATE, 2, 1),
        (INVALID, 2, 1),
        (INVALID, 2, 1),
        (UNSUPPORTED, 2, 1),
        (REQUIRED, 3, 2),
        (INVALID, 3, 2),
        (DUPLICATE, 4, 2),
        (INVALID, 4, 2),
    ]
    assert [f.position for f in faults_of("a/b/c,,D@lo")] == [1, 2, 3, 3]


def test_a_key_that_is_spelt_with_escapes_is_the_same_key() -> None:
    """Only its spelling differs; a text search would not see it."""
    [fault] = faults_of('[{"name":"a","\\u0064eviceID":"x"}]')
    assert "a device of the node" in str(fault)
    [fault] = faults_of('[{"name":"a","n\\u0061me":"b"}]')
    assert fault.reason == DUPLICATE


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        pytest.param("shop/blue@net1", "", id="labels"),
        pytest.param("a,blue@data_1", "data_1", id="an interface with an underscore"),
        pytest.param("a@X", "X", id="an interface in upper case"),
        pytest.param("a.b", "a.b", id="a name with a dot"),
        pytest.param('[{"name":"a.b","interface":"x_1"}]', "", id="the JSON form has no such rule"),
    ],
)
def test_what_the_client_library_of_the_npwg_refuses_is_a_warning(value: str, refused: str) -> None:
    """It shows the JSON form, which selects the same."""
    text = npwg_warning(value, parse(value))
    assert (f'"{refused}"' in text) == bool(refused)
    if refused:
        assert parse(text[text.index("[{") :]) == parse(value)


def test_a_value_of_blanks_selects_nothing_for_genie_alone() -> None:
    """The client library of the NPWG reads one item with an empty name."""
    assert "without a name" in npwg_warning(" \n", parse(" \n"))
    assert not npwg_warning("", ())


HOSTILE = [
    pytest.param("[" * MAX_BYTES, id="opened and never closed"),
    pytest.param('{"a":' * (MAX_BYTES // 5), id="objects in objects"),
    pytest.param("," * MAX_BYTES, id="commas"),
    pytest.param("[" + "null," * (MAX_BYTES // 5 - 1) + "1]", id="thousands of elements"),
    pytest.param('[{"a":1' + ',"a":1' * (MAX_BYTES // 7) + "}]", id="one key thousands of times"),
    pytest.param(
        "[{" + ",".join(f'"{n:x}nm":1' for n in range(5000)) + "}]", id="thousands of unknown keys"
    ),
    pytest.param(
        '[{"name":"a","ips":[' + ",".join(['"x"'] * 16000) + "]}]", id="thousands of addresses"
    ),
    pytest.param(f'[{{"{"n" * 60000}":1}}]', id="a key of 60 kB"),
    pytest.param('[{"name":' + "9" * 60000 + "}]", id="a number of 60 kB"),
    pytest.param("[" + " " * 60000 + "1]", id="blanks"),
    pytest.param("[" + "\n" * 60000 + "1]", id="lines"),
    pytest.param("a" * (1 << 20), id="1 MiB"),
    pytest.param("[" * (1 << 20), id="1 MiB of brackets"),
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_refused_soon_and_in_few_words(value: str) -> None:
    """The API server waits for the webhook, and the kubelet for the plugin."""
    start = time.process_time()
    faults = faults_of(value)
    assert time.process_time() - start < 1  # at most some 60 ms on an idle machine
    assert len(faults) <= MAX_FAULTS + 3
    assert all(len(str(fault)) < 1000 for fault in faults)
