"""The command line for people: ``genie explain``, ``list``, ``attachments``, ``doctor``.

It is the same executable as the plugin, told apart by the absence of CNI_COMMAND, and calls
the same code. Nothing of this module, nor what it imports, is loaded for the container
runtime. Answers go to standard output, reasons for failing to standard error; the exit code
is 0 when all is well, 1 when something is wrong, 2 for a command that cannot be understood.
"""

from __future__ import annotations

import argparse
import sys

from dispatcher import jsontext
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import views
from dispatcher.plugin.cli.own import NET_DIR, Own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CNI_PATH = "/opt/cni/bin"

_ON_MISSING = """\
The exit code judges the annotation, so that a manifest can be tried anywhere: executables that are
not on this machine are named and do not change it. On a node, ADD fails without them."""

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


def main(arguments: Sequence[str]) -> int:
    """Run the command in *arguments*; return the exit code."""
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    chosen = parser.parse_args(arguments)
    chosen.cni_path = chosen.cni_path or [CNI_PATH]
    own = Own(chosen.net_dir)
    if own.problem and chosen.run is not _doctor:
        _note(f"{own.problem}; see genie doctor")
    chosen.conf_dirs = chosen.conf_dirs or own.settings.conf_dirs
    try:
        return int(chosen.run(chosen, own))
    except CNIError as error:
        _fail(error.msg, error.details)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genie",
        description="Pick a pod's CNI networks by annotation: what this node knows and does.",
        epilog="Called with CNI_COMMAND set, this program is the CNI plugin.",
        parents=[_common()],
    )
    parser.set_defaults(output="table", net_dir=NET_DIR, conf_dirs=None, cni_path=None)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name, run, words in (
        ("explain", _explain, "what this node would do with a pod (a manifest in YAML or JSON)"),
        ("list", _list, "networks that this node can attach, and why not the others"),
        ("attachments", _attachments, "what is attached, from the records"),
        ("doctor", _doctor, "look for what is wrong on this node"),
    ):
        made[name] = commands.add_parser(name, help=words, description=words, parents=[_common()])
        made[name].set_defaults(run=run)
    made["explain"].epilog = _ON_MISSING
    made["explain"].add_argument(
        "manifest", metavar="POD.yaml", help='the file; "-" is standard input'
    )
    made["explain"].add_argument(
        "--default", metavar="NETWORK", help="the default network (that of the node's conflist)"
    )
    for name in ("attachments", "doctor"):
        made[name].add_argument(
            "--state-dir", metavar="DIR", help="where records are (stateDir of the node's conflist)"
        )
    made["attachments"].add_argument(
        "--show-config",
        action="store_true",
        help="all that is recorded, as JSON: it may hold secrets",
    )
    return parser


def _common() -> argparse.ArgumentParser:
    """Return the options that may stand before a command and behind it, without defaults.

    Made anew for each: parsers share the options of their parents, defaults included, and those
    of a command would hide what stands before it.
    """
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--output", choices=["table", "json"], help="form of the answer (table)")
    common.add_argument("--net-dir", metavar="DIR", help=f"the runtime's own files ({NET_DIR})")
    common.add_argument(
        "--conf-dir",
        metavar="DIR",
        action="append",
        dest="conf_dirs",
        help="where networks are looked for; may be given again (confDirs of the node's conflist)",
    )
    common.add_argument(
        "--cni-path",
        metavar="DIR",
        action="append",
        help=f"where plugins are looked for; may be given again ({CNI_PATH})",
    )
    return common


def _explain(chosen: argparse.Namespace, own: Own) -> int:
    from dispatcher.plugin.cli.podfile import PodFileError, read

    try:
        pods = read(_contents(chosen.manifest))
    except PodFileError as error:
        raise CNIError(0, f"{chosen.manifest}: {error}") from None
    default = own.settings.default if chosen.default is None else chosen.default
    answers = []
    failed = int(bool(own.problem))
    for pod in pods:
        answer: dict[str, Any] = {
            "kind": pod.kind,
            "namespace": pod.namespace,
            "name": pod.name,
            "annotation": pod.annotation,
            "passedOver": pod.passed_over,
            "attachments": [],
            "warnings": [],
        }
        answers.append(answer)
        if pod.passed_over:
            continue
        try:
            answer["attachments"], answer["warnings"] = views.explain(
                pod, chosen.conf_dirs, default, chosen.cni_path
            )
        except CNIError as error:
            answer["error"] = {"code": error.code, "msg": error.msg, "details": error.details}
            failed = 1
    if chosen.output == "json":
        _print_json(answers)
    else:
        for answer in answers:
            _print_answer(answer)
    return failed


