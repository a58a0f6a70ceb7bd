"""Show Genie on a throw-away real Kubernetes: ``make demo``.

The demo starts a cluster, installs Genie from the Helm chart with the image of the ``Dockerfile``,
and applies two pods. A table shows what they were attached to, read from inside the pods and not
from Genie's records. A third pod, with a typing mistake, is refused. Then the cluster is removed.

Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import EXAMPLES
from tests.devcluster.cluster import Cluster, reserved, take_down
from tests.devcluster.commands import ClusterError, log_progress, step
from tests.devcluster.genie import install_genie
from tests.devcluster.interrupts import as_interrupts
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "genie-demo"
PODS = ("nginx-canal-master", "nginx-weave-master")
MISTAKE = "nginx-wave-master"
HEADER = ("POD", "ASKED FOR", "ATTACHED TO", "INTERFACE", "IP")

NEXT_STEPS = """
To try more, start a cluster that stays:

    eval "$(make -s cluster)"     start it; kubectl then uses it
    kubectl apply -f manifests/examples/nginx-weave-master.yaml
    kubectl get pods -o wide
    make cluster-down             stop it and remove what it left
"""


def main() -> int:
    """Run the demo and return its exit code."""
    try:
        with as_interrupts(), reserved(NAME):
            show()
    except (ClusterError, OSError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was interrupted; the cluster was taken down.", file=sys.stderr)
        return 130
    print(NEXT_STEPS)
    return 0


def show() -> None:
    """Run all steps on a cluster, and take it down even if one fails."""
    cluster = Cluster.up(NAME)
    try:
        with step("installing Genie with Helm"):
            install_genie(cluster)
        show_pods(cluster)
        show_refusal(cluster)
    finally:
        log_progress("taking the cluster down")
        take_down(NAME)


def show_pods(cluster: Cluster) -> None:
    """Apply the two example pods and print what each was attached to."""
    print()
    for pod in PODS:
        file = EXAMPLES / f"{pod}.yaml"
        typed(f"kubectl apply -f manifests/examples/{file.name}")
        print(cluster.kubectl("apply", "-f", str(file)).stdout.rstrip())
    with step("waiting for the pods to be ready"):
        cluster.kubectl(
            "wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{pod}" for pod in PODS)
        )
    print()
    print(table([HEADER, *(row for pod in PODS for row in attachments(cluster, pod))]))
    print()


def attachments(cluster: Cluster, pod: str) -> list[tuple[str, ...]]:
    """Return one row of the table per interface, read from inside the pod."""
    choice = cluster.get("pod", pod)["metadata"]["annotations"]["cni"]
    of_bridge = {network.bridge: name for name, network in NETWORKS.items()}
    return [
        (
            pod,
            choice,
            f"{of_bridge.get(interface.bridge, '?')} (bridge {interface.bridge})",
            interface.name,
            ", ".join(interface.addresses),
        )
        for interface in interfaces(cluster, pod, "default").values()
    ]


def show_refusal(cluster: Cluster) -> None:
    """Apply the pod with the typing mistake and print what kubectl says."""
    file = EXAMPLES / f"{MISTAKE}.yaml"
    typed(f"kubectl apply -f manifests/examples/{file.name}")
    refused = cluster.kubectl("apply", "-f", str(file), check=False)
    if refused.returncode == 0:
        raise ClusterError(f"the pod {MISTAKE} was admitted, but must be refused")
    print(refused.stderr.strip())


def typed(command: str) -> None:
    """Print *command* as at a shell prompt."""
    print(f"$ {command}", flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows*, the header first, as left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
