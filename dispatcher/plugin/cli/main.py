"""The command line for people: ``genie explain``, ``list``, ``attachments``, ``doctor``.

The executable is that of the plugin; without CNI_COMMAND it is the command line. Answers go to
standard output, errors to standard error. Exit codes: 0 for success, 1 if something is wrong, 2 for
arguments that cannot be understood.
"""

from __future__ import annotations

import argparse
import sys

from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import commands
from dispatcher.plugin.cli.genie_conflist import NET_DIR, GenieConflist
from dispatcher.plugin.cli.output import print_error, print_hint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CNI_PATH = "/opt/cni/bin"

_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace, GenieConflist], int], str]] = {
    "explain": (commands.explain, "print what this node would attach to a pod"),
    "list": (commands.list_networks, "print the networks of this node"),
    "attachments": (commands.attachments, "print what is attached to the containers of this node"),
    "doctor": (commands.doctor, "check this node, and print each problem with its fix"),
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

The exit code is 1 if the annotation is refused. Executables that are missing on this machine are
named and do not change it, so that a manifest can be checked anywhere. On a node, ADD fails
without them.""",
    "list": """\
examples:
  genie list
  genie list --conf-dir /etc/cni/genie.d --output json""",
    "attachments": """\
examples:
  genie attachments
  genie attachments --show-config""",
    "doctor": """\
examples:
  genie doctor
  genie doctor --output json

The exit code is 1 if there is a problem. Warnings do not change it.""",
}


def main(arguments: Sequence[str]) -> int:
    """Run the command in *arguments*; return the exit code."""
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2

    parsed = parser.parse_args(arguments)
    parsed.cni_path = parsed.cni_path or [CNI_PATH]
    conflist = GenieConflist(parsed.net_dir)
    if conflist.problem and parsed.command != "doctor":
        print_hint(f"{conflist.problem}; see genie doctor")
    parsed.conf_dirs = parsed.conf_dirs or conflist.settings.conf_dirs

    try:
        return _COMMANDS[parsed.command][0](parsed, conflist)
    except CNIError as error:
        print_error(error.msg, error.details)
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genie",
        description="Inspect the CNI networks of this node, and which of them a pod gets.",
        epilog=_EPILOGS["genie"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common_options()],
    )
    parser.set_defaults(output="table", net_dir=NET_DIR, conf_dirs=None, cni_path=None)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=_EPILOGS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_common_options()],
        )
        for name, (_, summary) in _COMMANDS.items()
    }

    parsers["explain"].add_argument(
        "manifest", metavar="FILE", help='manifest in JSON; "-" reads standard input'
    )
    parsers["explain"].add_argument(
        "--default", metavar="NETWORK", help="default network (that of the node's conflist)"
    )
    for name in ("attachments", "doctor"):
        parsers[name].add_argument(
            "--state-dir",
            metavar="DIR",
            help="directory of the records (stateDir of the node's conflist)",
        )
    parsers["attachments"].add_argument(
        "--show-config",
        action="store_true",
        help="print everything that is recorded, as JSON; it may contain secrets",
    )
    return parser


def _common_options() -> argparse.ArgumentParser:
    """Return the options that may stand before and after the command, without defaults.

    Each parser needs a new one: parsers share the options of their parents with the defaults, and
    the defaults of a command would override the values given before it.
    """
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--output", choices=["table", "json"], help="output format (table)")
    common.add_argument(
        "--net-dir", metavar="DIR", help=f"directory of the runtime's CNI configuration ({NET_DIR})"
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
        help=f"directory of CNI plugins; may be repeated ({CNI_PATH})",
    )
    return common
