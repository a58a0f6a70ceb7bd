"""The annotation ``k8s.v1.cni.cncf.io/nodeSelector`` of a definition: the nodes that have it.

    value := key ["=" value]        one label of a node; without "=" its value is empty

The form is that of the programs that write it, the SR-IOV operator for example. The specification
of the NPWG does not have this annotation.

Rules of this file: pure. Any text gives a label, or one sentence.
"""

from __future__ import annotations

from dispatcher.annotation import is_network_name, quote
from dispatcher.nad.names import is_object_name


class InvalidNodeSelectorError(ValueError):
    """The text is no label of a node; ``str()`` is the reason."""


def parse(text: str) -> tuple[str, str]:
    """Return key and value of the label in *text*. Raises :class:`InvalidNodeSelectorError`."""
    key, _, value = (part.strip() for part in text.partition("="))
    prefix, slash, name = key.rpartition("/")
    # Names and values of labels follow the same rule as names of networks.
    is_key = is_network_name(name) and (is_object_name(prefix) if slash else not prefix)
    if not is_key or not (value == "" or is_network_name(value)):
        raise InvalidNodeSelectorError(f"must be one label of a node, KEY=VALUE, not {quote(text)}")
    return key, value
