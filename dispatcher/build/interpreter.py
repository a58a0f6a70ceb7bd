"""Build the interpreter that the plugin brings along: a copy of the one that runs this.

The result is one folder that runs on a host without Python and without glibc, from any place:

    python3            the interpreter
    ld.so              the loader that starts it
    lib/*.so*          the libraries that it and its modules need
    lib/pythonX.Y/     the part of the standard library that the plugin imports, compiled

The interpreter finds its libraries and modules relative to its own place. Only the path of the
loader must be absolute, because the kernel reads it. A placeholder stands for it
(:data:`dispatcher.node.plugin_layout.LOADER_PLACEHOLDER`), and the agent fills in the path on the
node.

Nothing here depends on a processor or a distribution. Two runs give the same bytes.
"""

from __future__ import annotations

import hashlib
import modulefinder
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from dispatcher.build import compile_plugin, encodings_file
from dispatcher.node.plugin_layout import LOADER_PLACEHOLDER

EXECUTABLE = "python3"
"""The interpreter's name in the folder."""

STARTUP_MODULES = (
    encodings_file.PACKAGE,
    *encodings_file.MERGED_MODULES,
    *(f"encodings.{name}" for name in encodings_file.ENCODINGS),
)
"""What every interpreter loads at its start, though no module of the plugin imports it."""

EXCLUDED = frozenset(
    {
        "_bz2",
        "_hashlib",
        "_lzma",
        "_ssl",
        "asyncio",
        "bz2",
        "concurrent",
        "decimal",
        "distutils",
        "doctest",
        "email",
        "ensurepip",
        "ftplib",
        "http",
        "lib2to3",
        "logging",
        "lzma",
        "multiprocessing",
        "pdb",
        "pickle",
        "pydoc",
        "readline",
        "socketserver",
        "sqlite3",
        "ssl",
        "statistics",
        "tarfile",
        "test",
        "tkinter",
        "tracemalloc",
        "unittest",
        "webbrowser",
        "xml",
        "xmlrpc",
        "zipfile",
    }
)
"""Modules that are imported only on paper: by tests inside modules, or where an import may fail."""

_FOREIGN_FOLDERS = frozenset({"dist-packages", "site-packages"})
"""Folders of other packages, which may lie below the standard library."""

STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def plugin_modules() -> dict[str, Path]:
    """Return the modules of the standard library that the plugin of this tree may import."""
    return imported_modules(list(compile_plugin.modules().values()), compile_plugin.PACKAGE.parent)


def imported_modules(scripts: list[Path], root: Path) -> dict[str, Path]:
    """Return the files of the standard library's modules that *scripts* (below *root*) may import.

    Imports inside functions count. Modules that are built into the interpreter have no file and are
    left out.
    """
    finder = modulefinder.ModuleFinder([str(root), *sys.path], excludes=sorted(EXCLUDED))
    for script in scripts:
        finder.load_file(str(script))
    for name in STARTUP_MODULES:
        finder.import_hook(name)

    files = {
        name: Path(file).resolve()
        for name, module in finder.modules.items()
        if (file := getattr(module, "__file__", None))
    }
    return {name: file for name, file in sorted(files.items()) if _is_stdlib(file)}


def _is_stdlib(file: Path) -> bool:
    return file.is_relative_to(STDLIB) and not _FOREIGN_FOLDERS.intersection(file.parts)


def build(target: Path, modules: dict[str, Path], patchelf: str, *, merge: bool = True) -> None:
    """Build the folder *target* with the interpreter and *modules*.

    *patchelf* is the path of that program. With *merge*, the encodings are in one file
    (:mod:`dispatcher.build.encodings_file`).
    """
    stdlib = target / "lib" / VERSION
    (stdlib / "lib-dynload").mkdir(parents=True)
    extensions = [_add_module(name, file, stdlib) for name, file in modules.items()]
    if merge:
        _merge_encodings(modules, stdlib)

    interpreter = Path(sys.executable).resolve()
    loader = Path(_patchelf(patchelf, "--print-interpreter", interpreter).strip())
    _copy(interpreter, target / EXECUTABLE, 0o755)
    _copy(loader.resolve(), target / "ld.so", 0o755)
    for library in shared_libraries([interpreter, *filter(None, extensions)]):
        _copy(library.resolve(), target / "lib" / library.name, 0o644)

    _set_library_paths(target, patchelf)


def _add_module(name: str, file: Path, stdlib: Path) -> Path | None:
    """Put one module into *stdlib*, compiled without docstrings; returns it if it is a library."""
    if file.suffix == ".so":
        _copy(file, stdlib / "lib-dynload" / file.name, 0o644)
        return file

    parts = name.split(".")
    inside = [*parts, "__init__"] if file.stem == "__init__" else parts
    compiled = stdlib.joinpath(*inside).with_suffix(".pyc")
    compiled.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(
        str(file),
        cfile=str(compiled),
        dfile=f"{'/'.join(inside)}.py",
        doraise=True,
        optimize=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    compiled.chmod(0o644)
    return None


def _merge_encodings(modules: dict[str, Path], stdlib: Path) -> None:
    for name in encodings_file.MERGED_MODULES:
        (stdlib / name.replace(".", "/")).with_suffix(".pyc").unlink()
    package = stdlib / encodings_file.PACKAGE / "__init__.pyc"
    package.write_bytes(encodings_file.merged_package(modules))


def _set_library_paths(target: Path, patchelf: str) -> None:
    """Let the interpreter in *target* find its loader and libraries at any place."""
    for library in target.rglob("*.so*"):
        # A path of the building machine would be searched before the interpreter's.
        if _patchelf(patchelf, "--print-rpath", library).strip():
            _patchelf(patchelf, "--remove-rpath", library)

    executable = target / EXECUTABLE
    _patchelf(patchelf, "--set-interpreter", LOADER_PLACEHOLDER.decode(), executable)
    # DT_RPATH, not DT_RUNPATH: the latter does not apply to the libraries of libraries.
    _patchelf(patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/lib", executable)


def shared_libraries(files: list[Path]) -> list[Path]:
    """Return the shared libraries that *files* need, without the loader."""
    libraries = set()
    for file in files:
        ldd = ["ldd", str(file)]
        completed = subprocess.run(ldd, capture_output=True, text=True, check=True)  # noqa: S603 - while the image is built
        libraries |= parse_ldd(completed.stdout)
    return sorted(libraries)


def parse_ldd(output: str) -> set[Path]:
    """Return the paths of the libraries in the *output* of ``ldd``.

    The loader's line has no ``=>``: it has only the path that is compiled in.
    """
    return {Path(path) for path in re.findall(r"=> (/\S+)", output)}


def _copy(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)


def _patchelf(program: str, *arguments: str | Path) -> str:
    command = [program, *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - while the image is built
    return completed.stdout


def digest(folder: Path) -> str:
    """Return a hash of the names and the content below *folder*."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(folder)).encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]
