"""The command line for people: ``genie list`` and what else explains a node.

It is the same executable as the plugin, told apart by the absence of CNI_COMMAND, and calls
the same code. Nothing of this module is loaded for the container runtime.
"""

from __future__ import annotations

import argparse
import sys

from dispatcher import networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

CNI_PATH = ("/opt/cni/bin",)


def main(arguments: Sequence[str], out: TextIO | None = None) -> int:
    """Run the command in *arguments*; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="genie", description="Pick a pod's CNI networks by annotation: what this node does."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="networks that this node can attach, or why not")
    listing.add_argument(
        "--conf-dir", action="append", help="where configurations are (may be repeated)"
    )
    listing.add_argument("--cni-path", action="append", help="where plugins are (may be repeated)")
    chosen = parser.parse_args(arguments)
    return _list(chosen, out or sys.stdout)


def _list(chosen: argparse.Namespace, out: TextIO) -> int:
    found = networks.scan(chosen.conf_dir or networks.DIRECTORIES)
    path = chosen.cni_path or CNI_PATH
    for name, conf in sorted(found.confs.items()):
        lacking = networks.missing(conf, path)
        state = f"no, missing: {', '.join(lacking)}" if lacking else "yes"
        out.write(f"{name}\t{state}\t{conf.path}\n")
    out.writelines(f"-\tno, {broken.reason}\t{broken.path}\n" for broken in found.broken.values())
    return 0
