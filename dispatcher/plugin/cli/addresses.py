"""Which addresses the networks of a node allocate, and from which store.

``host-local`` keeps its allocations in one folder for each name of a configuration. Configurations
with different names do not see the allocations of each other: where their ranges overlap, two pods
can get the same address.

The configurations state the ranges, except for the node's podCIDR. ``flannel`` and Calico's
``usePodCidr`` stand for it, and the daemon of flannel writes its value to a file on the node. A
range that cannot be parsed is skipped, since its plugin will refuse it.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from dispatcher.conf import Conf

SUBNET_FILE = "/run/flannel/subnet.env"
"""The file to which the daemon of flannel writes the node's podCIDR."""

POD_CIDR = "the node's podCIDR"

_STORES = "/var/lib/cni/networks"
_BITS = {4: 32, 6: 128}
_USE_POD_CIDR = {"usepodcidr": 4, "usepodcidripv6": 6}
_VARIABLES = {"FLANNEL_SUBNET": 4, "FLANNEL_IPV6_SUBNET": 6}


class Range:
    """The addresses ``first`` to ``last``, as numbers, that are allocated from ``store``.

    Both are None for a podCIDR whose value is not known on the node.
    """

    __slots__ = ("family", "first", "last", "store", "text")

    def __init__(
        self, store: str, text: str, family: int, first: int | None, last: int | None
    ) -> None:
        self.store = store
        self.text = text
        self.family = family
        self.first = first
        self.last = last

    def overlaps(self, other: Range) -> bool:
        """Tell whether both may allocate one address, from different stores."""
        if self.store == other.store or self.family != other.family:
            return False
        if None in {self.first, other.first}:
            return self.text == other.text == POD_CIDR
        return bool(self.first <= other.last and other.first <= self.last)  # type: ignore[operator]


def overlapping(confs: Iterable[Conf], subnet_file: str) -> Iterator[tuple[Conf, Conf, str]]:
    """Yield each two of *confs* that may allocate the same addresses, and the ranges."""
    pod_cidr = _pod_cidr(subnet_file)
    pools = [(conf, list(_ranges(conf, pod_cidr))) for conf in confs]
    for index, (conf, ranges) in enumerate(pools):
        for other, other_ranges in pools[index + 1 :]:
            texts = [one.text for one in ranges for two in other_ranges if one.overlaps(two)]
            if texts:
                yield conf, other, ", ".join(dict.fromkeys(texts))


def ipam_types(conf: Conf) -> list[str]:
    """Return the ``type`` of each IPAM plugin of *conf*'s chain, in order."""
    types = (_ipam(plugin).get("type") for plugin in conf.plugins)
    return [each for each in types if isinstance(each, str)]


def _ipam(plugin: dict[str, Any]) -> dict[str, Any]:
    ipam = plugin.get("ipam")
    return ipam if isinstance(ipam, dict) else {}


def _ranges(conf: Conf, pod_cidr: dict[int, str]) -> Iterator[Range]:
    for plugin in conf.plugins:
        ipam = _ipam(plugin)
        store = f"{ipam.get('dataDir') or _STORES}/{conf.name}"
        if plugin["type"] == "flannel":
            for family in pod_cidr or (4,):
                yield _range(store, POD_CIDR, pod_cidr.get(family, ""), {}, family)
        elif ipam.get("type") == "host-local":
            yield from _of_host_local(store, ipam, pod_cidr)


def _of_host_local(store: str, ipam: dict[str, Any], pod_cidr: dict[int, str]) -> Iterator[Range]:
    sets = ipam.get("ranges")
    sets = sets if isinstance(sets, list) else []
    ranges = [each for members in sets if isinstance(members, list) for each in members]
    for each in (ipam, *ranges):  # the old form has its one range in "ipam" itself
        subnet = each.get("subnet") if isinstance(each, dict) else None
        if not isinstance(subnet, str):
            continue
        family = _USE_POD_CIDR.get(subnet.lower())
        try:
            if family:
                yield _range(store, POD_CIDR, pod_cidr.get(family, ""), {}, family)
            else:
                yield _range(store, subnet, subnet, each, 0)
        except (OSError, ValueError, TypeError):
            continue


def _range(store: str, text: str, subnet: str, limits: dict[str, Any], family: int) -> Range:
    """Return the range of *subnet* within *limits*. Raises OSError, TypeError, ValueError."""
    if not subnet:
        return Range(store, text, family, None, None)
    address, _, bits = subnet.partition("/")
    family = 6 if ":" in address else 4
    host_bits = _BITS[family] - int(bits)
    base = _number(address) >> host_bits << host_bits
    last = base + (1 << host_bits) - 1 - (family == 4)  # noqa: PLR2004 - no broadcast address in IPv6
    start, end = limits.get("rangeStart"), limits.get("rangeEnd")
    return Range(
        store,
        text,
        family,
        _number(start) if start else base + 1,
        _number(end) if end else last,
    )


def _number(address: str) -> int:
    return int.from_bytes(inet_pton(AF_INET6 if ":" in address else AF_INET, address), "big")


def _pod_cidr(subnet_file: str) -> dict[int, str]:
    """Return the node's podCIDR of each family, as the daemon of flannel has written it."""
    try:
        with open(subnet_file, encoding="utf-8") as file:
            pairs = dict(line.strip().partition("=")[::2] for line in file)
    except (OSError, ValueError):
        return {}
    subnets = {family: pairs.get(name, "") for name, family in _VARIABLES.items()}
    return {family: subnet for family, subnet in subnets.items() if _is_subnet(subnet)}


def _is_subnet(subnet: str) -> bool:
    try:
        return bool(subnet) and _range("", "", subnet, {}, 0).first is not None
    except (OSError, ValueError):
        return False
