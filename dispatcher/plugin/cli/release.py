"""``genie free``: run the DEL of one record, for which the container runtime sends none.

Only the runtime knows whether a sandbox exists, and this command does not ask it. The node shows
whether a process runs in the network namespace: the pause container, gVisor's sandbox and the
hypervisor of Kata do. So a sandbox counts as running while a process uses its namespace. A sandbox
whose processes have ended counts as stopped, even if the runtime still lists it: the runtime's own
DEL then finds nothing to release, and succeeds.

A DEL that fails because of what the record says (a plugin's configuration names a file that has
moved, say) can be repeated with the current configuration, which then replaces the recorded one.

The DEL is a call of the installed plugin, so locks, deadline, order and record are those of every
other DEL. What was released is read from the records before and after it.
"""

from __future__ import annotations

import os

from dispatcher import keys, networks
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.cli import views
from dispatcher.state import del_call, lock, store
from dispatcher.state.record import CorruptRecordError, NewerRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from dispatcher.plugin.cli.genie_conflist import GenieConflist
    from dispatcher.state.record import Attachment, Record

_OWN_NETNS = "/proc/self/ns/net"


def find_record(state_dir: str, text: str) -> Record:
    """Return the record of the container whose id is *text*, or begins with it.

    Raises :class:`CNIError` if there is none, several, or one that cannot be read.
    """
    ids = list(store.container_ids(state_dir))
    matches = [text] if text in ids else [each for each in ids if each.startswith(text)]
    if len(matches) > 1:
        raise CNIError(0, f"{text!r} begins several container ids: {', '.join(matches)}")

    record = _read(state_dir, matches[0]) if matches else None
    if record is None:
        raise CNIError(
            0, f"{state_dir} has no record of a container {text!r}", "genie attachments lists them"
        )
    return record


def record_current_confs(
    state_dir: str, container_id: str, conf_dirs: Sequence[str], cache_dir: str
) -> None:
    """Replace the configurations in a record by those that its networks have now.

    Those of NetworkAttachmentDefinitions stay. *cache_dir* is libcni's cache.

    Raises :class:`CNIError`, also if a call for this container runs, and OSError. The record is as
    it was then.
    """
    with lock.acquire_container(state_dir, container_id, lock.NO_WAIT):
        record = _read(state_dir, container_id)
        if record is None:
            return  # its DEL has just ended
        of_node = [each for each in record.attachments if "/" not in each.network]
        for attachment in of_node:
            recorded_path = attachment.conf.path
            attachment.conf = plan.look_up(
                attachment.network, lambda name: networks.find(name, conf_dirs)
            )
            # By this path DEL removes the cache's entry of a pod from before Genie. If the entry
            # stayed, the next DEL would use the configuration in it again.
            if recorded_path.startswith(f"{cache_dir}/"):
                attachment.conf.path = recorded_path
        store.write_synced(state_dir, record)


def _read(state_dir: str, container_id: str) -> Record | None:
    try:
        return store.read(state_dir, container_id)
    except NewerRecordError as error:
        path = store.path_of(state_dir, container_id)
        raise CNIError(0, f"{path}: {error}", "upgrade Genie on this node") from None
    except CorruptRecordError as error:
        path = store.path_of(state_dir, container_id)
        fix = "delete the pod: the runtime's DEL has its annotations, from which Genie rebuilds"
        raise CNIError(0, f"{path}: {error}", fix) from None


def process_in(netns: str) -> str:
    """Return "PID (NAME)" of a process that runs in the network namespace *netns*, or "".

    Run as root: other users see their own processes only.
    """
    namespace = _namespace_id(netns)
    if namespace is None:
        return ""
    for pid in filter(str.isdecimal, sorted(os.listdir("/proc"))):
        try:
            status = os.stat(f"/proc/{pid}/ns/net")
            if (status.st_dev, status.st_ino) == namespace:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{pid} ({file.read().strip()})"
        except OSError:
            continue  # the process has ended
    return ""


def _namespace_id(netns: str) -> tuple[int, int] | None:
    """Return device and inode of the namespace *netns*, None if there is no namespace."""
    try:
        status, own = os.stat(netns), os.stat(_OWN_NETNS)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status.st_dev == own.st_dev else None


def release(
    record: Record,
    conflist: GenieConflist,
    *,
    state_dir: str,
    cni_path: list[str],
    run_del: Callable[[Mapping[str, str], Mapping[str, Any], float], str],
) -> dict[str, Any]:
    """Run the DELs of *record*; return what was released, what is left, and the errors.

    *run_del* executes the plugin with an environment, a configuration and a time limit in seconds,
    and returns its error or "".
    """
    netns = record.netns
    # By now, a path below /proc may be that of another process, which has the same number.
    if netns.startswith("/proc/") or _namespace_id(netns) is None:
        netns = ""

    before = list(record.attachments)
    errors = []
    for ifname in del_call.ifnames(record):
        environment = del_call.environment(record, ifname, netns=netns, cni_path=cni_path)
        timeout = conflist.settings.deadline + del_call.MARGIN
        errors.append(run_del(environment, _configuration(conflist, state_dir), timeout))

    left = _read(state_dir, record.container_id)
    left_keys = {_key(each) for each in left.attachments} if left else set()
    released = [each for each in before if _key(each) not in left_keys]
    namespace, pod, _ = record.pod
    return {
        "container": record.container_id,
        "namespace": namespace,
        "pod": pod,
        "released": [views.attachment(record, each) for each in released],
        "left": views.attachments([left]) if left else [],
        "errors": [each for each in errors if each],
    }


def _key(attachment: Attachment) -> tuple[str, str, str]:
    return attachment.network, attachment.interface, attachment.cni_ifname


def _configuration(conflist: GenieConflist, state_dir: str) -> dict[str, Any]:
    """Return the configuration of the call; invalid options are left out, as DEL needs none."""
    options: dict[str, Any] = {"type": keys.PLUGIN_TYPE}
    if conflist.conf and not conflist.problem:
        options = next(each for each in conflist.conf.plugins if each["type"] == keys.PLUGIN_TYPE)
    return del_call.configuration({**options, "stateDir": state_dir})
