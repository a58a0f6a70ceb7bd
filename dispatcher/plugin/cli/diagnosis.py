"""What ``genie doctor`` has found: one thing that was looked at, and its cure."""

from __future__ import annotations


class Diagnosis:
    """One thing that was looked at: ``problem`` tells whether it needs a cure."""

    __slots__ = ("about", "cure", "problem", "said")

    def __init__(self, about: str, said: str, cure: str = "", *, problem: bool = True) -> None:
        self.about = about
        self.said = said
        self.cure = cure
        self.problem = bool(cure) and problem

    @property
    def level(self) -> str:
        """What the finding is: ``problem``, ``warning`` or ``ok``."""
        if self.problem:
            return "problem"
        return "warning" if self.cure else "ok"

    def as_dict(self) -> dict[str, object]:
        """Return the finding as JSON has it."""
        return {name: getattr(self, name) for name in ("about", "problem", "said", "cure")}
