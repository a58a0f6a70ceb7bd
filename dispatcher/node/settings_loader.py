"""Load the settings in a short-lived child process, to save memory in the parent.

pydantic validates the settings. It takes twelve MiB and a third of a second, and the memory would
stay allocated as long as the process runs. Agent and reaper run on every node, so each starts
``python -m dispatcher.node.settings_loader`` with its own command line, and reads the validated
values from the standard output of that child:

    parent  load(arguments)   starts the child, unpickles its output
    child   main(arguments)   validates :class:`dispatcher.node.settings.NodeSettings`, pickles it

The parent unpickles the output of this child and nothing else. Every value must be of a type that
the parent can import without pydantic (:class:`dispatcher.node.mode.Mode`, paths, plain values).
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from dispatcher.kube.errors import InvalidSettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.node.settings import NodeSettings

_HELP = frozenset({"-h", "--help"})

_MODULE = "dispatcher.node.settings_loader"


def load(arguments: Sequence[str]) -> NodeSettings:
    """Return the settings, validated by a child process. ``--help`` exits.

    The result has every attribute of :class:`NodeSettings`, but is not an instance of it: that
    class is a pydantic model. Raises :class:`InvalidSettingsError`.
    """
    command = [sys.executable, "-m", _MODULE, *arguments]
    wants_help = not _HELP.isdisjoint(arguments)
    completed = subprocess.run(command, check=False, capture_output=not wants_help)  # noqa: S603 - ourselves

    if wants_help:
        raise SystemExit(completed.returncode)
    if completed.returncode != 0:
        raise InvalidSettingsError(completed.stderr.decode(errors="replace").strip())
    values = pickle.loads(completed.stdout)  # noqa: S301 - our own child's output
    return cast("NodeSettings", SimpleNamespace(**values))


def main(arguments: Sequence[str]) -> int:
    """Validate the settings and pickle them to standard output; return the exit code.

    This runs in the child. An error goes to standard error.
    """
    from dispatcher.node import settings  # noqa: PLC0415 - loads pydantic, in the child only

    try:
        validated = settings.load(arguments)
    except InvalidSettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the parent
        return 1

    names = (*settings.NodeSettings.model_fields, "conf_dirs", "bin_dirs")
    sys.stdout.buffer.write(pickle.dumps({name: getattr(validated, name) for name in names}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
