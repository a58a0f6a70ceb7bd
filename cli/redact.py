"""Removes what may be a secret from the archive for a support case.

Genie's own programs print no secret. Configurations, annotations and logs of others may hold some,
so every file of the archive passes through here. What is removed:

- values under keys such as ``password`` or ``token``: in objects, in text, in JSON inside of JSON,
  in options of a command, and in variables of a container (``name`` and ``value``);
- private keys, also in base64, tokens in the forms of Kubernetes, HTTP and well-known services, and
  passwords in URLs;
- the copy of an object that ``kubectl apply`` keeps in an annotation.

Better too much than too little: a Secret's name may go, too.
"""

from __future__ import annotations

import re
from typing import Any

REMOVED = "(removed)"

_WORDS = (
    r"secret|token|password|passwd|passphrase|credential|authorization|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|key-data|\bpsk\b|pre[_-]?shared|dockerconfig"
)
_KEYS = re.compile(rf"(?i){_WORDS}|\bauth$|last-applied-configuration")
_QUOTE = r"\\{0,16}[\"']"
_VALUE = rf"(?:(?P<quote>{_QUOTE}).{{0,2000}}?(?P=quote)|(?:{_QUOTE})?[^\s\\\"',}}&]+)"
_KEY = rf"(?<![\w.-])[\w.-]*(?:{_WORDS})[\w.-]*"
"""A whole word that contains one of them; from its beginning, or long words take quadratic time."""
_OPTION = _KEY.replace(r"(?<![\w.-])", "")

# Every repetition that can begin at any place is bounded, or long lines take quadratic time.
_TEXTS = [
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
        ),
        REMOVED,
    ),
    (re.compile(r"\bLS0tLS1CRUdJTi[\w+/=]+"), REMOVED),  # base64 of "-----BEGIN "
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(\.[\w-]*)?"), REMOVED),  # a JWT: {"… in base64
    (re.compile(r"\b(?:gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16})\b"), REMOVED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {REMOVED}"),
    (re.compile(r"((?<!\w)\w{1,32}://[^\s/:@]*):[^\s/@]+@"), rf"\1:{REMOVED}@"),
    # name: DB_PASSWORD, value: …; over the end of a line, as in YAML
    (
        re.compile(
            rf"(?i)(\bname{_QUOTE}?\s*[:=]\s*(?:{_QUOTE})?{_KEY}(?:{_QUOTE})?[\s,]*"
            rf"(?:{_QUOTE})?value(?:{_QUOTE})?\s*[:=]\s*){_VALUE}"
        ),
        rf"\g<1>{REMOVED}",
    ),
    (
        re.compile(rf"(?i)((?:\s|^|{_QUOTE})--?{_OPTION}(?:{_QUOTE},?\s*|\s+)){_VALUE}"),
        rf"\g<1>{REMOVED}",
    ),
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?\s*[:=]\s*){_VALUE}"), rf"\g<1>{REMOVED}"),
]


def redact_text(text: str) -> str:
    """Return *text* without what looks like a secret."""
    for pattern, replacement in _TEXTS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: Any) -> Any:
    """Return *value*, as JSON has it, without what looks like a secret or is under such a key."""
    if isinstance(value, dict):
        return {key: _redact_under(key, each, value) for key, each in value.items()}
    if isinstance(value, list):
        return [redact(each) for each in value]
    return redact_text(value) if isinstance(value, str) else value


def _redact_under(key: str, value: Any, parent: dict[str, Any]) -> Any:
    named = parent.get("name")
    is_variable = key == "value" and isinstance(named, str) and _KEYS.search(named)
    if (is_variable or _KEYS.search(key)) and not isinstance(value, (bool, int)):
        return REMOVED
    return redact(value)
