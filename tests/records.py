"""Records as a test changes them: with the checksum that their writer would have given them."""

from __future__ import annotations

import json
from typing import Any

from dispatcher.state import record


def sealed(value: dict[str, Any]) -> bytes:
    """Return the file of a record that says *value*."""
    content = {key: item for key, item in value.items() if key != "checksum"}
    return record.sealed(json.dumps(content, separators=(",", ":")).encode()[:-1])
