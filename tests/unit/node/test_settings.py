from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node.mode import Mode
from dispatcher.node.settings import LIVE, NodeSettings
from dispatcher.node.settings_loader import load

PROGRAM = "python -m dispatcher.agent"


def test_the_environment_is_read_with_one_prefix() -> None:
    """As the manifests set it; an empty variable means the default."""
    environ = {
        "GENIE_NODE_NAME": "n1",
        "GENIE_DEFAULT_NETWORK": "",
        "GENIE_MODE": "remove --force",
        "GENIE_IGNORED_NETWORKS": "a, b",
        "GENIE_OTHER_BIN_DIRS": "/x,/y",
        "GENIE_REAP_AGE_SECONDS": "1.5",
        "GENIE_LIMITS": " warn\n",
        "GENIE_ALLOW_REPLACING_MULTUS": "true",
        "UNRELATED": "x",
    }
    settings = load(PROGRAM, [], environ)
    assert settings == NodeSettings(
        node_name="n1",
        mode=Mode.REMOVE_FORCE,
        ignored_networks=("a", "b"),
        other_bin_dirs=(Path("/x"), Path("/y")),
        reap_age_seconds=1.5,
        limits="warn",
        allow_replacing_multus=True,
    )
    assert settings.bin_dirs == ["/opt/cni/bin", "/x", "/y"]
    assert settings.conf_dirs == ("/etc/cni/genie.d", "/etc/cni/net.d")


def test_an_option_wins_over_its_variable() -> None:
    """In both forms."""
    environ = {"GENIE_NODE_NAME": "n1", "GENIE_PORT": "1"}
    settings = load(PROGRAM, ["--node-name", "n2", "--port=2"], environ)
    assert (settings.node_name, settings.port) == ("n2", 2)


def test_who_may_define_networks() -> None:
    """All namespaces by default; a comma alone names none."""
    assert load(PROGRAM, ["--node-name=n"]).trusted_namespaces == ("*",)
    assert load(PROGRAM, ["--node-name=n", "--trusted-namespaces=,"]).trusted_namespaces == ()
    text = '[{"namespaces": ["shop"], "plugins": [{"type": "ptp"}]}]'
    options = ["--node-name=n", "--trusted-namespaces=a,b", f"--tenant-templates={text}"]
    settings = load(PROGRAM, [*options, "--attachment-definitions-mode=observe"])
    assert settings.trusted_namespaces == ("a", "b")
    assert [each.types for each in settings.tenant_templates] == [["ptp"]]
    assert settings.copies_definitions
    with pytest.raises(InvalidSettingsError, match=r"TEMPLATES\): \[0\]\.namespaces: name at"):
        load(PROGRAM, ["--node-name=n", '--tenant-templates=[{"namespaces": []}]'])


def test_with_a_directory_the_settings_that_may_change_come_from_it_alone() -> None:
    """A variable of an older DaemonSet must not override the ConfigMap for ever."""
    environ = {"GENIE_NODE_NAME": "n1", "GENIE_MODE": "remove", "GENIE_MAX_ATTACHMENTS": "junk"}
    settings = load(PROGRAM, ["--settings-dir=/s", "--default-network=canal"], environ)
    assert settings == NodeSettings(node_name="n1", settings_dir=Path("/s"))


INVALID = {
    "--attachment-definitions-mode=on": 'one of "off", "observe", "enforce"',
    "--multus-namespace=kube_system": "the name of one namespace",
    "--missing-capability=allow": 'one of "deny", "cni-args"',
    "--default-network=a/b": "the name of one network",
    "--mode=destroy": 'one of "install", "disable", "remove", "remove --force"',
    "--mode=REMOVE_FORCE": 'one of "install", "disable", "remove", "remove --force"',
    "--deadline-seconds=200": "a whole number from 30 to 110",
    "--deadline-seconds=90.0": "a whole number from 30 to 110",
    "--max-attachments=1_0": "a whole number from 1 to 32",
    "--ignored-networks=a,b/c": "names of networks, separated by commas",
    "--limits=off": 'one of "enforce", "warn"',
    "--allow-replacing-multus=1": '"true" or "false"',
    "--reap-age-seconds=-1": "a number of seconds, 0 or above",
    "--reap-age-seconds=nan": "a number of seconds, 0 or above",
    "--reap-age-seconds=inf": "a number of seconds, 0 or above",
    "--look-seconds=0": "a number of seconds, above 0, at most 60",
    "--look-seconds=61": "a number of seconds, above 0, at most 60",
    "--look-seconds=1_0": "a number of seconds, above 0, at most 60",
}


