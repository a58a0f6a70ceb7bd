"""The CNI protocol: versions, streams, the caller's namespace, recursion."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors, keys
from dispatcher.conf import VERSIONS
from tests.node.namespaces import Container

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.node.harness import Node

BOTH = "weave,canal@net1"
MAPPINGS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]


def _address(result: dict[str, Any]) -> str:
    """Return the IPv4 address in a result of any version."""
    if result["cniVersion"] in {"0.1.0", "0.2.0"}:
        return str(result["ip4"]["ip"])
    (ip,) = result["ips"]
    assert ip.get("version") == ("4" if result["cniVersion"] < "1.0.0" else None)
    return str(ip["address"])


@pytest.mark.parametrize("version", VERSIONS)
def test_results_have_the_requested_version(node: Node, version: str) -> None:
    """For every requested version, with real delegates configured in every version."""
    for speaks in VERSIONS:
        conf = node.bridge_conf("weave", "10.32.0.0/16")
        node.network("weave", conf, version=speaks)
        pod = node.container(f"pod-{speaks}")
        result = node.add(pod, BOTH, cniVersion=version).succeeded()
        assert result["cniVersion"] == version
        address = _address(result).partition("/")[0]
        assert f"inet {address}/16" in node.sh("ip addr show eth0", net=pod.netns)
        if version >= "0.4.0":
            node.check(pod, cniVersion=version).succeeded()
        assert node.delete(pod, cniVersion=version).succeeded() is None
        assert node.links(pod) == []
    assert node.addresses("weave") == []


@pytest.mark.parametrize("version", ["", None])
def test_without_a_version_the_result_has_the_oldest(node: Node, version: str | None) -> None:
    """The specification requires this for a configuration without cniVersion."""
    pod = node.container("pod")
    conf = node.conf("weave", cniVersion=version)
    if version is None:
        del conf["cniVersion"]
    stdin = json.dumps(conf).encode()
    result = node.start(node.environ("ADD", pod), stdin).answer().succeeded()
    assert result["cniVersion"] == "0.1.0"
    node.delete(pod).succeeded()


@pytest.mark.parametrize("spelling", [str, lambda key: key[:1].upper() + key[1:]])
def test_port_mappings_reach_a_chain_that_declares_them(
    node: Node, spelling: Callable[[str], str]
) -> None:
    """portmap, chained after bridge, gets them in both spellings; DEL removes the rules."""
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"}
    node.network("weave", node.bridge_conf("weave", "10.32.0.0/16"), portmap)
    pod = node.container("pod")
    mappings = [{spelling(key): value for key, value in each.items()} for each in MAPPINGS]
    config = {keys.POD_ANNOTATIONS: {keys.ANNOTATION: BOTH}, "portMappings": mappings}
    node.add(pod, runtimeConfig=config).succeeded()
    assert "8080" in node.sh("nft list ruleset")
    node.check(pod, runtimeConfig=config).succeeded()
    node.delete(pod).succeeded()
    assert "8080" not in node.sh("nft list ruleset")
    assert node.addresses("weave") == []


def test_check_detects_a_missing_interface(node: Node) -> None:
    """CHECK covers every attachment, also a secondary."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    node.check(pod).succeeded()
    node.sh("ip link del net1", net=pod.netns)
    assert "canal" in node.check(pod).failed()["msg"]
    node.delete(pod).succeeded()
    node.check(pod).failed(cni_errors.UNKNOWN_CONTAINER)


def test_its_own_network_namespace_is_refused_before_any_delegate_runs(node: Node) -> None:
    """Code 8: otherwise bridge with ipMasq would change the node's own network."""
    called = node.folder / "called"
    node.delegate("bridge", f"touch {called}\nexec $REAL/bridge")
    host = Container("host", node.folder / "unused")
    for command in ("ADD", "DEL", "CHECK"):
        env = {"CNI_NETNS": f"/proc/{node.pid}/ns/net"}
        node.call(command, host, "weave", env=env).failed(cni_errors.INVALID_NETNS)
    assert not called.exists()
    assert node.records() == {}


def test_its_own_network_namespace_is_allowed_where_the_caller_insists(node: Node) -> None:
    """The specification provides CNI_NETNS_OVERRIDE=1 for this."""
    node.delegate("record", """[ $CNI_COMMAND = DEL ] || echo '{"cniVersion": "1.0.0"}'""")
    node.network("weave", {"type": "record"})
    host = Container("host", node.folder / "unused")
    env = {"CNI_NETNS": f"/proc/{node.pid}/ns/net", "CNI_NETNS_OVERRIDE": "1"}
    node.call("ADD", host, "weave", env=env).succeeded()
    node.call("DEL", host, "weave", env=env).succeeded()


