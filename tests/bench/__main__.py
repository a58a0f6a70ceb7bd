"""``python -m tests.bench``: measure the plugin, write its part of docs/performance.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import debian_python, plugin_report, startup
from tests.bench.plugin import BY_SYSTEM, GENIE, measure
from tests.devcluster.build import gobuild


def main() -> int:
    """Measure in new namespaces, which the kernel removes when this process ends."""
    parser = argparse.ArgumentParser(description="Measure the plugin against direct calls.")
    parser.add_argument(
        "--pairs", type=int, default=60, help="pairs of calls per series (default: 60)"
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        print(
            "the bench makes network namespaces: run it as root (sudo make bench)", file=sys.stderr
        )
        return 1
    if chosen.inside is None:
        plugins = gobuild.build(gobuild.CNI_PLUGINS)
        again = [sys.executable, "-m", "tests.bench", "--pairs", str(chosen.pairs)]
        alone = ["unshare", "--net", "--mount", "--propagation", "private"]
        return subprocess.run([*alone, *again, "--inside", str(plugins)], check=False).returncode
    with tempfile.TemporaryDirectory(prefix="genie-bench-built-") as made:
        launchers = {
            GENIE: startup.installed(Path(made), debian_python.command()).launcher,
            BY_SYSTEM: startup.built(Path(made) / "own"),
        }
        figures = measure(launchers, chosen.inside, chosen.pairs)
    python = f"Python {debian_python.VERSION} of Debian {debian_python.SUITE}"
    figures.machine["plugin's interpreter"] = f"{python}, as in the image"
    plugin_report.write(figures)
    print(plugin_report.table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
