"""The command line of the cluster tool: `python -m tests.devcluster --help`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from tests.devcluster import cleanup, machine, state
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
        description="A throw-away real Kubernetes on this machine, in namespaces of its own.",
        epilog=f"The cache is {cache_folder()} (GENIE_CACHE), the clusters' files are in"
        f" {state.state_folder()} (GENIE_STATE).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say what this machine lacks, changing nothing")
    check.set_defaults(command=_check)
    build = commands.add_parser("build", help="build and cache all that clusters need")
    build.set_defaults(command=_build)
    image = commands.add_parser(
        "image", help="build the project's image and print the archive's path"
    )
    image.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="e.g. BASE_IMAGE=…"
    )
    image.set_defaults(command=_image)
    up = commands.add_parser("up", help="start a cluster, or use the one of that name that runs")
    up.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="nodes, each with both networks"
    )
    up.add_argument("--bare", action="store_true", help="without Genie")
    up.set_defaults(command=_up)
    down = commands.add_parser("down", help="take a cluster down, also what a crash left of it")
    down.set_defaults(command=_down)
    env = commands.add_parser("env", help='print shell commands: eval "$(… env)" leads to kubectl')
    env.set_defaults(command=_env)
    status = commands.add_parser("status", help="list the clusters on this machine")
    status.set_defaults(command=_status)
    for command in (up, down, env):
        command.add_argument("--name", default=DEFAULT_NAME, help="of the cluster (%(default)s)")
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
    given = (pair.partition("=") for pair in args.build_arg)
    print(build_genie(build_args={name: value for name, _, value in given}))
    return 0


def _up(args: argparse.Namespace) -> int:
    nodes = {f"node{number}": BOTH_NETWORKS for number in range(1, args.nodes + 1)}
    _check(args)
    existed = state.load(args.name) is not None
    cluster = Cluster.up(args.name, nodes)
    if not args.bare:
        try:
            with step("installing Genie from manifests/"):
                install_genie(cluster)
        except KeyboardInterrupt:
            if not existed:  # what this command has started ends with it
                cluster.down()
            raise
        except ClusterError:
            log_progress(f"cluster {args.name} runs on, without a working Genie: `up` tries again")
            raise
    log_progress(
        f"cluster {cluster.name} runs at {cluster.layout.api_url}: {', '.join(cluster.nodes)}"
    )
    return 0


def _down(args: argparse.Namespace) -> int:
    existed = take_down(args.name)
    log_progress(
        f"cluster {args.name}: taken down" if existed else f"there is no cluster {args.name}"
    )
    return 0


def _env(args: argparse.Namespace) -> int:
    cluster = Cluster.attach(args.name)
    variables = {
        **cluster.environment,
        "PATH": f"{cluster.layout.bin}:{os.environ['PATH']}",
        "GENIE_CLUSTER": args.name,  # the one that tests use
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _status(_args: argparse.Namespace) -> int:
    for known in state.load_all():
        running = len(cleanup.processes(known.layout))
        how = "runs" if known.ready and running else "is not whole: take it down"
        names = ", ".join(known.nodes)
        spaces = len(fabric.namespaces(known.layout))
        print(f"{known.name}: {how} ({names}; {running} processes, {spaces} namespaces)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
