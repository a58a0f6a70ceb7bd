"""The errors of the API client and of settings, for modules that must stay small.

The client needs urllib3, TLS and HTTP, and settings need pydantic. Each costs several MiB of memory
for as long as the process lives. A module that only handles the errors imports neither.
"""

from __future__ import annotations

UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
UNPROCESSABLE = 422

LOST_RACE = frozenset({NOT_FOUND, CONFLICT, UNPROCESSABLE})
"""Statuses of a conditional write that another writer overtook.

An update fails with 409; a JSON patch with 422, because its ``test`` fails; either with 404 where
the object was deleted. To send the same write again is pointless.
"""


class KubeError(Exception):
    """A call of the API failed.

    ``status`` is the HTTP status (0: no answer), ``reason`` Kubernetes' word for it (``NotFound``,
    ``Conflict``, …), ``message`` one sentence for a log or a person.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(f"{message} ({status} {reason})" if status else message)


class InvalidSettingsError(ValueError):
    """A setting is invalid; the message is one line for a person."""
