"""Running other programs, and saying on stderr what takes long.

Everything the cluster tool reports goes to stderr, so that stdout can be evaluated by a shell.
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
"""Descriptors of the locks that this process holds, which the programs it runs inherit.

When the tool is killed, a program that it ran may go on for a moment. Who takes the lock next then
waits for that program too, instead of working against it.
"""


class ClusterError(Exception):
    """What went wrong, in a sentence for a person, with the cure where there is one."""


class CommandError(ClusterError):
    """A program that was run did not exit with 0."""

    def __init__(self, argv: Sequence[str], returncode: int, output: str) -> None:
        self.returncode = returncode
        self.output = output
        tail = "\n".join(output.splitlines()[-_LAST_LINES:])
        super().__init__(f"{' '.join(argv)}: exit code {returncode}\n{tail}".rstrip())


def log_progress(text: str) -> None:
    """Print one progress line, with the seconds since the tool was started."""
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step that may take long, and its end with its duration where it did."""
    log_progress(f"{text} …")
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    if took > 1:
        log_progress(f"{text}: done in {took:.0f} s")


def run(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,  # noqa: A002 - the name that subprocess.run taught everyone
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it said.

    `env` is added to this process's environment; `timeout` is in seconds.
    Raises CommandError when `check` and the exit code is not 0, and, whatever `check` says, when
    there is no such program or it takes longer than the timeout.
    """
    words = [os.fspath(word) for word in argv]
    try:
        done = subprocess.run(
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
    except FileNotFoundError as missing:
        raise CommandError(words, 127, f"no such program: {missing.filename}") from missing
    except subprocess.TimeoutExpired as late:
        raise CommandError(words, 124, f"not done within {late.timeout:.0f} s") from late
    if check and done.returncode != 0:
        raise CommandError(words, done.returncode, done.stdout + done.stderr)
    return done
