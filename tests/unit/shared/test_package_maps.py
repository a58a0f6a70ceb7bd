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


MODULES = sorted(file for file in (TREE / "tests").rglob("*.py"))


def imported_names(text: str) -> list[str]:
    """Return the full names of what a module imports, wherever it does so."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def of_tests(names: list[str]) -> list[str]:
    """Return those names that are modules of tests or of fixtures, or are in one."""
    return [name for name in names if re.match(r"tests\.(\w+\.)*(test_\w+|conftest)\b", name)]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(TREE)))
def test_a_test_module_is_not_imported_by_others(module: Path) -> None:
    """Helpers that several tests use are in modules of their own; fixtures are in conftest.py."""
    assert of_tests(imported_names(module.read_text())) == []


@pytest.mark.parametrize(
    ("text", "is_of_tests"),
    [
        ("from tests.unit.plugin.test_fuzz import calls", True),
        ("from tests.unit.plugin import test_fuzz", True),
        ("import tests.unit.plugin.test_fuzz as fuzz", True),
        ("def f():\n    from tests.conftest import full", True),
        ("from tests.unit.plugin.fuzz import SEED", False),
        ("from tests.unit.plugin import fuzz", False),
        ("import tests.devcluster.helm", False),
    ],
)
def test_an_import_is_found_in_each_form(text: str, *, is_of_tests: bool) -> None:
    """Or the test above would miss it."""
    assert bool(of_tests(imported_names(text))) is is_of_tests
