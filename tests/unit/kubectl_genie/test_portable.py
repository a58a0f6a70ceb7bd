"""``kubectl genie`` runs where Python runs: none of its modules needs a POSIX system."""

from __future__ import annotations

import subprocess
import sys

from tests.devcluster.build.imagebuild import PROJECT

IMPORT_ALL = """
import builtins, importlib, pkgutil

POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
real = builtins.__import__

def without_posix(name, globals=None, *more, **options):
    importer = (globals or {}).get("__name__", "").partition(".")[0]
    if importer in {"cli", "dispatcher", "webhook"} and name in POSIX_ONLY:
        raise ImportError(f"{globals['__name__']} imports {name}")
    return real(name, globals, *more, **options)

builtins.__import__ = without_posix
import cli
for module in pkgutil.walk_packages(cli.__path__, "cli."):
    if module.name != "cli.__main__":
        importlib.import_module(module.name)
import dispatcher.kube.client, dispatcher.kube.login
print("imported")
try:
    importlib.import_module("dispatcher.networks")
except ImportError as error:
    print(error)
"""


def test_no_module_of_the_client_imports_what_only_posix_systems_have() -> None:
    """Imports of Genie's own modules fail as on Windows; the plugin's module shows that they do."""
    completed = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    imported, refused = completed.stdout.splitlines()
    assert imported == "imported"
    assert refused == "dispatcher.networks imports posix"
