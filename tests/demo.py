"""The main job, shown on a throw-away real Kubernetes: ``make demo``.

It does what a newcomer would do by hand and shows what a newcomer would see: the cluster comes
up, Genie is installed from ``manifests/`` with the image of the ``Dockerfile``, two pods are
applied, a table tells what they were attached to (read from inside the pods, not from Genie's
own word), a third pod with a typing mistake is refused. Then everything is taken down.

Progress goes to stderr; what a person wants to keep goes to stdout.
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

GO_ON = """
To go on by yourself, on a cluster that stays:

    eval "$(make -s cluster)"     start it; kubectl now talks to it
    kubectl apply -f manifests/examples/nginx-weave-master.yaml
    kubectl get pods -o wide
    make cluster-down             stop it and remove all that it left
"""


def main() -> int:
    """Run the demo; returns the exit code."""
    try:
        with as_interrupts(), reserved(NAME):
            show()
    except (ClusterError, OSError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the cluster was taken down", file=sys.stderr)
        return 130
    print(GO_ON)
    return 0


def show() -> None:
    """Show it all, on a cluster that is taken down whatever happens."""
    cluster = Cluster.up(NAME)
    try:
        with step("installing Genie from manifests/"):
            install_genie(cluster)
        show_pods(cluster)
        show_refusal(cluster)
    finally:
        log_progress("taking the cluster down")
        take_down(NAME)


def show_pods(cluster: Cluster) -> None:
    """Apply the seed's two pods and print what each was attached to."""
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
    """Return the pod's rows of the table, one an interface, read from inside the pod."""
    asked = cluster.get("pod", pod)["metadata"]["annotations"]["cni"]
    of_bridge = {network.bridge: name for name, network in NETWORKS.items()}
    return [
        (
            pod,
            asked,
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
        raise ClusterError(f"the pod {MISTAKE} should have been refused, and was not")
    print(refused.stderr.strip())


def typed(command: str) -> None:
    """Print a command as a person would see it at the prompt."""
    print(f"$ {command}", flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as left-aligned columns, the first row being the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
