"""Write the programs that `env` puts on the PATH: kubectl with `kubectl genie`, on-node and ctr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.devcluster.build.imagebuild import PROJECT

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

_KUBECTL_GENIE = """\
#!/bin/sh
# kubectl-genie: what `kubectl genie` runs, from this tree.
PYTHONPATH='{project}' exec '{python}' -m cli "$@"
"""


def write(layout: Layout, kubectl: Path) -> None:
    """Create the folder that `env` puts on the PATH."""
    layout.bin.mkdir()
    (layout.bin / "kubectl").symlink_to(kubectl)
    scripts = {"on-node": _ON_NODE, "ctr": _CTR, "kubectl-genie": _KUBECTL_GENIE}
    for name, text in scripts.items():
        script = layout.bin / name
        script.write_text(
            text.format(
                name=layout.name,
                mount_namespaces=layout.mount_namespaces,
                bin=layout.bin,
                project=PROJECT,
                python=sys.executable,
            )
        )
        script.chmod(0o755)
