"""One selected NetworkAttachmentDefinition, and what the pod asks of its attachment, as values.

:func:`format_selections` writes selections as the annotation has them, in the short form if
that can say all, and otherwise as JSON. It is the inverse of :func:`dispatcher.nad.grammar.parse`.

Rules of this file: values are in normal form, and equal values have equal text.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.jsontext import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


CAPABILITIES = {
    "ips": "ips",
    "mac": "mac",
    "infiniband-guid": "infinibandGUID",
    "portMappings": "portMappings",
    "bandwidth": "bandwidth",
}
"""Keys of a selection that become capability arguments, each with the capability."""

CNI_ARGS = {"ips": "IP", "mac": "MAC"}
"""Capabilities that plugins had before as variables in CNI_ARGS, each with the variable."""


class NetworkSelection:
    """One item: a NetworkAttachmentDefinition, and what the pod asks of the attachment.

    ``namespace`` is empty for the pod's own, ``interface`` if the item names none. ``mac`` and
    ``infiniband_guid`` are in normal form; all texts are empty without the key. ``cni_args`` and
    ``default_route`` are None without the key, because they may be empty.
    """

    __slots__ = (
        "bandwidth",
        "cni_args",
        "default_route",
        "infiniband_guid",
        "interface",
        "ipam_claim_reference",
        "ips",
        "mac",
        "name",
        "namespace",
        "port_mappings",
    )

    def __init__(
        self,
        name: str,
        namespace: str = "",
        interface: str = "",
        *,
        ips: tuple[str, ...] = (),
        mac: str = "",
        infiniband_guid: str = "",
        cni_args: dict[str, Any] | None = None,
        port_mappings: tuple[PortMapping, ...] = (),
        bandwidth: Bandwidth | None = None,
        default_route: tuple[str, ...] | None = None,
        ipam_claim_reference: str = "",
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.interface = interface
        self.ips = ips
        self.mac = mac
        self.infiniband_guid = infiniband_guid
        self.cni_args = cni_args
        self.port_mappings = port_mappings
        self.bandwidth = bandwidth
        self.default_route = default_route
        self.ipam_claim_reference = ipam_claim_reference

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetworkSelection) and as_element(self) == as_element(other)

    __hash__ = None  # type: ignore[assignment]  # cni_args is JSON

    def __repr__(self) -> str:
        return f"NetworkSelection({dump(as_element(self)).decode()})"


class PortMapping:
    """One port of the node that leads to one of the pod; ``host_ip`` is empty for any address."""

    __slots__ = ("container_port", "host_ip", "host_port", "protocol")

    def __init__(
        self, host_port: int, container_port: int, protocol: str = "tcp", host_ip: str = ""
    ) -> None:
        self.host_port = host_port
        self.container_port = container_port
        self.protocol = protocol
        self.host_ip = host_ip


class Bandwidth:
    """Limits in bits per second, and bursts in bits; 0 stands for none."""

    __slots__ = ("egress_burst", "egress_rate", "ingress_burst", "ingress_rate")

    def __init__(
        self,
        ingress_rate: int = 0,
        ingress_burst: int = 0,
        egress_rate: int = 0,
        egress_burst: int = 0,
    ) -> None:
        self.ingress_rate = ingress_rate
        self.ingress_burst = ingress_burst
        self.egress_rate = egress_rate
        self.egress_burst = egress_burst


def as_element(selection: NetworkSelection) -> dict[str, Any]:
    """Return *selection* as the JSON form has it; keys that say nothing are left out."""
    ports = [
        {
            "hostPort": each.host_port,
            "containerPort": each.container_port,
            "protocol": each.protocol,
            **({"hostIP": each.host_ip} if each.host_ip else {}),
        }
        for each in selection.port_mappings
    ]
    bandwidth = selection.bandwidth
    rates = {} if bandwidth is None else _rates(bandwidth)
    element = {
        "name": selection.name,
        "namespace": selection.namespace,
        "interface": selection.interface,
        "ips": list(selection.ips),
        "mac": selection.mac,
        "infiniband-guid": selection.infiniband_guid,
        "portMappings": ports,
        "bandwidth": rates,
        "ipam-claim-reference": selection.ipam_claim_reference,
    }
    element = {key: value for key, value in element.items() if value}
    if selection.cni_args is not None:
        element["cni-args"] = selection.cni_args
    if selection.default_route is not None:
        element["default-route"] = list(selection.default_route)
    return element


def _rates(bandwidth: Bandwidth) -> dict[str, int]:
    values = {
        "ingressRate": bandwidth.ingress_rate,
        "ingressBurst": bandwidth.ingress_burst,
        "egressRate": bandwidth.egress_rate,
        "egressBurst": bandwidth.egress_burst,
    }
    return {key: value for key, value in values.items() if value}


def requests(selection: NetworkSelection) -> list[str]:
    """Return the keys by which *selection* asks for more than a network and an interface."""
    return sorted(as_element(selection).keys() - {"name", "namespace", "interface"})


def missing_capabilities(selection: NetworkSelection, declared: frozenset[str]) -> list[str]:
    """Return the capabilities that *selection* needs and no plugin has *declared*, sorted."""
    element = as_element(selection)
    return sorted({name for key, name in CAPABILITIES.items() if key in element} - declared)


def requests_beyond(
    selection: NetworkSelection, cni_args: frozenset[str] | None, *, is_reference: bool
) -> list[str]:
    """Return what *selection* asks for that no tenant template permits, as words for a sentence.

    *cni_args* are the keys that a pod may give; None: the definition is not a tenant's.
    *is_reference*: it has no config, and its capabilities are those of the node's network, which
    no template has seen.
    """
    if cni_args is None:
        return []
    beyond = sorted((selection.cni_args or {}).keys() - cni_args)
    words = [f'{quote(key)} in "cni-args"' for key in beyond]
    if is_reference:
        words += [quote(key) for key in as_element(selection) if key in CAPABILITIES]
    return words


def format_selections(selections: Iterable[NetworkSelection]) -> str:
    """Return the annotation that selects *selections*; empty for none."""
    selections = list(selections)
    if not any(map(requests, selections)):
        return ",".join(map(_short, selections))
    return as_json(selections)


def as_json(selections: Iterable[NetworkSelection]) -> str:
    """Return the annotation that selects *selections*, in the JSON form."""
    return dump([as_element(each) for each in selections]).decode()


def _short(selection: NetworkSelection) -> str:
    namespace = f"{selection.namespace}/" if selection.namespace else ""
    interface = f"@{selection.interface}" if selection.interface else ""
    return f"{namespace}{selection.name}{interface}"
