"""The settings of agent and reaper.

:mod:`dispatcher.kube.settings` says where settings come from; the manifests fill the variables from
the ConfigMap ``genie``. Paths are those of the host. The manifests mount each at the same place in
the container, so a path is the same in a log, in the conflist and on the node.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from dispatcher import networks
from dispatcher.annotation import is_network_name, split_list
from dispatcher.kube import settings as service
from dispatcher.kube.settings import Names  # noqa: TC001 - pydantic needs it at run time
from dispatcher.node.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "python -m dispatcher.agent"

if TYPE_CHECKING:
    ModeSetting = Mode
else:
    # Not the enum itself: pydantic-settings would show the names of its members, and accept them.
    ModeSetting = Annotated[
        Literal["install", "disable", "remove", "remove --force"], AfterValidator(Mode)
    ]


def _validate_network(name: str) -> str:
    if name and not is_network_name(name):
        raise ValueError("must be the name of one network")
    return name


def _split(value: object) -> object:
    return split_list(value) if isinstance(value, str) else value


Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]


class NodeSettings(service.ServiceSettings):
    """Genie's agent: installs the plugin on its node and publishes the node's networks."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    node_name: str = Field(min_length=1)
    """name of this node; the manifests take it from the downward API"""

    pod_uid: str = ""
    """UID of this pod, from the downward API. The reaper checks that the runtime has this pod;
    empty: no check"""

    default_network: Annotated[str, AfterValidator(_validate_network)] = ""
    """network of pods that name none; empty: nothing is installed"""

    mode: ModeSetting = Mode.INSTALL
    """install: keep plugin and conflist in place. disable: keep them, but attach new pods to
    the default network only. remove: remove both when no pod needs them any more.
    "remove --force": release the networks of such pods and remove both"""

    max_attachments: int = Field(default=4, ge=1, le=32)
    """maximum networks of a static pod; admission limits all other pods"""

    max_per_network: int = Field(default=2, ge=1, le=32)
    """how often a static pod may name one network"""

    limits: Literal["enforce", "warn"] = "enforce"
    """enforce: a static pod over these limits is not attached. warn: it is attached"""

    allow_replacing_multus: bool = False
    """install Genie also where the container runtime calls Multus, which it then no longer does"""

    ignored_networks: Names = ()
    """networks that are never published, separated by commas"""

    cni_bin_dir: Path = Path("/opt/cni/bin")
    """where the container runtime looks for CNI plugins; Genie is installed there"""

    other_bin_dirs: Paths = ()
    """other directories in which the runtime looks for CNI plugins, separated by commas"""

    cni_conf_dir: Path = Path("/etc/cni/net.d")
    """where the container runtime looks for its conflist; Genie's is written there"""

    extra_conf_dir: Path = Path(networks.DIRECTORIES[0])
    """directory of network configurations that is searched first"""

    state_dir: Path = Path("/var/lib/cni/genie")
    """where the plugin keeps its records"""

    plugin_source: Path = Path("/opt/genie/plugin")
    """the plugin in the image"""

    socket: Path = Path("/run/genie/agent.sock")
    """where the plugin asks for a pod's annotations if the runtime passes none"""

    runtime_socket: Path = Path("/run/containerd/containerd.sock")
    """the container runtime's CRI socket; the reaper asks it for its sandboxes"""

    host_root: Path = Path("/")
    """where the reaper sees the host's files"""

    reap_age_seconds: float = Field(default=600.0, ge=0)
    """minimum age of a record that the reaper releases"""

    reap_look_seconds: float = Field(default=60.0, gt=0)
    """time between two passes of the reaper; a sandbox must be missing in two in a row"""

    deadline_seconds: int = Field(default=90, ge=30, le=110)
    """time for one call of the plugin; the kubelet gives the end of a sandbox 120 s in all"""

    listen: str = "127.0.0.1"
    """address of /healthz, /readyz and /metrics; the agent is in the node's own network"""

    port: int = Field(default=9471, ge=0, le=65535)
    """port of the same; 0: any free port"""

    look_seconds: float = Field(default=4.0, gt=0, le=60)
    """time between two checks of the files when no change is notified"""

    gone_seconds: float = Field(default=60.0, ge=0)
    """how long a network must be missing before its label turns to "false": installers of
    networks rewrite their files, and no pod should wait for that"""

    start_seconds: float = Field(default=300.0, ge=0)
    """time after the agent's start in which no label turns to "false": the installers of
    networks start with the node, too"""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error"""

    @property
    def conf_dirs(self) -> tuple[str, str]:
        """The directories of network configurations, in the order of the search."""
        return str(self.extra_conf_dir), str(self.cni_conf_dir)

    @property
    def bin_dirs(self) -> list[str]:
        """The directories of CNI plugins, in the order of CNI_PATH."""
        return [str(self.cni_bin_dir), *map(str, self.other_bin_dirs)]


def load(arguments: Sequence[str]) -> NodeSettings:
    """Return the settings; *arguments* is the command line. ``--help`` exits.

    Raises :class:`dispatcher.kube.settings.InvalidSettingsError`.
    """
    return service.load(NodeSettings, PROGRAM, arguments)
