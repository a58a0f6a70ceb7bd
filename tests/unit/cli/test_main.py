"""Options, help, exit codes and output of the command line."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.builders import CommandLine, in_this_process
from tests.unit.plugin.rig import error_of, failure

if TYPE_CHECKING:
    from tests.unit.plugin.rig import Rig


COMMANDS = ["explain", "list", "attachments", "doctor", "free", "version"]


@in_this_process
def test_colour_only_on_a_terminal(genie: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape sequences are for eyes, not for files."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    genie("explain", "/none")
    assert "\x1b[31merror\x1b[0m" in out.getvalue()


def test_without_a_command_all_commands_are_told(genie: CommandLine) -> None:
    """Nothing was asked for: the help goes to standard error, with the exit code of misuse."""
    captured = genie.bare()
    assert (captured.code, captured.out) == (2, "")
    assert all(word in captured.err for word in COMMANDS)


def test_options_stand_before_the_command_or_behind_it(node: Rig, genie: CommandLine) -> None:
    """What is given behind it wins."""
    before = ("--output", "json", *genie.options)
    done = genie.bare(*before, "list")
    assert json.loads(done.out)[0]["file"] == f"{node.conf}/10-canal.conflist"
    assert genie.bare(*before, "list", "--output", "table").out.startswith("NETWORK")
    done = genie.bare(*before, "--conf-dir", "/none", "list")
    assert (done.code, json.loads(done.out)) == (0, [])


def test_names_are_shown_so_that_a_terminal_takes_them_for_text(
    node: Rig, genie: CommandLine
) -> None:
    """Escape sequences and lone surrogates, in manifests, in files and in what plugins said."""
    odd = json.dumps({"kind": "Pod", "metadata": {"name": "\x1b[31mweb", "namespace": "\ud800"}})
    (node.folder / "odd.json").write_text(odd)
    (node.conf / "a\x1b[2J.conf").write_text("{")
    node.network("odd", "\x1b[31mtype")
    node.run("ADD", "canal")
    node.delegates.faults["DEL", "c1"] = failure(7, "no\n\x9bmore")
    error_of(node, "DEL")
    shown = ""
    for arguments in (
        ["explain", str(node.folder / "odd.json")],
        ["list"],
        ["attachments"],
        ["doctor"],
        ["attachments", "--output", "json"],
    ):
        done = genie(*arguments)
        shown += done.out + done.err
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "Traceback" not in shown
    assert "Pod \\ud800/\\x1b[31mweb" in shown
    assert "a\\x1b[2J.conf" in shown
    assert "no executable for \\x1b[31mtype" in shown
    assert "no\\n\\x9bmore" in shown
    assert "no\\n\\u009bmore" in shown


def test_json_loses_nothing_for_the_terminals_sake(node: Rig, genie: CommandLine) -> None:
    """What a terminal may act upon is escaped as JSON has it, also beyond 16 bits."""
    name = "a\x9b\u202e\U000e0001é😀"
    pod = node.folder / "pod.json"
    pod.write_text(json.dumps({"kind": "Pod", "metadata": {"name": name}}))
    out = genie("explain", str(pod), "--output", "json").out
    assert json.loads(out)[0]["name"] == name
    assert out.strip().isprintable()
    assert "é😀" in out


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["dance"]])
def test_help_and_misuse(genie: CommandLine, arguments: list[str]) -> None:
    """--help prints the usage; unknown arguments have exit code 2."""
    captured = genie.bare(*arguments)
    assert captured.code == (0 if "--help" in arguments else 2)
    assert "usage: genie" in captured.out + captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_examples(genie: CommandLine, command: str) -> None:
    """Each is a line that can be copied."""
    text = genie.bare(command, "--help").out
    examples = text.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    assert all(f"genie {command}" in line for line in examples)


def test_a_manifest_that_is_not_there(genie: CommandLine) -> None:
    """The file and the reason, in words."""
    done = genie.bare("explain", "/none")
    assert (done.code, done.err) == (1, "error: /none: No such file or directory\n")
