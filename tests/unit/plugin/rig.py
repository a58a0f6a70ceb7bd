"""A node in a folder: configurations, state and delegates that are a model, not processes.

The delegates hold something per container, interface and network between ADD and DEL, as real ones
do, so that tests can inject faults anywhere and count leaks. tests/node has the real ones.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors, keys, networks
from dispatcher.cni_errors import CannotRunError, CNIError, NotStartedError
from dispatcher.plugin.call import Call, Effects
from dispatcher.plugin.commands.add import add
from dispatcher.plugin.commands.check import check
from dispatcher.plugin.commands.delete import delete
from dispatcher.plugin.commands.gc import collect
from dispatcher.plugin.commands.status import status
from dispatcher.plugin.deadline import Deadline
from dispatcher.plugin.delegate import Runner
from dispatcher.plugin.genie_conf import read_conf
from dispatcher.plugin.request import read_environment
from dispatcher.plugin.timings import Timings
from tests.records import sealed
from tests.unit.plugin.kernel import Pod

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/ns"}],
    "ips": [{"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 0}],
    "routes": [{"dst": "10.9.0.0/16"}],
}
COMMANDS: dict[str, Any] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
}


class Delegates(Runner):
    """Stands in for processes. ``held`` is what was added and not freed.

    ``faults`` maps (command, type) to an exception that is raised instead of succeeding. An ADD
    that fails keeps its resource, as a careless plugin would. Types in ``not_started`` exist but
    cannot be executed: they raise the error given there, and take nothing.
    """

    def __init__(self) -> None:
        self.held: set[tuple[str, str, str, str]] = set()
        self.faults: dict[tuple[str, str], BaseException] = {}
        self.absent: set[str] = set()
        self.not_started: dict[str, NotStartedError] = {}
        self.results: dict[str, Any] = {}
        self.calls: list[str] = []
        self.confs: list[dict[str, Any]] = []
        self.environments: list[dict[str, str]] = []
        self.pod = Pod()
        """The namespace of the one container whose routes matter."""
        self.without_route: set[str] = set()
        """Types that bring no default route."""

    def __call__(
        self,
        conf: dict[str, Any],
        variables: dict[str, str],
        deadline: float,
        before_input: Callable[[], None] | None = None,
        while_running: Callable[[], None] | None = None,
    ) -> dict[str, Any] | None:
        """Do what a plugin of this type would."""
        assert deadline > 0
        plugin_type, command = conf["type"], variables["CNI_COMMAND"]
        self.locate(plugin_type)
        if plugin_type in self.not_started:
            raise self.not_started[plugin_type]
        for step in filter(None, (before_input, while_running)):
            step()
        container, interface = variables["CNI_CONTAINERID"], variables["CNI_IFNAME"]
        self.calls.append(f"{command} {plugin_type} {conf['name']} {interface}")
        self.confs.append(conf)
        self.environments.append(variables)
        resource = (container, interface, conf["name"], plugin_type)
        if command == "ADD":
            self.held.add(resource)
            if interface not in self.pod.interfaces:
                self.pod.attach(interface, default_route=plugin_type not in self.without_route)
        fault = self.faults.get((command, plugin_type))
        if fault is not None:
            raise fault
        if command == "DEL":
            self.held.discard(resource)
            self.pod.detach(interface)
        if command == "GC":
            self.held = {each for each in self.held if self._is_valid(each, conf)}
        return self.results.get(plugin_type, RESULT) if command == "ADD" else None

    @staticmethod
    def _is_valid(resource: tuple[str, str, str, str], conf: dict[str, Any]) -> bool:
        container, interface, network, plugin_type = resource
        if (network, plugin_type) != (conf["name"], conf["type"]):
            return True
        listed = conf["cni.dev/valid-attachments"]
        return {"containerID": container, "ifname": interface} in listed

    def locate(self, plugin_type: str) -> str:
        """Find every type but those that are absent."""
        if plugin_type in self.absent:
            raise CannotRunError(f"plugin {plugin_type} is missing")
        return f"/bin/{plugin_type}"


class Rig:
    """One node; each command is a new call of the plugin's core."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.conf = folder / "conf"
        self.cache = folder / "cache"
        self.conf.mkdir()
        self.cache.mkdir()
        self.delegates = Delegates()
        self.now = 1_700_000_000.0
        self.clock = 1.0  # long past for locks, which go by the machine's own: none is waited for
        self.pod = self.delegates.pod
        self.warnings: list[str] = []
        self.agent = ""
        self.agent_annotations: dict[str, str] = {}
        self.agent_error: CNIError | None = None
        self.questions = 0
        """How often the agent was asked."""
        self.options: dict[str, Any] = {}
        self.version = "1.1.0"
        self.timings: list[dict[str, Any]] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.network("weave", "w1", "w2")
        self.network("canal", "c1")

    def network(self, name: str, *types: str, **more: Any) -> None:
        """Install a network whose chain has these types."""
        plugins = [{"type": plugin_type} for plugin_type in types]
        conf = {"cniVersion": "1.1.0", "name": f"{name}-net", "plugins": plugins, **more}
        (self.conf / f"10-{name}.conflist").write_text(json.dumps(conf))

    def run(
        self,
        command: str,
        cni: str | None = None,
        *,
        container: str = "c1",
        interface: str = "eth0",
        netns: str = "/ns",
        args_of_call: str = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;K8S_POD_UID=u",
        **keys_of_conf: Any,
    ) -> Any:
        """Carry out one command and return its answer."""
        environ = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": interface,
            "CNI_NETNS": netns,
            "CNI_PATH": "/bin",
            "CNI_ARGS": args_of_call,
        }
        annotations = {} if cni is None else {keys.ANNOTATION: cni}
        conf = {
            "cniVersion": self.version,
            "name": "genie",
            "type": "genie",
            "default": "canal",
            "confDirs": [str(self.conf)],
            "stateDir": str(self.state),
            "runtimeConfig": {keys.POD_ANNOTATIONS: annotations},
            **self.options,
            **keys_of_conf,
        }
        own = read_conf(json.dumps(conf).encode(), command)
        timings = Timings(lambda: self.clock)
        effects = Effects(
            run=self.delegates,
            find_network=lambda name: networks.find(name, own.settings.conf_dirs),
            open_namespace=self._open_namespace,
            ask_agent=self._ask_agent,
            now=lambda: self.now,
            sleep=self._sleep,
            timings=timings,
            warn=self.warnings.append,
            cache_dir=str(self.cache),
        )
        deadline = Deadline(own.settings.deadline, self.clock, lambda: self.clock)
        call = Call(read_environment(environ), own, effects, deadline)
        try:
            return COMMANDS[command](call)
        finally:
            self.timings = timings.entries

    def _sleep(self, seconds: float) -> None:
        """Let time pass; tests replace :attr:`on_sleep` to change something meanwhile."""
        self.clock += seconds
        self.on_sleep()

    def _open_namespace(self, netns: str) -> Any:
        return self.pod.open(netns)

    def _ask_agent(self, _address: str, _args: str) -> dict[str, str]:
        self.questions += 1
        if self.agent_error is not None:
            raise self.agent_error
        return {keys.ANNOTATION: self.agent, **self.agent_annotations}

    @property
    def records(self) -> list[str]:
        """The containers that have a record."""
        return sorted(file.stem for file in self.state.glob("*.json"))

    def record(self, container: str = "c1") -> dict[str, Any]:
        """Return a record as it stands on disk."""
        value: dict[str, Any] = json.loads((self.state / f"{container}.json").read_bytes())
        return value

    def rewrite(self, value: dict[str, Any], container: str = "c1") -> None:
        """Write *value* as a record."""
        (self.state / f"{container}.json").write_bytes(sealed(value))

    def left(self) -> list[str]:
        """Return the files of the state directory, less those of the node, which always stay."""
        files = (file.name for file in self.state.iterdir())
        return sorted(name for name in files if name not in {".gc.lock", ".released"})


