"""The command line: ``kubectl genie``, and its exit codes.

0: all is well. 1: a check failed, or a pod would be refused. 2: the command line or the kubeconfig
is wrong, or the API server does not answer. 3: an uninstall failed, and the mode is restored.
"""

from __future__ import annotations

import typer

from cli.commands import cluster, manifests, nodes, removal, support
from dispatcher.kube.errors import KubeError

app = typer.Typer(
    name="kubectl genie",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Show networks, the pods that use them, and problems.",
    epilog="Exit codes: 0 all is well; 1 a check failed, or a pod would be refused; "
    "2 the command line or kubeconfig is wrong, or the API server does not answer; "
    "3 an uninstall was not completed, and the mode is what it was.",
)
for group in (
    cluster.commands,
    manifests.commands,
    nodes.commands,
    support.commands,
    removal.commands,
):
    app.add_typer(group)


def main() -> None:
    """Run the command line; a failing call of the API server is one line and exit code 2."""
    try:
        app()
    except KubeError as error:
        typer.echo(f"kubectl genie: {error}", err=True)
        raise SystemExit(2) from None
