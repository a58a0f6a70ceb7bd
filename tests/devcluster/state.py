"""The durable description of a cluster, kept in its folder for later commands."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.devcluster.build.cache import locked
from tests.devcluster.commands import ClusterError
from tests.devcluster.layout import MAX_NODES, Layout, check_name, choose_slot, preferred_slot

FILE = "cluster.json"


def state_folder() -> Path:
    """Return the folder of all clusters: $GENIE_STATE, or one in the user's state folder."""
    folder = os.environ.get("GENIE_STATE")
    if folder:
        return Path(folder).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base, "genie-cluster").absolute()


@dataclass(slots=True)
class State:
    """The desired state of one cluster."""

    name: str
    slot: int
    api_server: str = "current"
    nodes: dict[str, list[str]] = field(default_factory=dict)
    """The networks of each node; the order of the nodes gives their numbers, from 1."""
    programs: str = ""
    """A digest of the programs that the cluster was started from."""
    ready: bool = False
    """Whether its start was completed; if not, it can only be taken down."""

    @property
    def layout(self) -> Layout:
        """Return the cluster's names, addresses and folders."""
        return Layout(self.name, self.slot, state_folder() / self.name)

    def number(self, node: str) -> int:
        """Return a node's number, from 1."""
        return list(self.nodes).index(node) + 1

    def save(self) -> None:
        """Write the state atomically."""
        folder = self.layout.state
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{FILE}.part"
        part.write_text(json.dumps(asdict(self), indent=1))
        part.rename(folder / FILE)


def load(name: str) -> State | None:
    """Return the state of a cluster; None if there is none of that name."""
    try:
        content = (state_folder() / check_name(name) / FILE).read_text()
    except FileNotFoundError:
        return None
    return State(**json.loads(content))


def load_all() -> list[State]:
    """Return the states of all clusters of this user."""
    names = sorted(file.parent.name for file in state_folder().glob(f"*/{FILE}"))
    return [state for name in names if (state := load(name)) is not None]


def new(name: str, nodes: dict[str, list[str]], api_server: str) -> State:
    """Return the state of a new cluster; its slot is not reserved yet.

    Raises ValueError for an invalid name, ClusterError for too many nodes.
    """
    for node in nodes:
        check_name(node)
    if len(nodes) > MAX_NODES:
        raise ClusterError(
            f"cluster {name}: at most {MAX_NODES} nodes are possible, not {len(nodes)}"
        )
    return State(check_name(name), preferred_slot(name), api_server, nodes)


def reserve(desired: State) -> None:
    """Give a cluster an unused slot and write its state."""
    with locked(state_folder() / "slots.lock"):
        taken = {other.slot for other in load_all() if other.name != desired.name}
        desired.slot = choose_slot(desired.name, taken)
        desired.save()
