"""The errors of the API client and of settings, apart from these for those who must be small.

The client brings urllib3, TLS and HTTP along, settings bring pydantic, and each costs several MiB
of memory for as long as the process lives. Who only has to know the error does without.
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
    """A call that failed.

    ``status`` is the HTTP status (0 where there was no answer), ``reason`` Kubernetes' own
    word for it (``NotFound``, ``Conflict``, …), ``message`` one sentence for a log or a person.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(f"{message} ({status} {reason})" if status else message)


class InvalidSettingsError(ValueError):
    """A setting that cannot be used; the message is one line for a person."""
