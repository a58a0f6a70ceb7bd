"""Run the installed plugin's DEL for a record, as the container runtime would.

The plugin runs with the host's root directory, the host's network and process namespaces (which the
container has), and the runtime's CNI_PATH and configuration.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.reaper.host_paths import namespace_id, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MARGIN = 30.0
"""Seconds that a call may take beyond the deadline that the plugin itself keeps."""


def run(settings: NodeSettings, cached: CachedRecord) -> str:
    """Run one DEL for each CNI_IFNAME of the record, the last one first; return the errors.

    The result is "" if all succeeded.
    """
    if cached.record is None:
        return cached.fault

    ifnames = dict.fromkeys(each.cni_ifname for each in cached.record.attachments)
    # A record without attachments gets a DEL as well: only a DEL removes it.
    ifnames = ifnames or {keys.PRIMARY_INTERFACE: None}
    errors = [_run_one(settings, cached, ifname) for ifname in reversed(ifnames)]
    return "; ".join(filter(None, errors))


def environment(settings: NodeSettings, cached: CachedRecord, ifname: str) -> dict[str, str]:
    """Return the environment of a DEL with the CNI_IFNAME *ifname*.

    CNI_NETNS is empty if the namespace is missing (specification, section 2, DEL).
    """
    record = cached.record
    attachments = record.attachments if record else []
    netns = record.netns if record else ""
    # By now, a path below /proc may be that of another process, which has the same number.
    if netns.startswith("/proc/") or namespace_id(settings.host_root, netns) is None:
        netns = ""

    return {
        "PATH": PATH,
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": cached.container_id,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": netns,
        "CNI_ARGS": next((each.args for each in attachments if each.cni_ifname == ifname), ""),
        "CNI_PATH": ":".join(settings.bin_dirs),
    }


def configuration(settings: NodeSettings) -> dict[str, Any]:
    """Return the plugin's configuration as the runtime passes it.

    Without a usable conflist, it is made of the settings: DEL needs to know where the records are.
    """
    conflist = resolve(settings.host_root, settings.cni_conf_dir / keys.CONFLIST)
    try:
        plugin: Mapping[str, Any] = json.loads(conflist.read_bytes())["plugins"][0]
    except (OSError, ValueError, LookupError):
        plugin = {
            "type": keys.PLUGIN_TYPE,
            "default": settings.default_network,
            "confDirs": list(settings.conf_dirs),
            "stateDir": str(settings.state_dir),
            "agentSocket": "",
        }
    passed = {key: value for key, value in plugin.items() if key != "capabilities"}
    return {**passed, "cniVersion": "1.0.0", "name": "genie"}


def _run_one(settings: NodeSettings, cached: CachedRecord, ifname: str) -> str:
    """Run one DEL; return its error, or ""."""
    command = [str(settings.cni_bin_dir / keys.PLUGIN_TYPE)]
    if str(settings.host_root) != "/":
        command = ["chroot", str(settings.host_root), *command]

    try:
        completed = subprocess.run(  # noqa: S603 - the plugin that the agent installed
            command,
            input=json.dumps(configuration(settings)).encode(),
            env=environment(settings, cached, ifname),
            capture_output=True,
            timeout=settings.deadline_seconds + MARGIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[-1]}: {error}"

    if completed.returncode == 0:
        return ""
    try:
        return str(json.loads(completed.stdout)["msg"])
    except (ValueError, LookupError):
        stderr = completed.stderr[-500:].decode(errors="replace")
        return f"exit code {completed.returncode}: {stderr}"
