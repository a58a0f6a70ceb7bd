"""Run other programs; print progress.

Progress goes to stderr, so that a shell can evaluate stdout.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_STARTED = time.monotonic()
_LAST_LINES = 30

held_locks: set[int] = set()
"""Descriptors of the locks that this process holds; the programs that it runs inherit them.

When the tool is killed, a program that it ran may go on for a moment. The next holder of the lock
then waits for that program too, instead of interfering with it.
"""


class ClusterError(Exception):
    """A problem that a user can solve: the message says what is wrong and what to do."""


class CommandError(ClusterError):
    """A program failed or could not be started."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        self.returncode = returncode
        self.output = output
        tail = "\n".join(output.splitlines()[-_LAST_LINES:])
        super().__init__(f"{' '.join(argv)}: exit code {returncode}\n{tail}".rstrip())


def log_progress(text: str) -> None:
    """Print one line of progress, with the seconds since the tool started."""
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step; announce its end, with the duration, if it took more than a second."""
    log_progress(f"{text} …")
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    if seconds > 1:
        log_progress(f"{text}: done in {seconds:.0f} s")


def run(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,  # noqa: A002 - as in subprocess.run
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program, wait for its end and return its exit code and output.

    `env` is added to this process's environment; `timeout` is in seconds. Raises CommandError when
    the program is not found or exceeds the timeout, and, if `check`, when the exit code is not 0.
    """
    words = [os.fspath(word) for word in argv]
    try:
        result = subprocess.run(
            words,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
            timeout=timeout,
            pass_fds=tuple(held_locks),
        )
    except FileNotFoundError as error:
        raise CommandError(words, 127, f"program not found: {error.filename}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(words, 124, f"timed out after {error.timeout:.0f} s") from error
    if check and result.returncode != 0:
        raise CommandError(words, result.returncode, result.stdout + result.stderr)
    return result
