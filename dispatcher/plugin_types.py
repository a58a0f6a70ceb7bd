"""Encode the plugin types of a node's networks as its annotation ``cni-genie.io/plugin-types``.

    value := network "=" type ("," type)* (";" network "=" type ("," type)*)*

The agent writes it, the webhook reads it: ``canal=calico,portmap;weave=weave-net``. Networks are in
lexical order, the types of each in the order of its chain.

Rules of this file: equal networks give equal text. Any text is decoded, without its malformed
parts; the length limit bounds the cost.
"""

from __future__ import annotations

from dispatcher.annotation import is_network_name
from dispatcher.conf import is_cni_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BYTES = 8192
"""Limit of a value, in bytes; some 300 networks fit."""

MAX_TYPES = 16
"""Limit of the plugin types of one network; chains are shorter."""

MAX_TYPE = 63
"""Limit of a plugin type, in characters; it is the name of an executable."""


def encode(networks: Mapping[str, Iterable[str]]) -> str:
    """Return the text for *networks* with their plugin types, as many as fit.

    A type that is not a plain name is left out: no rule names such a type.
    """
    entries: list[str] = []
    size = -1  # no separator before the first
    for name in sorted(networks):
        plugin_types = [*filter(_is_type, dict.fromkeys(networks[name]))][:MAX_TYPES]
        entry = f"{name}={','.join(plugin_types)}"
        if not plugin_types or not is_network_name(name):
            continue
        size += len(entry) + 1
        if size > MAX_BYTES:
            break
        entries.append(entry)
    return ";".join(entries)


def decode(text: str) -> dict[str, tuple[str, ...]]:
    """Return the networks in *text* with their plugin types, without malformed entries.

    A text beyond the limit gives no networks.
    """
    networks: dict[str, tuple[str, ...]] = {}
    for entry in text.split(";") if len(text) <= MAX_BYTES else ():
        name, _, listed = entry.partition("=")
        plugin_types = tuple(listed.split(",")[:MAX_TYPES])
        if is_network_name(name) and all(map(_is_type, plugin_types)):
            networks[name] = plugin_types
    return networks


def _is_type(text: str) -> bool:
    return len(text) <= MAX_TYPE and is_cni_name(text)
