"""Give a node further networks, and take them away with their labels.

The agent remembers the labels of its Node for up to a minute, so a label that is only removed comes
back: as "true" if the agent has not noticed yet that the configuration is gone, and later as
"false" if it still remembers the label. Tests that compare all networks would find it.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from tests.cluster.support.agents import label, metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.devcluster.cluster import Cluster

FILE = "/etc/cni/genie.d/{}.conflist"


@contextlib.contextmanager
def node_networks(
    cluster: Cluster, node_name: str, *conflists: dict[str, Any], file: str = FILE
) -> Iterator[None]:
    """Give a node these networks until the end of the block; wait for their labels.

    *file* is the path of a configuration, with {} for the network's name. Install the executables
    before. At the end of the block no pod may use the networks any more.
    """
    node = cluster.node(node_name)
    files = {each["name"]: node.path(file.format(each["name"])) for each in conflists}
    bridges = {each["plugins"][0].get("bridge", "") for each in conflists}
    try:
        for conflist, path in zip(conflists, files.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(conflist))
        cluster.wait_for(
            lambda: all(label(cluster, node_name, name) == "true" for name in files),
            120,
            f"the labels of {', '.join(files)}",
        )
        yield
    finally:
        # First, so that the agent reads of it when it writes that the configurations are gone.
        _remove_labels(cluster, node_name, files)
        for path in files.values():
            path.unlink(missing_ok=True)
        for bridge in filter(None, bridges):
            node.run(["ip", "link", "delete", bridge], check=False)
        cluster.wait_for(
            lambda: _are_forgotten(cluster, node_name, files),
            120,
            f"the agent to forget {', '.join(files)}",
        )


def _are_forgotten(cluster: Cluster, node_name: str, names: Iterable[str]) -> bool:
    """Remove the labels; return whether the agent had neither these nor the configurations."""
    _remove_labels(cluster, node_name, names)
    series = metrics(cluster, node_name)
    return not any(f'network_available{{network="{name}"}}' in series for name in names)


def _remove_labels(cluster: Cluster, node_name: str, names: Iterable[str]) -> None:
    cluster.kubectl("label", "node", node_name, *(f"network.cni-genie.io/{n}-" for n in names))
