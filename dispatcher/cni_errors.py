"""The one error that leaves the plugin, and the codes it may have.

Every refusal and failure is a :class:`CNIError`; ``main`` turns it into the error object of
the specification (section 5, "Error"). A delegate's own failure keeps its code and details
under a sentence of ours: :meth:`CNIError.with_prefix`.
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
INTERNAL = 999  # as the reference implementation has it

# Codes of ours: the specification leaves 100 and above to plugins.
INVALID_ANNOTATION = 100
UNKNOWN_NETWORK = 101
BROKEN_NETWORK = 102
DELEGATE_FAILED = 103
ALREADY_ATTACHED = 104
RECURSION = 105
NOT_ATTACHED = 106
CANNOT_RUN = 107


class CNIError(Exception):
    """A failure as the runtime is told it: ``code``, one sentence, and further details."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details

    def with_prefix(self, sentence: str) -> CNIError:
        """Return this failure with *sentence* before its own words; code and details stay."""
        return CNIError(self.code, f"{sentence}: {self.msg}", self.details)

    def as_json(self, cni_version: str) -> dict[str, str | int]:
        """Return the error object of the specification in *cni_version*."""
        shown: dict[str, str | int] = {
            "cniVersion": cni_version,
            "code": self.code,
            "msg": self.msg,
        }
        if self.details:
            shown["details"] = self.details
        return shown


class NotStartedError(CNIError):
    """A delegate that was not started: this call of it did nothing, so there is nothing to free."""

    def with_prefix(self, sentence: str) -> CNIError:
        """See :meth:`CNIError.with_prefix`."""
        return NotStartedError(self.code, f"{sentence}: {self.msg}", self.details)


class CannotRunError(NotStartedError):
    """A delegate whose executable is not there, or cannot be executed."""

    def __init__(self, msg: str) -> None:
        super().__init__(CANNOT_RUN, msg)

    def with_prefix(self, sentence: str) -> CannotRunError:
        """See :meth:`CNIError.with_prefix`."""
        return CannotRunError(f"{sentence}: {self.msg}")
