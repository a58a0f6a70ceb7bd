"""The least that a CNI plugin in Python costs: two programs that are started as Genie's plugin is.

*A bare start* starts the interpreter, and then executes the network's own plugin in its place.

*A minimal plugin* (:mod:`tests.bench.minimal_plugin`) also does what no plugin may leave out that
must not lose an address: it locks the container, has a record on the disk before the network's
plugin gets its configuration, waits for the result, and has that on the disk before it returns.

Neither program validates its input, chooses a network, limits the time, or explains a failure.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.bench import minimal_plugin

if TYPE_CHECKING:
    from pathlib import Path

BARE_START, MINIMAL = "a bare start", "a minimal plugin"

_BARE_START = """\
{interpreter}
import posix

posix.execv("{delegate}", ["{delegate}"])
"""

_MINIMAL = """\
{interpreter}
import gc, marshal
gc.disable()
with open("{compiled}", "rb") as file:
    exec(marshal.loads(file.read()))
main("{state_dir}", "{delegate}")
"""

_COMPILE = """\
import marshal, sys
with open(sys.argv[1]) as source, open(sys.argv[2], "wb") as target:
    code = compile(source.read(), "minimal_plugin.py", "exec", optimize=2)
    target.write(marshal.dumps(code))
"""


def write_bare_start(program: Path, launcher: Path, delegate: str) -> None:
    """Write *program*, which executes *delegate*; *launcher* is that of an installed Genie."""
    _write(program, _BARE_START.format(interpreter=_first_line(launcher), delegate=delegate))


def write_minimal(program: Path, launcher: Path, delegate: str, state_dir: Path) -> None:
    """Write *program*, which runs *delegate* and has its records in *state_dir*, a new folder."""
    state_dir.mkdir()
    first_line = _first_line(launcher)
    compiled = program.with_suffix(".compiled")
    interpreter = first_line.removeprefix("#!").split()
    files = [minimal_plugin.__file__, str(compiled)]
    subprocess.run([*interpreter, "-c", _COMPILE, *files], check=True)
    places = {"compiled": compiled, "state_dir": state_dir, "delegate": delegate}
    _write(program, _MINIMAL.format(interpreter=first_line, **places))


def _first_line(launcher: Path) -> str:
    first_line, _, _ = launcher.read_text().partition("\n")
    return first_line


def _write(program: Path, text: str) -> None:
    program.write_text(text)
    program.chmod(0o755)
