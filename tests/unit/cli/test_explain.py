"""``genie explain``: what a pod would get, and why it would be refused."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dispatcher import cni_errors, keys
from dispatcher.nad import definition_copy
from dispatcher.nad.attachments import PermittedAttachment, format_attachments
from dispatcher.nad.definition import Definition
from dispatcher.nad.definition_copy import SyncState
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


SELECTING = {
    keys.DEFAULT_NETWORK: "shop/blue",
    keys.NETWORKS: "blue,blue@data",
}


def attach_definitions(node: Rig, mode: str = "enforce") -> str:
    """Set the node's mode, and copy shop/blue to it; return what admission writes for SELECTING."""
    file = node.folder / "net.d" / "00-genie.conflist"
    conflist = json.loads(file.read_text())
    conflist["plugins"][0]["args"] = {keys.CONF_ARGS: {"attachmentDefinitions": mode}}
    file.write_text(json.dumps(conflist))

    config = {"cniVersion": "1.0.0", "name": "blue-net", "type": "w1"}
    definition = Definition("shop", "blue", uid="u", config=json.dumps(config))
    folder = node.state / definition_copy.DIRECTORY
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "blue").write_bytes(definition_copy.encode(definition, "", None))
    state = SyncState(time.time(), is_complete=True)
    (folder / definition_copy.SYNCED).write_bytes(definition_copy.encode_sync(state))
    permitted = [PermittedAttachment("shop", "blue", definition.short_hash, is_default=True)]
    permitted += [PermittedAttachment("shop", "blue", definition.short_hash)] * 2
    return format_attachments(permitted)


def selecting(**metadata: Any) -> dict[str, Any]:
    """Return a pod of the namespace shop that selects definitions."""
    more = metadata.pop("annotations", {})
    return manifest(namespace="shop", annotations={**SELECTING, **more}, **metadata)


def test_explain_plans_the_definitions_that_a_pod_selects(node: Rig, genie: CommandLine) -> None:
    """As ADD would: from the copies on the node, if admission has permitted them."""
    permitted = attach_definitions(node)
    stored = selecting(uid="1", annotations={keys.ATTACHMENTS: permitted})
    pod = write(node.folder / "pod.json", stored)
    answer = genie("explain", pod)
    assert (answer.code, answer.err) == (0, "")
    listed = f'{keys.NETWORKS}: "blue,blue@data", {keys.DEFAULT_NETWORK}: "shop/blue"'
    assert answer.out.splitlines()[0] == f"Pod shop/web, annotations {listed}"
    [row] = genie.json("explain", pod)
    planned = [(each["network"], each["interface"]) for each in row["attachments"]]
    assert planned == [("shop/blue", "eth0"), ("shop/blue", "net1"), ("shop/blue", "data")]
    assert (row["selections"], row["warnings"]) == (SELECTING, [])


def test_explain_refuses_definitions_that_admission_has_not_permitted(
    node: Rig, genie: CommandLine
) -> None:
    """A pod of the API server without the webhook's annotation; a manifest gets a warning."""
    attach_definitions(node)
    answer = genie("explain", write(node.folder / "pod.json", selecting(uid="1")))
    assert (answer.code, "but was not validated" in answer.err) == (1, True)
    answer = genie("explain", write(node.folder / "pod.json", selecting()))
    assert answer.code == 0
    assert "warning: the webhook has not seen this pod yet" in answer.out


def test_explain_refuses_a_definition_of_which_the_node_has_no_copy(
    node: Rig, genie: CommandLine
) -> None:
    """With the code that lets the kubelet try again; it does not wait."""
    attach_definitions(node)
    pod = manifest(namespace="shop", annotations={keys.NETWORKS: "red"})
    [row] = genie.json("explain", write(node.folder / "pod.json", pod))
    assert row["error"]["code"] == cni_errors.TRY_AGAIN
    assert 'no copy of NetworkAttachmentDefinition "shop/red"' in row["error"]["msg"]


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_explain_says_that_definitions_are_not_considered(
    node: Rig, genie: CommandLine, mode: str
) -> None:
    """The node attaches the default network then, whatever the annotations say."""
    attach_definitions(node, mode)
    pod = write(node.folder / "pod.json", selecting())
    answer = genie("explain", pod)
    assert answer.code == 0
    assert "no annotation cni: default network of this node" in answer.out
    [row] = genie.json("explain", pod)
    assert [each["network"] for each in row["attachments"]] == ["canal"]
    assert row["warnings"] == [
        f'annotation "{key}" is not considered: on this node, Genie does not attach pods to '
        "NetworkAttachmentDefinitions"
        for key in keys.SELECTION_KEYS
    ]


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
