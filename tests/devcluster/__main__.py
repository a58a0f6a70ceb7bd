"""The command line of the cluster tool: `python -m tests.devcluster --help`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import TYPE_CHECKING

from tests.devcluster import cleanup, helm, machine, state
from tests.devcluster.build import gobuild
from tests.devcluster.build.cache import cache_folder
from tests.devcluster.build.imagebuild import build_genie
from tests.devcluster.build.programs import prepare
from tests.devcluster.cluster import (
    BOTH_NETWORKS,
    DEFAULT_NAME,
    Cluster,
    take_down,
)
from tests.devcluster.commands import ClusterError, log_progress, step
from tests.devcluster.genie import install_genie
from tests.devcluster.interrupts import as_interrupts
from tests.devcluster.network import fabric

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = """\
examples:
  python -m tests.devcluster up                       start a cluster with Genie
  python -m tests.devcluster up --name two --nodes 2  start a second cluster, with two nodes
  python -m tests.devcluster up --bare                start a cluster without Genie
  eval "$(python -m tests.devcluster env)"            put kubectl, ctr and on-node on the PATH
  kubectl get pods -A                                 use the cluster
  on-node node1 ip address                            run a command on a node
  python -m tests.devcluster down                     stop the cluster and remove its files

files:
  {cache}  built programs and images (GENIE_CACHE)
  {state}  files of the clusters (GENIE_STATE)
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    args = _parser().parse_args(argv)
    try:
        with as_interrupts():
            return int(args.command(args))
    except (ClusterError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.devcluster",
        description=(
            "Start a throw-away real Kubernetes on this machine, in Linux namespaces of its own\n"
            "(network, mount). `down` removes them."
        ),
        epilog=EXAMPLES.format(cache=cache_folder(), state=state.state_folder()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    parsers = {}
    for name, (run, summary) in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        parsers[name] = commands.add_parser(name, help=summary, description=description)
        parsers[name].set_defaults(command=run)

    parsers["image"].add_argument(
        "--build-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the Dockerfile, for example BASE_IMAGE=docker.io/library/debian:12",
    )
    parsers["up"].add_argument(
        "--nodes",
        type=int,
        default=1,
        metavar="N",
        help="number of nodes, each with the networks canal and weave (default: %(default)s)",
    )
    parsers["up"].add_argument("--bare", action="store_true", help="do not install Genie")
    for name in ("up", "down", "env"):
        parsers[name].add_argument(
            "--name", default=DEFAULT_NAME, help="name of the cluster (default: %(default)s)"
        )
    return parser


def _check(_args: argparse.Namespace) -> int:
    machine.extend_path()
    machine.check_machine(state.state_folder())
    return 0


def _build(args: argparse.Namespace) -> int:
    _check(args)
    prepare("oldest")
    for programs in gobuild.THIRD_PARTY:
        gobuild.build(programs)
    return 0


def _image(args: argparse.Namespace) -> int:
    _check(args)
    machine.install_packages()
    pairs = (argument.partition("=") for argument in args.build_arg)
    print(build_genie(build_args={name: value for name, _, value in pairs}))
    return 0


def _manifests(args: argparse.Namespace) -> int:
    _check(args)
    helm.GENIE_YAML.write_text(helm.genie_yaml())
    log_progress(f"wrote {helm.GENIE_YAML}")
    return 0


def _up(args: argparse.Namespace) -> int:
    _check(args)
    existed = state.load(args.name) is not None
    nodes = {f"node{number}": BOTH_NETWORKS for number in range(1, args.nodes + 1)}
    cluster = Cluster.up(args.name, nodes)

    if not args.bare:
        try:
            with step("installing Genie with Helm"):
                install_genie(cluster)
        except KeyboardInterrupt:
            if not existed:  # an interrupted command removes what it started, and nothing else
                cluster.down()
            raise
        except ClusterError:
            log_progress(f"cluster {args.name} runs without a working Genie; run `up` to retry")
            raise

    nodes_text = ", ".join(cluster.nodes)
    log_progress(f"cluster {cluster.name} runs at {cluster.layout.api_url}, nodes: {nodes_text}")
    return 0


def _down(args: argparse.Namespace) -> int:
    existed = take_down(args.name)
    log_progress(f"cluster {args.name} {'was taken down' if existed else 'does not exist'}")
    return 0


def _env(args: argparse.Namespace) -> int:
    cluster = Cluster.attach(args.name)
    variables = {
        **cluster.environment,
        "PATH": f"{cluster.layout.bin}:{os.environ['PATH']}",
        "GENIE_CLUSTER": args.name,  # tests use the cluster that this variable names
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _status(_args: argparse.Namespace) -> int:
    for cluster in state.load_all():
        processes = len(cleanup.processes(cluster.layout))
        namespaces = len(fabric.namespaces(cluster.layout))
        nodes = ", ".join(cluster.nodes)
        if cluster.ready and processes:
            condition = "runs"
        else:
            condition = f"is incomplete; run `down --name {cluster.name}`"
        print(
            f"{cluster.name}: {condition}"
            f" (nodes: {nodes}; {processes} processes, {namespaces} network namespaces)"
        )
    return 0


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "check": (_check, "report what this machine lacks; change nothing"),
    "build": (_build, "build and cache everything that clusters need"),
    "image": (_image, "build the project's image and print the path of its archive"),
    "manifests": (_manifests, "render the chart as manifests/genie.yaml"),
    "up": (_up, "start a cluster, or reuse the running one of that name"),
    "down": (_down, "stop a cluster and remove its files, also after a crash"),
    "env": (
        _env,
        (
            "print shell commands that put kubectl, ctr and on-node on the PATH and select a "
            "cluster; `on-node NODE COMMAND` runs a command on a node"
        ),
    ),
    "status": (_status, "list the clusters of this machine"),
}
"""The commands, each with its function and its line in ``--help``."""


if __name__ == "__main__":
    sys.exit(main())