@pytest.mark.parametrize(("argument", "expected"), INVALID.items(), ids=INVALID)
def test_an_invalid_setting_is_reported_with_its_value_and_what_is_expected(
    argument: str, expected: str
) -> None:
    """In one line."""
    option, _, value = argument.partition("=")
    variable = "GENIE_" + option.removeprefix("--").replace("-", "_").upper()
    with pytest.raises(InvalidSettingsError) as refused:
        load(PROGRAM, ["--node-name=n", argument], {})
    assert str(refused.value) == (
        f'setting {option} ({variable}): must be {expected}, got "{value}"'
    )


def test_every_invalid_setting_is_reported_at_once() -> None:
    """So that a person need not start the program for each."""
    with pytest.raises(InvalidSettingsError, match=r"--port .*; setting --log-level"):
        load(PROGRAM, ["--node-name=n", "--port=many", "--log-level=loud"], {})


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ([], {}, r"setting --node-name \(GENIE_NODE_NAME\) is required"),
        (["--node-name="], {}, "is required"),
        (["--no-such=1"], {}, 'unknown option "--no-such"; --help lists all settings'),
        (["--mod=remove"], {}, 'unknown option "--mod"'),
        (["port"], {}, 'unknown option "port"'),
        (["--port"], {}, "option --port needs a value: --port=VALUE"),
        ([], {"GENIE_CONFIG": "/x"}, "GENIE_CONFIG is not read by agent and reaper"),
    ],
    ids=[
        "no node",
        "an empty node",
        "an unknown option",
        "an abbreviation",
        "no option",
        "no value",
        "a file of YAML, which earlier versions read",
    ],
)
def test_a_command_line_that_cannot_be_read_is_an_error(
    arguments: list[str], environ: dict[str, str], words: str
) -> None:
    """In one line, without the usage."""
    with pytest.raises(InvalidSettingsError, match=words):
        load(PROGRAM, arguments, environ)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_setting_with_its_variable_and_default(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """And describes each, in lines that fit a terminal."""
    with pytest.raises(SystemExit) as ended:
        load(PROGRAM, ["--port=1", option], {})
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert max(len(line) for line in output.splitlines() if line.startswith(" ")) <= 80
    words = " ".join(output.split())
    for each in dataclasses.fields(NodeSettings):
        variable = f"GENIE_{each.name.upper()}"
        assert f"--{each.name.replace('_', '-')} ({variable}; " in output
        assert each.metadata["help"] in words
    assert "(GENIE_PORT; default: 9471)" in output
    assert "(GENIE_GONE_SECONDS; default: 60.0)" in output
    assert "(GENIE_MODE; default: install)" in output
    assert "(GENIE_ALLOW_REPLACING_MULTUS; default: false)" in output
    assert "(GENIE_POD_UID; default: empty)" in output
    assert "(GENIE_NODE_NAME; required)" in output


def test_live_settings_replace_those_of_the_start() -> None:
    """And nothing else."""
    settings = NodeSettings(node_name="n", port=1)
    live = dataclasses.replace(settings.live, default_network="canal", max_per_network=7)
    changed = settings.with_live(live)
    assert (changed.live, changed.port) == (live, 1)
    assert set(LIVE) == set(dataclasses.asdict(live))


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("dispatcher.agent.__main__", {"pydantic", "yaml", "kubernetes", "h2"}),
        (
            "dispatcher.reaper.__main__",
            {"pydantic", "yaml", "kubernetes", "urllib3", "inotify_simple"},
        ),
    ],
)
def test_libraries_that_need_much_memory_are_not_loaded(module: str, unwanted: set[str]) -> None:
    """Agent and reaper may take 90 MiB together, on every node."""
    command = [sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not unwanted & set(completed.stdout.split())
