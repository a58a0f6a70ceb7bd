"""Convert results of plugins between the versions of the CNI specification.

:func:`decode` converts what a plugin printed into the form of version 1.1.0, and :func:`encode`
converts that form into any version. Three forms exist: ``ip4``/``ip6`` (0.1.0, 0.2.0), ``ips`` with
``version`` (0.3.0 to 0.4.0) and ``ips`` without (from 1.0.0).

Both follow libcni, with whose types every runtime reads results: unknown fields are dropped, fields
of a wrong type are refused, and ``dns`` is always present before 1.0.0, and since then only if it
has content. ``tests/node/test_conversion.py`` compares all of it with libcni, and lists the
deliberate differences.

Rules of this file: pure. A result that cannot be decoded or encoded is a :class:`CNIError` that
names the part. An address keeps its spelling.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.cni_errors import DECODING_FAILURE, CNIError
from dispatcher.conf import VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TEXT, _TEXTS, _WHOLE = "a string", "a list of strings", "a whole number"
_OLD_INTERFACE = {"mac": _TEXT, "sandbox": _TEXT}
_INTERFACE = {**_OLD_INTERFACE, "mtu": _WHOLE, "socketPath": _TEXT, "pciID": _TEXT}
_ROUTE = dict.fromkeys(("mtu", "advmss", "priority", "table", "scope"), _WHOLE)
_DNS = {"nameservers": _TEXTS, "domain": _TEXT, "search": _TEXTS, "options": _TEXTS}
_OLDEST = ("0.1.0", "0.2.0")
_OLD = ("0.3.0", "0.3.1", "0.4.0")
_BITS = {4: 32, 6: 128}
_OCTET = 255
MAIN_TABLE = 254
"""The kernel's main routing table; routes in other tables are for policy routing."""
_MAPPED = b"\0" * 10 + b"\xff\xff"  # the prefix of an IPv4 address in IPv6


def decode(output: dict[str, Any], conf_version: str) -> dict[str, Any]:
    """Return the *output* of a plugin in the form of 1.1.0, without ``cniVersion``.

    A result that states no version has that of the plugin's configuration, *conf_version*.
    Raises :class:`CNIError` with code 6.
    """
    stated = output.get("cniVersion")
    version = stated if stated and isinstance(stated, str) else conf_version
    if version not in VERSIONS:
        raise _fault(f'its "cniVersion" {quote(version)} is not supported')
    if version in _OLDEST:
        return _decode_oldest(output)
    fields = _OLD_INTERFACE if version in _OLD else _INTERFACE
    return {
        "interfaces": [_interface(each, fields) for each in _list(output, "interfaces")],
        "ips": [_ip(each) for each in _list(output, "ips")],
        "routes": [_route(each) for each in _list(output, "routes")],
        "dns": _dns(output),
    }


def encode(result: dict[str, Any], version: str) -> dict[str, Any]:
    """Return *result*, as :func:`decode` returned it, in the form of *version*.

    Raises :class:`CNIError` with code 6 for a version before 0.3.0, which requires an address, if
    the result has none.
    """
    if version in _OLDEST:
        return _encode_oldest(result, version)
    output: dict[str, Any] = {"cniVersion": version}
    interfaces, ips = result["interfaces"], result["ips"]
    if version in _OLD:
        interfaces = [_only(each, ("name", *_OLD_INTERFACE)) for each in interfaces]
        ips = [{"version": str(family(each["address"])), **each} for each in ips]
    lists = {"interfaces": interfaces, "ips": ips, "routes": result["routes"]}
    output |= {key: value for key, value in lists.items() if value}
    if result["dns"] or version in _OLD:
        output["dns"] = result["dns"]
    return output


def _decode_oldest(output: dict[str, Any]) -> dict[str, Any]:
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    for key in ("ip4", "ip6"):
        part = output.get(key)
        if part is None:
            continue
        if not isinstance(part, dict):
            raise _fault(f'its "{key}" is not an object')
        ips.append(_ip({"address": part.get("ip"), "gateway": part.get("gateway")}))
        routes += [_route(each) for each in _list(part, "routes")]
    return {"interfaces": [], "ips": ips, "routes": routes, "dns": _dns(output)}


def _encode_oldest(result: dict[str, Any], version: str) -> dict[str, Any]:
    output: dict[str, Any] = {"cniVersion": version}
    for number in (4, 6):
        first = next((ip for ip in result["ips"] if family(ip["address"]) == number), None)
        if first is None:
            continue
        part = {"ip": first["address"], **_only(first, ("gateway",))}
        routes = [
            _only(route, ("dst", "gw"))
            for route in result["routes"]
            if family(route["dst"]) == number
        ]
        if routes:
            part["routes"] = routes
        output[f"ip{number}"] = part
    if len(output) == 1:
        raise _fault(f"version {version} requires an address, but it has none")
    output["dns"] = result["dns"]
    return output


