"""Run the installed plugin's DEL for a record, as the container runtime would.

The plugin runs with the host's root directory, the host's network and process namespaces (which the
container has), and the runtime's CNI_PATH and configuration.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.reaper.host_paths import namespace_id, resolve
from dispatcher.state import del_call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings


def run(settings: NodeSettings, cached: CachedRecord) -> str:
    """Run one DEL for each CNI_IFNAME of the record, the last one first; return the errors.

    The result is "" if all succeeded.
    """
    record = cached.record
    if record is None:
        return cached.fault

    netns = _existing_namespace(settings, record.netns)
    errors = [
        del_call.execute(
            _command(settings),
            del_call.environment(record, ifname, netns=netns, cni_path=settings.bin_dirs),
            configuration(settings),
            settings.deadline_seconds + del_call.MARGIN,
        )
        for ifname in del_call.ifnames(record)
    ]
    return "; ".join(filter(None, errors))


def _existing_namespace(settings: NodeSettings, netns: str) -> str:
    """Return *netns*, or "" if the namespace is missing.

    By now, a path below /proc may be that of another process, which has the same number.
    """
    if netns.startswith("/proc/") or namespace_id(settings.host_root, netns) is None:
        return ""
    return netns


def _command(settings: NodeSettings) -> list[str]:
    launcher = str(settings.cni_bin_dir / keys.PLUGIN_TYPE)
    if str(settings.host_root) == "/":
        return [launcher]
    return ["chroot", str(settings.host_root), launcher]


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
    return del_call.configuration(plugin)
