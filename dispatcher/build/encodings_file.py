"""``encodings``, which every interpreter loads at its start, as one small file.

The standard library has it as a package, a table of some three hundred aliases, and one module for
each encoding: three files that are searched for, read and run before the first line of the plugin.
Here they are one, made of the standard library's own code, and the table has only the aliases of
what is carried. What that gives is in docs/performance.md.
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
INSIDE = ("encodings.aliases", "encodings.utf_8")
"""What becomes part of the package's own file."""

CARRIED = ("ascii", "utf_8")
"""Encodings that can be had: the interpreter is started in its UTF-8 mode, whatever the locale."""

_ONE_FILE = """
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
"""What follows the magic number of a compiled file that is never compared with a source."""


def one_file(modules: Mapping[str, Path]) -> bytes:
    """Return the compiled package with :data:`INSIDE` in it; *modules* tells where sources are."""
    kept = {alias: name for alias, name in aliases.items() if name in CARRIED}
    sources = {
        "encodings.aliases": f"aliases = {kept!r}",
        "encodings.utf_8": modules["encodings.utf_8"].read_text(),
        PACKAGE: modules[PACKAGE].read_text(),
    }
    codes = {f"code of {name}": _compiled(name, text) for name, text in sources.items()}
    whole = _compiled(PACKAGE, _ONE_FILE)
    constants = tuple(
        codes.get(each, each) if isinstance(each, str) else each for each in whole.co_consts
    )
    content = marshal.dumps(whole.replace(co_consts=constants))
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + content


def _compiled(name: str, text: str) -> CodeType:
    file = f"{name.replace('.', '/')}.py"
    code: CodeType = compile(text, file, "exec", dont_inherit=True, optimize=2)
    return code
