"""The built plugin: it runs from where it is put, and loads no more than it needs."""

from __future__ import annotations

import json
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dispatcher import cni_errors, keys
from dispatcher.build import bundle, compile_plugin

PYTHON = str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]

PLUGIN = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" = ADD ] && echo '%s'
exit 0
"""
V4 = {"ips": [{"address": "10.0.0.9/24"}]}
V6 = {"ips": [{"address": "fd00::9/64"}], "routes": [{"dst": "::/0", "gw": "fd00::1"}]}

ALWAYS = {"_json", "gc", "fcntl", "select"}
BUDGET = {
    "VERSION": ALWAYS,
    "ADD": ALWAYS,
    "DEL": ALWAYS,
    "CHECK": ALWAYS,
    "STATUS": ALWAYS,
    "GC": ALWAYS,
}
"""What a command may load besides the interpreter's modules and Genie's own."""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plugin, built for the interpreter that runs the tests."""
    target = tmp_path_factory.mktemp("built")
    return bundle.build(target, compiler=PYTHON, interpreter=PYTHON, cni_bin="/x", release="1.2.3")


def call(
    program: list[str],
    folder: Path,
    command: str,
    *,
    result: dict[str, Any] = V4,
    netns: str = "/none",
    **more: Any,
) -> subprocess.CompletedProcess[str]:
    """Call the plugin with one network, whose delegate is a shell script that prints *result*."""
    (folder / "bin").mkdir(exist_ok=True)
    plugin = folder / "bin" / "plug"
    plugin.write_text(PLUGIN % json.dumps(result))
    plugin.chmod(0o755)
    conf = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "plug"}]}
    (folder / "net.conflist").write_text(json.dumps(conf))
    environ = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAMESPACE=n;K8S_POD_NAME=p",
        "CNI_PATH": str(folder / "bin"),
    }
    stdin: dict[str, Any] = {
        "cniVersion": "1.1.0",
        "name": "genie",
        "type": "genie",
        "default": "net",
        "confDirs": [str(folder)],
        "stateDir": str(folder / "state"),
        "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
        **more,
    }
    return subprocess.run(
        program, input=json.dumps(stdin), env=environ, capture_output=True, text=True, check=False
    )


def loaded(
    program: list[str], folder: Path, command: str, *, code: int = 0, **more: Any
) -> set[str]:
    """Return the modules that a call imports; it must end with the error *code*."""
    completed = call([PYTHON, "-I", "-S", "-X", "importtime", *program], folder, command, **more)
    assert (json.loads(completed.stdout or "{}").get("code", 0)) == code, completed.stdout
    lines = (
        line.rpartition("|")[2].strip() for line in completed.stderr.splitlines() if "|" in line
    )
    return {name for name in lines if name != "imported package"}


def foreign(launcher: Path, folder: Path, command: str, **more: Any) -> set[str]:
    """Return what a call imports besides Genie's modules and the interpreter's own."""
    bare = loaded(["-c", "pass"], folder, "VERSION")
    names = loaded([str(launcher)], folder, command, **more) - bare
    assert not any(name.startswith("dispatcher.plugin.cli") for name in names)
    return {name for name in names if name.partition(".")[0] != "dispatcher"}


@pytest.mark.parametrize("command", ["VERSION", "STATUS", "ADD", "CHECK", "GC", "DEL"])
def test_a_command_loads_no_more_than_its_budget(
    launcher: Path, tmp_path: Path, command: str
) -> None:
    """Each import costs start-up time before every pod: what is not listed is too expensive."""
    if command in {"CHECK", "GC", "DEL"}:
        call([str(launcher)], tmp_path, "ADD")
    assert foreign(launcher, tmp_path, command) <= BUDGET[command]


