"""The command that removes Genie from the nodes: ``uninstall``.

Its steps are those of the chart's hook, in :mod:`lifecycle.uninstall`. It is the only command that
changes the cluster.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.formats import Format
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Output,
    command_group,
    notes,
)

if TYPE_CHECKING:
    from lifecycle.cluster import KubeCluster

commands = command_group()

HELP = """Remove Genie from every node, or name what prevents that.

    A check comes first and changes nothing: every node must answer, and no pod may need Genie.
    Then new pods get the default network only (mode "disable"), and conflist, labels and plugin
    are removed from each node (mode "remove"). If a node does not follow in time, the former mode
    is restored. After a run that was killed, run the command again: it completes the removal, or
    restores the former mode.

    Afterwards delete the objects: helm uninstall, or kubectl delete -f genie.yaml.
"""


@commands.command(
    help=HELP,
    epilog=notes(
        "kubectl genie uninstall --dry-run",
        "kubectl genie uninstall --timeout 900",
        "kubectl genie uninstall --ignore-nodes node3,node4",
        codes=[
            "removed, or with --dry-run: nothing prevents it",
            "refused, nothing was changed",
        ],
        later=["not removed, and the former mode is restored"],
    ),
)
def uninstall(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check, and change nothing")] = False,
    ignore_nodes: Annotated[
        str, typer.Option(help="nodes to leave out since they do not answer, separated by commas")
    ] = "",
    timeout: Annotated[float, typer.Option(help="seconds for all steps")] = 600,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Remove Genie from every node; see :data:`HELP`."""
    from cli.output import print_data, printable
    from dispatcher.annotation import split_list
    from lifecycle.uninstall import Options, Uninstall, exit_code, sentences

    def progress(line: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone must not prevent the restoring
            typer.echo(printable(line), err=True)

    run = Uninstall(
        connect(kubeconfig, context, genie),
        Options(split_list(ignore_nodes), timeout, dry_run),
        progress=progress,
        clock=time.monotonic,
        sleep=time.sleep,
    )
    interrupt_at_signals()
    outcome = run.run()
    if output is Format.TABLE:
        for line in sentences(outcome):
            typer.echo(printable(line))
    else:
        print_data(outcome, output)
    raise typer.Exit(exit_code(outcome))


def interrupt_at_signals() -> None:
    """Let SIGTERM, and SIGHUP when the terminal goes, interrupt as Ctrl-C: the mode is restored.

    Only the first does: the shell and the kernel may both send SIGHUP, and the second must not
    interrupt the restoring. What is ignored stays so, as with nohup. Windows has no SIGHUP.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [each for each in numbers if signal.getsignal(each) is not signal.SIG_IGN]

    def interrupt(*_: object) -> NoReturn:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in numbers:
        signal.signal(each, interrupt)


def connect(kubeconfig: str, context: str, genie: str) -> KubeCluster:
    """Return the cluster of *kubeconfig* or its *context*, with Genie in *genie*.

    Raises KubeError.
    """
    from cli.session import Access, open_client
    from lifecycle.cluster import KubeCluster

    return KubeCluster(open_client(Access(kubeconfig, context)), genie)
