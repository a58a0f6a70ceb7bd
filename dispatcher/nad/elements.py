"""One object of the JSON form: what each key may contain, and its value in normal form.

:data:`_READERS` has a function for each key of the NPWG's specification v1.3 (section 4.1.2.1).
Keys with a dot belong to others and are ignored. Every other key is a fault.

Rules of this file: values in, values or faults out. It gets JSON as :mod:`dispatcher.jsontext`
reads it, where a whole number of at most 18 digits is an ``int``, and any other a ``Number``.
"""

from __future__ import annotations

from dispatcher.annotation import DUPLICATE, INTERFACE_RULE, is_interface_name, quote
from dispatcher.nad import addresses
from dispatcher.nad.names import is_label, is_object_name
from dispatcher.nad.selection import Bandwidth, NetworkSelection, PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from dispatcher.nad.json_places import Path
    from dispatcher.nad.report import Report

MAX_PORT = 65535

LABEL_RULE = (
    "must consist of at most 63 lower-case letters, digits or '-', "
    "and must start and end with a letter or digit"
)
NAME_RULE = (
    "must consist of at most 253 lower-case letters, digits, '-' or '.', "
    "and must start and end with a letter or digit"
)
_ELEMENT_RULE = 'each element must be an object, for example {"name": "blue"}'


def read_elements(elements: list[Any], report: Report) -> list[NetworkSelection]:
    """Return the selections of *elements*, those without a problem."""
    selections = []
    for index, element in enumerate(elements):
        selection = _read_element(element, (index,), report)
        if selection is not None:
            selections.append(selection)

    routed = [index for index, each in enumerate(elements) if _has(each, "default-route")]
    for index in routed[1:]:
        expected = f"only one item may have it, and item {routed[0] + 1} has it: remove one"
        report.key((index, "default-route"), expected, DUPLICATE)
    return selections


def _has(element: Any, key: str) -> bool:
    return isinstance(element, dict) and key in element


def _read_element(element: Any, path: Path, report: Report) -> NetworkSelection | None:
    if not isinstance(element, dict):
        report.invalid(path, element, _ELEMENT_RULE)
        return None

    count = len(report.problems)
    values: dict[str, Any] = {}
    for key, value in element.items():
        reader = _READERS.get(key)
        if reader is not None:
            name = key.replace("-", "_").replace("portMappings", "port_mappings")
            values[name] = reader(value, (*path, key), report)
        elif key == "deviceID":
            report.key((*path, key), _NO_DEVICE)
        elif "." not in key:
            report.unknown_key((*path, key), _READERS, _KEY_RULE)

    if "name" not in element:
        report.missing(path, 'the key "name" is missing: it names a NetworkAttachmentDefinition')
    if "ips" in element and "ipam-claim-reference" in element:
        expected = 'the addresses come from it or from "ips": remove one of the two'
        report.key((*path, "ipam-claim-reference"), expected)
    return NetworkSelection(**values) if len(report.problems) == count else None


_NO_DEVICE = (
    "a pod may not name a device of the node: remove the key; "
    "the device comes from the container runtime"
)
_KEY_RULE = 'keys of other programs contain a dot, as in "example.org/key"'


def _name(value: Any, path: Path, report: Report) -> str:
    if not isinstance(value, str) or not is_object_name(value):
        report.invalid(path, value, f"a name {NAME_RULE}")
        return ""
    return value


def _namespace(value: Any, path: Path, report: Report) -> str:
    # The specification lets it be empty, for the pod's own.
    if value != "" and not (isinstance(value, str) and is_label(value)):
        report.invalid(path, value, f"a namespace {LABEL_RULE}")
        return ""
    return str(value)


def _interface(value: Any, path: Path, report: Report) -> str:
    if not isinstance(value, str) or not is_interface_name(value):
        report.invalid(path, value, INTERFACE_RULE)
        return ""
    return value


def _ips(value: Any, path: Path, report: Report) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        report.invalid(path, value, 'must be a list of at least one address: ["10.0.0.2/24"]')
        return ()
    for index, each in enumerate(value):
        if not isinstance(each, str) or not addresses.is_ip_with_prefix(each):
            expected = 'must be an IP address, perhaps with a prefix length: "10.0.0.2/24"'
            report.invalid((*path, index), each, expected)
    return tuple(value)


def _default_route(value: Any, path: Path, report: Report) -> tuple[str, ...]:
    if not isinstance(value, list):
        report.invalid(path, value, 'must be a list of gateways, which may be empty: ["10.0.0.1"]')
        return ()
    for index, each in enumerate(value):
        if not isinstance(each, str) or not addresses.ip_family(each):
            expected = 'a gateway must be an IP address without a prefix length: "10.0.0.1"'
            report.invalid((*path, index), each, expected)
    return tuple(value)


