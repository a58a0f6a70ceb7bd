"""Compile the plugin's modules into two files, for the interpreter that runs this.

    <tag>.core    the modules that every ADD needs
    <tag>.rest    all others, in groups: what one kind of call needs is read in one piece

``<tag>`` names the interpreter's version, since the format is that version's own.
:mod:`dispatcher.build.bundle` starts this file as a script, under the interpreter of the node, so
only the standard library may be imported here.

Two files instead of sixty: each file would cost three system calls and a search of the path. The
modules of the core and of a group are created in order, without even the search of an import.
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

CORE = (
    "dispatcher.plugin.commands.add",
    "dispatcher.plugin.main",
    "dispatcher.state.journal",
)
"""What every ADD needs. All that these modules import belongs to the core as well."""

GROUPS = (
    # DEL, and an ADD that fails
    ("dispatcher.plugin.commands.delete", "dispatcher.state.record_reader"),
    # pods on several networks; netlink is alone, as it is loaded while the first delegate runs
    ("dispatcher.plugin_rules", "dispatcher.plugin.default_routes"),
    # pods with NetworkAttachmentDefinitions
    ("dispatcher.plugin.definitions.pod_plan",),
)
"""Modules that are created together, with all that these import.

Every module that is in none of them, nor in the core, is a group of its own: most calls that need
one need no other.
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

class Others:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in places:
            return None
        import marshal, posix
        from _frozen_importlib import ModuleSpec
        start, size = places[name]
        file = posix.open(home + sys.implementation.cache_tag + ".rest", posix.O_RDONLY)
        group = posix.pread(file, size, start)
        posix.close(file)
        create(marshal.loads(group))
        is_package = hasattr(sys.modules[name], "__path__")
        return ModuleSpec(name, Others, origin=name, is_package=is_package)

    @staticmethod
    def create_module(spec):
        return sys.modules[spec.name]

    @staticmethod
    def exec_module(module):
        pass

create(modules)
sys.meta_path.insert(0, Others)
"""
"""What the launcher runs first: creates the core's modules, and lets ``import`` find the others.

The launcher passes ``core`` and ``home``, the folder with a slash at its end. ``core`` are the
core's modules, and the places of the others in ``<tag>.rest``: where the code of its group begins,
and how long that is. The first import of one module of a group creates all of them.
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
    entries = {
        name: (name, file.stem == "__init__", _compile(name, trees[name]))
        for name, file in files.items()
    }

    core = _with_imports(CORE, trees)
    grouped = set(core)
    rest = b""
    places: dict[str, tuple[int, int]] = {}
    for names in (*(_with_imports(roots, trees) for roots in GROUPS), *([name] for name in files)):
        group = [entries[name] for name in names if name not in grouped]
        grouped.update(names)
        if group:
            code = marshal.dumps(group)
            places |= {name: (len(rest), len(code)) for name, _, _ in group}
            rest += code

    boot = compile(BOOT, "boot.py", "exec", optimize=2)
    content = (boot, ([entries[name] for name in core], places))
    bundle = folder / sys.implementation.cache_tag
    bundle.with_suffix(".core").write_bytes(marshal.dumps(content))
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
