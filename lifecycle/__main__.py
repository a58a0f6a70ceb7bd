"""``python -m lifecycle``: the command of the chart's hooks.

Exit codes: 0: done. 1: refused, nothing was changed, or the test failed. 2: the command line is
wrong, or the API server does not answer. 3: an uninstall failed later, and the mode is restored.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from dispatcher.annotation import split_list
from dispatcher.kube.client import Kube, KubeError
from lifecycle.attach import AttachTest, TrialOptions
from lifecycle.cluster import KubeCluster
from lifecycle.uninstall import TIMEOUT_SECONDS, Options, Uninstall, exit_code, sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.kube.client import KubeClient


# Helm sets the status "uninstalling" before it runs the hook, and leaves it when the hook fails.
KEEP_RELEASE = """\
Helm shows the release as "uninstalling" now and refuses to upgrade it. To keep or change it:
    helm rollback {release} {revision} --namespace {namespace}
To try again: helm uninstall {release} --namespace {namespace}"""


def main(arguments: Sequence[str]) -> int:
    """Run a hook's command; return its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # so that the previous mode is restored
    try:
        code: int = options.command(Kube.load("cni-genie-hook"), options)
    except KubeError as error:
        print(f"genie: {error}", file=sys.stderr)  # noqa: T201 - the log of the hook's pod
        return 2
    return code


def uninstall(kube: KubeClient, options: argparse.Namespace) -> int:
    """Run the steps of the chart's pre-delete hook."""
    run = Uninstall(
        KubeCluster(kube, options.namespace),
        Options(split_list(options.ignore_nodes), options.timeout),
        progress=_print,
        clock=time.monotonic,
        sleep=time.sleep,
    )
    code = 2
    try:
        outcome = run.run()
        for sentence in sentences(outcome):
            _print(sentence)
        code = exit_code(outcome)
    finally:  # also when the API server fails, or the kubelet ends this process
        if code and options.revision:
            _print(KEEP_RELEASE.format(**vars(options)))
    return code


def test(kube: KubeClient, options: argparse.Namespace) -> int:
    """Run the chart's test."""
    chosen = TrialOptions(
        namespace=options.namespace,
        pods_namespace=options.pods_namespace,
        image=options.image,
        pull_policy=options.pull_policy,
        pull_secrets=tuple(options.pull_secret),
        has_webhook=not options.without_webhook,
        timeout=options.timeout,
    )
    run = AttachTest(kube, chosen, report=_print, clock=time.monotonic, sleep=time.sleep)
    return 0 if run.run() else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lifecycle", description=__doc__)
    commands = parser.add_subparsers(required=True)
    removing = commands.add_parser("uninstall", help="remove Genie from every node")
    removing.add_argument("--namespace", required=True, help="where Genie is installed")
    removing.add_argument("--ignore-nodes", default="", help="nodes to leave out, with commas")
    removing.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds")
    removing.add_argument("--release", default="genie", help="Helm's release")
    removing.add_argument("--revision", default="", help="Helm's revision; empty: not by Helm")
    removing.set_defaults(command=uninstall)

    testing = commands.add_parser("test", help="create pods on the cluster's networks")
    testing.add_argument("--namespace", required=True, help="where Genie is installed")
    testing.add_argument("--pods-namespace", required=True, help="where to create the pods")
    testing.add_argument("--image", required=True, help="image of the pods, with Python")
    testing.add_argument("--pull-policy", default="IfNotPresent", help="of the pods' image")
    testing.add_argument("--pull-secret", action="append", default=[], help="of the pods")
    testing.add_argument("--without-webhook", action="store_true", help="policies alone refuse")
    testing.add_argument("--timeout", type=float, default=120, help="seconds for all pods")
    testing.set_defaults(command=test)
    return parser


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the log of the hook's pod


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
