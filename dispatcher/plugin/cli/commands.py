"""The commands of ``genie``: each prints its answer, and returns the exit code.

Each takes the parsed arguments and Genie's conflist on this node. ``arguments.installation`` is the
:class:`~dispatcher.plugin.cli.installation.PluginInstallation` of this executable.
"""

from __future__ import annotations

import os
import sys

from dispatcher import jsontext, keys
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import views
from dispatcher.plugin.cli.output import (
    print_error,
    print_hint,
    print_json,
    print_line,
    print_table,
    red,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from dispatcher.plugin.cli.genie_conflist import GenieConflist
    from dispatcher.plugin.cli.manifest import PodManifest
    from dispatcher.plugin.genie_conf import PluginSettings
    from dispatcher.state.record import Record


def explain(arguments: argparse.Namespace, conflist: GenieConflist) -> int:
    """Print what this node would attach to the pods of a manifest."""
    from dispatcher.plugin.cli.manifest import PodManifestError, read

    try:
        pods = read(_contents(arguments.manifest))
    except PodManifestError as error:
        raise CNIError(0, f"{arguments.manifest}: {error}") from None

    settings = conflist.settings
    settings.conf_dirs = arguments.conf_dirs
    if arguments.default is not None:
        settings.default = arguments.default
    answers = [_explain_pod(pod, settings, arguments.cni_path) for pod in pods]
    if arguments.output == "json":
        print_json(answers)
    else:
        for answer in answers:
            _print_answer(answer)
    return int(bool(conflist.problem) or any("error" in answer for answer in answers))


def _contents(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    with open(name, "rb") as file:
        return file.read()


def _explain_pod(pod: PodManifest, settings: PluginSettings, cni_path: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "kind": pod.kind,
        "namespace": pod.namespace,
        "name": pod.name,
        "annotation": pod.annotation,
        "selections": pod.selections if settings.attaches_definitions else {},
        "passedOver": pod.skip_reason,
        "attachments": [],
        "warnings": [],
    }
    if pod.skip_reason:
        return answer

    try:
        answer["attachments"], answer["warnings"] = views.explain(pod, settings, cni_path)
    except CNIError as error:
        answer["error"] = {"code": error.code, "msg": error.msg, "details": error.details}
    return answer


def _print_answer(answer: dict[str, Any]) -> None:
    pod = f"{answer['kind']} {answer['namespace']}/{answer['name']}"
    if answer["passedOver"]:
        print_line(f"{pod}: {answer['passedOver']}")
        return

    print_line(f"{pod}, {_choice(answer)}")
    if "error" in answer:
        print_error(answer["error"]["msg"], answer["error"]["details"])
        return

    print_table(
        ("NETWORK", "INTERFACE", "FILE", "PLUGINS"),
        [
            (each["network"], _interface(each), each["file"], _plugins(each))
            for each in answer["attachments"]
        ],
    )
    for sentence in answer["warnings"]:
        print_line(sentence, label="warning: ")


def _choice(answer: dict[str, Any]) -> str:
    """Return the annotations that choose networks, as a person reads them."""
    annotations = dict(answer["selections"])
    if answer["annotation"] is not None:
        annotations = {keys.ANNOTATION: answer["annotation"], **annotations}
    if not annotations:
        return "no annotation cni: default network of this node"
    plural = "s" if len(annotations) > 1 else ""
    listed = (f"{key}: {jsontext.dump(value).decode()}" for key, value in annotations.items())
    return f"annotation{plural} {', '.join(listed)}"


def _interface(row: dict[str, Any]) -> str:
    return f"{row['interface']} (primary)" if row["primary"] else str(row["interface"])


def _plugins(row: dict[str, Any]) -> str:
    missing = f" - missing: {', '.join(row['missing'])}" if row["missing"] else ""
    return ", ".join(row["plugins"]) + missing


def list_networks(arguments: argparse.Namespace, _conflist: GenieConflist) -> int:
    """Print the networks of this node, and why some cannot be attached."""
    rows = views.networks_of_node(arguments.conf_dirs, arguments.cni_path)
    if arguments.output == "json":
        print_json(rows)
        return 0

    if not rows:
        print_hint(f"no CNI configuration in {' or '.join(arguments.conf_dirs)}")
    print_table(
        ("NETWORK", "ALSO CALLED", "ATTACHABLE", "FILE", "REASON"),
        [
            (
                row["network"] or "-",
                ", ".join(row["also"]) or "-",
                "yes" if row["attachable"] else "no",
                row["file"],
                row["reason"],
            )
            for row in rows
        ],
    )
    return 0


def attachments(arguments: argparse.Namespace, conflist: GenieConflist) -> int:
    """Print the attachments in the records of this node."""
    state_dir = arguments.state_dir or conflist.settings.state_dir
    records, errors = [], []
    for each in views.records(state_dir):
        if isinstance(each, CNIError):
            errors.append(each)
        elif not arguments.pod or arguments.pod == _pod_name(each.pod):
            records.append(each)

    rows = views.attachments(records, show_config=arguments.show_config)
    if not records and not errors:
        of_pod = f" of pod {arguments.pod}" if arguments.pod else "s"
        print_hint(f"no attachments: {state_dir} has no record{of_pod}")
    if arguments.output == "json" or arguments.show_config:
        print_json(rows)
    else:
        _print_attachments(rows)
    for error in errors:
        print_error(error.msg)
    return 1 if errors else 0


def _pod_name(pod: tuple[str, str, str]) -> str:
    return "/".join(pod[:2])


def _print_attachments(rows: list[Any]) -> None:
    print_table(
        ("POD", "CONTAINER", "NETWORK", "INTERFACE", "IPS", "PHASE"),
        [
            (
                f"{row['namespace']}/{row['pod']}" if row["pod"] else "-",
                row["container"][:13],
                row["network"],
                _interface(row),
                ", ".join(row["ips"]) or "-",
                row["phase"] + (f": {row['failure']}" if row["failure"] else ""),
            )
            for row in rows
        ],
    )


def doctor(arguments: argparse.Namespace, conflist: GenieConflist) -> int:
    """Check this node, and print the findings."""
    from dispatcher.plugin.cli.doctor import check_node

    if arguments.state_dir:
        conflist.settings.state_dir = arguments.state_dir
    findings = check_node(conflist, arguments.net_dir, arguments.conf_dirs, arguments.cni_path)

    if arguments.output == "json":
        print_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            level = red(finding.level) if finding.fix else finding.level
            print_line(f"{finding.subject}: {finding.message}", label=f"{level}: ")
            if finding.fix:
                print_line(finding.fix, label="    fix: ")
    return 1 if any(finding.is_problem for finding in findings) else 0


def version(arguments: argparse.Namespace, _conflist: GenieConflist) -> int:
    """Print the version of the plugin, and what it can read."""
    installation = arguments.installation
    if arguments.output == "json":
        print_json(installation.as_json())
        return 0

    print_line(f"genie {installation.version}")
    print_line(f"executable: {installation.launcher}")
    row = installation.as_json()
    print_line(f"CNI versions: {', '.join(row['cniVersions'])}")
    print_line(f"record format: {row['recordFormat']}, oldest reader {row['oldestRecordReader']}")
    return 0


def free(arguments: argparse.Namespace, conflist: GenieConflist) -> int:
    """Run DEL for the record of one container, after a confirmation."""
    from dispatcher.plugin.cli import release
    from dispatcher.state import del_call

    if os.geteuid() != 0:
        raise CNIError(0, "genie free runs the networks' plugins: run it as root")

    state_dir = arguments.state_dir or conflist.settings.state_dir
    record = release.find_record(state_dir, arguments.container)
    process = release.process_in(record.netns)
    if process and not arguments.force:
        raise CNIError(
            0,
            f"container {record.container_id} is running: process {process} uses its network "
            f"namespace {record.netns}; nothing was released",
            "delete the pod, or take the networks from the running pod with --force",
        )
    if not arguments.yes and not _is_confirmed(record):
        print_hint("nothing was released")
        return 1

    if arguments.current_config:
        release.record_current_confs(
            state_dir, record.container_id, arguments.conf_dirs, keys.LIBCNI_CACHE
        )
    launcher = arguments.installation.launcher
    answer = release.release(
        record,
        conflist,
        state_dir=state_dir,
        cni_path=arguments.cni_path,
        run_del=lambda environment, conf, timeout: del_call.execute(
            [launcher], environment, conf, timeout
        ),
    )
    if arguments.output == "json":
        print_json(answer)
    else:
        _print_released(answer)
    return int(bool(answer["left"] or answer["errors"]))


def _is_confirmed(record: Record) -> bool:
    """Ask on standard error whether to release *record*."""
    sys.stdout.flush()
    print_hint(f"This runs DEL for container {record.container_id} ({_owner(record)}):")
    for each in views.attachments([record]):
        print_hint(f"  {_attachment_text(each)}")
    if not record.attachments:
        print_hint("  no attachment: only the record is removed")
    print_hint('Type "yes" to continue; --yes does not ask.')
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _owner(record: Record) -> str:
    return f"pod {_pod_name(record.pod)}" if record.pod[1] else "pod unknown"


def _attachment_text(row: dict[str, Any]) -> str:
    addresses = ", ".join(row["ips"]) or "no address"
    return f"network {row['network']}, interface {row['interface']}, {addresses}"


def _print_released(answer: dict[str, Any]) -> None:
    for row in answer["released"]:
        print_line(f"released: {_attachment_text(row)}")
    for row in answer["left"]:
        reason = f": {row['failure']}" if row["failure"] else ""
        print_line(f"not released: {_attachment_text(row)} ({row['phase']}){reason}")
    for error in answer["errors"]:
        print_error(error)
    if not answer["left"] and not answer["errors"]:
        print_line(f"removed: the record of container {answer['container']}")
