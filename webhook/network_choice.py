"""Choose a network for a pod from its namespace's list ``cni-genie.io/choose``, by availability.

The choice is for pods that name no network: with a blank ``cni``, or without ``cni`` in a namespace
without a default. It takes the place of the default, so all rules for defaults apply to it. The
first of these rules that finds a network decides:

1. The first network of the list that enough nodes can attach: at least ``minimum`` percent of those
   that have its label, with any value. One node alone must not attract a whole namespace.
2. The first network that some node can attach.
3. The first network of the list. It is refused if it is unknown, as every other network.

The pod prefers nodes with the network and does not require them, unless the namespace says
otherwise: availability may change between admission and scheduling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import (
    BLANKS,
    DUPLICATE,
    EMPTY_ITEM,
    INVALID,
    MAX_BYTES,
    MAX_ITEMS,
    NETWORK_RULE,
    TOO_LONG,
    TOO_MANY,
    Fault,
    is_network_name,
    quote,
)
from webhook.annotation_check import format_names
from webhook.decision import Cause
from webhook.snapshot import NO_NODES, SCHEDULING_MODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from webhook.snapshot import ClusterNetworks, Namespace, NodeCount

DEFAULT_MINIMUM = 50
"""Percent of the nodes with the label of a network that must be able to attach it."""

SCHEDULING = "preferred"
"""Scheduling of pods whose network was chosen, in a namespace that has no scheduling of its own."""


class NetworkChoice(NamedTuple):
    """The chosen network; ``warning`` says why it is not the first of the list, or is rare."""

    network: str
    warning: str = ""


def choose_network(
    listed: Sequence[str], counts: Mapping[str, NodeCount], minimum: int
) -> NetworkChoice:
    """Return the choice from *listed*, which has at least one network.

    *counts* are the nodes of each network, *minimum* is in percent.
    """
    enough = [name for name in listed if _is_enough(counts.get(name, NO_NODES), minimum)]
    some = [name for name in listed if counts.get(name, NO_NODES).attachable]
    network = (enough or some or listed)[0]

    skipped = listed[: listed.index(network)]
    short = [_shortage(name, counts.get(name, NO_NODES)) for name in skipped]
    if not enough:
        short.append(_shortage(network, counts.get(network, NO_NODES)))
    reason = f": {'; '.join(short)}" if short else ""
    return NetworkChoice(
        network, f"the pod gets network {quote(network)}{reason}" if reason else ""
    )


def resolve_choice(
    namespace: Namespace,
    annotations: Mapping[str, str],
    networks: ClusterNetworks,
    minimum: int = DEFAULT_MINIMUM,
) -> Namespace:
    """Return *namespace* as a new pod with *annotations* finds it: with the choice as its default.

    It stays as it is for a pod that names its networks, or gets the namespace's default.
    """
    if not namespace.choose:
        return namespace
    listed = namespace.choices
    written = annotations.get(keys.ANNOTATION)
    gets_default = written is None and namespace.default
    if not listed or gets_default or (written or "").strip(BLANKS):
        return namespace

    choice = choose_network(listed, networks.nodes, minimum)
    has_mode = namespace.scheduling in SCHEDULING_MODES
    return namespace._replace(
        default=choice.network,
        scheduling=namespace.scheduling if has_mode else SCHEDULING,
        choice_warning=choice.warning,
        is_choice=True,
    )


def choice_faults(namespace: Namespace) -> Iterator[Cause]:
    """Yield the faults of a namespace's list: names, each once, as few as in ``cni``."""
    size = len(namespace.choose.encode())
    if size > MAX_BYTES:
        yield _cause(TOO_LONG, f"Too long: may not be more than {MAX_BYTES} bytes (has {size})")
        return

    names = [item.strip(BLANKS) for item in namespace.choose.split(",")] if namespace.choose else []
    if len(names) > MAX_ITEMS:
        rule = f"must have at most {MAX_ITEMS} networks (has {len(names)})"
        yield _cause(TOO_MANY, f"Too many: {rule}")
    for position, name in enumerate(names[:MAX_ITEMS], 1):
        if not is_network_name(name):
            rule = NETWORK_RULE if name else EMPTY_ITEM
            yield _cause(INVALID, str(Fault(INVALID, position, name, rule)))
        elif name in names[: position - 1]:
            rule = "the list has this network already"
            yield _cause(DUPLICATE, str(Fault(DUPLICATE, position, name, rule)))


def choice_conflicts(namespace: Namespace, key: str) -> Iterator[Cause]:
    """Yield a cause, at the annotation *key*, for each network that the allow-list lacks."""
    for name in namespace.choices if namespace.allowed is not None else ():
        if name not in (namespace.allowed or ()):
            message = (
                f"Invalid value: network {quote(name)} of {quote(keys.CHOOSE)} is not in the list "
                f"{quote(keys.ALLOWED)} ({format_names(namespace.allowed or ())}); "
                "add it there, or remove it from the list to choose from"
            )
            yield _cause(INVALID, message, key)


def _cause(reason: str, message: str, key: str = keys.CHOOSE) -> Cause:
    return Cause(reason, message, f"metadata.annotations[{key}]")


def _is_enough(count: NodeCount, minimum: int) -> bool:
    return count.attachable > 0 and 100 * count.attachable >= minimum * count.labelled


def _shortage(name: str, count: NodeCount) -> str:
    if not count.labelled:
        return f"no node has network {quote(name)}"
    plural = "" if count.labelled == 1 else "s"
    return (
        f"only {count.attachable} of {count.labelled} node{plural} can attach network {quote(name)}"
    )
