"""The grammar of ``cni-genie.io/attachments``: the definitions that admission permitted a pod.

    value := item ("," item)*                 no blanks; "" for none
    item  := ["="] namespace "/" name ":" hash ["+nodeNetwork"] ["+hostPort"]
    hash  := 6 digits of [0-9a-f]             "=" on the first item only

For example ``=kube-system/blue:3f9c2a,shop/macvlan:b01d77+hostPort``. "=" marks the network of
``v1.multus-cni.io/default-network``. The hash, of the definition's UID and config, tells whether a
copy on the node is stale. ``+hostPort`` permits the item's port mappings. ``+nodeNetwork`` permits
the definition to have no config, and so to stand for the node's network of its name: the policies,
which cannot read definitions, hold that name against the namespace's allow-list and limits.

Rules of this file: the webhook writes the value and a policy checks its form, so that any other
text is a forgery or a bug, and one sentence says what is wrong. Equal values have equal text.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.nad.definition import HASH_DIGITS
from dispatcher.nad.grammar import MAX_ITEMS
from dispatcher.nad.names import MAX_LABEL, MAX_NAME, is_label, is_object_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NODE_NETWORK = "+nodeNetwork"
HOST_PORT = "+hostPort"
_DEFAULT = "="
MAX_BYTES = MAX_ITEMS * (
    MAX_LABEL + MAX_NAME + HASH_DIGITS + len("=/:,") + len(NODE_NETWORK) + len(HOST_PORT)
)
"""Limit of a value, in bytes. All valid values are shorter."""

_HEX = frozenset("0123456789abcdef")


class InvalidAttachmentsError(ValueError):
    """The value does not follow the grammar; ``str()`` is the reason."""


class PermittedAttachment:
    """One item: the definition, the hash of what the webhook saw, and what was permitted."""

    __slots__ = (
        "allows_host_port",
        "allows_node_network",
        "is_default",
        "name",
        "namespace",
        "short_hash",
    )

    def __init__(
        self,
        namespace: str,
        name: str,
        short_hash: str,
        *,
        is_default: bool = False,
        allows_node_network: bool = False,
        allows_host_port: bool = False,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.short_hash = short_hash
        self.is_default = is_default
        self.allows_node_network = allows_node_network
        self.allows_host_port = allows_host_port

    def __str__(self) -> str:
        """Return the item as the annotation has it."""
        return (
            f"{_DEFAULT if self.is_default else ''}{self.namespace}/{self.name}:{self.short_hash}"
            f"{NODE_NETWORK if self.allows_node_network else ''}"
            f"{HOST_PORT if self.allows_host_port else ''}"
        )

    def __repr__(self) -> str:
        return f"PermittedAttachment({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PermittedAttachment) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def format_attachments(attachments: Iterable[PermittedAttachment]) -> str:
    """Return the value for *attachments*."""
    return ",".join(map(str, attachments))


def parse_attachments(value: str) -> tuple[PermittedAttachment, ...]:
    """Return the items of *value*. Raises :class:`InvalidAttachmentsError`."""
    if len(value) > MAX_BYTES:
        raise InvalidAttachmentsError(f"must have at most {MAX_BYTES} bytes")
    if not value:
        return ()
    items = value.split(",")
    if len(items) > MAX_ITEMS:
        raise InvalidAttachmentsError(f"must have at most {MAX_ITEMS} items (has {len(items)})")
    return tuple(_item(text, number) for number, text in enumerate(items, 1))


def names_default_network(value: str) -> bool:
    """Tell whether *value* begins with the network of ``v1.multus-cni.io/default-network``."""
    return value.startswith(_DEFAULT)


def _item(text: str, number: int) -> PermittedAttachment:
    rest = text.removeprefix(_DEFAULT)
    is_default = rest != text
    without_port = rest.removesuffix(HOST_PORT)
    without_marks = without_port.removesuffix(NODE_NETWORK)
    path, _, short_hash = without_marks.partition(":")
    namespace, _, name = path.partition("/")

    is_valid = is_label(namespace) and is_object_name(name) and _is_hash(short_hash)
    if not is_valid or (is_default and number > 1):
        marks = f'perhaps with "{NODE_NETWORK}" and "{HOST_PORT}" behind it, the first with "="'
        form = f"NAMESPACE/NAME:HASH, {marks}"
        raise InvalidAttachmentsError(f"item {number} is {quote(text)}, but must be {form}")
    return PermittedAttachment(
        namespace,
        name,
        short_hash,
        is_default=is_default,
        allows_node_network=without_marks != without_port,
        allows_host_port=without_port != rest,
    )


def _is_hash(text: str) -> bool:
    return len(text) == HASH_DIGITS and _HEX.issuperset(text)