def _contents(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    with open(name, "rb") as file:
        return file.read()


def _print_answer(answer: dict[str, Any]) -> None:
    who = f"{answer['kind']} {answer['namespace']}/{answer['name']}"
    if answer["passedOver"]:
        _print(f"{who}: {answer['passedOver']}")
        return
    asked = answer["annotation"]
    shown = "none, so the node's default" if asked is None else jsontext.dump(asked).decode()
    _print(f"{who}, annotation cni: {shown}")
    if "error" in answer:
        _fail(answer["error"]["msg"], answer["error"]["details"])
        return
    _print_table(
        ("NETWORK", "INTERFACE", "FILE", "PLUGINS"),
        [
            (
                each["network"],
                each["interface"] + (" (primary)" if each["primary"] else ""),
                each["file"],
                ", ".join(each["plugins"])
                + (f" - missing: {', '.join(each['missing'])}" if each["missing"] else ""),
            )
            for each in answer["attachments"]
        ],
    )
    for sentence in answer["warnings"]:
        _print(sentence, before="warning: ")


def _list(chosen: argparse.Namespace, _own: Own) -> int:
    rows = views.listing(chosen.conf_dirs, chosen.cni_path)
    if chosen.output == "json":
        _print_json(rows)
        return 0
    if not rows:
        _note(f"no configuration of a network in {' or '.join(chosen.conf_dirs)}")
    _print_table(
        ("NETWORK", "ALSO CALLED", "ATTACHABLE", "FILE", "REASON"),
        [
            (
                row["network"] or "-",
                ", ".join(row["also"]) or "-",
                _yes(row["attachable"]),
                row["file"],
                row["reason"],
            )
            for row in rows
        ],
    )
    return 0


def _yes(value: bool) -> str:  # noqa: FBT001 - the value that is shown
    return "yes" if value else "no"


def _attachments(chosen: argparse.Namespace, own: Own) -> int:
    state_dir = chosen.state_dir or own.settings.state_dir
    found = list(views.records(state_dir))
    broken = [each for each in found if isinstance(each, CNIError)]
    rows = views.attachments(
        (each for each in found if not isinstance(each, CNIError)), show_config=chosen.show_config
    )
    if chosen.output == "json" or chosen.show_config:
        _print_json(rows)
    else:
        if not found:
            _note(f"nothing is attached: {state_dir} has no record")
        _print_table(
            ("POD", "CONTAINER", "NETWORK", "INTERFACE", "IPS", "PHASE"),
            [
                (
                    f"{row['namespace']}/{row['pod']}" if row["pod"] else "-",
                    row["container"][:13],
                    row["network"],
                    row["interface"] + (" (primary)" if row["primary"] else ""),
                    ", ".join(row["ips"]) or "-",
                    row["phase"] + (f": {row['failure']}" if row["failure"] else ""),
                )
                for row in rows
            ],
        )
    for error in broken:
        _fail(error.msg)
    return 1 if broken else 0


def _doctor(chosen: argparse.Namespace, own: Own) -> int:
    from dispatcher.plugin.cli.doctor import examine

    if chosen.state_dir:
        own.settings.state_dir = chosen.state_dir
    findings = examine(own, chosen.net_dir, chosen.conf_dirs, chosen.cni_path)
    if chosen.output == "json":
        _print_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            mark = _coloured(finding.level) if finding.cure else finding.level
            _print(f"{finding.about}: {finding.said}", before=f"{mark}: ")
            if finding.cure:
                _print(finding.cure, before="    cure: ")
    return 1 if any(finding.problem for finding in findings) else 0


def _print_json(value: Any) -> None:
    print("".join(c if c.isprintable() else _escaped(c) for c in jsontext.dump(value).decode()))


def _escaped(char: str) -> str:
    """Return the escape in JSON of what a terminal may take for a command (U+009B above all).

    Worked out here: the installed interpreter carries UTF-8 and ASCII, and no codec for this.
    """
    code = ord(char)
    if code < 0x10000:  # noqa: PLR2004 - one unit of UTF-16
        return f"\\u{code:04x}"
    above = code - 0x10000
    return f"\\u{0xD800 + (above >> 10):04x}\\u{0xDC00 + (above & 0x3FF):04x}"


def _print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    lines = [head, *(tuple(map(_shown, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _print(text: str, *, before: str = "") -> None:
    print(before + _shown(text))


def _note(sentence: str) -> None:
    print(_shown(sentence), file=sys.stderr)


def _fail(sentence: str, details: str = "") -> None:
    sys.stdout.flush()  # where both go to one place, what was printed before stands before
    print(f"{_coloured('error')}: {_shown(sentence)}", file=sys.stderr)
    if details:
        print(f"    {_shown(details)}", file=sys.stderr)


def _shown(text: str) -> str:
    """Return *text*, which may be anybody's, so that no terminal takes a part for a command."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _coloured(word: str) -> str:
    return f"{_RED}{word}{_PLAIN}" if sys.stdout.isatty() and sys.stderr.isatty() else word