def test_the_rules_for_known_plugins_are_loaded_for_two_networks_or_more(
    launcher: Path, tmp_path: Path
) -> None:
    """A pod with one network needs no rules. The second call fails later: it has no namespace."""
    for value, code, there in (("net", 0, False), ("net,net@net1", cni_errors.INVALID_NETNS, True)):
        annotations = {keys.POD_ANNOTATIONS: {keys.ANNOTATION: value}}
        names = loaded([str(launcher)], tmp_path, "ADD", code=code, runtimeConfig=annotations)
        call([str(launcher)], tmp_path, "DEL")
        assert ("dispatcher.plugin_rules" in names) == there


GROUPS = {
    "release": ("dispatcher.plugin.commands.delete", "dispatcher.plugin.free"),
    "several networks": ("dispatcher.plugin_rules", "dispatcher.plugin.default_routes"),
    "definitions": ("dispatcher.nad", "dispatcher.plugin.definitions"),
}
"""For what besides an ADD with one network modules are created together, and some of these."""

NEEDED: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "ADD": ("ADD", {keys.ANNOTATION: "net"}, set()),
    "DEL": ("DEL", {keys.ANNOTATION: "net"}, {"release"}),
    "ADD of definitions": (
        "ADD",
        {keys.ANNOTATION: "net", keys.NETWORKS: " "},
        {"definitions"},
    ),
    "ADD that fails": ("ADD", {keys.ANNOTATION: "net,net@net1"}, {"several networks", "release"}),
}


@pytest.mark.parametrize(("command", "annotations", "needed"), NEEDED.values(), ids=NEEDED.keys())
def test_a_call_loads_only_the_groups_of_modules_that_it_needs(
    launcher: Path, tmp_path: Path, command: str, annotations: dict[str, str], needed: set[str]
) -> None:
    """An ADD with one network does not even open their file. The last call has no namespace."""
    more: dict[str, Any] = {
        "runtimeConfig": {keys.POD_ANNOTATIONS: annotations},
        "args": {keys.CONF_ARGS: {"attachmentDefinitions": "enforce"}},
        "code": cni_errors.INVALID_NETNS if len(needed) > 1 else 0,
    }
    if command == "DEL":
        call([str(launcher)], tmp_path, "ADD")
    if not needed:
        for file in (launcher.parent / ".genie").rglob("*.rest"):
            file.rename(file.with_suffix(".away"))
    try:
        names = loaded([str(launcher)], tmp_path, command, **more)
    finally:
        for file in (launcher.parent / ".genie").rglob("*.away"):
            file.rename(file.with_suffix(".rest"))

    assert {group for group, modules in GROUPS.items() if names.intersection(modules)} == needed
    bare = loaded(["-c", "pass"], tmp_path, "VERSION")
    others = {name for name in names - bare if not name.startswith("dispatcher")}
    assert others <= (ALWAYS if len(needed) < 2 else ALWAYS | {"_socket", "_struct", "_ctypes"})


def test_ipv6_addresses_cost_one_module_where_they_are_parsed(
    launcher: Path, tmp_path: Path
) -> None:
    """ADD parses them; DEL passes on the recorded result."""
    assert foreign(launcher, tmp_path, "ADD", result=V6) <= ALWAYS | {"_socket"}
    assert foreign(launcher, tmp_path, "DEL", result=V6) <= ALWAYS


def test_several_networks_cost_the_modules_for_netlink_and_namespaces(
    launcher: Path, tmp_path: Path
) -> None:
    """Of ctypes only the core. A plain file is no namespace, so nothing is attached."""
    netns = tmp_path / "netns"
    netns.touch()
    more = {
        "netns": str(netns),
        "runtimeConfig": {keys.POD_ANNOTATIONS: {keys.ANNOTATION: "net,net@net1"}},
        "code": cni_errors.INVALID_NETNS,
    }
    budget = ALWAYS | {"_socket", "_struct", "_ctypes"}
    assert foreign(launcher, tmp_path, "ADD", **more) <= budget


