"""The grammar of the ``cni`` annotation: text in, selections or faults out.

    value     := item ("," item)*            at most 16 items and 1024 bytes, as written
    item      := network ["@" interface]     blanks (space, tab, CR, LF) around any part are dropped
    network   := [A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?
    interface := [A-Za-z0-9][A-Za-z0-9._-]{0,14}, not "lo"

How it works: :func:`parse` splits the value, judges every part, gives interfaces to the
items that name none (in list order the lowest free ``eth0``, ``eth1``, …) and returns a
tuple of :class:`Selection`. The item on ``eth0`` is the primary. A blank value means
"choose for me" and is the empty tuple. All faults of a value are found in one pass and
raised together as :class:`InvalidAnnotationError`, so that nobody mends a value twice.

Rules of this file: it is the only grammar in the tree (webhook, plugin and command line
call it), it is total (any ``str`` is either parsed or refused), and it imports nothing,
because the plugin loads it for every pod.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_BYTES = 1024
"""Length limit of a value in UTF-8 bytes. The policies test it before anything else."""

MAX_ITEMS = 16
"""How many attachments one pod may ask for."""

MAX_INTERFACE = 15
"""The kernel's limit for an interface name (IFNAMSIZ less the final NUL), in bytes."""

MAX_NETWORK = 63
"""A network's name becomes the name part of a label key, which is at most 63 long."""

MAX_COMPARED = 256
"""How many known names an unknown one is compared with: each takes some microseconds."""

BLANKS = " \t\r\n"
"""Dropped around every part. A newline is one: a YAML block (``cni: |``) ends in it."""

_ALNUM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_INNER = _ALNUM | frozenset("._-")

# The kinds of fault, spelled as the ``reason`` of a Kubernetes status cause
# (k8s.io/apimachinery, metav1.CauseType), with the words that Kubernetes puts before each.
INVALID = "FieldValueInvalid"
DUPLICATE = "FieldValueDuplicate"
REQUIRED = "FieldValueRequired"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
UNSUPPORTED = "FieldValueNotSupported"
_WORDS = {
    INVALID: "Invalid value",
    DUPLICATE: "Duplicate value",
    REQUIRED: "Required value",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    UNSUPPORTED: "Unsupported value",
}


class Selection:
    """One item of an annotation: a network and the interface it is attached to.

    ``interface`` is as in the annotation: ``eth0`` stands for the runtime's CNI_IFNAME.
    """

    __slots__ = ("interface", "network")

    def __init__(self, network: str, interface: str) -> None:
        self.network = network
        self.interface = interface

    @property
    def is_primary(self) -> bool:
        """Whether this selection's result is the pod's."""
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
    """One thing that is wrong with a value.

    ``reason`` is a Kubernetes cause type, ``position`` counts items from 1 (0: the value as
    a whole), ``value`` is the offending text (None where the words say it all) and
    ``expected`` tells what would be right.
    """

    __slots__ = ("expected", "position", "reason", "value")

    def __init__(self, reason: str, position: int, value: str | None, expected: str) -> None:
        self.reason = reason
        self.position = position
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        """Return the fault in Kubernetes' own form, without the field path."""
        words = _WORDS[self.reason]
        if self.value is not None:
            words = f"{words}: {quote(self.value)}"
        where = f"item {self.position}: " if self.position else ""
        return f"{words}: {where}{self.expected}"

    def __repr__(self) -> str:
        return f"Fault({self})"


