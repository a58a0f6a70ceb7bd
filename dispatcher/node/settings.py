"""The settings of agent and reaper, each with its type, default and help.

Paths are those of the host. The manifests mount each at the same place in the container, so a path
is the same in a log, in the conflist and on the node. The settings of :class:`LiveSettings` may
change while the programs run.

To add a setting, add a field with its metadata; :mod:`dispatcher.node.settings_loader` reads and
documents it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher import keys, networks
from dispatcher.node import setting_types as types
from dispatcher.node.mode import Mode

if TYPE_CHECKING:
    from dispatcher.nad.tenant_templates import TenantTemplate
    from dispatcher.node.setting_types import SettingType


def _about(setting_type: SettingType, sentence: str) -> dict[str, Any]:
    """Return the metadata of a field."""
    return {"type": setting_type, "help": sentence}


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """The settings that may change while agent and reaper run."""

    default_network: str = field(
        default="",
        metadata=_about(
            types.network(), "network of pods that name none; empty: nothing is installed"
        ),
    )
    mode: Mode = field(
        default=Mode.INSTALL,
        metadata=_about(
            types.mode(),
            "install: keep plugin and conflist in place. disable: keep them, but attach new pods "
            "to the default network only. remove: remove both when no pod needs them any more. "
            '"remove --force": release the networks of such pods and remove both, on each Node '
            "that has the annotation cni-genie.io/confirm-remove=force",
        ),
    )
    ignored_networks: tuple[str, ...] = field(
        default=(),
        metadata=_about(types.networks(), "networks that are never published, separated by commas"),
    )
    max_attachments: int = field(
        default=4,
        metadata=_about(
            types.whole_number(1, 32),
            "maximum networks of a static pod; admission limits all other pods",
        ),
    )
    max_per_network: int = field(
        default=2,
        metadata=_about(types.whole_number(1, 32), "how often a static pod may name one network"),
    )
    limits: str = field(
        default="enforce",
        metadata=_about(
            types.choice("enforce", "warn"),
            "enforce: a static pod over these limits is not attached. warn: it is attached",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class NodeSettings(LiveSettings):
    """All settings of agent and reaper."""

    node_name: str = field(
        metadata=_about(
            types.text(), "name of this node; the manifests take it from the downward API"
        )
    )
    pod_uid: str = field(
        default="",
        metadata=_about(
            types.any_text(),
            "UID of this pod, from the downward API. The reaper checks that the runtime has this "
            "pod; empty: no check",
        ),
    )
    settings_dir: Path | None = field(
        default=None,
        metadata=_about(
            types.path(),
            "directory with one file for each of the settings that may change while the programs "
            "run, as the ConfigMap genie is mounted: "
            "default-network, mode, ignored-networks, max-attachments, max-per-network, limits. "
            "Their options and variables are ignored then. Empty: these are used, and a change "
            "needs a restart",
        ),
    )
    settings_delay_seconds: float = field(
        default=30.0,
        metadata=_about(
            types.seconds(most=600),
            "longest time that the agent waits before it applies changed settings of "
            "--settings-dir. Each agent chooses a random part of it, so that a wrong value does "
            "not reach every node at once",
        ),
    )
    attachment_definitions_mode: str = field(
        default="off",
        metadata=_about(
            types.choice("off", "observe", "enforce"),
            "off: NetworkAttachmentDefinitions are ignored. observe: they are copied to this node. "
            "enforce: pods are attached to them, too. The webhook must have the same value",
        ),
    )
    missing_capability: str = field(
        default="deny",
        metadata=_about(
            types.choice("deny", "cni-args"),
            "what to do with addresses and MACs of a selection that no plugin of its chain "
            "declares. deny: the pod is not attached. cni-args: they are passed as IP and MAC in "
            "CNI_ARGS. The webhook must have the same value",
        ),
    )
    multus_namespace: str = field(
        default=keys.MULTUS_NAMESPACE,
        metadata=_about(
            types.namespace(),
            "namespace of the definition that v1.multus-cni.io/default-network names without one, "
            "as in Multus' configuration. The webhook must have the same value",
        ),
    )
    excluded_namespaces: tuple[str, ...] = field(
        default=("kube-system", "genie-system"),
        metadata=_about(
            types.texts(),
            "namespaces whose pods admission does not validate, separated by commas; their pods "
            "select definitions without a permission of the webhook",
        ),
    )
    attachment_definitions_delay_seconds: float = field(
        default=30.0,
        metadata=_about(
            types.seconds(most=600),
            "longest time that the agent waits after its start before it lists the definitions, so "
            "that not all agents do so at once",
        ),
    )
    trusted_namespaces: tuple[str, ...] = field(
        default=("*",),
        metadata=_about(
            types.texts(),
            "namespaces whose definitions may be any CNI configuration, separated by commas; "
            "*: all. Elsewhere a definition needs a template",
        ),
    )
    tenant_templates: tuple[TenantTemplate, ...] = field(
        default=(),
        metadata=_about(
            types.tenant_templates(),
            "what the definitions of other namespaces may have, a JSON list; empty: nothing",
        ),
    )
    allow_replacing_multus: bool = field(
        default=False,
        metadata=_about(
            types.boolean(),
            "install Genie also where the container runtime calls Multus: it then calls Genie "
            "instead",
        ),
    )
    cni_bin_dir: Path = field(
        default=Path("/opt/cni/bin"),
        metadata=_about(
            types.path(),
            "where the container runtime looks for CNI plugins; Genie is installed there",
        ),
    )
    other_bin_dirs: tuple[Path, ...] = field(
        default=(),
        metadata=_about(
            types.paths(),
            "other directories in which the runtime looks for CNI plugins, separated by commas",
        ),
    )
    cni_conf_dir: Path = field(
        default=Path("/etc/cni/net.d"),
        metadata=_about(
            types.path(),
            "where the container runtime looks for its conflist; Genie's is written there",
        ),
    )
    extra_conf_dir: Path = field(
        default=Path(networks.DIRECTORIES[0]),
        metadata=_about(types.path(), "directory of network configurations that is searched first"),
    )
    state_dir: Path = field(
        default=Path("/var/lib/cni/genie"),
        metadata=_about(types.path(), "where the plugin keeps its records"),
    )
    plugin_source: Path = field(
        default=Path("/opt/genie/plugin"),
        metadata=_about(types.path(), "the plugin in the image"),
    )
    socket: Path = field(
        default=Path("/run/genie/agent.sock"),
        metadata=_about(
            types.path(),
            "where the plugin asks for a pod's annotations if the runtime passes none",
        ),
    )
    runtime_socket: Path = field(
        default=Path("/run/containerd/containerd.sock"),
        metadata=_about(
            types.path(),
            "the container runtime's CRI socket; the reaper asks it for its sandboxes",
        ),
    )
    host_root: Path = field(
        default=Path("/"),
        metadata=_about(types.path(), "where the reaper sees the host's files"),
    )
    reap_age_seconds: float = field(
        default=600.0,
        metadata=_about(types.seconds(), "minimum age of a record that the reaper releases"),
    )
    reap_look_seconds: float = field(
        default=60.0,
        metadata=_about(
            types.seconds(above_zero=True),
            "time between two passes of the reaper; a sandbox must be missing in two in a row",
        ),
    )
    status_seconds: float = field(
        default=30.0,
        metadata=_about(
            types.seconds(above_zero=True, most=60),
            "time between two STATUS calls of the reaper to each network whose configuration has "
            "cniVersion 1.1.0",
        ),
    )
    deadline_seconds: int = field(
        default=90,
        metadata=_about(
            types.whole_number(30, 110),
            "time in seconds for one call of the plugin; the kubelet gives the end of a sandbox "
            "120 s in all",
        ),
    )
    listen: str = field(
        default="127.0.0.1",
        metadata=_about(
            types.text(),
            "address of /healthz, /readyz and /metrics; the agent is in the node's own network",
        ),
    )
    port: int = field(
        default=9471,
        metadata=_about(
            types.whole_number(0, 65535), "port of /healthz, /readyz and /metrics; 0: any"
        ),
    )
    look_seconds: float = field(
        default=4.0,
        metadata=_about(
            types.seconds(above_zero=True, most=60),
            "time between two checks of the files when no change is notified",
        ),
    )
    gone_seconds: float = field(
        default=60.0,
        metadata=_about(
            types.seconds(),
            "how long a network must be missing, or say by STATUS that it is not available, before "
            'its label turns to "false": installers of networks rewrite their files, and no pod '
            "should wait for that",
        ),
    )
    start_seconds: float = field(
        default=300.0,
        metadata=_about(
            types.seconds(),
            'time after the agent\'s start in which no label turns to "false" because its network '
            "is missing: the installers of networks start with the node, too; also how long "
            "Genie is not installed where Multus has its executable and no configuration, if "
            "definitions are not attached",
        ),
    )
    attached_events: bool = field(
        default=False,
        metadata=_about(
            types.boolean(),
            "emit the Event NetworkAttached on each pod, with milliseconds; one more write per pod",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about(
            types.choice("debug", "info", "warning", "error"), "lowest level that is logged"
        ),
    )

    @property
    def copies_definitions(self) -> bool:
        """Whether the agent copies NetworkAttachmentDefinitions to this node."""
        return self.attachment_definitions_mode != "off"

    @property
    def attaches_definitions(self) -> bool:
        """Whether new pods are attached to the definitions that they select."""
        return self.attachment_definitions_mode == "enforce" and self.mode.offers_choice

    @property
    def conf_dirs(self) -> tuple[str, str]:
        """The directories of network configurations, in the order of the search."""
        return str(self.extra_conf_dir), str(self.cni_conf_dir)

    @property
    def bin_dirs(self) -> list[str]:
        """The directories of CNI plugins, in the order of CNI_PATH."""
        return [str(self.cni_bin_dir), *map(str, self.other_bin_dirs)]

    @property
    def live(self) -> LiveSettings:
        """The settings that may change while the program runs."""
        return LiveSettings(**{name: getattr(self, name) for name in LIVE})

    def with_live(self, live: LiveSettings) -> NodeSettings:
        """Return these settings with the values of *live*."""
        return dataclasses.replace(self, **{name: getattr(live, name) for name in LIVE})


LIVE = tuple(each.name for each in dataclasses.fields(LiveSettings))
"""The names of the settings that may change while the programs run."""
