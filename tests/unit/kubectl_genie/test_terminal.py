"""Colours and widths on a real terminal (a pty), and in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cli.checks import Check, CheckState
from cli.output import print_checks
from tests.devcluster.build.imagebuild import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

PRINT = """
from cli.checks import Check, CheckState
from cli.explain import Explanation
from cli.output import print_checks, print_explanations, print_findings, print_table
from cli.table import Column

print_table([Column("NETWORK")], [("canal",)], "")
print_checks([Check("agent", CheckState.FAILED, "0 of 2 pods ready", "see why")])
print_findings([("error", "Pod shop/web", "names no network", "")], "")
print_explanations([Explanation("Pod shop/web", "x", (), (), (), ("no",), ("careful",))], "")
"""

TEXT = """\
NETWORK
canal
failed  agent  0 of 2 pods ready
               -> see why
error   Pod shop/web
        names no network
Pod shop/web: chosen by x
  refused: no
  warning: careful
"""

RED, YELLOW, BOLD, OFF = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"

COLOURED = {
    "NETWORK": f"{BOLD}NETWORK{OFF}",
    "failed ": f"{RED}failed {OFF}",
    "error  ": f"{RED}error  {OFF}",
    "refused": f"{RED}refused{OFF}",
    "warning": f"{YELLOW}warning{OFF}",
}


def environ(variables: dict[str, str]) -> dict[str, str]:
    """Return a terminal's environment with *variables*."""
    kept = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR"}}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": os.fspath(PROJECT), **variables}


def in_pipe(variables: dict[str, str]) -> str:
    """Return what the program prints into a pipe."""
    command = [sys.executable, "-c", PRINT]
    result = subprocess.run(command, env=environ(variables), check=True, capture_output=True)
    return result.stdout.decode()


def on_terminal(variables: dict[str, str]) -> str:
    """Return what the program prints on a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PRINT], env=environ(variables), stdin=theirs, stdout=theirs
    ) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # how Linux reports the end of a terminal
                break
            if not chunk:
                break
            printed += chunk
    os.close(ours)
    assert process.returncode == 0
    return printed.decode().replace("\r\n", "\n")


def coloured(text: str) -> str:
    for word, styled in COLOURED.items():
        text = text.replace(word, styled)
    return text


@pytest.mark.parametrize(
    ("run", "variables", "expected"),
    [
        pytest.param(on_terminal, {}, coloured(TEXT), id="a terminal has colours"),
        pytest.param(in_pipe, {}, TEXT, id="a pipe has none"),
        pytest.param(in_pipe, {"FORCE_COLOR": "1"}, coloured(TEXT), id="FORCE_COLOR in a pipe"),
        pytest.param(on_terminal, {"TERM": "dumb"}, TEXT, id="TERM=dumb has none"),
    ],
)
def test_colours_are_for_terminals(
    run: Callable[[dict[str, str]], str], variables: dict[str, str], expected: str
) -> None:
    """The text is the same."""
    assert run(variables) == expected


def test_no_color_keeps_bold_alone() -> None:
    """As rich treats it: NO_COLOR is about colours."""
    assert on_terminal({"NO_COLOR": "1"}) == TEXT.replace("NETWORK", COLOURED["NETWORK"])


LONG = "network production-eu-central-1-storage-backend"
CHECKS = f"""\
ok      agent  2 of 2 pods ready
failed  {LONG}
               ready on 0 of 2 nodes; not attachable on
               worker-1.eu-central-1.example, worker-2.eu-central-1.example
               -> kubectl describe node worker-1.eu-central-1.example shows Events
"""


def test_a_long_name_leaves_room_for_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    """A network may have 63 characters."""
    nodes = ("worker-1.eu-central-1.example", "worker-2.eu-central-1.example")
    message = f"ready on 0 of 2 nodes; not attachable on {', '.join(nodes)}"
    fix = f"kubectl describe node {nodes[0]} shows Events"
    print_checks(
        [
            Check("agent", CheckState.OK, "2 of 2 pods ready"),
            Check(LONG, CheckState.FAILED, message, fix),
        ]
    )
    assert capsys.readouterr().out == CHECKS
