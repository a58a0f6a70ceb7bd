"""The settings, judged by a process of their own that ends at once.

What judges them (pydantic) costs twelve MiB, is needed for a third of a second, and would stay in
memory for as long as the agent or the reaper runs: on every node, twice. So each of the two asks
``python -m dispatcher.node.settings_loader`` with its own arguments, and gets plain values.

Rules: what is judged is :class:`dispatcher.node.settings.Settings`, and nothing else is a setting;
what the child wrote is the only thing that is ever unpickled.
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

    from dispatcher.node.settings import Settings

HELP = frozenset({"-h", "--help"})


def load(arguments: Sequence[str]) -> Settings:
    """Return the settings with the same attributes as :class:`Settings`. ``--help`` exits.

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
    return cast("Settings", SimpleNamespace(**values))


def main(arguments: Sequence[str]) -> int:
    """Judge the settings and write them to standard output; returns the exit code."""
    from dispatcher.node import settings  # noqa: PLC0415 - this is what the caller shall not load

    try:
        judged = settings.load(arguments)
    except InvalidSettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for our caller
        return 1
    names = (*settings.Settings.model_fields, "conf_dirs", "bin_dirs")
    sys.stdout.buffer.write(pickle.dumps({name: getattr(judged, name) for name in names}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
