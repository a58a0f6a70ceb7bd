"""Read and write the lock files of requirements/: which packages they pin, with which hashes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from release.project import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HASH = re.compile(r"[0-9a-f]{64}")


class LockedPackage(NamedTuple):
    """A package of a lock file; *marker* says on which systems it is needed, or is empty."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def read_lock(text: str) -> list[LockedPackage]:
    """Return the packages of a lock file, in its order.

    Raises ReleaseError for a line that is not a pinned package with hashes.
    """
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    return [_package(line) for line in lines if line and not line.startswith("#")]


def write_lock(packages: Iterable[LockedPackage]) -> str:
    """Return the lock file of *packages*, one a line."""
    return "".join(
        f"{each.name}=={each.version}{f' ; {each.marker}' if each.marker else ''}"
        f"{''.join(f' --hash=sha256:{digest}' for digest in each.hashes)}\n"
        for each in packages
    )


def _package(line: str) -> LockedPackage:
    requirement, *hashes = (part.strip() for part in line.split("--hash=sha256:"))
    pin, _, marker = (part.strip() for part in requirement.partition(";"))
    name, pinned, version = pin.partition("==")
    if not (pinned and hashes and all(map(_HASH.fullmatch, hashes))):
        raise ReleaseError(f'lock file: "{line}" is not NAME==VERSION with hashes: run "make lock"')
    return LockedPackage(name, version, marker, tuple(hashes))
