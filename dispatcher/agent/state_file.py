"""Keeps a JSON object with values of one type in the state directory, for the next agent.

Rules: a file that cannot be read is an empty one. It is written only when its content changes, and
removed when it is empty.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Generic, TypeVar

from dispatcher.node import atomic_file
from dispatcher.state.store import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")


class StateFile(Generic[T]):
    """The file *path*, whose values are of *value_type*; others in it are ignored."""

    def __init__(self, path: Path, value_type: type[T]) -> None:
        self._path = path
        self.content = self._load(value_type)
        """The content of the file."""

    def save(self, content: Mapping[str, T]) -> None:
        """Write *content*, unless it is in the file already. Raises OSError."""
        if content == self.content:
            return
        data = json.dumps(content).encode() if content else b""
        atomic_file.replace_or_remove(self._path, data, 0o600)
        self.content = dict(content)

    def _load(self, value_type: type[T]) -> dict[str, T]:
        try:
            content = json.loads(read_file(str(self._path)))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {key: value for key, value in content.items() if isinstance(value, value_type)}
