"""The interpreter that the plugin brings along, a copy of the one that runs this.

What :func:`make` makes, while the image is built, is one folder that runs on a host without
Python and without glibc, from wherever it is put:

    python3            the interpreter
    ld.so              the loader that starts it
    lib/*.so*          the libraries that it and its modules need
    lib/pythonX.Y/     the part of the standard library that the plugin imports, compiled

How it works: the plugin's modules are searched for imports (those inside functions, too), what
they reach of the standard library is compiled without docstrings, and ``ldd`` names the
libraries. The interpreter finds its libraries and modules by its own place. Only the path of
the loader must be absolute (the kernel reads it), so a placeholder stands for it, which the
agent fills in on the node (:data:`dispatcher.node.plugin_layout.LOADER_PLACEHOLDER`).

Nothing here is particular to a processor or a distribution. Two runs give the same bytes.
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

from dispatcher.build import bundle, encodings_file
from dispatcher.node.plugin_layout import LOADER_PLACEHOLDER

INTERPRETER = "python3"
"""Its name in the folder."""

ALWAYS = (
    encodings_file.PACKAGE,
    *encodings_file.INSIDE,
    *(f"encodings.{name}" for name in encodings_file.CARRIED),
)
"""What every interpreter loads at its start, and the plugin's modules do not name."""

NEVER = frozenset(
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
"""What is reached on paper only: by tests inside modules, or where an import may fail."""

_PACKAGES = frozenset({"dist-packages", "site-packages"})
"""Below the standard library, or beside it, but not of it."""

STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def modules_of_the_plugin() -> dict[str, Path]:
    """Return what the plugin of this tree needs of the standard library (see :func:`closure`)."""
    return closure(list(bundle.modules().values()), bundle.PACKAGE.parent)


def closure(scripts: list[Path], root: Path) -> dict[str, Path]:
    """Return the modules of the standard library that *scripts* (below *root*) may import.

    By name, each with its file; what is compiled into the interpreter has none and is absent.
    """
    finder = modulefinder.ModuleFinder([str(root), *sys.path], excludes=sorted(NEVER))
    for script in scripts:
        finder.load_file(str(script))
    for name in ALWAYS:
        finder.import_hook(name)
    found = {
        name: Path(file).resolve()
        for name, module in finder.modules.items()
        if (file := getattr(module, "__file__", None))
    }
    return {
        name: file
        for name, file in sorted(found.items())
        if file.is_relative_to(STDLIB) and not _PACKAGES.intersection(file.parts)
    }


def libraries(files: list[Path]) -> list[Path]:
    """Return the shared libraries that *files* need, the loader not among them."""
    needed = set()
    for file in files:
        ldd = ["ldd", str(file)]
        done = subprocess.run(ldd, capture_output=True, text=True, check=True)  # noqa: S603 - while the image is built
        needed |= needs(done.stdout)
    return sorted(needed)


def needs(listed: str) -> set[Path]:
    """Return the libraries that ``ldd`` has *listed*: each with the place where it was found.

    The loader has no ``=>``: it stands by itself, with the path that is compiled in.
    """
    return {Path(path) for path in re.findall(r"=> (/\S+)", listed)}


def make(target: Path, modules: dict[str, Path], patchelf: str, *, one_file: bool = True) -> None:
    """Make the folder *target* with the interpreter and *modules*.

    *one_file*: with the encodings in one file (see :mod:`dispatcher.build.encodings_file`).
    """
    stdlib = target / "lib" / VERSION
    (stdlib / "lib-dynload").mkdir(parents=True)
    extensions = [_place(name, file, stdlib) for name, file in modules.items()]
    if one_file:
        for name in encodings_file.INSIDE:
            (stdlib / name.replace(".", "/")).with_suffix(".pyc").unlink()
        package = stdlib / encodings_file.PACKAGE / "__init__.pyc"
        package.write_bytes(encodings_file.one_file(modules))
    interpreter = Path(sys.executable).resolve()
    loader = _patchelf(patchelf, "--print-interpreter", interpreter).strip()
    _copy(interpreter, target / INTERPRETER, 0o755)
    _copy(Path(loader).resolve(), target / "ld.so", 0o755)
    for library in libraries([interpreter, *filter(None, extensions)]):
        _copy(library.resolve(), target / "lib" / library.name, 0o644)
    for copied in target.rglob("*.so*"):
        # A path of its own, to where it was built, would come before the interpreter's.
        if _patchelf(patchelf, "--print-rpath", copied).strip():
            _patchelf(patchelf, "--remove-rpath", copied)
    _patchelf(patchelf, "--set-interpreter", LOADER_PLACEHOLDER.decode(), target / INTERPRETER)
    # DT_RPATH, not DT_RUNPATH: the second would not hold for what the libraries need.
    _patchelf(patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/lib", target / INTERPRETER)


def _place(name: str, file: Path, stdlib: Path) -> Path | None:
    """Put one module where the interpreter looks; returns it if it is a shared library."""
    if file.suffix == ".so":
        _copy(file, stdlib / "lib-dynload" / file.name, 0o644)
        return file
    parts = name.split(".")
    inside = [*parts, "__init__"] if file.stem == "__init__" else parts
    target = stdlib.joinpath(*inside).with_suffix(".pyc")
    target.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(
        str(file),
        cfile=str(target),
        dfile=f"{'/'.join(inside)}.py",
        doraise=True,
        optimize=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    target.chmod(0o644)
    return None


def _copy(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)


def _patchelf(program: str, *arguments: str | Path) -> str:
    command = [program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - while the image is built
    return done.stdout


def digest(folder: Path) -> str:
    """Return a hash of the names and the content below *folder*."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(folder)).encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]
