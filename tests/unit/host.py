"""A node for tests of the agent and the reaper: its folders, a clock, and recorded Events.

The conftest of each of these folders imports the fixtures that its tests use.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.events import Events
from dispatcher.agent.installer import PluginInstaller
from dispatcher.kube import logs
from dispatcher.node.mode import Mode
from dispatcher.node.plugin_layout import LOADER_PLACEHOLDER
from dispatcher.node.settings import NodeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dispatcher.agent.event_series import Subject
    from dispatcher.agent.reconciler import NodeReconciler


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time that the test has set."""
        return self.now


class RecordedEvents(Events):
    """Events that are recorded instead of sent."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, str, str]] = []

    def emit(self, subject: Subject, reason: str, message: str, *, warning: bool = True) -> None:
        """Record one."""
        del warning
        self.emitted.append((subject.name, reason, message))

    def reasons(self) -> list[str]:
        """Return the reasons, in order."""
        return [reason for _, reason, _ in self.emitted]


class Host:
    """A node's folders below a temporary directory, and an image's plugin."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "opt/cni/bin"
        self.conf = root / "etc/cni/net.d"
        self.extra = root / "etc/cni/genie.d"
        self.state = root / "var/lib/cni/genie"
        for folder in (self.bin, self.conf, self.extra, self.state):
            folder.mkdir(parents=True)
        self.image("v1")

    def image(self, version: str) -> Path:
        """Make the image's plugin of *version*, as dispatcher.build.bundle lays it out."""
        source = self.root / f"image-{version}"
        tree = source / ".genie" / version
        (tree / "lib").mkdir(parents=True)
        (tree / "python3").write_bytes(b"\x7fELF" + LOADER_PLACEHOLDER + b"\0 the rest")
        (tree / "python3").chmod(0o755)
        (tree / "lib" / "code").write_text(f"code of {version}")
        (source / "genie").write_text(f"#!/build/python3 -IS\n# Genie {version}: …\nmain()\n")
        return source

    def plugin(self, version: str = "v1") -> PluginInstaller:
        """Return the plugin of the image of *version*, to be installed here."""
        return PluginInstaller(self.root / f"image-{version}", self.bin)

    def settings(self, **settings: Any) -> NodeSettings:
        """Return settings for this node; *settings* override the defaults."""
        defaults: dict[str, Any] = {
            "node_name": "n1",
            "default_network": "canal",
            "cni_bin_dir": self.bin,
            "cni_conf_dir": self.conf,
            "extra_conf_dir": self.extra,
            "state_dir": self.state,
            "socket": self.root / "agent.sock",
            "plugin_source": self.root / "image-v1",
        }
        values = {**defaults, **settings}
        for each in dataclasses.fields(NodeSettings):
            if isinstance(each.default, Path) and each.name in values:
                values[each.name] = Path(values[each.name])
        return NodeSettings(**{**values, "mode": Mode(values.get("mode", "install"))})

    def options(self) -> list[str]:
        """Return the command line that gives a program these settings."""
        settings = self.settings()
        names: tuple[str, ...] = ("node_name", "default_network", "cni_bin_dir")
        names += ("cni_conf_dir", "extra_conf_dir", "state_dir", "socket", "plugin_source")
        return [f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in names]

    def executable(self, *names: str) -> None:
        """Put executables into the directory of CNI plugins."""
        for name in names:
            path = self.bin / name
            path.write_text("#!/bin/true\n")
            path.chmod(0o755)

    def k3s_executables(self, *names: str) -> str:
        """Lay out k3s' executables; return the host's directory of them.

        k3s makes each of them an absolute link to one program of its current version.
        """
        data = "/var/lib/rancher/k3s/data"
        program = f"{data}/0a1b/bin/cni"
        (self.root / program[1:]).parent.mkdir(parents=True)
        (self.root / program[1:]).write_text("#!/bin/true\n")
        (self.root / program[1:]).chmod(0o755)

        folder = self.root / data[1:] / "cni"
        folder.mkdir()
        for name in ("cni", *names):
            (folder / name).symlink_to(program)
        return f"{data}/cni"

    def network(self, name: str, types: Iterable[str] = ("bridge",), *, file: str = "") -> Path:
        """Write the configuration of a network."""
        path = self.conf / (file or f"10-{name}.conflist")
        plugins = [{"type": kind} for kind in types]
        path.write_text(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": plugins}))
        return path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name in ("GENIE_CONFIG", "GENIE_NODE_NAME"):
        monkeypatch.delenv(name, raising=False)
    return Host(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> RecordedEvents:
    return RecordedEvents()


@pytest.fixture
def make_reconciler(
    host: Host, events: RecordedEvents, clock: Clock
) -> Callable[..., NodeReconciler]:
    from dispatcher.agent.reconciler import (  # noqa: PLC0415 - only its tests pay for it
        NodeReconciler,
    )

    def make(*, labels_published: bool = True, **settings: Any) -> NodeReconciler:
        agent_settings = host.settings(**settings)
        reconciler = NodeReconciler(agent_settings, host.plugin(), events, lambda: None, clock)
        reconciler.published_settings = agent_settings.live if labels_published else None
        return reconciler

    return make


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave log and handlers of signals as they were."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def sigterm_soon(signals: None) -> Iterator[None]:
    """Send this process what kubelet sends, each second: the first may come too early."""
    del signals
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(1.0):
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, lambda *_: None)  # until what is tested has its own
    sender = threading.Thread(target=send)
    sender.start()
    yield
    ended.set()
    sender.join()
