"""The grammar of the ``cni`` annotation: text in, selections or faults out.

    value     := item ("," item)*            at most 16 items and 1024 bytes, as written
    item      := network ["@" interface]     blanks (space, tab, CR, LF) around any part are dropped
    network   := [A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?
    interface := [A-Za-z0-9][A-Za-z0-9._-]{0,14}, not "lo", "all" or "default"

A blank value means "choose for me": :func:`parse` returns the empty tuple. Otherwise it returns one
:class:`Selection` for each item. Items that name no interface get the lowest free ``eth0``,
``eth1``, … in list order. The item on ``eth0`` is the primary.

Rules of this file: this is the only grammar in the tree (webhook, plugin and command line call
it). Every ``str`` is either parsed or refused, and a refusal holds all faults of the value, so that
a user corrects it once. It imports nothing, because the plugin loads it for every pod.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_BYTES = 1024
"""Limit of a value, in bytes of UTF-8. The policies check it before anything else."""

MAX_ITEMS = 16
"""Limit of the networks in one annotation."""

MAX_INTERFACE = 15
"""The kernel's limit of an interface name, in bytes (IFNAMSIZ without the final NUL)."""

RESERVED_INTERFACES = frozenset({"lo", "all", "default"})
"""Names that no attachment can have: every pod has a loopback, and the kernel refuses the others.

``all`` and ``default`` stand beside the interfaces in ``/proc/sys/net/ipv4/conf``.
"""

MAX_NETWORK = 63
"""Limit of a network's name: it becomes the name part of a label key, whose limit is 63."""

MAX_COMPARED = 256
"""Limit of the names that an unknown name is compared with; each takes some microseconds."""

BLANKS = " \t\r\n"
"""Removed around every part. A newline is one of them: a YAML block (``cni: |``) ends in it."""

_ALNUM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_INNER = _ALNUM | frozenset("._-")

# Reasons of a fault: those of a Kubernetes status cause (k8s.io/apimachinery, metav1.CauseType),
# and the words that Kubernetes prints for each.
INVALID = "FieldValueInvalid"
DUPLICATE = "FieldValueDuplicate"
REQUIRED = "FieldValueRequired"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
UNSUPPORTED = "FieldValueNotSupported"
_REASON_WORDS = {
    INVALID: "Invalid value",
    DUPLICATE: "Duplicate value",
    REQUIRED: "Required value",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    UNSUPPORTED: "Unsupported value",
}


class Selection:
    """One item of an annotation: a network and the interface it is attached to.

    ``interface`` is that of the annotation: ``eth0`` stands for the runtime's CNI_IFNAME.
    """

    __slots__ = ("interface", "network")

    def __init__(self, network: str, interface: str) -> None:
        self.network = network
        self.interface = interface

    @property
    def is_primary(self) -> bool:
        """Whether the result of this attachment is the pod's result."""
        return self.interface == "eth0"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        return (self.network, self.interface) == (other.network, other.interface)

    def __hash__(self) -> int:
        return hash((self.network, self.interface))

    def __repr__(self) -> str:
        return f"Selection({self.network}@{self.interface})"


class Fault:
    """One fault of a value.

    ``reason`` is a Kubernetes cause type. ``position`` counts items from 1; 0 stands for the whole
    value. ``value`` is the invalid text, or None if ``expected`` says enough. ``expected`` is the
    sentence that says what is valid.
    """

    __slots__ = ("expected", "position", "reason", "value")

    def __init__(self, reason: str, position: int, value: str | None, expected: str) -> None:
        self.reason = reason
        self.position = position
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        """Return the fault in the form that Kubernetes uses, without the field path."""
        words = _REASON_WORDS[self.reason]
        if self.value is not None:
            words = f"{words}: {quote(self.value)}"
        where = f"item {self.position}: " if self.position else ""
        return f"{words}: {where}{self.expected}"

    def __repr__(self) -> str:
        return f"Fault({self})"


