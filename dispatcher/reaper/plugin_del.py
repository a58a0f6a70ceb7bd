"""Runs the installed plugin's DEL for a record, as the container runtime would.

With the host's root directory, the host's network and process namespaces (the container has
them), the same CNI_PATH, and the configuration that the runtime has now; where there is none
any more, one that says no more than where the records are.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.reaper.host_paths import namespace, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MARGIN = 30.0
"""Seconds that a call may take beyond the deadline that it keeps itself."""


def run(settings: NodeSettings, stored: CachedRecord) -> str:
    """Free everything that the record *stored* says; returns what failed, or ""."""
    if stored.record is None:
        return stored.fault
    requested = dict.fromkeys(each.cni_ifname for each in stored.record.attachments)
    requested = requested or {keys.PRIMARY_INTERFACE: None}  # nothing is left but the record
    faults = [_call(settings, stored, interface) for interface in reversed(requested)]
    return "; ".join(filter(None, faults))


def environment(settings: NodeSettings, stored: CachedRecord, interface: str) -> dict[str, str]:
    """Return the environment of a DEL for what was requested as *interface*."""
    record = stored.record
    attachments = record.attachments if record else []
    netns = record.netns if record else ""
    # A path below /proc names whatever process has that number by now.
    if netns.startswith("/proc/") or namespace(settings.host_root, netns) is None:
        netns = ""
    args = next((each.args for each in attachments if each.cni_ifname == interface), "")
    return {
        "PATH": PATH,
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": stored.container_id,
        "CNI_IFNAME": interface,
        "CNI_NETNS": netns,
        "CNI_ARGS": args,
        "CNI_PATH": ":".join(settings.bin_dirs),
    }


def configuration(settings: NodeSettings) -> dict[str, Any]:
    """Return the plugin's configuration as the runtime passes it."""
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
    kept = {key: value for key, value in plugin.items() if key != "capabilities"}
    return {**kept, "cniVersion": "1.0.0", "name": "genie"}


def _call(settings: NodeSettings, stored: CachedRecord, interface: str) -> str:
    command = [str(settings.cni_bin_dir / keys.PLUGIN_TYPE)]
    if str(settings.host_root) != "/":
        command = ["chroot", str(settings.host_root), *command]
    try:
        done = subprocess.run(  # noqa: S603 - the plugin that the agent installed
            command,
            input=json.dumps(configuration(settings)).encode(),
            env=environment(settings, stored, interface),
            capture_output=True,
            timeout=settings.deadline_seconds + MARGIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[-1]}: {error}"
    if done.returncode == 0:
        return ""
    try:
        return str(json.loads(done.stdout)["msg"])
    except (ValueError, LookupError):
        return f"exit code {done.returncode}: {done.stderr[-500:].decode(errors='replace')}"