def failure(code: int = 7, msg: str = "no address left", details: str = "pool") -> CNIError:
    """Return the error of a delegate that fails."""
    return CNIError(code, msg, details)


def hung() -> CNIError:
    """Return the runner's error for a delegate that was killed at its deadline."""
    return CNIError(cni_errors.TRY_AGAIN, "did not finish in time and was killed")


def error_of(rig: Rig, command: str, *args: Any, **more: Any) -> CNIError:
    """Return the error of a command that must fail."""
    with pytest.raises(CNIError) as raised:
        rig.run(command, *args, **more)
    return raised.value


def add_cache_entry(
    rig: Rig, types: list[str], *, interface: str = "eth0", name: str = "old"
) -> None:
    """Write what libcni keeps of an attachment that it made."""
    conf = {"cniVersion": "0.4.0", "name": "cbr0", "plugins": [{"type": each} for each in types]}
    entry = {
        "kind": "cniCacheV1",
        "containerId": "c1",
        "ifName": interface,
        "networkName": "cbr0",
        "netns": "/ns",
        "config": base64.b64encode(json.dumps(conf).encode()).decode(),
        "cniArgs": [["K8S_POD_NAME", "old"]],
        "capabilityArgs": {"portMappings": [{"hostPort": 80}]},
        "result": {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.4.0.5/24"}]},
    }
    (rig.cache / name).write_text(json.dumps(entry))