@pytest.mark.parametrize("stdin", [b"", b"\xff\xfe\0", b"{", b"null", b"[" * 1_000_000])
def test_version_works_whatever_is_on_stdin(node: Node, stdin: bytes) -> None:
    """VERSION needs nothing but CNI_COMMAND."""
    answer = node.start({"CNI_COMMAND": "VERSION"}, stdin).answer()
    assert answer.succeeded() == {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}
    assert answer.err == ""


def test_the_environment_reaches_delegates_as_it_is(node: Node) -> None:
    """TRACEPARENT and others pass through; CNI_IFNAME is set for each attachment."""
    node.delegate("bridge", "env >>$HERE/env-$CNI_COMMAND-$CNI_IFNAME\nexec $REAL/bridge")
    pod = node.container("pod")
    env = {"TRACEPARENT": "00-1-2-01", "CNI_ARGS": "IgnoreUnknown=1;A=b"}
    node.add(pod, BOTH, env=env).succeeded()
    node.delete(pod, BOTH).succeeded()
    for interface in ("eth0", "net1"):
        for command in ("ADD", "DEL"):
            seen = (node.folder / f"env-{command}-{interface}").read_text().splitlines()
            assert "CNI_ARGS=IgnoreUnknown=1;A=b" in seen, "the recorded ones, on DEL too"
            assert f"CNI_IFNAME={interface}" in seen
            assert f"CNI_NETNS={pod.netns}" in seen
            assert ("TRACEPARENT=00-1-2-01" in seen) == (command == "ADD")


def _link(node: Node, name: str) -> None:
    (node.bin / name).symlink_to(node.genie)


def _hard_link(node: Node, name: str) -> None:
    (node.bin / name).hardlink_to(node.genie)


def _copy(node: Node, name: str) -> None:
    shutil.copy2(node.genie, node.bin / name)
    (node.bin / ".genie").symlink_to(node.genie.parent / ".genie")


def _shell_around_it(node: Node, name: str) -> None:
    node.delegate(name, f"exec {node.genie}")


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(_link, id="a symbolic link"),
        pytest.param(_hard_link, id="a hard link"),
        pytest.param(_copy, id="a copy"),
        pytest.param(_shell_around_it, id="a script that runs it"),
    ],
)
def test_a_network_that_is_genie_in_disguise_is_refused(
    node: Node, disguise: Callable[[Node, str], None]
) -> None:
    """No recursion: code 105, the network before it is released, no process remains."""
    disguise(node, "disguised")
    entry = {key: value for key, value in node.conf().items() if key not in {"cniVersion", "name"}}
    node.network("canal", {**entry, "type": "disguised", "default": "canal"})
    pod = node.container("pod")
    answer = node.add(pod, BOTH)
    assert "Genie" in answer.failed(cni_errors.RECURSION)["msg"]
    left = node.left(pod)
    assert (left.links, any(left.addresses.values()), left.processes) == ([], False, [])
    assert node.records() == {}
    node.delete(pod, BOTH).succeeded()


@pytest.mark.parametrize("annotation", ["genie", "00-genie", "chain", "weave,genie"])
def test_genie_is_never_a_network(node: Node, annotation: str) -> None:
    """Neither by its name nor inside another chain: error 101, unknown network."""
    entry = {key: value for key, value in node.conf().items() if key not in {"cniVersion", "name"}}
    file = node.network("genie", entry)
    file.rename(file.with_name("00-genie.conflist"))
    node.network("chain", node.bridge_conf("weave", "10.32.0.0/16"), entry)
    pod = node.container("pod")
    node.add(pod, annotation).failed(cni_errors.UNKNOWN_NETWORK)
    assert node.left(pod).links == []
    assert node.records() == {}


# -- Hostile input, as far as it takes a process ------------------------------------------------

