"""Which pods would lose something if Genie left the node.

When our conflist is gone the runtime loads the next configuration in its directory, and runs
DELs of pods that Genie attached with that. So a record is in the way unless its only
attachment is the pod's primary on that very network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dispatcher.agent.records import Stored

EXTENSIONS = frozenset({".conf", ".conflist", ".json"})
"""What runtimes read in their configuration directory."""

SHOWN = 10
"""How many pods a sentence names."""


def successor(directory: Path) -> str:
    """Return the path of the configuration that the runtime would load without ours, or ""."""
    names = sorted(path.name for path in directory.iterdir() if path.suffix in EXTENSIONS)
    others = [name for name in names if name != keys.CONFLIST]
    return str(directory / others[0]) if others else ""


def in_the_way(records: Iterable[Stored], following: str) -> list[Stored]:
    """Return the records that the configuration *following* could not free."""
    return [stored for stored in records if not _frees(following, stored)]


def _frees(following: str, stored: Stored) -> bool:
    if stored.record is None:
        return False
    return all(
        attachment.primary and attachment.conf.path == following
        for attachment in stored.record.attachments
    )


def explain(blocking: list[Stored], following: str) -> str:
    """Return why Genie cannot be removed, naming the pods, and what to do."""
    names = ["/".join(s.record.pod[:2]) if s.record else s.container_id for s in blocking]
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    why = (
        f"{following}, which would follow, cannot free the networks of {shown}{more}"
        if following
        else f"no configuration would follow that could free the networks of {shown}{more}"
    )
    return (
        f"Genie is not removed: {why}. Drain the node, or set the mode "
        '"remove --force", which takes these pods\' networks away'
    )
