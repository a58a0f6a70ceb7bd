"""The DEL of a record for which no container runtime sends one.

The reaper and ``genie free`` execute the installed plugin as the runtime would. They differ in how
they see the node; what they pass to the plugin, and how they read its answer, is here.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.jsontext import InvalidJSONError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from dispatcher.state.record import Record

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of the call, for delegates that execute iptables or others."""

MARGIN = 30.0
"""Seconds that a call may take beyond the deadline that the plugin itself keeps."""


def ifnames(record: Record) -> list[str]:
    """Return the CNI_IFNAME of each DEL that *record* needs, the last attached first."""
    names = dict.fromkeys(each.cni_ifname for each in record.attachments)
    # A record without attachments gets a DEL as well: only a DEL removes it.
    return list(reversed(names or {keys.PRIMARY_INTERFACE: None}))


def environment(
    record: Record, ifname: str, *, netns: str, cni_path: Sequence[str]
) -> dict[str, str]:
    """Return the environment of the DEL with the CNI_IFNAME *ifname*.

    *netns* is "" if the network namespace is missing (specification, section 2, "DEL").
    """
    return {
        "PATH": PATH,
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": record.container_id,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": netns,
        "CNI_ARGS": next((each.args for each in record.of_call(ifname)), ""),
        "CNI_PATH": ":".join(cni_path),
    }


def configuration(plugin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plugin's configuration as the runtime passes it.

    *plugin* is Genie's entry in its conflist.
    """
    passed = {key: value for key, value in plugin.items() if key != "capabilities"}
    return {**passed, "cniVersion": "1.0.0", "name": "genie"}


def execute(
    command: Sequence[str],
    environment: Mapping[str, str],
    configuration: Mapping[str, Any],
    timeout: float,
) -> str:
    """Run one DEL by *command*, the plugin's launcher; return its error, or "".

    *timeout* is in seconds.
    """
    import subprocess  # noqa: PLC0415 - no call of a container runtime needs it

    try:
        completed = subprocess.run(  # noqa: S603 - the plugin that the agent installed
            command,
            input=dump(configuration),
            env=environment,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[-1]}: {error}"

    if completed.returncode == 0:
        return ""
    try:
        return str(parse(completed.stdout)["msg"])
    except (InvalidJSONError, LookupError, TypeError):
        stderr = completed.stderr[-500:].decode("utf-8", "replace")
        return f"exit code {completed.returncode}: {stderr}"
