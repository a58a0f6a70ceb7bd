"""Removes what may be a secret from the archive for a support case.

Genie's own programs print no secret. Configurations and logs of other plugins may hold some, so
every file of the archive passes through here. What is removed: values under keys such as
``password`` or ``token``, private keys, tokens in the forms that Kubernetes and HTTP use, and
passwords in URLs.
"""

from __future__ import annotations

import re
from typing import Any

REMOVED = "(removed)"

_KEYS = re.compile(r"(?i)secret|token|password|passwd|passphrase|credential|authorization|api_?key")
_TEXTS = [
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
        ),
        REMOVED,
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(\.[\w-]*)?"), REMOVED),  # a JWT: {"… in base64
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {REMOVED}"),
    (re.compile(r"(\w+://[^\s/:@]*):[^\s/@]+@"), rf"\1:{REMOVED}@"),
    (
        re.compile(
            r"(?i)([\w-]*(?:secret|token|password|passwd|passphrase|api_?key)[\w-]*"
            r"[\\\"']*\s*[:=]\s*[\\\"']*)[^\s\\\"',}]+"
        ),
        rf"\1{REMOVED}",
    ),
]


def redact_text(text: str) -> str:
    """Return *text* without what looks like a secret."""
    for pattern, replacement in _TEXTS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: Any) -> Any:
    """Return *value*, as JSON has it, without what looks like a secret or is under such a key."""
    if isinstance(value, dict):
        return {
            key: REMOVED
            if _KEYS.search(key) and not isinstance(each, (bool, int))
            else redact(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [redact(each) for each in value]
    return redact_text(value) if isinstance(value, str) else value
