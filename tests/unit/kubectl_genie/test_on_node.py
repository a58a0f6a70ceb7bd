"""Commands that ask the nodes: their own reports and logs, and the support archive."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cli import kubectl
from cli.on_node import Ran
from dispatcher.kube.errors import KubeError
from tests.unit.kubectl_genie.builders import CLUSTER, GENIE, FakeAPI, agent_pod, webhook_pod

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

    Run = Callable[..., Result]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return the commands that were run in pods; each answers a line, JSON if it is asked for."""
    commands: list[tuple[str, ...]] = []

    def execute(_: object, namespace: str, pod: str, container: str, words: list[str]) -> Ran:
        commands.append((namespace, pod, container, *words))
        text = '{"ok": false}' if "json" in words else "record\x1b broken"
        return Ran(text, "a warning\n", 1)

    monkeypatch.setattr(kubectl, "core", lambda _: None)
    monkeypatch.setattr(kubectl, "execute", execute)
    return commands


ON_NODE: dict[str, Any] = {f"{GENIE}/pods": [agent_pod("n1", "/k3s/bin")]}


@pytest.mark.parametrize("command", ["doctor", "attachments"])
@pytest.mark.parametrize("words", [(), ("n1",)], ids=["every node", "one node"])
def test_a_command_of_the_node_runs_in_the_privileged_container(
    run: Run, executed: list[tuple[str, ...]], command: str, words: tuple[str, ...]
) -> None:
    """In the node's own root, from where the agent has installed it; its exit code counts."""
    result = run(command, *words, objects=ON_NODE)
    program = ("chroot", "/host", "/k3s/bin/genie", command)
    assert executed == [("genie-system", "genie-agent-n1", "reaper", *program)]
    assert (result.exit_code, result.stderr) == (1, "n1: a warning\n")
    assert result.stdout == "n1:\n  record\ufffd broken\n"


def test_attachments_of_one_pod_are_chosen_on_the_node(
    run: Run, executed: list[tuple[str, ...]]
) -> None:
    """The node's own command knows the pod of each record."""
    run("attachments", "--pod", "shop/web", objects=ON_NODE)
    assert executed[0][-3:] == ("attachments", "--pod", "shop/web")


def test_reports_of_nodes_are_json_by_node(run: Run, executed: list[tuple[str, ...]]) -> None:
    """From the nodes' own JSON."""
    result = run("doctor", "-o", "json", objects=ON_NODE)
    assert json.loads(result.stdout) == {"n1": {"ok": False}}
    assert executed[0][-2:] == ("--output", "json")


def test_logs_name_the_container_of_each_line(run: Run) -> None:
    """Of agent and reaper."""
    apis: list[FakeAPI] = []
    result = run("logs", "n1", "--tail", "7", objects=ON_NODE, change=apis.append)
    assert result.stdout.splitlines()[::2] == ["agent  first", "reaper first"]
    paths = [path for path, _ in apis[0].requests if "/log?" in path]
    assert paths[0] == f"{GENIE}/pods/genie-agent-n1/log?container=agent&tailLines=7"


def test_a_bundle_is_a_file_of_its_owner(
    run: Run, executed: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """With the reports and logs of each node; its name is all that is on standard output."""
    file = tmp_path / "b.tar.gz"
    pods = [*ON_NODE[f"{GENIE}/pods"], webhook_pod("genie-webhook-a")]
    objects = {**CLUSTER, f"{GENIE}/pods": pods, "/api/v1/events": []}
    result = run("bundle", "--file", str(file), objects=objects)
    assert (result.exit_code, result.stdout) == (0, f"{file}\n"), result.output
    assert file.stat().st_mode & 0o777 == 0o600
    assert "collecting nodes/n1/doctor.json" in result.stderr
    assert "collecting webhook/genie-webhook-a/webhook.log" in result.stderr
    assert [words[-3] for words in executed] == ["doctor", "attachments"]


def test_a_node_without_an_agent_is_named_with_those_that_have_one(run: Run) -> None:
    """A misspelled name looks like a node without an agent."""
    done = run("doctor", "n2", objects=ON_NODE)
    assert isinstance(done.exception, KubeError)
    assert "node n2: no running agent" in str(done.exception)
    assert "nodes with one: n1" in str(done.exception)