class InvalidAnnotationError(ValueError):
    """A value that does not follow the grammar; ``faults`` holds every reason, in order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


def quote(text: str, limit: int = 64) -> str:
    """Return *text* in double quotes, printable ASCII only, cut after *limit* characters."""
    shown = "".join(c if " " <= c <= "~" and c not in '"\\' else _escape(c) for c in text[:limit])
    return f'"{shown}{"…" if len(text) > limit else ""}"'


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
    """Return what *value* asks for, in list order; a blank value gives the empty tuple.

    Raises :class:`InvalidAnnotationError` with every fault of the value.
    """
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        limit = f"may not be more than {MAX_BYTES} bytes (has {size})"
        raise InvalidAnnotationError([Fault(TOO_LONG, 0, None, limit)])
    if not value.strip(BLANKS):
        return ()
    items = [_split(item) for item in value.split(",")]
    faults = _judge_items(items[:MAX_ITEMS])
    if len(items) > MAX_ITEMS:
        faults.append(
            Fault(TOO_MANY, 0, str(len(items)), f"must have at most {MAX_ITEMS} networks")
        )
    if faults:
        raise InvalidAnnotationError(faults)
    return tuple(_assign(items))


def is_network_name(text: str) -> bool:
    """Tell whether *text* could be the name of a network."""
    return (
        0 < len(text) <= MAX_NETWORK
        and text[0] in _ALNUM
        and text[-1] in _ALNUM
        and _INNER.issuperset(text)
    )


def is_interface_name(text: str) -> bool:
    """Tell whether *text* could be named as an interface in an annotation."""
    return (
        0 < len(text) <= MAX_INTERFACE
        and text[0] in _ALNUM
        and _INNER.issuperset(text)
        and text != "lo"
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


_NETWORK_RULE = "a network name has up to 63 letters, digits, '.', '_' or '-', and starts and ends with a letter or digit"  # noqa: E501 - one sentence, shown as it stands
_INTERFACE_RULE = "an interface name has up to 15 letters, digits, '.', '_' or '-', starts with a letter or digit, and is not \"lo\""  # noqa: E501 - same


def _judge_items(items: list[tuple[str, str | None]]) -> list[Fault]:
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    for position, (network, interface) in enumerate(items, 1):
        if not network:
            faults.append(Fault(INVALID, position, "", _expected_network(interface)))
        elif not is_network_name(network):
            faults.append(Fault(INVALID, position, network, _NETWORK_RULE))
        if interface is None:
            continue
        if interface == "":
            faults.append(
                Fault(INVALID, position, f"{network}@", 'an interface name must follow "@"')
            )
        elif not is_interface_name(interface):
            faults.append(Fault(INVALID, position, interface, _INTERFACE_RULE))
        elif interface in seen:
            faults.append(Fault(DUPLICATE, position, interface, _taken(seen[interface])))
        else:
            seen[interface] = position
    if not faults and all(interface is not None for _, interface in items) and "eth0" not in seen:
        faults.append(Fault(REQUIRED, 0, None, _NO_PRIMARY))
    return faults


_NO_PRIMARY = (
    'one network must be on interface "eth0", the pod\'s primary: '
    'leave one item without "@", or write "@eth0"'
)


def _expected_network(interface: str | None) -> str:
    if interface is None:
        return "a network name is missing (empty item between commas, or a comma too many)"
    return 'a network name must come before "@"'


def _taken(position: int) -> str:
    return f"item {position} is on this interface already, and each needs its own"


def _assign(items: list[tuple[str, str | None]]) -> Iterable[Selection]:
    taken = {interface for _, interface in items}
    number = 0
    for network, interface in items:
        if interface is not None:
            yield Selection(network, interface)
            continue
        while f"eth{number}" in taken:
            number += 1
        yield Selection(network, f"eth{number}")
        number += 1


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the name in *known* that *name* was probably meant to be, or None.

    Letter case is ignored; at most a third of the letters may differ.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - dear, and only errors need it

    folded = name.lower()
    by_folded = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    close = get_close_matches(folded, shortlist(folded, by_folded), n=1, cutoff=2 / 3)
    return by_folded[close[0]] if close else None


def shortlist(name: str, known: Collection[str]) -> Collection[str]:
    """Return those of *known* that are worth comparing with *name*, at most :data:`MAX_COMPARED`.

    Of more, those that begin alike, and of these the ones of the most similar length.
    """
    if len(known) <= MAX_COMPARED:
        return known

    def distance(candidate: str) -> tuple[bool, int, str]:
        return candidate[:1] != name[:1], abs(len(candidate) - len(name)), candidate

    return sorted(known, key=distance)[:MAX_COMPARED]
