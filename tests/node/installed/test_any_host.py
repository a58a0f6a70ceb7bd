"""The installed plugin on hosts without Python, libraries or any executable."""

from __future__ import annotations

import ast
import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.node.installed import image
from tests.node.installed.bare import STATE, STORE, BareHost

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.harness import Node

BOTH = "weave,canal@net1"
MOST = 20_000_000
"""Maximum size in bytes of the plugin with its interpreter on a node."""

HOSTS = {"is empty": False, "is mounted read-only and noexec": True}


@pytest.mark.parametrize("hardened", HOSTS.values(), ids=HOSTS)
def test_a_pod_is_attached_and_freed_on_a_host_that(
    node: Node, payload: Path, *, hardened: bool
) -> None:
    """Two networks of the real bridge and host-local; the default route is the primary's."""
    pod = node.container("pod")
    host = BareHost(node, payload, pod, hardened=hardened)
    assert host.files() == ["/dev/null", "/run/netns/pod"]
    host.call("ADD", pod, BOTH).succeeded()
    assert node.links(pod) == ["eth0", "net1"]
    assert (len(host.addresses("weave")), len(host.addresses("canal"))) == (1, 1)
    defaults = [route["dev"] for route in node.routes(pod) if route["dst"] == "default"]
    assert defaults == ["eth0"]
    assert host.records() == ["pod"]
    host.call("CHECK", pod).succeeded()
    host.call("DEL", pod).succeeded()
    assert node.links(pod) == []
    assert (host.addresses("weave"), host.addresses("canal"), host.records()) == ([], [], [])


@pytest.mark.parametrize("hardened", HOSTS.values(), ids=HOSTS)
def test_a_failed_attachment_is_undone_and_explained_on_a_host_that(
    node: Node, payload: Path, *, hardened: bool
) -> None:
    """Modules that only errors need are installed, too."""
    first, pod = node.container("first"), node.container("pod")
    host = BareHost(node, payload, first, pod, hardened=hardened)
    assert '"weave"' in str(host.call("ADD", pod, "wave").failed(101))
    only = {"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.9", "rangeEnd": "10.9.0.9"}
    ipam = {"type": "host-local", "dataDir": f"{STORE}/networks", "ranges": [[only]]}
    node.network("small", {"type": "bridge", "bridge": "small0", "ipam": ipam})
    host.call("ADD", first, "small").succeeded()
    assert '"small"' in host.call("ADD", pod, "weave,small@net1").failed()["msg"]
    assert (node.links(pod), host.addresses("weave"), host.records()) == ([], [], ["first"])
    host.call("DEL", first).succeeded()


def test_a_hardened_host_runs_nothing_from_elsewhere(node: Node, payload: Path) -> None:
    """The control for the tests above: the host is as they describe."""
    pod = node.container("pod")
    host = BareHost(node, payload, pod, hardened=True)
    host.call("ADD", pod, BOTH).succeeded()
    moved = host.path(f"{STATE}/host-local")
    moved.write_bytes((host.bin / "host-local").read_bytes())
    moved.chmod(0o755)
    assert "Permission denied" in host.run(f"{STATE}/host-local").err
    for folder in ("/", "/etc/cni/net.d", str(host.bin), "/run"):
        with pytest.raises(OSError, match="Read-only file system"):
            host.path(f"{folder}/new").touch()
    assert host.files() == ["/dev/null", "/run/netns/pod"]
    host.call("DEL", pod).succeeded()


def test_the_command_line_works_on_an_empty_host(node: Node, payload: Path) -> None:
    """list, explain, attachments and doctor run with the same interpreter."""
    pod = node.container("pod")
    host = BareHost(node, payload, pod)
    host.call("ADD", pod, BOTH).succeeded()
    manifest = node.folder / "conf" / "pod.manifest"
    pod_manifest = {"kind": "Pod", "metadata": {"name": "web", "annotations": {"cni": "canal"}}}
    manifest.write_text(json.dumps(pod_manifest))

    def genie(*words: str) -> str:
        answer = host.run(host.plugin.launcher, *words)
        assert "Traceback" not in answer.err, answer.err
        return answer.out.decode() + answer.err

    there = ("--cni-path", str(host.bin))
    assert "10-weave.conflist" in genie("list", *there)
    assert "canal" in genie("explain", "/etc/cni/net.d/pod.manifest", *there)
    assert "net1" in genie("attachments")
    assert f"{STATE} is writable" in genie("doctor", *there)
    host.call("DEL", pod).succeeded()


def imports(sources: Path) -> set[str]:
    """Return the modules of the standard library that the plugin names anywhere."""
    modules = set()
    for file in sources.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module)
    known = sys.stdlib_module_names - {"__future__"}
    return {name for name in modules if name.partition(".")[0] in known}


def test_every_module_that_the_plugin_names_is_installed(node: Node, payload: Path) -> None:
    """With its own imports; also modules that a test hardly reaches."""
    host = BareHost(node, payload)
    names = sorted(imports(host.plugin.folder / "src"))
    assert {"json", "subprocess", "argparse"} & set(names)
    code = f"for name in {names}: __import__(name)"
    answer = host.run(host.plugin.folder / "python3", "-IS", "-c", code)
    assert (answer.code, answer.err) == (0, "")


def test_the_plugin_with_its_interpreter_is_small(payload: Path) -> None:
    """An upgrade needs twice that for a while."""
    size = sum(path.stat().st_size for path in payload.rglob("*") if path.is_file())
    assert size < MOST


def test_it_can_be_built_from_the_interpreter_of_the_tests(node: Node, tmp_path: Path) -> None:
    """That may have another prefix than /usr and a shared library, as in python.org's images."""
    pod = node.container("pod")
    host = BareHost(node, image.make(tmp_path / "payload", image.OWN), pod)
    host.call("ADD", pod, BOTH).succeeded()
    assert node.links(pod) == ["eth0", "net1"]
    host.call("DEL", pod).succeeded()
    assert host.records() == []


def test_two_builds_are_equal_to_the_byte(payload: Path, tmp_path: Path) -> None:
    """Names, permissions and content; the Dockerfile sets the times."""
    again = image.make(tmp_path / "again", image.DEBIAN)
    assert list(image.content(again)) == list(image.content(payload))
