"""Reads the annotation ``k8s.v1.cni.cncf.io/networks``: what a migration needs of it (pure).

Two forms, as in the NPWG's specification v1.3: a list of ``[NAMESPACE/]NAME[@INTERFACE]`` with
commas, and a JSON list of objects. What an object asks for besides a network and an interface
(addresses, a MAC, bandwidth, …) cannot be said in ``cni``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher.annotation import BLANKS

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = {"name", "namespace", "interface"}


class InvalidSelectionError(ValueError):
    """The annotation cannot be read, or asks for more than ``cni`` can say."""


class NetworkSelection(NamedTuple):
    """One attachment; the interface is the one that Multus gives it."""

    name: str
    interface: str


def parse_selections(value: str) -> list[NetworkSelection]:
    """Return the attachments that *value* asks for, in order. Raises InvalidSelectionError."""
    text = value.strip(BLANKS)
    if not text:
        return []
    pairs = _json_pairs(text) if text[0] in '[{"' else map(_short_pair, text.split(","))
    return [
        NetworkSelection(name, interface or f"net{number}")
        for number, (name, interface) in enumerate(pairs, start=1)
    ]


def _short_pair(item: str) -> tuple[str, str]:
    network, _, interface = item.strip(BLANKS).partition("@")
    return _name(network.rpartition("/")[2]), interface.strip(BLANKS)


def _json_pairs(text: str) -> Iterator[tuple[str, str]]:
    try:
        elements = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidSelectionError("it is not valid JSON") from None
    for element in elements if isinstance(elements, list) else [elements]:
        if not isinstance(element, dict):
            raise InvalidSelectionError("each element must be an object")
        if more := sorted(element.keys() - KNOWN):
            raise InvalidSelectionError(f"nothing here does what {', '.join(more)} asks for")
        yield _name(element.get("name")), str(element.get("interface") or "")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip(BLANKS):
        raise InvalidSelectionError("the name of a network is missing")
    return value.strip(BLANKS)
