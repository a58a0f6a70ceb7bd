"""Says which networks this node can attach, and why it cannot attach the others.

Reads the directories of the node; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import networks
from dispatcher.agent.conflist import CILIUM_SUFFIX
from dispatcher.conf import InvalidConfError, load
from dispatcher.node import conf_dir

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dispatcher.conf import Conf
    from dispatcher.networks import Networks
    from dispatcher.node.settings import NodeSettings


MULTUS_TYPES = frozenset({"multus", "multus-shim"})
"""Plugin types of Multus: the second is that of its configuration with a daemon on the node."""


def network_files(scan: Networks) -> dict[str, Conf | InvalidConfError]:
    """Return the configuration, or its fault, of each network to publish.

    The file ``10-canal.conflist`` defines ``canal`` and can be named ``10-canal``, too. That alias
    is not published beside ``canal``.
    """
    files: dict[str, Conf | InvalidConfError] = {**scan.broken_names, **scan.confs}

    def is_alias(name: str) -> bool:
        short = name.lstrip("0123456789").removeprefix("-")
        return short != name and files[name] == files.get(short)

    return {name: file for name, file in files.items() if not is_alias(name)}


def unavailable_reasons(scan: Networks, settings: NodeSettings) -> dict[str, str]:
    """Return each network to publish, with the reason why this node cannot attach it, or ""."""
    return {name: unavailable_reason(name, scan, settings) for name in network_files(scan)}


def unavailable_reason(name: str, scan: Networks, settings: NodeSettings) -> str:
    """Return why this node cannot attach the network *name*, or ""."""
    if name in scan.broken_names:
        return str(scan.broken_names[name])
    if name not in scan.confs:
        return absence_reason(name, settings, scan.ignored)

    directories = settings.bin_dirs
    missing = networks.missing_executables(scan.confs[name], directories)
    if missing:
        return f"no executable {', '.join(missing)} in {' or '.join(directories)}"
    return ""


def absence_reason(name: str, settings: NodeSettings, ignored: Collection[str]) -> str:
    """Return why the network *name* has no configuration; *ignored* are excluded by a setting."""
    if name in ignored:
        return 'the ConfigMap genie lists it in "ignored-networks"'

    for directory in (settings.extra_conf_dir, settings.cni_conf_dir):
        for path in _entries(directory):
            if path.name.endswith(CILIUM_SUFFIX) and name in _former_names(path):
                return (
                    f"Cilium renamed its configuration to {path}; "
                    'set "cni.exclusive: false" in Cilium\'s values'
                )
    return f'no configuration named "{name}" in {" or ".join(settings.conf_dirs)}'


def multus_conf(settings: NodeSettings) -> str:
    """Return the path of the configuration by which the container runtime calls Multus, or ""."""
    effective = conf_dir.effective(settings.cni_conf_dir)
    return effective if effective and _is_of_multus(effective) else ""


def multus_problem(settings: NodeSettings, *, may_start: bool) -> str:
    """Return why Genie does not take the runtime's configuration over from Multus, or "".

    Genie's file sorts before the file of Multus, so the runtime would call Multus no more: new pods
    would lose the networks that their NetworkAttachmentDefinitions name, without an error. The
    daemon of Multus ("thick") removes its file when it ends, and writes it when it starts. So the
    executable of Multus counts, too: in the mode ``observe``, which is for a cluster that Multus
    serves, and in the mode ``off`` while *may_start*: the daemon may be about to start.
    """
    if settings.allow_replacing_multus:
        return ""
    setting = "set allowReplacingMultus: true in the values of the Helm chart"
    if conf := multus_conf(settings):
        return (
            f"the container runtime calls Multus ({conf}), which Genie would replace: remove "
            f"Multus on this node, or {setting}"
        )

    mode = settings.attachment_definitions_mode
    if mode == "observe" and (executable := _multus_executable(settings)):
        return (
            f"Multus is on this node ({executable}), and Genie would replace it without attaching "
            f"NetworkAttachmentDefinitions: set attachmentDefinitions.mode: enforce, or {setting}"
        )
    if mode == "off" and may_start and (executable := _multus_without_conf(settings)):
        return (
            f"Multus is on this node ({executable}) without a configuration, and its daemon may be "
            f"about to write one: the agent waits up to {settings.start_seconds:.0f} s. To install "
            f"Genie at once, remove {executable}, or {setting}"
        )
    return ""


def _multus_executable(settings: NodeSettings) -> str:
    executables = (
        networks.find_executable(each, settings.bin_dirs) for each in sorted(MULTUS_TYPES)
    )
    return next(filter(None, executables), "")


def _multus_without_conf(settings: NodeSettings) -> str:
    """Return the executable of Multus, or "" if it has a configuration that is not called."""
    files = conf_dir.configurations(settings.cni_conf_dir)
    return "" if any(_is_of_multus(str(file)) for file in files) else _multus_executable(settings)


def _is_of_multus(path: str) -> bool:
    try:
        return not MULTUS_TYPES.isdisjoint(load(path).types)
    except InvalidConfError:
        return False


def plugin_types(scan: Networks) -> dict[str, list[str]]:
    """Return the plugin types of each published network whose configuration is valid."""
    return {name: scan.confs[name].types for name in network_files(scan) if name in scan.confs}


def names_of_file(scan: Networks, path: str) -> tuple[str, ...]:
    """Return all names of the network in the file *path*; none if it cannot be read."""
    return tuple(name for name, conf in scan.confs.items() if conf.path == path)


def _former_names(renamed: Path) -> set[str]:
    """Return the names of the network in *renamed* while its file had its own name."""
    entry: Conf | InvalidConfError
    try:
        entry = load(str(renamed))
    except InvalidConfError as error:
        entry = error
    return {name for _, name in networks.claims(str(renamed).removesuffix(CILIUM_SUFFIX), entry)}


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
