"""Names of namespaces and NetworkAttachmentDefinitions, as Kubernetes and the NPWG have them."""

from __future__ import annotations

MAX_NAME = 253
"""Limit of an object's name."""

MAX_LABEL = 63
"""Limit of a namespace's name."""

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_LABEL = _LOWER | {"-"}


def is_label(text: str) -> bool:
    """Tell whether *text* is a DNS-1123 label, as a namespace's name is."""
    return len(text) <= MAX_LABEL and is_unit(text)


def is_object_name(text: str) -> bool:
    """Tell whether *text* is a DNS-1123 subdomain, as an object's name is."""
    return len(text) <= MAX_NAME and all(map(is_unit, text.split(".")))


def is_unit(text: str) -> bool:
    """Tell whether *text* is ``[a-z0-9]([-a-z0-9]*[a-z0-9])?``, of any length."""
    return _LABEL.issuperset(text) and text[:1] in _LOWER and text[-1:] in _LOWER