def family(cidr: str) -> int:
    """Return 4 or 6 for an address with a prefix length; one of IPv4 in IPv6 counts as 4.

    Raises :class:`CNIError` with code 6 for anything else.
    """
    address, _, bits = cidr.partition("/")
    number = address_family(address)
    longest = _BITS[6 if ":" in address else 4]
    if number and bits.isascii() and bits.isdecimal() and _number(bits) <= longest:
        return number
    raise _fault(f"{quote(cidr)} is not an address with a prefix length")


def address_family(address: str) -> int | None:
    """Return 4 or 6 for an address, None for any other text."""
    if ":" not in address:
        octets = address.split(".")
        return 4 if len(octets) == 4 and all(map(_is_octet, octets)) else None  # noqa: PLR2004 - four octets; 4 is the family, too
    from _socket import (
        AF_INET6,
        inet_pton,
    )  # its many constants are expensive, and IPv4 does not need it

    try:
        packed = inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return None
    return 4 if packed.startswith(_MAPPED) else 6


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:4] or "0")  # four digits decide, and int() has a limit


def _is_octet(text: str) -> bool:
    return (
        text.isascii() and text.isdecimal() and str(int(text[:4])) == text and int(text) <= _OCTET
    )


def is_default(route: dict[str, Any]) -> bool:
    """Tell whether *route* is a default route, of either family."""
    address, _, bits = route["dst"].partition("/")
    return bits.strip("0") == "" and bool(address_family(address))


def default_gateways(result: dict[str, Any]) -> dict[int, str]:
    """Return the gateway of *result*'s default route in the main table, for each family with one.

    A route without a gateway uses that of the first address of its family (specification,
    section 5, "ADD Success"); "" stands for no gateway at all. A route through a gateway of the
    other family is left out.
    """
    gateways: dict[int, str] = {}
    for route in filter(is_default, result["routes"]):
        number = family(route["dst"])
        of_addresses = (
            ip["gateway"]
            for ip in result["ips"]
            if "gateway" in ip and family(ip["address"]) == number
        )
        gateway = route.get("gw") or next(of_addresses, "")
        fits = not gateway or address_family(gateway) == number
        if fits and route.get("table", MAIN_TABLE) == MAIN_TABLE:
            gateways.setdefault(number, gateway)
    return gateways


def _interface(value: Any, fields: dict[str, str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault('one of its "interfaces" is not an object')
    return {"name": _field(value, "name", _TEXT) or "", **_fields(value, fields)}


def _ip(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault('one of its "ips" is not an object')
    address = _field(value, "address", _TEXT) or ""
    family(address)
    _field(value, "version", _TEXT)  # it follows from the address
    index = _field(value, "interface", _WHOLE)
    interface = {} if index is None else {"interface": index}
    return {**interface, "address": address, **_gateway(value, "gateway")}


def _route(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault('one of its "routes" is not an object')
    dst = _field(value, "dst", _TEXT) or ""
    family(dst)
    return {"dst": dst, **_gateway(value, "gw"), **_fields(value, _ROUTE)}


def _gateway(value: dict[str, Any], key: str) -> dict[str, Any]:
    gateway = _field(value, key, _TEXT)
    if not gateway:
        return {}
    if address_family(gateway) is None:
        raise _fault(f'its "{key}" {quote(gateway)} is not an address')
    return {key: gateway}


def _dns(output: dict[str, Any]) -> dict[str, Any]:
    value = output.get("dns")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _fault('its "dns" is not an object')
    return _fields(value, _DNS)


def _only(value: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value}


def _fields(value: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    present = {key: _field(value, key, kind) for key, kind in fields.items() if key in value}
    return {key: field for key, field in present.items() if _is_kept(field, key)}


def _is_kept(value: Any, key: str) -> bool:
    # libcni drops zero values, but not of table and scope, which are pointers there.
    return value is not None if key in {"table", "scope"} else bool(value)


def _field(value: dict[str, Any], key: str, kind: str) -> Any:
    """Return what *value* has under *key*, or None. Raises CNIError for a wrong type."""
    field = value.get(key)
    if field is not None and not _is_a(field, kind):
        raise _fault(f'its "{key}" is not {kind}')
    return field


def _is_a(value: Any, kind: str) -> bool:
    if kind is _TEXTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return type(value) is (str if kind is _TEXT else int)


def _list(output: dict[str, Any], key: str) -> list[Any]:
    value = output.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _fault(f'its "{key}" is not a list')
    return value


def _fault(sentence: str) -> CNIError:
    return CNIError(DECODING_FAILURE, f"the result cannot be used: {sentence}")
