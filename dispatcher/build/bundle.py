"""Build the plugin: ``python -m dispatcher.build.bundle build/``.

What is built, below the target folder:

    genie                              the launcher: an executable file of a few lines
    .genie/<version>/<tag>.core        what ADD and DEL need, compiled, for the interpreter <tag>
    .genie/<version>/<tag>.rest        the other commands, and the command line for people
    .genie/<version>/src/              their sources, for an interpreter of another version
    .genie/<version>/python3           only if an interpreter is brought along

``<version>`` is the project's version and a hash of everything in the folder, so two builds
never share one. To install: copy the folder to ``<cni-bin>/.genie/<version>/``, then rename a
copy of the launcher over ``<cni-bin>/genie``. A call that began before still finds its own
folder; old folders may go once no process has such a launcher open. The launcher finds its
folder beside itself, symbolic links followed.

Its first line names the interpreter: ``--interpreter`` (default ``/usr/bin/python3``, Python
3.11 or later, started with ``-I -S``; nothing but its standard library is used). A name
without a slash is one inside the versioned folder, at its place on the node under
``--cni-bin`` (default ``/opt/cni/bin``), since a ``#!`` line needs an absolute path.

How it works: modules in one file because twenty files cost twenty times three system calls
and a path search; those of the core are made one after another without even that. Docstrings,
assertions and annotations are left out. The interpreter that will run them compiles them,
since the format is its own: this file runs under it for that, with no other import. Garbage
is not collected: a call is over before there is any worth the search.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import marshal
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

PACKAGE = Path(__file__).resolve().parent.parent
SHARED = (
    "__init__",
    "annotation",
    "cni_errors",
    "cni_result",
    "conf",
    "jsontext",
    "keys",
    "networks",
    "plugin_rules",
)
"""The modules of ``dispatcher`` itself that the plugin uses."""

LAUNCHER = """\
#!{shebang} -IS
# Genie {version}: the CNI plugin, and the command line for people.
import gc, sys, marshal
gc.disable()
def load(here):
    home = here + "/.genie/{version}/"
    with open(home + sys.implementation.cache_tag + ".core", "rb") as file:
        boot, core = marshal.loads(file.read())
    exec(boot, {{"core": core, "home": home}})
try:
    load(__file__.rpartition("/")[0] or ".")
except FileNotFoundError:
    import os
    here = os.path.dirname(os.path.realpath(__file__))
    try:
        load(here)
    except FileNotFoundError:
        sys.path.insert(0, here + "/.genie/{version}/src")
        sys.dont_write_bytecode = True
from dispatcher.plugin.main import main
main(__file__)
"""

BOOT = """
import sys

# Made in order, without the search that an import does.
for name, is_package, code in core:
    module = sys.modules[name] = type(sys)(name)
    package, _, last = name.rpartition(".")
    if is_package:
        module.__path__ = []
    if package:
        setattr(sys.modules[package], last, module)
    exec(code, module.__dict__)

class Rest:
    modules = None

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if not name.startswith("dispatcher."):
            return None
        if cls.modules is None:
            import marshal
            with open(home + sys.implementation.cache_tag + ".rest", "rb") as file:
                cls.modules = marshal.loads(file.read())
        if name in cls.modules:
            from _frozen_importlib import ModuleSpec
            return ModuleSpec(name, cls, origin=name, is_package=cls.modules[name][0])

    @staticmethod
    def create_module(spec):
        return None

    @classmethod
    def exec_module(cls, module):
        exec(cls.modules[module.__name__][1], module.__dict__)

sys.meta_path.insert(0, Rest)
"""

CORE = (
    *(f"dispatcher.plugin.{name}" for name in ("commands.add", "commands.delete", "main")),
    "dispatcher.state.journal",
)
"""These modules and all that they need are loaded together: every ADD and DEL needs them."""


class _Slim(ast.NodeTransformer):
    """Leaves out what only readers and checkers need, and costs time at start-up."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            each.annotation = None
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                rest.annotation = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)


