"""The directory in which a container runtime looks for its network configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = frozenset({".conf", ".conflist", ".json"})
"""What runtimes read in their configuration directory."""


def configurations(directory: Path) -> list[Path]:
    """Return what a runtime reads in its configuration *directory*, in its order."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in EXTENSIONS)
    except FileNotFoundError:
        return []


def effective(directory: Path) -> str:
    """Return the path of the configuration that the runtime loads, or ""."""
    return next(map(str, configurations(directory)), "")


def successor(directory: Path) -> str:
    """Return the path of the configuration that the runtime would load without ours, or ""."""
    others = [path for path in configurations(directory) if path.name != keys.CONFLIST]
    return str(others[0]) if others else ""
