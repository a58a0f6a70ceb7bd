"""The interpreter that the plugin brings along, on any processor."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.agent import installer
from dispatcher.build import compile_plugin, encodings_file, interpreter
from dispatcher.node import plugin_layout

TREE = Path(__file__).parents[3]

DEBIAN_AMD64 = """\
	linux-vdso.so.1 (0x00007f173dcf8000)
	libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f173dc07000)
	libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f173dbe8000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f173d9db000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f173dcfa000)
"""
DEBIAN_ARM64 = """\
	linux-vdso.so.1 (0x0000ffffa7f2c000)
	libm.so.6 => /lib/aarch64-linux-gnu/libm.so.6 (0x0000ffffa7100000)
	libz.so.1 => /lib/aarch64-linux-gnu/libz.so.1 (0x0000ffffa70c0000)
	libc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x0000ffffa6f10000)
	/lib/ld-linux-aarch64.so.1 (0x0000ffffa7ef3000)
"""
PREFIXED_ARM64 = """\
	linux-vdso.so.1 (0x0000ffff8a5d7000)
	libpython3.13.so.1.0 => /usr/local/lib/libpython3.13.so.1.0 (0x0000ffff89e00000)
	libc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x0000ffff89c50000)
	libm.so.6 => /lib/aarch64-linux-gnu/libm.so.6 (0x0000ffff89bb0000)
	/lib/ld-linux-aarch64.so.1 (0x0000ffff8a59e000)
"""


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param(
            DEBIAN_AMD64,
            {f"/lib/x86_64-linux-gnu/{name}" for name in ("libc.so.6", "libm.so.6", "libz.so.1")},
            id="Debian's on amd64",
        ),
        pytest.param(
            DEBIAN_ARM64,
            {f"/lib/aarch64-linux-gnu/{name}" for name in ("libc.so.6", "libm.so.6", "libz.so.1")},
            id="Debian's on arm64",
        ),
        pytest.param(
            PREFIXED_ARM64,
            {
                "/usr/local/lib/libpython3.13.so.1.0",
                "/lib/aarch64-linux-gnu/libc.so.6",
                "/lib/aarch64-linux-gnu/libm.so.6",
            },
            id="python.org's image on arm64",
        ),
        pytest.param("\tstatically linked\n", set(), id="nothing"),
    ],
)
def test_the_libraries_of_ldd_are_parsed_without_the_loader(
    listed: str, expected: set[str]
) -> None:
    """The loader's path differs by processor; the interpreter's file names it."""
    assert {str(path) for path in interpreter.parse_ldd(listed)} == expected


PARTICULAR = re.compile(r"x86|amd64|aarch64|arm64|lib64|ld-linux|linux-gnu|\bgnu\b|EM_|e_machine")


@pytest.mark.parametrize(
    "file",
    [
        "Dockerfile",
        "dispatcher/build/payload.py",
        "dispatcher/agent/installer.py",
        "dispatcher/build/interpreter.py",
        "dispatcher/build/bundle.py",
        "dispatcher/build/compile_plugin.py",
    ],
)
def test_nothing_that_makes_the_image_names_a_processor(file: str) -> None:
    """The names of loaders and of the folders of libraries come from the building machine."""
    lines = [line for line in (TREE / file).read_text().splitlines() if PARTICULAR.search(line)]
    assert lines == []


def aarch64_interpreter(path: Path) -> bytes:
    """Write what the carried interpreter of an arm64 image begins with, and return it.

    A header of the processor (EM_AARCH64 is 183), one program header PT_INTERP, and the path of
    the loader as :mod:`dispatcher.build.interpreter` leaves it.
    """
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (3).to_bytes(2, "little")
    header += (183).to_bytes(2, "little") + (1).to_bytes(4, "little") + bytes(8)
    header += (64).to_bytes(8, "little") + bytes(12) + (64).to_bytes(2, "little")
    header += (56).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(6)
    size = len(plugin_layout.LOADER_PLACEHOLDER) + 1
    interp = (3).to_bytes(4, "little") + (4).to_bytes(4, "little")
    interp += b"".join(number.to_bytes(8, "little") for number in (120, 120, 120, size, size, 1))
    content = (
        header + interp + plugin_layout.LOADER_PLACEHOLDER + b"\0" + b"code of another processor"
    )
    path.write_bytes(content)
    path.chmod(0o755)
    return content


def test_the_loaders_path_is_filled_in_on_any_processor(tmp_path: Path) -> None:
    """The agent replaces bytes by as many bytes: it does not parse ELF."""
    tree = tmp_path / "image" / plugin_layout.VERSIONS_FOLDER / "v1"
    tree.mkdir(parents=True)
    (tree / "ld.so").write_text("the loader")
    content = aarch64_interpreter(tree / interpreter.EXECUTABLE)
    (tmp_path / "image" / "genie").write_text("#!/x/python3 -IS\n# Genie v1\n")
    (tmp_path / "bin").mkdir()
    installed = installer.PluginInstaller(tmp_path / "image", tmp_path / "bin")
    installed.install()
    filled = (installed.folder / interpreter.EXECUTABLE).read_bytes()
    assert len(filled) == len(content)
    assert filled[:120] == content[:120]
    offset = int.from_bytes(filled[72:80], "little")
    assert filled[offset : filled.index(b"\0", offset)] == bytes(installed.folder / "ld.so")
    assert filled.endswith(b"\0code of another processor")


def test_only_modules_of_the_standard_library_are_carried() -> None:
    """No packages of others below it, and no modules that are there only for tests."""
    carried = interpreter.plugin_modules()
    assert {"os", "encodings.utf_8"} <= carried.keys()
    assert not [name for name in carried if name.partition(".")[0] not in sys.stdlib_module_names]
    assert not interpreter.EXCLUDED & {name.partition(".")[0] for name in carried}
    assert not [path for path in carried.values() if "site-packages" in path.parts]


def test_the_digest_covers_names_and_content(tmp_path: Path) -> None:
    """A file that is changed or renamed makes another version."""
    (tmp_path / "a").write_text("1")
    first = interpreter.digest(tmp_path)
    assert interpreter.digest(tmp_path) == first
    (tmp_path / "a").write_text("2")
    second = interpreter.digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, interpreter.digest(tmp_path)}) == 3


def test_the_encodings_in_one_file_are_those_of_the_standard_library(tmp_path: Path) -> None:
    """A new interpreter starts with this file alone, and knows each encoding by all its aliases."""
    modules = interpreter.plugin_modules()
    file = tmp_path / "encodings" / "__init__.pyc"
    file.parent.mkdir()
    file.write_bytes(encodings_file.merged_package(modules))
    assert file.read_bytes() == encodings_file.merged_package(modules)
    code = f"""
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "encodings"]:
    del sys.modules[name]