def modules() -> dict[str, Path]:
    """Return the plugin's modules by name, packages before what they hold."""
    files = [PACKAGE / f"{name}.py" for name in SHARED]
    for folder in ("state", "plugin"):
        files += sorted((PACKAGE / folder).rglob("*.py"))
    named = {}
    for file in files:
        parts = list(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        named[".".join(parts)] = file
    return named


def compile_bundle(target: Path) -> None:
    """Write both bundles for the interpreter that runs this into *target*."""
    trees = {name: ast.parse(file.read_bytes()) for name, file in modules().items()}
    packages = {name for name, file in modules().items() if file.stem == "__init__"}
    core_names = _in_order(trees)
    codes = {name: _compiled(name, tree) for name, tree in trees.items()}
    core = [(name, name in packages, codes[name]) for name in core_names]
    rest = {
        name: (name in packages, code) for name, code in codes.items() if name not in core_names
    }
    boot = compile(BOOT, "boot.py", "exec", optimize=2)
    bundle = target / sys.implementation.cache_tag
    bundle.with_suffix(".core").write_bytes(marshal.dumps((boot, core)))
    bundle.with_suffix(".rest").write_bytes(marshal.dumps(rest))


def _compiled(name: str, tree: ast.Module) -> CodeType:
    slim = ast.fix_missing_locations(_Slim().visit(tree))
    return compile(slim, f"{name}.py", "exec", dont_inherit=True, optimize=2)


def _in_order(trees: dict[str, ast.Module]) -> list[str]:
    """Return what :data:`CORE` and ``main`` need, each after what it needs itself."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in trees:
            return
        visit(name.rpartition(".")[0])
        for node in trees[name].body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for each in (node.module, *(f"{node.module}.{to.name}" for to in node.names)):
                    visit(each)
        order.append(name)

    for name in CORE:
        visit(name)
    return order


def build(target: Path, *, compiler: str, shebang: str, cni_bin: str, release: str) -> Path:
    """Build the plugin below *target* and return the launcher. See the module's docstring."""
    digest = hashlib.sha256(LAUNCHER.encode())
    for file in [*modules().values(), Path(__file__)]:
        digest.update(file.read_bytes())
    version = f"{release}-{digest.hexdigest()[:12]}"
    folder = target / ".genie" / version
    folder.mkdir(parents=True, exist_ok=True)
    for file in modules().values():
        copy = folder / "src" / file.relative_to(PACKAGE.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    subprocess.run(  # noqa: S603 - the interpreter that the caller named
        [
            compiler,
            "-I",
            "-X",
            "no_debug_ranges",
            str(Path(__file__).resolve()),
            "--compile",
            str(folder),
        ],
        check=True,
    )
    if "/" not in shebang:
        shebang = f"{cni_bin}/.genie/{version}/{shebang}"
    launcher = target / "genie"
    fresh = target / "genie.new"
    fresh.write_text(LAUNCHER.format(shebang=shebang, version=version))
    fresh.chmod(0o755)
    fresh.replace(launcher)
    for old in set(folder.parent.iterdir()) - {folder}:
        shutil.rmtree(old)
    return launcher


def _release() -> str:
    project = PACKAGE.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])


def main() -> None:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(description="Build the CNI plugin.")
    parser.add_argument("target", type=Path, help="folder to build into")
    parser.add_argument(
        "--interpreter", default="/usr/bin/python3", help="what runs it on the node"
    )
    parser.add_argument("--compiler", help="the same interpreter here (default: --interpreter)")
    parser.add_argument("--cni-bin", default="/opt/cni/bin", help="where it will be installed")
    parser.add_argument("--version", help="release (default: from pyproject.toml)")
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.compile:
        compile_bundle(chosen.target)
        return
    launcher = build(
        chosen.target,
        compiler=chosen.compiler or chosen.interpreter,
        shebang=chosen.interpreter,
        cni_bin=chosen.cni_bin,
        release=chosen.version or _release(),
    )
    print(launcher)  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
