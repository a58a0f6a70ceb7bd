"""The default gateways that a pod asks of one attachment: its key ``default-route``.

In each family of IP with such a gateway they take the place of all default routes of the pod, those
of the primary included. The first gateway is preferred. The other family stays as it is, and an
empty list changes nothing. The results in the record then say so, since CHECK compares them with
the pod's routes.

Nothing is restored on DEL: the routes go with the interfaces, and a container with attachments of
another call gets no such gateway.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.cni_errors import DELEGATE_FAILED, IO_FAILURE, CNIError
from dispatcher.cni_result import family, is_default
from dispatcher.plugin.netlink import default_route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from dispatcher.plugin.netlink import NetworkNamespace
    from dispatcher.state.record import Attachment

IPV4, IPV6 = 4, 6
_DESTINATIONS = {IPV4: "0.0.0.0/0", IPV6: "::/0"}


def replace(namespace: NetworkNamespace, attachment: Attachment, interfaces: Iterable[str]) -> None:
    """Make the gateways that *attachment* was asked for the pod's default gateways.

    *interfaces* are all of the pod, by name. Raises :class:`CNIError` with code 5 (the kernel
    refuses) or 103 (the attachment has no interface).
    """
    gateways = attachment.default_route
    families = set(map(_family, gateways))
    where = f"of network {quote(attachment.network)} on interface {attachment.interface}"
    try:
        index = namespace.index(attachment.interface)
        if index is None:
            raise CNIError(
                DELEGATE_FAILED,
                f"cannot use the default gateways {where}: the interface does not exist",
            )
        if IPV6 in families:  # otherwise the next advertisement would add a route again
            for interface in interfaces:
                namespace.ignore_advertised_routes(interface)
        for route in namespace.default_routes():
            if route.family in families:
                namespace.remove(route)
        for gateway, metric in with_metrics(gateways):
            namespace.restore(default_route(gateway, index, metric).body)
    except OSError as error:
        listed = ", ".join(gateways)
        message = f"cannot use the default gateways {listed} {where}: {error}"
        raise CNIError(IO_FAILURE, message) from None


def with_metrics(gateways: list[str]) -> list[tuple[str, int]]:
    """Return *gateways*, each with the metric of its route: their order in each family.

    It begins with 0, and for IPv6 with 1, since the kernel takes 0 there for 1024.
    """
    following = {IPV4: 0, IPV6: 1}
    pairs = []
    for gateway in gateways:
        number = _family(gateway)
        pairs.append((gateway, following[number]))
        following[number] += 1
    return pairs


def adjust_results(attachments: list[Attachment], routed: Attachment) -> None:
    """Make the results of *attachments* agree with the default gateways of *routed*, one of them.

    A secondary loses the default routes of the other family, too: see
    :mod:`dispatcher.plugin.default_routes`.
    """
    replaced = set(map(_family, routed.default_route))
    for attachment in attachments:
        result: dict[str, Any] = attachment.result or {"routes": []}
        lost = replaced if attachment.is_primary else {IPV4, IPV6}
        routes = [
            route
            for route in result["routes"]
            if not (is_default(route) and family(route["dst"]) in lost)
        ]
        if attachment is routed:
            routes += (_route(*each) for each in with_metrics(routed.default_route))
        attachment.result = {**result, "routes": routes}


def _route(gateway: str, metric: int) -> dict[str, Any]:
    route: dict[str, Any] = {"dst": _DESTINATIONS[_family(gateway)], "gw": gateway}
    return {**route, "priority": metric} if metric else route


def _family(gateway: str) -> int:
    return IPV6 if ":" in gateway else IPV4
