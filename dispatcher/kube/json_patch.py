"""JSON Patch: its operations (RFC 6902), and pointers that are built from keys (RFC 6901).

Labels and annotations have a slash in their keys, which a pointer has to escape.
"""

from __future__ import annotations

from typing import Any

Operation = dict[str, Any]
Patch = list[Operation]


def pointer(*keys: str | int) -> str:
    """Return the JSON pointer to the value that *keys* lead to; escapes each key."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)


def add(path: str, value: Any) -> Operation:
    """Set the member at *path*, or insert into a list (``/-`` at its end)."""
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> Operation:
    """Set the member at *path*; the patch fails if it is missing."""
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> Operation:
    """Remove what is at *path*; the patch fails if it is missing."""
    return {"op": "remove", "path": path}


def test(path: str, value: Any) -> Operation:
    """Make the patch fail unless *path* has *value*."""
    return {"op": "test", "path": path, "value": value}
