"""Compile the plugin's modules into three files, for the interpreter that runs this.

    <tag>.core    the modules that every ADD and DEL needs
    <tag>.nad     what pods with NetworkAttachmentDefinitions need besides
    <tag>.rest    the other commands, and the command line for people

``<tag>`` names the interpreter's version, since the format is that version's own.
:mod:`dispatcher.build.bundle` starts this file as a script, under the interpreter of the node, so
only the standard library may be imported here.

Three files instead of fifty: each file would cost three system calls and a search of the path. The
modules of the first two are created in order, without even the search of an import.
"""

from __future__ import annotations

import ast
import marshal
import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

PACKAGE = Path(__file__).resolve().parent.parent
"""The package ``dispatcher``."""

VOCABULARY = (
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
"""The plugin's modules right below ``dispatcher``."""

DEFINITIONS = (
    "__init__",
    "addresses",
    "attachments",
    "configuration",
    "definition",
    "definition_copy",
    "elements",
    "faults",
    "grammar",
    "json_places",
    "names",
    "plan",
    "report",
    "selection",
)
"""The plugin's modules of ``dispatcher.nad``: not those on the definitions of tenants."""

SUBPACKAGES = ("state", "plugin")
"""The packages below ``dispatcher`` that belong to the plugin as a whole."""

DEFINITION_PACKAGES = ("dispatcher.nad", "dispatcher.plugin.definitions")
"""The packages whose modules are in the file ``<tag>.nad``, but for those of rare cases."""

CORE = (
    "dispatcher.plugin.commands.add",
    "dispatcher.plugin.commands.delete",
    "dispatcher.plugin.main",
    "dispatcher.state.journal",
)
"""What ADD and DEL need. All that these modules import belongs to the core as well."""

NAD = (
    "dispatcher.plugin.definitions.pod_plan",
    "dispatcher.plugin.netlink",
    "dispatcher.plugin_rules",
)
"""What an ADD with NetworkAttachmentDefinitions needs besides, with all that these import.

The last two are for any pod on several networks, so they are in the rest, too.
"""

BOOT = """
import sys

modules, places = core

def create(entries):
    for name, is_package, code in entries:
        module = sys.modules[name] = type(sys)(name)
        package, _, last = name.rpartition(".")
        if is_package:
            module.__path__ = []
        if package:
            setattr(sys.modules[package], last, module)
        exec(code, module.__dict__)

def read(suffix):
    import marshal
    with open(home + sys.implementation.cache_tag + suffix, "rb") as file:
        return marshal.loads(file.read())

class Others:
    has_definitions = False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if not name.startswith("dispatcher."):
            return None
        if name.startswith(nad_packages) and not cls.has_definitions:
            cls.has_definitions = True
            create(read(".nad"))
        module = sys.modules.get(name)
        if module is not None or name in places:
            from _frozen_importlib import ModuleSpec
            is_package = hasattr(module, "__path__") if module else places[name][0]
            return ModuleSpec(name, cls, origin=name, is_package=is_package)

    @staticmethod
    def create_module(spec):
        return sys.modules.get(spec.name)

    @staticmethod
    def exec_module(module):
        if module.__name__ in places:
            import marshal, posix
            _, start, size = places[module.__name__]
            file = posix.open(home + sys.implementation.cache_tag + ".rest", posix.O_RDONLY)
            code = posix.pread(file, size, start)
            posix.close(file)
            exec(marshal.loads(code), module.__dict__)

create(modules)
sys.meta_path.insert(0, Others)
"""
"""What the launcher runs first: creates the core's modules, and lets ``import`` find the others.

The launcher passes ``core`` and ``home``, the folder with a slash at its end. ``core`` are the
core's modules, and the places of the others in ``<tag>.rest``: of each, whether it is a package,
and where its code begins and how long it is, since most calls that need one need no other.
:func:`compile_bundle` adds ``nad_packages``, which are :data:`DEFINITION_PACKAGES`. The first
import of one of their modules creates all modules of ``<tag>.nad``.
"""


def modules() -> dict[str, Path]:
    """Return the files of the plugin's modules by name, a package before its modules."""
    files = [PACKAGE / f"{name}.py" for name in VOCABULARY]
    files += [PACKAGE / "nad" / f"{name}.py" for name in DEFINITIONS]
    for folder in SUBPACKAGES:
        files += sorted((PACKAGE / folder).rglob("*.py"))
    return {_module_name(file): file for file in files}


def _module_name(file: Path) -> str:
    parts = list(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def compile_bundle(folder: Path) -> None:
    """Write the files into *folder*."""
    files = modules()
    trees = {name: ast.parse(file.read_bytes()) for name, file in files.items()}
    packages = {name for name, file in files.items() if file.stem == "__init__"}
    core_names = _with_imports(CORE, trees)
    codes = {name: _compile(name, tree) for name, tree in trees.items()}

    boot = compile(f"nad_packages = {DEFINITION_PACKAGES!r}{BOOT}", "boot.py", "exec", optimize=2)
    core = [(name, name in packages, codes[name]) for name in core_names]
    nad_names = [name for name in _with_imports(NAD, trees) if name not in core_names]
    nad = [(name, name in packages, codes[name]) for name in nad_names]
    only_nad = {name for name in nad_names if name.startswith(DEFINITION_PACKAGES)}
    rest = b""
    places = {}
    for name, code in codes.items():
        if name not in core_names and name not in only_nad:
            text = marshal.dumps(code)
            places[name] = (name in packages, len(rest), len(text))
            rest += text

    bundle = folder / sys.implementation.cache_tag
    bundle.with_suffix(".core").write_bytes(marshal.dumps((boot, (core, places))))
    bundle.with_suffix(".nad").write_bytes(marshal.dumps(nad))
    bundle.with_suffix(".rest").write_bytes(rest)


def _with_imports(names: tuple[str, ...], trees: dict[str, ast.Module]) -> list[str]:
    """Return *names* and what they import at their start, each after its own imports."""
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

    for name in names:
        visit(name)
    return order


def _compile(name: str, tree: ast.Module) -> CodeType:
    """Compile a module without docstrings, assertions and annotations."""
    stripped = ast.fix_missing_locations(_TypeHintRemover().visit(tree))
    return compile(stripped, f"{name}.py", "exec", dont_inherit=True, optimize=2)


class _TypeHintRemover(ast.NodeTransformer):
    """Removes type annotations, ``__future__`` imports and TYPE_CHECKING blocks."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        # Imports for a type checker alone would be loaded from the file for every pod.
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        self.generic_visit(node)
        return node

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


if __name__ == "__main__":
    compile_bundle(Path(sys.argv[1]))
