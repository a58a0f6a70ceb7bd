"""Reads JSON objects of the API server that any client may have written.

A value of another type than expected counts as absent: for programs that report on a cluster, one
malformed object must not hide the others. Admission does not read so: it refuses what is malformed
(:mod:`webhook.review`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_list(value: Any) -> list[Any]:
    """Return *value* if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def get_dict(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object at *key*, or an empty one."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def get_text(parent: Mapping[str, Any], key: str) -> str:
    """Return the string at *key*, or ""."""
    value = parent.get(key)
    return value if isinstance(value, str) else ""


def get_number(parent: Mapping[str, Any], key: str) -> int:
    """Return the integer at *key*, or 0."""
    value = parent.get(key)
    return value if isinstance(value, int) else 0
