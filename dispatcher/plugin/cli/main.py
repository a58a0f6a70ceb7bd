"""The command line for people: parses its arguments and runs a command of ``commands``.

The executable is that of the plugin; without CNI_COMMAND it is the command line. Answers go to
standard output, errors to standard error. Exit codes: 0 for success, 1 if something is wrong, 2 for
arguments that cannot be understood.
"""

from __future__ import annotations

import argparse
import sys

from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import commands
from dispatcher.plugin.cli.genie_conflist import GenieConflist
from dispatcher.plugin.cli.installation import PluginInstallation
from dispatcher.plugin.cli.output import print_error, print_hint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace, GenieConflist], int], str]] = {
    "explain": (commands.explain, "print what this node would attach to a pod"),
    "list": (commands.list_networks, "print the networks of this node"),
    "attachments": (commands.attachments, "print what is attached to the containers of this node"),
    "doctor": (commands.doctor, "check this node, and print each problem with its fix"),
    "free": (commands.free, "run DEL for the record of one container"),
    "version": (commands.version, "print the version of this plugin"),
}

_EPILOGS = {
    "genie": """\
examples:
  genie doctor
  genie list --output json
  kubectl get pod web -o json | genie explain -

With CNI_COMMAND set, this program is the CNI plugin.""",
    "explain": """\
examples:
  kubectl get pod web -o json | genie explain -
  kubectl create --dry-run=client -o json -f pod.yaml | genie explain -
  genie explain pod.json --default weave

The exit code is 1 if an annotation is refused. NetworkAttachmentDefinitions count if this node
attaches pods to them; otherwise a warning says that their annotations are not considered.

Executables that are missing on this machine are listed, but do not change the exit code, so that a
manifest can be checked anywhere. On a node, ADD fails without them.""",
    "list": """\
examples:
  genie list
  genie list --conf-dir /etc/cni/genie.d --output json""",
    "attachments": """\
examples:
  genie attachments
  genie attachments --pod default/web
  genie attachments --show-config""",
    "doctor": """\
examples:
  genie doctor
  genie doctor --output json

The exit code is 1 if there is a problem. Warnings do not change it.""",
    "free": """\
examples:
  genie free 3f1c9a
  genie free 3f1c9a --yes --output json

Use this for a container for which the runtime sends no DEL, or whose DEL always fails. It releases
what the record lists, as the runtime's own DEL would, and removes the record. It must run as root.
If DEL fails because of the recorded configuration (it names a file that has moved, say), use
--current-config.

The command does not ask the container runtime which sandboxes exist. It refuses while a process
runs in the network namespace of the container, because the pod is running then; --force releases
the networks nevertheless. The exit code is 1 if something could not be released.""",
    "version": """\
examples:
  genie version
  genie version --output json""",
}


def main(arguments: Sequence[str], launcher: str) -> int:
    """Run the command in *arguments*; return the exit code.

    *launcher* is the path of our own executable.
    """
    installation = PluginInstallation(launcher)
    parser = _parser(installation)
    if not arguments:
        parser.print_help(sys.stderr)
        return 2

    parsed = parser.parse_args(arguments)
    parsed.installation = installation
    parsed.cni_path = parsed.cni_path or [installation.bin_dir]
    conflist = GenieConflist(parsed.net_dir)
    if conflist.problem and parsed.command not in {"doctor", "version"}:
        print_hint(f"{conflist.problem}; see genie doctor")
    parsed.conf_dirs = parsed.conf_dirs or conflist.settings.conf_dirs

    try:
        return _COMMANDS[parsed.command][0](parsed, conflist)
    except CNIError as error:
        print_error(error.msg, error.details)
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 1


def _parser(installation: PluginInstallation) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genie",
        description="Inspect the CNI networks of this node, and which of them a pod gets.",
        epilog=_EPILOGS["genie"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common_options(installation)],
    )
    parser.set_defaults(output="table", net_dir=installation.net_dir, conf_dirs=None, cni_path=None)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=_EPILOGS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_common_options(installation)],
        )
        for name, (_, summary) in _COMMANDS.items()
    }

    parsers["explain"].add_argument(
        "manifest", metavar="FILE", help='manifest in JSON; "-" reads standard input'
    )
    parsers["explain"].add_argument(
        "--default", metavar="NETWORK", help="default network (that of the node's conflist)"
    )
    for name in ("attachments", "doctor", "free"):
        parsers[name].add_argument(
            "--state-dir",
            metavar="DIR",
            help="directory of the records (stateDir of the node's conflist)",
        )
    parsers["attachments"].add_argument(
        "--pod", metavar="NAMESPACE/NAME", default="", help="only those of this pod"
    )
    parsers["attachments"].add_argument(
        "--show-config",
        action="store_true",
        help="print everything that is recorded, as JSON; it may contain secrets",
    )
    parsers["free"].add_argument(
        "container", metavar="CONTAINER", help="id of the container, or its beginning"
    )
    parsers["free"].add_argument("--yes", action="store_true", help="do not ask")
    parsers["free"].add_argument(
        "--force", action="store_true", help="also while the container is running"
    )
    parsers["free"].add_argument(
        "--current-config",
        action="store_true",
        help="use the configuration that each network has now, not the recorded one",
    )
    return parser


def _common_options(installation: PluginInstallation) -> argparse.ArgumentParser:
    """Return the options that may stand before and after the command, without defaults.

    Each parser needs a new one: parsers share the options of their parents with the defaults, and
    the defaults of a command would override the values given before it.
    """
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--output", choices=["table", "json"], help="output format (table)")
    common.add_argument(
        "--net-dir",
        metavar="DIR",
        help=f"directory of the runtime's CNI configuration ({installation.net_dir})",
    )
    common.add_argument(
        "--conf-dir",
        metavar="DIR",
        action="append",
        dest="conf_dirs",
        help="directory of networks; may be repeated (confDirs of the node's conflist)",
    )
    common.add_argument(
        "--cni-path",
        metavar="DIR",
        action="append",
        help=f"directory of CNI plugins; may be repeated ({installation.bin_dir})",
    )
    return common
