"""What the command line prints, as plain values: pods explained, networks, attachments.

Each function reads this node with the plugin's own code and returns lists of flat dictionaries,
which ``commands`` prints as a table or as JSON. Their keys are public.
"""

from __future__ import annotations

import time

from dispatcher import keys, networks
from dispatcher.cni_errors import CNIError
from dispatcher.conf import VERSIONS
from dispatcher.plugin import plan
from dispatcher.plugin.call import Call, Effects
from dispatcher.plugin.deadline import Deadline
from dispatcher.plugin.genie_conf import GenieConf
from dispatcher.plugin.request import Request
from dispatcher.state import store
from dispatcher.state.record import CorruptRecordError, NewerRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from dispatcher.plugin.cli.manifest import PodManifest
    from dispatcher.plugin.genie_conf import PluginSettings
    from dispatcher.state.record import Attachment, Record


def explain(
    pod: PodManifest, settings: PluginSettings, cni_path: Sequence[str]
) -> tuple[list[Any], list[str]]:
    """Return what this node would attach to *pod*, in order, and warnings. Raises CNIError."""
    call = _call(pod, settings)
    attachments = plan.plan_call(call, plan.pod_annotations(call))
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
    return rows, [*plan.warnings(attachments), *_selection_warnings(pod, settings)]


class _PlanEffects(Effects):
    """The effects that a plan needs; no plugin is run."""

    __slots__ = ()

    def __init__(self, conf_dirs: Sequence[str]) -> None:
        self.find_network = lambda name: networks.find(name, conf_dirs)
        self.now = time.time
        self.sleep = time.sleep


def _call(pod: PodManifest, settings: PluginSettings) -> Call:
    """Return an ADD for *pod*, to be planned; it does not wait for copies of definitions."""
    conf = GenieConf({}, VERSIONS[-1])
    conf.settings = settings
    conf.annotations = dict(pod.annotations)
    if _is_before_admission(pod):
        # As for a static pod, nothing has to be permitted: the webhook will do it.
        conf.annotations[keys.CONFIG_SOURCE] = "file"
    args = f"K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name}"
    request = Request({"CNI_IFNAME": keys.PRIMARY_INTERFACE, "CNI_ARGS": args})
    deadline = Deadline(0, time.monotonic(), time.monotonic)
    return Call(request, conf, _PlanEffects(settings.conf_dirs), deadline)


def _is_before_admission(pod: PodManifest) -> bool:
    return not pod.is_stored and keys.ATTACHMENTS not in pod.annotations


def _selection_warnings(pod: PodManifest, settings: PluginSettings) -> Iterator[str]:
    if not settings.attaches_definitions:
        for key in pod.selections:
            yield (
                f'annotation "{key}" is not considered: on this node, Genie does not attach pods '
                "to NetworkAttachmentDefinitions"
            )
    elif pod.selections and _is_before_admission(pod):
        yield (
            "the webhook has not seen this pod yet: it may refuse the NetworkAttachmentDefinitions "
            "that the pod selects"
        )


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
