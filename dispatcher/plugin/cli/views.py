"""What the command line prints, as plain values: pods explained, networks, attachments.

Each function reads this node with the plugin's own code and returns lists of flat dictionaries,
which ``commands`` prints as a table or as JSON. Their keys are public.
"""

from __future__ import annotations

from dispatcher import keys, networks
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.state import store
from dispatcher.state.record import CorruptRecordError, NewerRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from dispatcher.plugin.cli.manifest import PodManifest
    from dispatcher.state.record import Attachment, Record


def explain(
    pod: PodManifest, conf_dirs: Sequence[str], default: str, cni_path: Sequence[str]
) -> tuple[list[Any], list[str]]:
    """Return what this node would attach to *pod*, in order, and warnings. Raises CNIError."""
    annotations = {} if pod.annotation is None else {keys.ANNOTATION: pod.annotation}
    attachments = plan.attachments(
        plan.select(annotations, default),
        interface=keys.PRIMARY_INTERFACE,
        args="",
        runtime_config={},
        find=lambda name: networks.find(name, conf_dirs),
    )
    plan.refuse_conflicts(attachments)

    rows = [
        {
            "network": each.network,
            "interface": each.interface,
            "primary": each.is_primary,
            "file": each.conf.path,
            "cniName": each.conf.name,
            "cniVersion": each.conf.cni_version,
            "plugins": each.conf.types,
            "missing": networks.missing_executables(each.conf, cni_path),
        }
        for each in attachments
    ]
    return rows, plan.warnings(attachments)


def networks_of_node(conf_dirs: Sequence[str], cni_path: Sequence[str]) -> list[Any]:
    """Return the networks of this node, one row for each file, and why one cannot be attached.

    ``network`` is the shortest name that does not begin with a digit; ``also`` are the others.
    """
    scanned = networks.scan(conf_dirs)
    names: dict[str, list[str]] = {}
    for name, conf in scanned.confs.items():
        names.setdefault(conf.path, []).append(name)
    for name, error in scanned.broken_names.items():
        names.setdefault(error.path, []).append(name)

    rows = []
    for path in sorted({*names, *scanned.broken_files}):
        name, *also = sorted(names.get(path, [""]), key=_preference)
        usable = scanned.confs.get(name)
        missing = networks.missing_executables(usable, cni_path) if usable is not None else []
        reason = f"no executable for {', '.join(missing)}" if missing else ""
        if usable is None:
            reason = scanned.broken_files[path].reason
        rows.append(
            {
                "network": name,
                "also": also,
                "attachable": not reason,
                "reason": reason,
                "missing": missing,
                "file": path,
            }
        )
    return rows


def _preference(name: str) -> tuple[bool, int, str]:
    return name[:1].isdigit(), len(name), name


def records(state_dir: str) -> Iterator[Record | CNIError]:
    """Yield every record, or the error of a file that cannot be read. Raises OSError."""
    for container_id in store.container_ids(state_dir):
        try:
            record = store.read(state_dir, container_id)
        except (NewerRecordError, CorruptRecordError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            yield CNIError(0, f"{store.path_of(state_dir, container_id)}: {reason}")
        else:
            if record is not None:  # a DEL may have removed it meanwhile
                yield record


def attachments(records: Iterable[Record], *, show_config: bool = False) -> list[Any]:
    """Return every attachment of *records*, with configurations only if *show_config*."""
    return [
        attachment(record, each, show_config=show_config)
        for record in records
        for each in record.attachments
    ]


def attachment(
    record: Record, attachment: Attachment, *, show_config: bool = False
) -> dict[str, Any]:
    """Return one attachment of *record*, with its configuration only if *show_config*."""
    namespace, name, uid = record.pod
    result = attachment.result or {}
    row = {
        "namespace": namespace,
        "pod": name,
        "uid": uid,
        "container": record.container_id,
        "netns": record.netns,
        "network": attachment.network,
        "interface": attachment.interface,
        "primary": attachment.is_primary,
        "ips": [each["address"] for each in result.get("ips", [])],
        "phase": attachment.phase,
        "failure": (attachment.failure or {}).get("msg", ""),
    }
    if show_config:
        row["config"] = {
            "path": attachment.conf.path,
            "name": attachment.conf.name,
            "cniVersion": attachment.conf.cni_version,
            "plugins": attachment.conf.plugins,
        }
        row["capabilityArgs"] = attachment.capability_args
        row["result"] = attachment.result
    return row
