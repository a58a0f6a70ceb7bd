"""The least that a CNI plugin in Python costs: its interpreter starts, and does nothing.

:func:`write` makes a program that starts the interpreter of Genie's plugin in the plugin's way, and
then executes the network's own plugin in its place. So it reads no configuration, chooses no
network, and keeps no record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "a bare start"

_SCRIPT = """\
{interpreter}
import posix

posix.execv("{delegate}", ["{delegate}"])
"""


def write(program: Path, launcher: Path, delegate: str) -> None:
    """Write *program*, which executes *delegate*; *launcher* is that of an installed Genie."""
    interpreter, _, _ = launcher.read_text().partition("\n")
    program.write_text(_SCRIPT.format(interpreter=interpreter, delegate=delegate))
    program.chmod(0o755)
