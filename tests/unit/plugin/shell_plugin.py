"""Delegates that are shell scripts, run by the real runner."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from dispatcher.cni_errors import CNIError
from dispatcher.plugin.delegate import Runner

if TYPE_CHECKING:
    from pathlib import Path


ENVIRON = {"PATH": "/usr/bin:/bin", "TRACEPARENT": "00-abc"}


CONF = {"type": "plug", "cniVersion": "1.0.0", "name": "n"}


ADD = {"CNI_COMMAND": "ADD"}


def script(folder: Path, text: str, name: str = "plug") -> Path:
    """Install a plugin that is a shell script."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def call(folder: Path, text: str, seconds: float = 10.0, command: str = "ADD") -> object:
    script(folder, text)
    runner = Runner(["/none", str(folder)], ENVIRON, None)
    return runner(CONF, {"CNI_COMMAND": command}, time.monotonic() + seconds)


def error_of(folder: Path, text: str, seconds: float = 10.0, command: str = "ADD") -> CNIError:
    with pytest.raises(CNIError) as raised:
        call(folder, text, seconds, command)
    return raised.value
