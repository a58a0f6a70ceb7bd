"""What a decision may know: the facts of one namespace and the networks of the cluster.

Both are read from object metadata alone. They are values: a decision keeps the ones it
started with, whatever the caches do meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEDULING_MODES = ("required", "preferred", "off")


class Namespace(NamedTuple):
    """A namespace's wishes. ``allowed`` None: any network; ``default`` empty: none.

    ``default`` is as written, not normalised; ``labelled`` tells whether the label for the
    webhook's selector is there; ``scheduling`` is empty where the annotation is missing.
    """

    name: str = ""
    default: str = ""
    allowed: tuple[str, ...] | None = None
    scheduling: str = ""
    labelled: bool = False
    terminating: bool = False

    @property
    def label_is_right(self) -> bool:
        """Whether the label says what the annotation says."""
        return self.labelled == bool(self.default)

    def scheduling_or(self, setting: str) -> str:
        """Return the namespace's wish, or *setting*; so too for a word written while we were down.

        To take a word that means nothing for "off" would schedule pods to where they cannot start.
        """
        return self.scheduling if self.scheduling in SCHEDULING_MODES else setting


class Networks(NamedTuple):
    """The networks of the cluster: ``known`` by label or setting, ``present`` on some node."""

    known: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()


def namespace_facts(found: Mapping[str, Any]) -> Namespace:
    """Return the facts of a Namespace object (its metadata is enough)."""
    metadata = found.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    default = annotations.get(keys.ANNOTATION) or ""
    allowed = annotations.get(keys.ALLOWED)
    return Namespace(
        name=metadata.get("name") or "",
        default=default if default.strip(BLANKS) else "",
        allowed=None if allowed is None else parse_allowed(allowed),
        scheduling=(annotations.get(keys.SCHEDULING) or "").strip(BLANKS),
        labelled=(metadata.get("labels") or {}).get(keys.DEFAULTED) == "true",
        terminating=bool(metadata.get("deletionTimestamp")),
    )


def parse_allowed(value: str) -> tuple[str, ...]:
    """Return the names in an allow-list, in order, without blanks and empty items."""
    return tuple(filter(None, (name.strip(BLANKS) for name in value.split(","))))


def node_networks(found: Mapping[str, Any]) -> frozenset[tuple[str, bool]]:
    """Return the networks that a Node's labels name, each with whether it is attachable now."""
    labels = (found.get("metadata") or {}).get("labels") or {}
    prefix = keys.NETWORK_LABEL
    return frozenset(
        (key[len(prefix) :], value == "true")
        for key, value in labels.items()
        if key.startswith(prefix)
    )


def all_networks(
    nodes: Iterable[frozenset[tuple[str, bool]]], listed: Iterable[str] = ()
) -> Networks:
    """Return the union of what *nodes* have and the setting *listed* names."""
    # Nodes of one kind have equal sets: thousands of nodes are a handful of them.
    pairs = frozenset[tuple[str, bool]]().union(*set(nodes))
    return Networks(
        known=frozenset(name for name, _ in pairs) | frozenset(listed),
        present=frozenset(name for name, there in pairs if there),
    )