sys.path[:] = [{str(tmp_path)!r}]
import encodings, encodings.utf_8
assert encodings.__file__ == {str(file)!r}
assert encodings.utf_8.getregentry().name == "utf-8"
assert encodings.search_function("u8").encode("x")[0] == b"x"
assert encodings.search_function("ebcdic_cp_us") is None
"""
    subprocess.run([sys.executable, "-IS", "-c", code], check=True)


def encodings_named(source: str) -> set[str]:
    """Return the encodings that *source* names when it encodes or decodes text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        named = [keyword.value for keyword in node.keywords if keyword.arg == "encoding"]
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"encode", "decode"}:
            named += node.args[:1]
        names |= {str(each.value) for each in named if isinstance(each, ast.Constant)}
    return names


def test_the_plugin_names_no_encoding_that_is_not_carried() -> None:
    """The interpreters of the tests have all of them; the installed one raises LookupError."""
    assert encodings_named('x.encode("a"); x.decode("b"); open(x, encoding="c")') == {"a", "b", "c"}
    sources = {
        name: encodings_named(file.read_text()) for name, file in compile_plugin.modules().items()
    }
    named = set().union(*sources.values())
    assert "utf-8" in named
    assert {each.replace("-", "_") for each in named} <= set(encodings_file.ENCODINGS), sources


def test_the_encodings_are_compiled_for_the_interpreter_that_is_carried() -> None:
    """They are never compared with a source, which a node does not have."""
    package = encodings_file.merged_package(interpreter.plugin_modules())
    assert package[:4] == importlib.util.MAGIC_NUMBER
    assert package[4:8] == b"\x01\0\0\0"
    assert b"encodings/utf_8.py" in package
