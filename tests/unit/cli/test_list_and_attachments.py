"""``genie list`` and ``genie attachments``: what they print, and with which exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.state import store
from tests.unit.cli.builders import CommandLine, in_this_process
from tests.unit.plugin.rig import error_of, failure

if TYPE_CHECKING:
    from tests.unit.plugin.rig import Rig


def test_list_tells_networks_and_why_not(node: Rig, genie: CommandLine) -> None:
    """One row for each file."""
    (node.conf / "broken.conf").write_text("{")
    (node.conf / "a b.conf").write_text("{")
    (node.folder / "bin" / "w2").unlink()
    rows = {row["network"]: row for row in genie.json("list")}
    assert rows["canal"]["attachable"]
    assert rows["canal"]["also"] == ["canal-net", "10-canal"]
    assert rows["weave"]["reason"] == "no executable for w2"
    assert "not valid JSON" in rows["broken"]["reason"]
    done = genie("list")
    assert done.code == 0
    assert "-        -" in done.out


def test_attachments_are_shown_without_their_configuration(node: Rig, genie: CommandLine) -> None:
    """Configurations may hold secrets: only where asked for."""
    node.network("secret", "w1", password="hunter2")  # noqa: S106 - the secret of a test
    conf = json.loads((node.conf / "10-secret.conflist").read_text())
    conf["plugins"][0]["password"] = "hunter2"  # noqa: S105 - same
    (node.conf / "10-secret.conflist").write_text(json.dumps(conf))
    node.run("ADD", "secret,canal")
    plain = [genie("attachments"), genie("attachments", "--output", "json")]
    assert [each.code for each in plain] == [0, 0]
    shown = "".join(each.out for each in plain)
    assert "ns/pod" in shown
    assert "10.1.0.2/16" in shown
    assert "hunter2" not in shown
    done = genie("attachments", "--show-config")
    assert done.code == 0
    assert "hunter2" in done.out


@pytest.mark.parametrize(
    ("result", "said"),
    [("{}", "interfaces"), ('{"interfaces":[],"ips":[{}],"routes":[],"dns":{}}', "address")],
)
def test_a_record_with_something_foreign_inside_is_told(
    node: Rig, genie: CommandLine, result: str, said: str
) -> None:
    """Its file is named instead of a traceback."""
    node.run("ADD", "canal")
    value = node.record()
    value["attachments"][0]["result"] = json.loads(result)
    node.rewrite(value)
    captured = genie("attachments")
    assert captured.code == 1
    assert f'c1.json: its "{said}" is missing' in captured.err
    assert "no attachments" not in captured.err


@in_this_process
def test_attachments_whose_record_cannot_be_read(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are shown, the file is named, and the exit code says so; all from one look."""
    node.run("ADD", "canal")
    (node.state / "odd.json").write_text("{")
    read, looked = store.read, []

    def look(state_dir: str, container_id: str) -> Any:
        looked.append(container_id)
        return read(state_dir, container_id)

    monkeypatch.setattr(store, "read", look)
    captured = genie("attachments")
    assert captured.code == 1
    assert looked == ["c1", "odd"]
    assert "canal" in captured.out
    assert "odd.json" in captured.err


def test_an_empty_node_is_told_in_words(node: Rig, genie: CommandLine) -> None:
    """A table without rows says why it has none, beside the table."""
    for file in node.conf.iterdir():
        file.unlink()
    done = [genie("list"), genie("attachments")]
    assert [each.code for each in done] == [0, 0]
    output = "".join(each.err for each in done)
    assert f"no CNI configuration in {node.conf}" in output
    assert f"no attachments: {node.state} has no records" in output


def test_the_cli_reads_what_the_store_writes(node: Rig) -> None:
    """Records of a failed roll-back are shown too."""
    node.delegates.faults["ADD", "c1"] = failure()
    node.delegates.faults["DEL", "c1"] = failure()
    error_of(node, "ADD", "canal")
    assert list(store.container_ids(str(node.state))) == ["c1"]


@in_this_process
def test_a_record_that_goes_while_it_is_looked_for(
    genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and the look a DEL may have come."""
    monkeypatch.setattr(store, "container_ids", lambda _: iter(["gone"]))
    assert genie("attachments", "--output", "json").code == 0


def test_attachments_of_one_pod(node: Rig, genie: CommandLine) -> None:
    """By namespace and name; a pod that is not here is an empty answer."""
    node.run("ADD", "canal")
    assert [row["pod"] for row in genie.json("attachments", "--pod", "ns/pod")] == ["pod"]
    done = genie("attachments", "--pod", "ns/po")
    assert (done.code, done.out.count("\n")) == (0, 1)
    assert done.err == f"no attachments: {node.state} has no record of pod ns/po\n"
