"""The command line: ``kubectl genie``, its commands and exit codes.

:data:`COMMANDS` says where each command is. Its module is imported when the command runs, because
the modules of all commands together take longer to load than ``--help`` may take (300 ms).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from cli.options import notes
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Sequence


class CommandEntry(NamedTuple):
    """A command: the module of :mod:`cli.commands` that has it, and its line in ``--help``."""

    module: str
    summary: str


COMMANDS = {
    "status": CommandEntry("cluster", "Check that Genie works; wait until it does."),
    "networks": CommandEntry("cluster", "List networks, and the nodes that are ready for each."),
    "pods": CommandEntry("cluster", "Show what pods asked for, what they got, and why not."),
    "explain": CommandEntry(
        "manifests", "Show which networks a pod would get, and on which nodes."
    ),
    "lint": CommandEntry("manifests", "Check manifests as the webhook would, without a cluster."),
    "migrate": CommandEntry("upgrade", "Show which objects of CNI-Genie and Multus need a change."),
    "preflight": CommandEntry("upgrade", "Check the cluster before an upgrade."),
    "doctor": CommandEntry("nodes", "Run the node's own checks, without SSH."),
    "attachments": CommandEntry("nodes", "List what is attached on a node."),
    "logs": CommandEntry("nodes", "Print the logs of agent and reaper on a node."),
    "bundle": CommandEntry("support", "Write an archive for a bug report."),
    "uninstall": CommandEntry("removal", "Remove Genie from the nodes, or list what needs it."),
    "version": CommandEntry(
        "cluster", "Print the versions of all parts, and of each node's plugin."
    ),
}


class LazyCommands(TyperGroup):
    """The group of :data:`COMMANDS`; help and completion do without the commands' modules."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, short_help=entry.summary) for name, entry in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command to run, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest


def load_command(name: str) -> Any:
    """Return the command *name* of :data:`COMMANDS` with its options."""
    module = import_module(f"cli.commands.{COMMANDS[name].module}")
    return get_group(module.commands).commands[name]


UNREACHABLE_FIX = "check the server in the kubeconfig, and the way to it: kubectl version"

app = typer.Typer(
    cls=LazyCommands,
    name="kubectl genie",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,  # cli.completion: kubectl asks for completions in a way of its own
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=notes(
        "kubectl genie status",
        "kubectl genie pods -n shop",
        "kubectl genie lint -f deploy/ --from-cluster",
        "kubectl genie pods --help",
        codes=["all is well", "a check failed, or a pod would be refused"],
        later=["an uninstall was not completed, and the former mode is restored"],
    ),
)


@app.callback()
def kubectl_genie() -> None:
    """Show networks, the pods that use them, and problems."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; a call of the API server or a file that fails is exit code 2."""
    try:
        app(words, prog_name="kubectl genie")
    except KubeError as error:
        fix = f" ({UNREACHABLE_FIX})" if error.reason == "NoAnswer" else ""
        _fail(f"{error}{fix}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> NoReturn:
    """Print *message* as one line, however many the parser of a kubeconfig has, and exit."""
    typer.echo(f"kubectl genie: {' '.join(message.split())}", err=True)
    raise SystemExit(2)