HOSTILE_STDIN: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"<html>",
    "not UTF-8": b'{"name": "\xff"}',
    "a list": b"[]",
    "NaN": b'{"cniVersion": NaN}',
    "a number beyond a double": b'{"cniVersion": "1.0.0", "name": "genie", "x": 1e400}',
    "a key twice": b'{"cniVersion": "1.0.0", "cniVersion": "1.0.0"}',
    "nested without end": b'{"a":' * 100_000,
    "20 MB": b'{"a": "' + b"x" * 20_000_000 + b'"}',
    "a version of its own": b'{"cniVersion": "9.9.9", "name": "genie"}',
    "a name with a slash": b'{"cniVersion": "1.0.0", "name": "../genie"}',
    "a stateDir of its own kind": b'{"cniVersion": "1.0.0", "name": "genie", "stateDir": "x"}',
}
HOSTILE_ANNOTATIONS = {
    "a path": "../../etc/passwd",
    "an absolute path": "/etc/cni/net.d/weave",
    "a NUL": "weave\0",
    "a newline": "weave\ncanal",
    "a lone surrogate": "\ud800",
    "256 KiB": "weave," * 43_690,
    "too many": ",".join(["weave"] * 17),
    "an interface that is a path": "weave@../lo",
    "the loopback": "weave,canal@lo",
    "an interface that the kernel refuses": "weave,canal@all",
    "no primary": "weave@net1",
    "an option": "--help",
    "a shell's": "$(touch /tmp/x);weave",
}
HOSTILE_ENVIRONMENT: dict[str, dict[str, str]] = {
    "a container id that is a path": {"CNI_CONTAINERID": "../../etc/x"},
    "a container id with a newline": {"CNI_CONTAINERID": "a\nb"},
    "an endless container id": {"CNI_CONTAINERID": "a" * 5000},
    "a container id that is not UTF-8": {"CNI_CONTAINERID": "\udcff"},
    "an interface that is a path": {"CNI_IFNAME": "../x"},
    "an endless interface": {"CNI_IFNAME": "e" * 16},
    "no namespace": {"CNI_NETNS": ""},
    "nothing at all": dict.fromkeys(
        ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_PATH", "CNI_ARGS"), ""
    ),
    "another command": {"CNI_COMMAND": "ADD;DEL"},
}


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}


def _cases() -> list[Any]:
    cases = []
    for name, stdin in HOSTILE_STDIN.items():
        cases.append(pytest.param({}, stdin, None, id=f"stdin: {name}"))
    for name, annotation in HOSTILE_ANNOTATIONS.items():
        cases.append(pytest.param({}, None, annotation, id=f"annotation: {name}"))
    for name, env in HOSTILE_ENVIRONMENT.items():
        cases.append(pytest.param(env, None, "weave", id=f"environment: {name}"))
    return cases


@pytest.mark.parametrize(("env", "stdin", "annotation"), _cases())
def test_hostile_input_is_a_clear_error(
    node: Node, env: dict[str, str], stdin: bytes | None, annotation: str | None
) -> None:
    """One JSON object with a short sentence, no traceback, no file touched outside stateDir."""
    pod = node.container("pod")
    called = node.folder / "called"
    node.delegate("bridge", f"touch {called}\nexec $REAL/bridge")
    before = _files(node.folder)
    data = stdin if stdin is not None else json.dumps(node.conf(annotation)).encode()
    answer = node.start(node.environ("ADD", pod, **env), data).answer()
    error = answer.failed()
    assert 0 < error["code"] < cni_errors.INTERNAL + 1
    assert error["code"] != cni_errors.INTERNAL
    assert len(answer.out) < 4096
    assert answer.err == ""
    assert {name for name in _files(node.folder) - before if not name.startswith("state")} == set()
    assert node.links(pod) == []


def test_a_delegates_secrets_stay_in_the_record_alone(node: Node) -> None:
    """A password in a configuration appears in no error, log or journal; the record is 0600."""
    secret = "hunter2-correct-horse"  # noqa: S105 - of nothing
    node.delegate(
        "bridge", '[ "$CNI_COMMAND $CNI_IFNAME" != "ADD net1" ] || exit 1\nexec $REAL/bridge'
    )
    node.network("weave", {**node.bridge_conf("weave", "10.32.0.0/16"), "password": secret})
    pod = node.container("pod")
    failed = node.add(pod, BOTH)
    failed.failed()
    added = node.add(pod, "weave")
    added.succeeded()
    assert secret in (node.state / "pod.json").read_text(), "else DEL could not use it"
    assert (node.state / "pod.json").stat().st_mode & 0o777 == 0o600
    assert secret not in (node.state / "journal").read_text()
    for answer in (failed, added, node.delete(pod)):
        assert secret not in answer.out.decode() + answer.err
