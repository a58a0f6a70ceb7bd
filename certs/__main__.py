"""``python -m certs``: show the webhook's certificates, and request a rotation of its CA."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from certs.commands import CommandContext, RotateOptions, rotate, show_status
from certs.settings import CertificateSettings, load
from dispatcher.kube.client import Kube
from dispatcher.kube.errors import KubeError
from dispatcher.kube.settings import InvalidSettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a shell."""

EXAMPLES = """\
examples:
  kubectl -n genie-system exec deploy/genie-webhook -- python -m certs status
  python -m certs status --output json         # with your kubeconfig
  python -m certs rotate --wait                # new CA: no call fails, takes about a minute
  python -m certs rotate --compromised --wait  # distrust the old CA now: calls fail for seconds

exit codes: 0 success, 1 failure or no usable CA, 2 wrong usage or settings, 130 interrupted
"""


def main(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    try:
        defaults = load()
        options = make_parser(defaults).parse_args(arguments)
        names = {field: getattr(options, field) for field in ("service", "namespace", "secret")}
        settings = defaults.model_copy(update=names)
        context = CommandContext(Kube.load("cni-genie-certs"), settings, sys.stdout, sys.stderr)
        return run(options, context)
    except (KubeError, InvalidSettingsError) as error:
        sys.stderr.write(f"python -m certs: {error}\n")
        return 2 if isinstance(error, InvalidSettingsError) else 1
    except KeyboardInterrupt:
        sys.stderr.write("python -m certs: interrupted; a requested rotation goes on\n")
        return INTERRUPTED


def run(options: argparse.Namespace, context: CommandContext) -> int:
    """Run the command in *options*; raises :class:`KubeError`."""
    if options.command == "status":
        return show_status(context, options.output)

    rotate_options = RotateOptions(options.wait, options.timeout, options.compromised)
    return rotate(context, rotate_options, options.output)


def make_parser(defaults: CertificateSettings) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m certs",
        description="Show the certificates of Genie's webhook, or request a rotation of its CA.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common_options(defaults)
    commands.add_parser(
        "status",
        parents=[common],
        help="show the phase of the rotation, each CA, and what the rotation waits for",
        description="Show the phase of the rotation, each CA, and what the rotation waits for.",
    )
    _add_rotate(commands, common)
    return parser


def _common_options(defaults: CertificateSettings) -> argparse.ArgumentParser:
    """Return a parser with the options of all commands."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--namespace",
        default=defaults.namespace,
        help="namespace of the webhook's Service and of the Secret (default: %(default)s)",
    )
    common.add_argument(
        "--service",
        default=defaults.service,
        help="Service by which the API server calls the webhook (default: %(default)s)",
    )
    common.add_argument(
        "--secret", default=defaults.secret, help="Secret with the CA (default: %(default)s)"
    )
    common.add_argument(
        "--output",
        choices=["table", "json"],
        default="table",
        help="output format (default: %(default)s)",
    )
    return common


def _add_rotate(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Add the command ``rotate`` to *commands*, with the *common* options."""
    rotate_parser = commands.add_parser(
        "rotate",
        parents=[common],
        help="request a new CA",
        description="Request a new CA. A replica of the webhook carries the rotation out.",
    )
    rotate_parser.add_argument(
        "--wait", action="store_true", help="show progress until the new CA signs"
    )
    rotate_parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="stop waiting after so many seconds (default: %(default)s)",
    )
    rotate_parser.add_argument(
        "--compromised",
        action="store_true",
        help="distrust the old CA at once, without an overlap: calls of the webhook fail for "
        "seconds",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
