"""The error that the plugin returns, and its codes.

Every refusal and failure is a :class:`CNIError`; ``main`` prints it as the error object of the
specification (section 5, "Error"). The error of a delegate keeps its code and details, and gets a
sentence of Genie before its message: :meth:`CNIError.with_prefix`.
"""

from __future__ import annotations

# The codes of the specification.
INCOMPATIBLE_VERSION = 1
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONF = 7
INVALID_NETNS = 8
TRY_AGAIN = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51
INTERNAL = 999  # that of libcni

# Codes of Genie: the specification leaves 100 and above to plugins.
INVALID_ANNOTATION = 100
UNKNOWN_NETWORK = 101
BROKEN_NETWORK = 102
DELEGATE_FAILED = 103
ALREADY_ATTACHED = 104
RECURSION = 105
NOT_ATTACHED = 106
CANNOT_RUN = 107


class CNIError(Exception):
    """An error for the runtime: ``code``, one sentence, and details."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details

    def with_prefix(self, sentence: str) -> CNIError:
        """Return this error with *sentence* before its message; code and details stay."""
        return CNIError(self.code, f"{sentence}: {self.msg}", self.details)

    def as_json(self, cni_version: str) -> dict[str, str | int]:
        """Return the error object of the specification in *cni_version*."""
        value: dict[str, str | int] = {
            "cniVersion": cni_version,
            "code": self.code,
            "msg": self.msg,
        }
        if self.details:
            value["details"] = self.details
        return value


class NotStartedError(CNIError):
    """The delegate was not started: this call has done nothing that must be released."""

    def with_prefix(self, sentence: str) -> CNIError:
        """See :meth:`CNIError.with_prefix`."""
        return NotStartedError(self.code, f"{sentence}: {self.msg}", self.details)


class CannotRunError(NotStartedError):
    """The executable of the delegate is missing, or cannot be executed."""

    def __init__(self, msg: str) -> None:
        super().__init__(CANNOT_RUN, msg)

    def with_prefix(self, sentence: str) -> CannotRunError:
        """See :meth:`CNIError.with_prefix`."""
        return CannotRunError(f"{sentence}: {self.msg}")
