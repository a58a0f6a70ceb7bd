"""Build the package ``encodings``, which every interpreter loads at its start, as one small file.

The standard library has a package, a table of some three hundred aliases, and one module for each
encoding: three files that are found, read and run before the first line of the plugin. Here they
are one file of the standard library's own code, and the table has only the aliases of what the
plugin carries. ``docs/performance.md`` has the time that this saves.
"""

from __future__ import annotations

import importlib.util
import marshal
from encodings.aliases import aliases
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import CodeType

PACKAGE = "encodings"

MERGED_MODULES = ("encodings.aliases", "encodings.utf_8")
"""The modules that become part of the package's own file."""

ENCODINGS = ("ascii", "utf_8")
"""The encodings that the plugin carries. Its interpreter starts in UTF-8 mode, in any locale."""

_MERGED = """
import sys

def load(name, code):
    module = sys.modules[name] = type(sys)(name)
    globals()[name.rpartition(".")[2]] = module
    exec(code, module.__dict__)

load("encodings.aliases", "code of encodings.aliases")
load("encodings.utf_8", "code of encodings.utf_8")
exec("code of encodings", globals())
del load
"""

UNCHECKED_HASH = (1).to_bytes(4, "little") + bytes(8)
"""After the magic number of a compiled file: never compare it with a source (PEP 552)."""


def merged_package(modules: Mapping[str, Path]) -> bytes:
    """Return the compiled package with :data:`MERGED_MODULES` in it.

    *modules* are the files of the standard library's modules.
    """
    carried_aliases = {alias: name for alias, name in aliases.items() if name in ENCODINGS}
    sources = {
        "encodings.aliases": f"aliases = {carried_aliases!r}",
        "encodings.utf_8": modules["encodings.utf_8"].read_text(),
        PACKAGE: modules[PACKAGE].read_text(),
    }
    codes = {f"code of {name}": _compile(name, text) for name, text in sources.items()}

    # The texts "code of …" of the merged source become the compiled modules themselves.
    merged = _compile(PACKAGE, _MERGED)
    constants = tuple(
        codes.get(each, each) if isinstance(each, str) else each for each in merged.co_consts
    )
    content = marshal.dumps(merged.replace(co_consts=constants))
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + content


def _compile(name: str, text: str) -> CodeType:
    file = f"{name.replace('.', '/')}.py"
    code: CodeType = compile(text, file, "exec", dont_inherit=True, optimize=2)
    return code
