"""Run STATUS of one network's plugins (CNI specification, section 4), as a runtime would.

Each plugin is a process of its own, in a process group of its own, which is killed whole at the
deadline. Its input and output are files in memory: unlike a pipe, they cannot block the reaper when
a daemon that the plugin left keeps them open.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from dispatcher import cni_errors, jsontext
from dispatcher.node.status_answers import READY, StatusAnswer
from dispatcher.reaper.host_paths import find_executable
from dispatcher.state.del_call import PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dispatcher.conf import Conf

SINCE = "1.1.0"
"""The first version of the specification that has STATUS."""

UNAVAILABLE = (cni_errors.NOT_AVAILABLE, cni_errors.LIMITED_CONNECTIVITY)
"""The codes by which a plugin says that no pod can be attached."""

SECONDS = 10.0
"""Time for all plugins of one network."""

MAX_MSG = 300
"""Characters of the plugin's sentence that are kept."""

_MAX_OUTPUT = 64 << 10
_KILL_SECONDS = 1.0  # the longest wait for the kernel to carry out a SIGKILL


class StatusError(Exception):
    """The plugins of a network give no answer to STATUS."""


def ask(
    conf: Conf,
    root: Path,
    bin_dirs: Sequence[str],
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> StatusAnswer:
    """Return the answer of the network *conf*: that of the first plugin that is not available.

    *root* is the host's root directory, *bin_dirs* are its directories of plugins, *clock* is
    monotonic. Raises :class:`StatusError` if a plugin fails for another reason, or does not end
    within *seconds*.
    """
    deadline = clock() + seconds
    for plugin in conf.plugins:
        command = _command(plugin["type"], root, bin_dirs)
        document = jsontext.dump(conf.plugin_input(plugin, {}))
        status, output = _run(command, document, bin_dirs, max(0.0, deadline - clock()))
        if status != 0:
            return _unavailable(plugin["type"], status, output)
    return StatusAnswer(READY)


def _command(plugin_type: str, root: Path, bin_dirs: Sequence[str]) -> list[str]:
    file = find_executable(root, plugin_type, bin_dirs)
    if file is None:
        raise StatusError(f"plugin {plugin_type} is missing")
    return [file] if str(root) == "/" else ["chroot", str(root), file]


def _run(
    command: Sequence[str], document: bytes, bin_dirs: Sequence[str], seconds: float
) -> tuple[int, bytes]:
    """Run *command* with *document* as its input; return its exit status and what it printed."""
    # A runtime passes these without a value, since STATUS has no container.
    empty = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), "")
    environment = {**empty, "CNI_COMMAND": "STATUS", "CNI_PATH": ":".join(bin_dirs), "PATH": PATH}

    with _memory_file() as stdin, _memory_file() as stdout:
        stdin.write(document)
        stdin.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - a plugin that the runtime executes as well
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )
        except OSError as error:
            raise StatusError(f"{command[-1]}: {error.strerror}") from None

        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise StatusError(f"{command[-1]} did not end in time and was killed") from None
        stdout.seek(0)
        return status, stdout.read(_MAX_OUTPUT)


def _memory_file() -> Any:
    return open(os.memfd_create("status"), "w+b", buffering=0)  # noqa: PTH123 - of a descriptor


def _kill(process: subprocess.Popen[bytes]) -> None:
    # It was not waited for, so its number is still its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_SECONDS)


def _unavailable(plugin_type: str, status: int, output: bytes) -> StatusAnswer:
    """Return the answer of a plugin that failed. Raises StatusError if it states no code."""
    try:
        error = json.loads(output)
        code, msg = error["code"], error.get("msg", "")
    except (ValueError, TypeError, LookupError, AttributeError):
        raise StatusError(f"plugin {plugin_type} failed with exit status {status}") from None

    sentence = " ".join(str(msg).split())[:MAX_MSG]
    if code not in UNAVAILABLE:
        raise StatusError(f"plugin {plugin_type} failed with code {code}: {sentence}")
    return StatusAnswer(code, sentence)