def test_one_network_loads_no_netlink(launcher: Path, tmp_path: Path) -> None:
    """Genie does not change the default routes of a pod with one network."""
    names = loaded([str(launcher)], tmp_path, "ADD")
    assert "dispatcher.plugin.delegate" not in names  # the core is created without an import
    assert "dispatcher.plugin.netlink" not in names


def test_asking_the_agent_costs_one_module(launcher: Path, tmp_path: Path) -> None:
    """The modules that are loaded anyway parse the response."""
    address = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.makefile("rb").read()
                peer.sendall(b'{"annotations":{"cni":"net"}}')

        threading.Thread(target=answer, daemon=True).start()
        names = foreign(launcher, tmp_path, "ADD", agentSocket=address)
    assert "_socket" in names
    assert names <= ALWAYS | {"_socket"}


def test_the_bundle_has_only_modules_of_the_plugin(launcher: Path) -> None:
    """It has no modules of the services."""
    [folder] = (launcher.parent / ".genie").iterdir()
    sources = {str(file.relative_to(folder / "src")) for file in folder.rglob("*.py")}
    assert "dispatcher/plugin/main.py" in sources
    assert "dispatcher/state/record.py" in sources
    assert not [
        name
        for name in sources
        if name.startswith(("dispatcher/agent", "dispatcher/build", "webhook"))
    ]


@pytest.mark.parametrize(
    "change",
    ["as built", "through a symbolic link", "by another interpreter", "from another place"],
)
def test_the_plugin_runs(launcher: Path, tmp_path: Path, change: str) -> None:
    """It finds its folder, also through links, and runs the sources under another interpreter."""
    home = tmp_path / "cni-bin"
    shutil.copytree(launcher.parent, home)
    program = home / "genie"
    if change == "through a symbolic link":
        (tmp_path / "link").symlink_to(program)
        program = tmp_path / "link"
    if change == "by another interpreter":
        for file in home.rglob("*.core"):
            file.unlink()
    if change == "from another place":
        home.rename(tmp_path / "elsewhere")
        program = tmp_path / "elsewhere" / "genie"
    completed = call([str(program)], tmp_path, "ADD")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert json.loads(completed.stdout)["ips"] == [{"address": "10.0.0.9/24"}]
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_command_line_is_the_same_executable(launcher: Path, tmp_path: Path) -> None:
    """Without CNI_COMMAND, it is the command line for people."""
    completed = subprocess.run(
        [launcher, "list", "--conf-dir", tmp_path], capture_output=True, text=True, check=True
    )
    assert completed.stdout.startswith("NETWORK")


