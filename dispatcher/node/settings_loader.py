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

HELP = frozenset({"-h", "--help"})


def load(arguments: Sequence[str]) -> NodeSettings:
    """Return the settings with the same attributes as :class:`NodeSettings`. ``--help`` exits.

    Raises :class:`InvalidSettingsError`.
    """
    asked = [sys.executable, "-m", "dispatcher.node.settings_loader", *arguments]
    wants_help = HELP & set(arguments)
    done = subprocess.run(asked, check=False, capture_output=not wants_help)  # noqa: S603 - ourselves
    if wants_help:
        raise SystemExit(done.returncode)
    if done.returncode != 0:
        raise InvalidSettingsError(done.stderr.decode(errors="replace").strip())
    values = pickle.loads(done.stdout)  # noqa: S301 - see the module
    return cast("NodeSettings", SimpleNamespace(**values))


def main(arguments: Sequence[str]) -> int:
    """Judge the settings and write them to standard output; returns the exit code."""
    from dispatcher.node import settings  # noqa: PLC0415 - this is what the caller shall not load

    try:
        judged = settings.load(arguments)
    except InvalidSettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for our caller
        return 1
    names = (*settings.NodeSettings.model_fields, "conf_dirs", "bin_dirs")
    sys.stdout.buffer.write(pickle.dumps({name: getattr(judged, name) for name in names}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