class InvalidAnnotationError(ValueError):
    """The value does not follow the grammar; ``faults`` has every fault, in order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


def quote(text: str, limit: int = 64) -> str:
    """Return *text* in double quotes, escaped as by :func:`escape`."""
    return f'"{escape(text, limit)}"'


def escape(text: str, limit: int = 64) -> str:
    """Return *text* as printable ASCII, cut after *limit* characters.

    JSON can hold lone surrogates, which cannot be encoded in UTF-8. So no part of a user's JSON
    enters a message without this.
    """
    shown = "".join(c if " " <= c <= "~" and c not in '"\\' else _escape(c) for c in text[:limit])
    return f"{shown}…" if len(text) > limit else shown


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - one byte


def normalise(value: str) -> str:
    """Return the normal form of *value*: the same items without blanks.

    Idempotent. Raises :class:`InvalidAnnotationError` for what :func:`parse` refuses.
    """
    parse(value)
    return _strip(value)


def parse(value: str) -> tuple[Selection, ...]:
    """Return the selections of *value*, in list order; none for a blank value.

    Raises :class:`InvalidAnnotationError` with every fault of the value.
    """
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        limit = f"may not be more than {MAX_BYTES} bytes (has {size})"
        raise InvalidAnnotationError([Fault(TOO_LONG, 0, None, limit)])
    if not value.strip(BLANKS):
        return ()

    # A value of a thousand commas gives a few faults, not a thousand.
    items = [_split(item) for item in value.split(",")]
    faults = _validate(items[:MAX_ITEMS])
    if len(items) > MAX_ITEMS:
        faults.append(
            Fault(TOO_MANY, 0, None, f"must have at most {MAX_ITEMS} networks (has {len(items)})")
        )
    if faults:
        raise InvalidAnnotationError(faults)

    return tuple(_assign_interfaces(items))


def is_network_name(text: str) -> bool:
    """Tell whether *text* is a valid name of a network."""
    return (
        0 < len(text) <= MAX_NETWORK
        and text[0] in _ALNUM
        and text[-1] in _ALNUM
        and _INNER.issuperset(text)
    )


def is_interface_name(text: str) -> bool:
    """Tell whether *text* is a valid name of an interface in an annotation."""
    return (
        0 < len(text) <= MAX_INTERFACE
        and text[0] in _ALNUM
        and _INNER.issuperset(text)
        and text not in RESERVED_INTERFACES
    )


def split_list(value: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated list, without blanks and without empty parts."""
    return tuple(filter(None, (part.strip(BLANKS) for part in value.split(","))))


def _strip(value: str) -> str:
    return ",".join(
        "@".join(part.strip(BLANKS) for part in item.split("@")) for item in value.split(",")
    ).strip(BLANKS)


def _split(item: str) -> tuple[str, str | None]:
    network, at, interface = item.partition("@")
    return network.strip(BLANKS), interface.strip(BLANKS) if at else None


NETWORK_RULE = (
    "a network name must consist of at most 63 letters, digits, '.', '_' or '-', "
    "and must start and end with a letter or digit"
)
INTERFACE_RULE = (
    "an interface name must consist of at most 15 letters, digits, '.', '_' or '-', "
    'must start with a letter or digit, and must not be "lo", "all" or "default"'
)
EMPTY_ITEM = "the network name is missing: add one, or remove the extra comma"
_NO_NETWORK = 'a network name must come before "@"'
NO_INTERFACE = 'an interface name must follow "@"'
_NO_PRIMARY = (
    'one network must be attached to "eth0", the pod\'s primary interface: '
    'leave one item without "@", or write "@eth0"'
)


def _validate(items: list[tuple[str, str | None]]) -> list[Fault]:
    faults: list[Fault] = []
    positions: dict[str, int] = {}  # of the items that name each interface first
    for position, (network, interface) in enumerate(items, 1):
        if not network:
            expected = EMPTY_ITEM if interface is None else _NO_NETWORK
            faults.append(Fault(INVALID, position, "", expected))
        elif not is_network_name(network):
            faults.append(Fault(INVALID, position, network, NETWORK_RULE))

        if interface is None:
            continue
        if interface == "":
            faults.append(Fault(INVALID, position, f"{network}@", NO_INTERFACE))
        elif not is_interface_name(interface):
            faults.append(Fault(INVALID, position, interface, INTERFACE_RULE))
        elif interface in positions:
            expected = _already_used(interface, positions[interface])
            faults.append(Fault(DUPLICATE, position, interface, expected))
        else:
            positions[interface] = position

    # An item without an interface gets eth0 if no other item names it.
    all_named = all(interface is not None for _, interface in items)
    if not faults and all_named and "eth0" not in positions:
        faults.append(Fault(REQUIRED, 0, None, _NO_PRIMARY))
    return faults


def _already_used(interface: str, position: int) -> str:
    return (
        f"the interface is already used by item {position}: "
        f'choose another, or leave out "@{interface}"'
    )


def _assign_interfaces(items: list[tuple[str, str | None]]) -> Iterable[Selection]:
    named = {interface for _, interface in items}
    number = 0
    for network, interface in items:
        if interface is not None:
            yield Selection(network, interface)
            continue
        while f"eth{number}" in named:
            number += 1
        yield Selection(network, f"eth{number}")
        number += 1


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the name in *known* that the user probably meant by *name*, or None.

    Letter case is ignored; at most a third of the letters may differ.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - expensive, and only errors need it

    folded = name.lower()
    by_folded = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    close = get_close_matches(folded, shortlist(folded, by_folded), n=1, cutoff=2 / 3)
    return by_folded[close[0]] if close else None


def shortlist(name: str, known: Collection[str]) -> Collection[str]:
    """Return at most :data:`MAX_COMPARED` of *known*, those that are most similar to *name*.

    Names that begin with the same character come first, then those of the most similar length.
    """
    if len(known) <= MAX_COMPARED:
        return known

    def distance(candidate: str) -> tuple[bool, int, str]:
        return candidate[:1] != name[:1], abs(len(candidate) - len(name)), candidate

    return sorted(known, key=distance)[:MAX_COMPARED]