@pytest.mark.parametrize("arguments", ["list --output json", "--help", "doctor"])
def test_a_closed_pipe_ends_the_command_line_quietly(launcher: Path, arguments: str) -> None:
    """`genie list | true` ends by SIGPIPE, as other programs do, without a message."""
    read, write = os.pipe()
    os.close(read)
    completed = subprocess.run(
        [launcher, *arguments.split()], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (completed.returncode, completed.stderr) == (-signal.SIGPIPE, b"")


def test_two_builds_share_a_folder_only_if_they_are_equal(tmp_path: Path) -> None:
    """The version has a hash of the content; a second build changes nothing."""
    first = bundle.build(tmp_path, compiler=PYTHON, interpreter=PYTHON, cni_bin="/x", release="1")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    bundle.build(tmp_path, compiler=PYTHON, interpreter=PYTHON, cni_bin="/x", release="1")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    bundle.build(tmp_path, compiler=PYTHON, interpreter=PYTHON, cni_bin="/x", release="2")
    assert len(list((tmp_path / ".genie").iterdir())) == 1
    assert first.read_text() != before[first].decode()


def test_a_carried_interpreter_is_named_by_its_path_on_the_node(
    tmp_path: Path,
) -> None:
    """A name without a slash is a file in the version's folder."""
    built = bundle.build(
        tmp_path, compiler=PYTHON, interpreter="python3", cni_bin="/opt/cni/bin", release="1"
    )
    [folder] = (tmp_path / ".genie").iterdir()
    first, second, *_ = built.read_text().splitlines()
    assert first == f"#!/opt/cni/bin/.genie/{folder.name}/python3 -IS"
    assert second.startswith("# Genie ")


def test_the_compiled_files_are_in_the_order_of_their_imports(
    tmp_path: Path,
) -> None:
    """Together the files have all modules of the plugin."""
    compile_plugin.compile_bundle(tmp_path)
    tag = sys.implementation.cache_tag
    boot, (core, places) = marshal.loads((tmp_path / f"{tag}.core").read_bytes())  # noqa: S302 - just made
    names = [name for name, _, _ in core]
    assert names[0] == "dispatcher"
    assert names.index("dispatcher.jsontext") < names.index("dispatcher.plugin.main")
    assert boot.co_name == "<module>"

    rest = (tmp_path / f"{tag}.rest").read_bytes()
    grouped = {
        place: marshal.loads(rest[place[0] : sum(place)])  # noqa: S302 - just made
        for place in places.values()
    }
    assert sum(size for _, size in grouped) == len(rest)
    [[name, _, gc]] = grouped[places["dispatcher.plugin.commands.gc"]]
    assert (name, gc.co_filename) == (
        "dispatcher.plugin.commands.gc",
        "dispatcher.plugin.commands.gc.py",
    )
    of_definitions = [name for name, _, _ in grouped[places["dispatcher.nad"]]]
    assert of_definitions.index("dispatcher.nad.names") < of_definitions.index(
        "dispatcher.nad.grammar"
    )
    assert not set(places) & set(names)
    assert {*names, *places} == set(compile_plugin.modules())
    for place, group in grouped.items():
        assert {name for name, _, _ in group} == {
            name for name, other in places.items() if other == place
        }


@pytest.mark.parametrize("first", ["dispatcher.nad", "dispatcher.plugin.definitions.pod_plan"])
def test_a_module_of_definitions_can_be_imported_in_any_order(
    launcher: Path, tmp_path: Path, first: str
) -> None:
    """Also one of rare cases, which is in the rest; and each is created once."""
    script = f"""
import sys, marshal
home = {str(next((launcher.parent / ".genie").iterdir()))!r} + "/"
with open(home + sys.implementation.cache_tag + ".core", "rb") as file:
    boot, core = marshal.loads(file.read())
exec(boot, {{"core": core, "home": home}})
import {first}
import dispatcher.nad.names as names
import dispatcher.nad.json_places, dispatcher.plugin.definitions.default_gateways
from dispatcher.nad import grammar
assert grammar.is_label is names.is_label
assert sys.modules["dispatcher.nad"].names is names
try:
    import dispatcher.nad.tenants
except ModuleNotFoundError:
    print("done")
"""
    completed = subprocess.run(
        [PYTHON, "-IS", "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (completed.stdout, completed.stderr) == ("done\n", "")


def test_the_build_command_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default release is the project's version; the compiler may be another program."""
    arguments = [str(tmp_path), "--interpreter", "python3", "--compiler", PYTHON]
    monkeypatch.setattr("sys.argv", ["build", *arguments])
    bundle.main()
    assert capsys.readouterr().out == f"{tmp_path}/genie\n"
    [folder] = (tmp_path / ".genie").iterdir()
    project = tomllib.loads((compile_plugin.PACKAGE.parent / "pyproject.toml").read_text())[
        "project"
    ]
    assert folder.name.startswith(f"{project['version']}-")


def test_the_build_command(tmp_path: Path) -> None:
    """It prints the path of the launcher."""
    command = [sys.executable, "-m", "dispatcher.build.bundle", str(tmp_path)]
    completed = subprocess.run(
        [*command, "--interpreter", PYTHON, "--version", "9"],
        capture_output=True,
        text=True,
        check=True,
        cwd=compile_plugin.PACKAGE.parent,
    )
    assert completed.stdout == f"{tmp_path}/genie\n"
