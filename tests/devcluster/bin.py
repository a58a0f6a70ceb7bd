"""Write the programs that `env` puts on the PATH: kubectl, on-node and ctr."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devcluster.layout import Layout

_ON_NODE = """\
#!/bin/sh
# on-node NODE COMMAND...: run a command on a node, in its network and mount namespaces.
node=$1; shift
exec nsenter --net=/run/netns/{name}."$node" --mount='{mount_namespaces}'/"$node" -- \\
    env PATH=/opt/cluster/kubernetes:/opt/cluster/containerd:"$PATH" NO_PROXY='*' no_proxy='*' "$@"
"""

_CTR = """\
#!/bin/sh
# ctr: containerd's client, in the kubelet's namespace k8s.io, on node1 or the node $NODE.
exec '{bin}'/on-node "${{NODE:-node1}}" ctr --namespace=k8s.io "$@"
"""


def write(layout: Layout, kubectl: Path) -> None:
    """Create the folder that `env` puts on the PATH."""
    layout.bin.mkdir()
    (layout.bin / "kubectl").symlink_to(kubectl)
    for name, text in (("on-node", _ON_NODE), ("ctr", _CTR)):
        script = layout.bin / name
        script.write_text(
            text.format(name=layout.name, mount_namespaces=layout.mount_namespaces, bin=layout.bin)
        )
        script.chmod(0o755)
