"""The directory in which a container runtime looks for its network configuration."""

from __future__ import annotations

from pathlib import Path

from dispatcher import keys, networks


def configurations(directory: Path) -> list[Path]:
    """Return the configuration files of *directory*, in the runtime's order."""
    return [Path(file) for file in networks.conf_files(str(directory))]


def effective(directory: Path) -> str:
    """Return the path of the configuration that the runtime loads, or ""."""
    return next(map(str, configurations(directory)), "")


def successor(directory: Path) -> str:
    """Return the path of the configuration that the runtime loads without Genie's, or ""."""
    others = [path for path in configurations(directory) if path.name != keys.CONFLIST]
    return str(others[0]) if others else ""
