"""The docstring of each package is its map: one line for each of its modules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
PRODUCT = ("certs", "cli", "dispatcher", "lifecycle", "webhook")
TESTS = ("tests/bench", "tests/cluster", "tests/devcluster", "tests/node")
PACKAGES = sorted(
    [
        TREE / "tests",
        *(
            file.parent
            for root in (*PRODUCT, *TESTS)
            for file in (TREE / root).rglob("__init__.py")
        ),
    ]
)


def modules(package: Path) -> list[str]:
    """Return the modules and packages right below *package*, without those that pytest runs."""
    files = {file.stem for file in package.glob("*.py")} - {"__init__", "conftest"}
    files = {name for name in files if not name.startswith("test_")}
    return sorted(files | {init.parent.name for init in package.glob("*/__init__.py")})


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(TREE)))
def test_a_package_names_each_of_its_modules_once(package: Path) -> None:
    """With what it is for; a module that was moved or renamed is not named any more."""
    tree = ast.parse((package / "__init__.py").read_text())
    text = ast.get_docstring(tree, clean=False) or ""
    named = re.findall(r"^    (\w+) {2,}\S", text, flags=re.MULTILINE)
    assert sorted(named) == modules(package)


MODULES = sorted(file for root in TESTS for file in (TREE / root).rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(TREE)))
def test_a_test_module_is_not_imported_by_others(module: Path) -> None:
    """Helpers that several tests use are in modules of their own; fixtures are in conftest.py."""
    imported = [
        node.module or ""
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    roots = tuple(f"{root.replace('/', '.')}." for root in TESTS)
    helpers = [name for name in imported if name.startswith(roots)]
    assert [name for name in helpers if re.search(r"\.(test_\w+|conftest)$", name)] == []
