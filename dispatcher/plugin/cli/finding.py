"""The result of one check of ``genie doctor``."""

from __future__ import annotations


class DoctorFinding:
    """One line of ``genie doctor``: the object, what is the case, and the fix if one is needed.

    A finding with a fix is a problem, or a warning with ``problem=False``.
    """

    __slots__ = ("fix", "is_problem", "message", "subject")

    def __init__(self, subject: str, message: str, fix: str = "", *, problem: bool = True) -> None:
        self.subject = subject
        self.message = message
        self.fix = fix
        self.is_problem = bool(fix) and problem

    @property
    def level(self) -> str:
        """``problem``, ``warning`` or ``ok``."""
        if self.is_problem:
            return "problem"
        return "warning" if self.fix else "ok"

    def as_json(self) -> dict[str, object]:
        """Return the object that ``--output json`` prints; its keys are public."""
        return {
            "about": self.subject,
            "problem": self.is_problem,
            "said": self.message,
            "cure": self.fix,
        }
