"""Calls of the plugin, as processes that a test awaits, checks and kills.

Nothing here waits for a fixed time, only for a condition with a deadline. Every call is checked
against the protocol: standard output is empty or one JSON object.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

DIE = Path(__file__).with_name("die.py")
"""A program that runs the plugin and kills it before its n-th effect."""

LONG = 150.0
"""Seconds until a test gives up on a call or a condition; the plugin's own deadline is 90 s."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one call of the plugin: exit code, both streams, duration."""

    code: int
    out: bytes
    err: str
    seconds: float

    @property
    def said(self) -> Any:
        """The object on standard output, None if there is none."""
        return json.loads(self.out) if self.out else None

    @property
    def killed(self) -> bool:
        """Whether the plugin was ended by SIGKILL."""
        return self.code == -signal.SIGKILL

    def succeeded(self) -> Any:
        """Return the result; fail the test with the error where there was one."""
        assert self.code == 0, f"{self.out!r} {self.err}"
        return self.said

    def failed(self, code: int | None = None) -> dict[str, Any]:
        """Return the error; fail the test where there was none, or not one with *code*."""
        assert self.code == 1, f"exit code {self.code}: {self.out!r} {self.err}"
        assert code in {None, self.said["code"]}, self.said
        error: dict[str, Any] = self.said
        return error


@dataclass(slots=True)
class Running:
    """A running call; ``process`` is the plugin itself."""

    process: subprocess.Popen[bytes]
    started: float

    def kill(self) -> None:
        """Send SIGKILL to the plugin, and to nothing else."""
        self.process.kill()

    def answer(self) -> Answer:
        """Wait for the end, and return the answer."""
        output, err = self.process.communicate(timeout=LONG)
        out = output or b""  # None where the test has closed it
        seconds = time.monotonic() - self.started
        if self.process.returncode >= 0:
            assert_protocol(out)
        return Answer(self.process.returncode, out, err.decode(errors="replace"), seconds)


def assert_protocol(out: bytes) -> None:
    """Assert that standard output is empty or exactly one JSON object."""
    assert out == b"" or isinstance(json.loads(out), dict), out


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until *condition* holds; fail the test if it does not within :data:`LONG`."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"waited {LONG:.0f} s for {what}"
        time.sleep(0.005)
