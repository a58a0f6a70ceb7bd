"""``genie explain``: what a pod would get, and why it would be refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.unit.cli.builders import CommandLine, manifest, workload, write
from tests.unit.plugin.rig import error_of

if TYPE_CHECKING:
    from tests.unit.plugin.rig import Rig

BOTH = manifest("canal, weave")


def test_explain_prints_what_a_pod_would_get(node: Rig, genie: CommandLine) -> None:
    """Networks, interfaces and files, in order."""
    pod = write(node.folder / "pod.json", BOTH)
    answer = genie("explain", pod)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == 'Pod default/web, annotation cni: "canal, weave"'
    assert lines[2].split() == [
        "canal",
        "eth0",
        "(primary)",
        f"{node.conf}/10-canal.conflist",
        "c1",
    ]
    assert lines[3].split() == ["weave", "eth1", f"{node.conf}/10-weave.conflist", "w1,", "w2"]
    [row] = genie.json("explain", pod)
    assert [each["plugins"] for each in row["attachments"]] == [["c1"], ["w1", "w2"]]


def test_explain_reads_a_block_of_several_lines(node: Rig, genie: CommandLine) -> None:
    """Ends of lines are blanks, so `cni: |` in YAML names the same networks as one line."""
    pod = write(node.folder / "pod.json", manifest("canal,\nweave\n"))
    [row] = genie.json("explain", pod)
    assert [each["network"] for each in row["attachments"]] == ["canal", "weave"]


def test_explain_prints_the_error_and_what_is_missing(node: Rig, genie: CommandLine) -> None:
    """The plugin's own words, and exit code 1; executables may be missing here."""
    answer = genie("explain", "-", stdin=json.dumps(manifest("cnal,weave")).encode())
    assert answer.code == 1
    assert 'did you mean "canal"' in answer.err
    (node.folder / "bin" / "w2").unlink()
    answer = genie("explain", write(node.folder / "pod.json", BOTH))
    assert answer.code == 0
    assert "missing: w2" in answer.out


def test_explain_refuses_what_cannot_be_combined_in_the_plugins_own_words(
    node: Rig, genie: CommandLine
) -> None:
    """What ADD would refuse on this node has exit code 1."""
    node.network("calico", "calico", "portmap")
    node.network("flannel", "calico")
    pod = write(node.folder / "pod.json", manifest("calico,flannel@net1"))
    answer = genie("explain", pod)
    assert answer.code == 1
    refusal = error_of(node, "ADD", "calico,flannel@net1")
    assert f"error: {refusal.msg}" in answer.err
    [row] = genie.json("explain", pod)
    assert row["error"] == {"code": refusal.code, "msg": refusal.msg, "details": ""}


def test_explain_warns_of_a_network_that_works_only_as_the_primary(
    node: Rig, genie: CommandLine
) -> None:
    """The pod would start, so the exit code is 0."""
    node.network("calico", "calico")
    sentence = (
        '"calico" works only as the primary (on eth0): '
        'plugin "calico" leaves other interfaces unreachable'
    )
    for value, warnings in (("weave,calico@net1", [sentence]), ("weave@net1,calico", [])):
        pod = write(node.folder / "pod.json", manifest(value))
        answer = genie("explain", pod)
        assert answer.code == 0
        assert [line for line in answer.out.splitlines() if line.startswith("warning: ")] == [
            f"warning: {each}" for each in warnings
        ]
        [row] = genie.json("explain", pod)
        assert row["warnings"] == warnings


def test_explain_of_a_pod_that_names_no_network(node: Rig, genie: CommandLine) -> None:
    """The default comes from the node's conflist, or from the command line."""
    pod = write(node.folder / "pod.json", manifest())
    [row] = genie.json("explain", pod)
    assert [each["network"] for each in row["attachments"]] == ["canal"]
    answer = genie("explain", pod, "--default", "weave")
    assert answer.code == 0
    assert "no annotation cni: default network of this node" in answer.out
    assert genie("explain", pod, "--default", "").code == 1
    [row] = genie.json("explain", pod, "--default", "")
    assert row["error"]["code"] == 7


FILES = {
    "none.json": (None, "No such file or directory"),
    "odd.json": (b"\xff", "not valid JSON"),
    "pod.yaml": (yaml.safe_dump(BOTH).encode(), "kubectl create --dry-run=client -o json -f FILE"),
}


@pytest.mark.parametrize("name", FILES)
def test_explain_of_a_file_that_is_not_json(node: Rig, genie: CommandLine, name: str) -> None:
    """The file is named, and the command that prints JSON."""
    data, reason = FILES[name]
    if data is not None:
        (node.folder / name).write_bytes(data)
    answer = genie("explain", str(node.folder / name))
    assert answer.code == 1
    assert answer.err.startswith(f"error: {node.folder / name}: ")
    assert reason in answer.err


HOST = {"hostNetwork": True}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(
            {"kind": "Service", "metadata": {"name": "web"}}, "has no pods", id="a service"
        ),
        pytest.param(
            {"kind": "Namespace", "metadata": {"name": "web", "annotations": {"cni": "canal"}}},
            "has no pods",
            id="a namespace with an annotation",
        ),
        pytest.param(
            {
                "kind": "SealedSecret",
                "metadata": {"name": "web"},
                "spec": {"template": {"metadata": {"annotations": {"cni": "canal"}}}},
            },
            "has no pods",
            id="a template of something else",
        ),
        pytest.param(manifest("canal", spec=HOST), "hostNetwork", id="a pod"),
        pytest.param(
            workload("DaemonSet", manifest(spec=HOST), "spec", "template", name="web"),
            "hostNetwork",
            id="a workload",
        ),
    ],
)
def test_explain_attaches_nothing_where_a_node_does_not(
    node: Rig, genie: CommandLine, value: dict[str, Any], reason: str
) -> None:
    """A pod for which no runtime calls the plugin is skipped, with the reason."""
    file = write(node.folder / "web.json", value)
    answer = genie("explain", file)
    assert answer.code == 0
    [line] = answer.out.splitlines()
    assert line.startswith(f"{value['kind']} default/web: nothing to attach: ")
    assert reason in line
    [row] = genie.json("explain", file)
    assert (row["attachments"], reason in row["passedOver"]) == ([], True)
