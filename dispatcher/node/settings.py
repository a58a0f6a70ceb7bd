"""What the agent is told.

Settings come as :mod:`dispatcher.kube.settings` says; the manifests fill the variables from
the ConfigMap ``genie``. Paths are those of the host: the manifests mount each at the same
place in the container, so that a path in a log, in the conflist and on the node is one and
the same.
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


def _network(name: str) -> str:
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
    """UID of the pod that this is, from the downward API; empty: it is not asked whether the
    runtime has it"""

    default_network: Annotated[str, AfterValidator(_network)] = ""
    """network of the pods that ask for none; empty: nothing is installed"""

    mode: ModeSetting = Mode.INSTALL
    """install: keep plugin and conflist in place. disable: keep them, but attach new pods to
    the default network only. remove: take both away where no pod needs them any more.
    "remove --force": detach such pods and take both away"""

    max_attachments: int = Field(default=4, ge=1, le=32)
    """networks that a static pod may have; admission limits all other pods"""

    max_per_network: int = Field(default=2, ge=1, le=32)
    """times that a static pod may name one network"""

    limits: Literal["enforce", "warn"] = "enforce"
    """enforce: a static pod over these limits is not attached. warn: it is attached"""

    ignored_networks: Names = ()
    """networks that are never published, separated by commas"""

    cni_bin_dir: Path = Path("/opt/cni/bin")
    """where the container runtime looks for CNI plugins; Genie is installed there"""

    other_bin_dirs: Paths = ()
    """further directories that the runtime looks in for CNI plugins, separated by commas"""

    cni_conf_dir: Path = Path("/etc/cni/net.d")
    """where the container runtime looks for its conflist; Genie's is written there"""

    extra_conf_dir: Path = Path(networks.DIRECTORIES[0])
    """where configurations of networks are looked for before that"""

    state_dir: Path = Path("/var/lib/cni/genie")
    """where the plugin keeps its records"""

    plugin_source: Path = Path("/opt/genie/plugin")
    """the plugin as the image carries it"""

    socket: Path = Path("/run/genie/agent.sock")
    """where the plugin asks for a pod's annotations when the runtime passes none"""

    runtime_socket: Path = Path("/run/containerd/containerd.sock")
    """where the container runtime answers (CRI); the reaper asks it for its sandboxes"""

    host_root: Path = Path("/")
    """where the reaper sees the host's files"""

    reap_age_seconds: float = Field(default=600.0, ge=0)
    """how old a record must be before the reaper frees what it says"""

    reap_look_seconds: float = Field(default=60.0, gt=0)
    """how often the reaper looks; a sandbox must be missing twice in a row"""

    deadline_seconds: int = Field(default=90, ge=30, le=110)
    """what one call of the plugin may take; kubelet gives the end of a sandbox 120 s in all"""

    listen: str = "127.0.0.1"
    """address of /healthz, /readyz and /metrics; the agent lives in the node's own network"""

    port: int = Field(default=9471, ge=0, le=65535)
    """port of the same; 0 takes any that is free"""

    look_seconds: float = Field(default=4.0, gt=0, le=60)
    """how often files are looked at when no notification comes"""

    gone_seconds: float = Field(default=60.0, ge=0)
    """how long a network must be away before its label turns to "false"; installers of
    networks rewrite their files, and no pod shall wait for that"""

    start_seconds: float = Field(default=300.0, ge=0)
    """for so long after its start the agent turns no label to "false": the installers of
    networks start with the node, too"""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error"""

    @property
    def conf_dirs(self) -> tuple[str, str]:
        """The directories in which networks are looked for, in order."""
        return str(self.extra_conf_dir), str(self.cni_conf_dir)

    @property
    def bin_dirs(self) -> list[str]:
        """The directories of CNI plugins, in order: CNI_PATH."""
        return [str(self.cni_bin_dir), *map(str, self.other_bin_dirs)]


def load(arguments: Sequence[str]) -> NodeSettings:
    """Return the settings; *arguments* are those of the command line. ``--help`` exits.

    Raises :class:`dispatcher.kube.settings.InvalidSettingsError`.
    """
    return service.load(NodeSettings, PROGRAM, arguments)