def _mac(value: Any, path: Path, report: Report) -> str:
    address = _hardware(value, addresses.MAC_BYTES)
    if not address:
        report.invalid(path, value, 'must be a MAC address of 6 bytes: "02:23:45:67:89:01"')
    elif addresses.is_multicast(address):
        report.invalid(path, value, "must not be a multicast address: its first byte must be even")
    elif not address.strip("0:"):
        report.invalid(path, value, "must not be all zeros")
    return address


def _guid(value: Any, path: Path, report: Report) -> str:
    address = _hardware(value, addresses.GUID_BYTES)
    if not address:
        expected = 'must be an Infiniband GUID of 8 bytes: "24:8a:07:03:00:8d:ae:2f"'
        report.invalid(path, value, expected)
    return address


def _hardware(value: Any, size: int) -> str:
    return addresses.hardware_address(value, size) if isinstance(value, str) else ""


def _cni_args(value: Any, path: Path, report: Report) -> dict[str, Any]:
    if not isinstance(value, dict):
        report.invalid(path, value, 'must be an object: {"key": "value"}')
        return {}
    return value


def _claim(value: Any, path: Path, report: Report) -> str:
    if not isinstance(value, str) or not is_object_name(value):
        report.invalid(path, value, f"a name {NAME_RULE}")
        return ""
    return value


_PORT_KEYS = ("hostPort", "containerPort", "protocol", "hostIP")
_PROTOCOLS = ("tcp", "udp", "sctp")
_MAPPING_RULE = 'each must be an object: {"hostPort": 8080, "containerPort": 80}'


def _port_mappings(value: Any, path: Path, report: Report) -> tuple[PortMapping, ...]:
    if not isinstance(value, list) or not value:
        report.invalid(path, value, f"must be a list of at least one port mapping; {_MAPPING_RULE}")
        return ()
    return tuple(_port_mapping(each, (*path, n), report) for n, each in enumerate(value))


def _port_mapping(value: Any, path: Path, report: Report) -> PortMapping:
    if not isinstance(value, dict):
        report.invalid(path, value, _MAPPING_RULE)
        return PortMapping(0, 0)
    for key in value:
        if key not in _PORT_KEYS:
            report.unknown_key((*path, key), _PORT_KEYS, f"a port mapping has {_list(_PORT_KEYS)}")

    for key in ("hostPort", "containerPort"):
        if key not in value:
            report.missing(path, f'the key "{key}" is missing')
        elif type(value[key]) is not int or not 1 <= value[key] <= MAX_PORT:
            report.invalid((*path, key), value[key], "must be a number from 1 to 65535")

    protocol = value.get("protocol", "tcp")
    if not isinstance(protocol, str) or protocol.lower() not in _PROTOCOLS:
        report.invalid((*path, "protocol"), protocol, f"must be one of {_list(_PROTOCOLS)}")
    host_ip = value.get("hostIP", "")
    if "hostIP" in value and not (isinstance(host_ip, str) and addresses.ip_family(host_ip)):
        report.invalid((*path, "hostIP"), host_ip, "must be an IP address of the node")
    ports = value.get("hostPort", 0), value.get("containerPort", 0)
    return PortMapping(*ports, str(protocol).lower(), host_ip)


_BANDWIDTH_KEYS = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")


def _bandwidth(value: Any, path: Path, report: Report) -> Bandwidth:
    if not isinstance(value, dict) or not value:
        expected = f"must be an object with at least one of {_list(_BANDWIDTH_KEYS)}"
        report.invalid(path, value, expected)
        return Bandwidth()
    for key, number in value.items():
        if key not in _BANDWIDTH_KEYS:
            report.unknown_key(
                (*path, key), _BANDWIDTH_KEYS, f"bandwidth has {_list(_BANDWIDTH_KEYS)}"
            )
        elif type(number) is not int or number < 1:
            unit = "bits" if key.endswith("Burst") else "bits per second"
            expected = f"must be a number of {unit}, from 1 to 18 digits; leave it out for no limit"
            report.invalid((*path, key), number, expected)

    for direction in ("ingress", "egress"):
        if f"{direction}Burst" in value and f"{direction}Rate" not in value:
            burst = (*path, f"{direction}Burst")
            report.key(burst, f'needs the key "{direction}Rate": a burst limits nothing alone')
    return Bandwidth(*(value.get(key, 0) for key in _BANDWIDTH_KEYS))


def _list(names: Collection[str]) -> str:
    return ", ".join(map(quote, names))


_READERS: dict[str, Callable[[Any, Path, Report], Any]] = {
    "name": _name,
    "namespace": _namespace,
    "interface": _interface,
    "ips": _ips,
    "mac": _mac,
    "infiniband-guid": _guid,
    "cni-args": _cni_args,
    "portMappings": _port_mappings,
    "bandwidth": _bandwidth,
    "default-route": _default_route,
    "ipam-claim-reference": _claim,
}
