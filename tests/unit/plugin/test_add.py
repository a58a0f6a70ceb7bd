"""ADD: what reaches the delegates, what is recorded, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher import cni_errors, keys
from tests.unit.plugin.rig import Rig, error_of, failure


def test_one_network_is_attached_and_freed(rig: Rig) -> None:
    """The chain is called in order on ADD and in reverse on DEL, and nothing is left."""
    answer = rig.run("ADD", "weave")
    assert answer["ips"][0]["address"] == "10.1.0.2/16"
    assert rig.record()["attachments"][0]["phase"] == "attached"
    rig.run("DEL", "weave")
    assert rig.delegates.calls == [
        "ADD w1 weave-net eth0",
        "ADD w2 weave-net eth0",
        "DEL w2 weave-net eth0",
        "DEL w1 weave-net eth0",
    ]
    assert rig.left() == []


def test_several_networks_in_list_order_and_the_primary_answers(rig: Rig) -> None:
    """Attach in list order, release in reverse; return the primary's result."""
    rig.delegates.results["w2"] = {
        "cniVersion": "0.4.0",
        "ips": [{"version": "4", "address": "10.2.0.9/24"}],
    }
    answer = rig.run("ADD", "canal@net1,weave")
    assert answer == {"cniVersion": "1.1.0", "ips": [{"address": "10.2.0.9/24"}]}
    rig.run("DEL", "")
    assert [call.split()[1] for call in rig.delegates.calls] == ["c1", "w1", "w2", "w2", "w1", "c1"]


@pytest.mark.parametrize("cni", [None, "", " \t"], ids=["absent", "empty", "blank"])
def test_a_pod_without_a_choice_gets_the_default_network(rig: Rig, cni: str | None) -> None:
    """With no annotation, an empty one, or one of blanks."""
    rig.run("ADD", cni)
    assert rig.delegates.calls == ["ADD c1 canal-net eth0"]


def test_the_primary_takes_the_interface_of_the_runtime(rig: Rig) -> None:
    """`eth0` in an annotation stands for CNI_IFNAME."""
    rig.run("ADD", "weave@net1,canal@eth0", interface="ens5")
    assert [call.split()[3] for call in rig.delegates.calls] == ["net1", "net1", "ens5"]


@pytest.mark.parametrize(
    ("cni", "code", "part"),
    [
        pytest.param(
            "weave@", cni_errors.INVALID_ANNOTATION, "cannot apply annotation", id="bad grammar"
        ),
        pytest.param("wave", cni_errors.UNKNOWN_NETWORK, 'did you mean "weave"', id="unknown"),
        pytest.param("genie", cni_errors.UNKNOWN_NETWORK, "no configuration", id="genie itself"),
        pytest.param("broken", cni_errors.BROKEN_NETWORK, "not valid JSON", id="a broken file"),
        pytest.param("weave,canal@ens5", cni_errors.INVALID_ANNOTATION, "primary", id="CNI_IFNAME"),
        pytest.param("a/b", cni_errors.INVALID_ANNOTATION, '"a/b"', id="a slash"),
        pytest.param("..", cni_errors.INVALID_ANNOTATION, '".."', id="two dots"),
        pytest.param("we\0ave", cni_errors.INVALID_ANNOTATION, "x00", id="a NUL"),
        pytest.param("x" * 262_144, cni_errors.INVALID_ANNOTATION, "1024 bytes", id="256 KiB"),
    ],
)
def test_an_invalid_choice_is_refused_before_any_effect(
    rig: Rig, cni: str, code: int, part: str
) -> None:
    """No delegate runs, and no file is written."""
    rig.network("genie", "genie")
    (rig.conf / "broken.conf").write_text("{")
    error = error_of(rig, "ADD", cni, interface="ens5")
    assert (error.code, part in error.msg) == (code, True), error.msg
    assert rig.delegates.calls == []
    assert not rig.state.exists()


def test_no_default_is_an_error_that_says_how_to_set_one(rig: Rig) -> None:
    """A pod without a choice cannot be attached if there is no default network."""
    error = error_of(rig, "ADD", None, default="")
    assert error.code == cni_errors.INVALID_CONF
    assert "default" in error.details


def test_a_missing_executable_is_an_error_before_any_effect(rig: Rig) -> None:
    """A plan that can only fail half-way is not begun."""
    rig.delegates.absent.add("w2")
    error = error_of(rig, "ADD", "canal,weave")
    assert error.code == cni_errors.CANNOT_RUN
    assert error.msg == 'cannot attach network "weave": plugin w2 is missing'
    assert rig.delegates.calls == []
    assert not rig.state.exists()


def test_the_record_is_on_disk_before_each_delegate(rig: Rig) -> None:
    """When a delegate gets its configuration, the record has its attachment as "attaching"."""
    seen: list[list[str]] = []
    run = rig.delegates.__class__.__call__

    class Watching(type(rig.delegates)):  # type: ignore[misc]
        def __call__(
            self, conf: Any, variables: Any, deadline: float, before_input: Any, while_running: Any
        ) -> Any:
            def begin() -> None:
                if before_input:
                    before_input()
                seen.append([each["phase"] for each in rig.record()["attachments"]])

            return run(self, conf, variables, deadline, begin, while_running)

    rig.delegates.__class__ = Watching
    rig.run("ADD", "weave,canal")
    assert seen == [
        ["attaching", "planned"],
        ["attaching", "planned"],
        ["attached", "attaching"],
    ]


@pytest.mark.parametrize(
    ("result", "part"),
    [
        pytest.param(None, "but printed no result", id="nothing"),
        pytest.param({"cniVersion": "7.0.0"}, "not supported", id="a version nobody speaks"),
        pytest.param({"ips": [{"address": "x"}]}, "not an address", id="no address"),
    ],
)
def test_an_invalid_result_fails_the_add(rig: Rig, result: Any, part: str) -> None:
    """A delegate that succeeds with an invalid result counts as failed, and is rolled back."""
    rig.delegates.results["c1"] = result
    assert part in error_of(rig, "ADD", "canal").msg
    assert rig.delegates.held == set()


def test_a_result_that_the_callers_version_cannot_express_fails_the_add(rig: Rig) -> None:
    """Version 0.2.0 requires an address: without one, everything is released again."""
    rig.version = "0.2.0"
    rig.delegates.results["c1"] = {"cniVersion": "1.0.0"}
    assert "requires an address" in error_of(rig, "ADD", "canal").msg
    assert rig.left() == []


def test_a_result_that_the_next_plugins_version_cannot_express_names_the_network(rig: Rig) -> None:
    """Versions before 0.3.0 require an address; the message is that of any other failure."""
    rig.network("old", "o1", "o2", cniVersion="0.2.0")
    rig.delegates.results["o1"] = {"cniVersion": "0.2.0"}
    error = error_of(rig, "ADD", "old")
    assert error.code == cni_errors.DECODING_FAILURE
    assert error.msg.startswith('ADD failed for network "old" on interface "eth0" (plugin o2): ')


def test_a_second_add_is_refused(rig: Rig) -> None:
    """The existing attachment stays as it is."""
    rig.run("ADD", "weave")
    assert error_of(rig, "ADD", "weave").code == cni_errors.ALREADY_ATTACHED
    assert rig.record()["attachments"][0]["phase"] == "attached"


def test_an_add_after_a_killed_one_releases_its_attachments(rig: Rig) -> None:
    """They are released before the new networks are attached."""
    rig.delegates.faults["ADD", "w2"] = failure()
    rig.delegates.faults["DEL", "w2"] = failure()
    error_of(rig, "ADD", "weave")
    rig.delegates.faults.clear()
    rig.run("ADD", "canal")
    assert {held[2] for held in rig.delegates.held} == {"canal-net"}
    assert [each["network"] for each in rig.record()["attachments"]] == ["canal"]


def test_two_calls_with_interfaces_of_their_own_share_a_record(rig: Rig) -> None:
    """Each DEL releases the attachments of its own ADD alone."""
    rig.run("ADD", "weave", interface="eth0")
    rig.run("ADD", "canal", interface="net7")
    rig.run("DEL", interface="eth0")
    assert {held[1] for held in rig.delegates.held} == {"net7"}
    rig.run("DEL", interface="net7")
    assert rig.left() == []


def test_interfaces_of_two_calls_may_not_collide(rig: Rig) -> None:
    """An interface of another call is an error."""
    rig.run("ADD", "weave,canal@net1", interface="eth0")
    error = error_of(rig, "ADD", "canal", interface="net1")
    assert (error.code, error.msg) == (104, "interfaces already exist in the container: net1")
    assert len(rig.record()["attachments"]) == 2


def test_capability_arguments_reach_the_primary_alone(rig: Rig) -> None:
    """Only declared ones, on ADD and DEL; port mappings with the keys of the specification."""
    for name, plugin_type in (("p", "p1"), ("q", "q1")):
        plugin = {
            "type": plugin_type,
            "capabilities": {"portMappings": True, "bandwidth": False, "x": True},
        }
        conf = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
        (rig.conf / f"{name}.conflist").write_text(json.dumps(conf))
    mappings = [{"HostPort": 80, "ContainerPort": 8080, "protocol": "tcp"}, "odd"]
    runtime_config = {
        "portMappings": mappings,
        "bandwidth": {"rate": 1},
        "io.kubernetes.cri.pod-annotations": {"cni": "q@net1,p"},
    }
    rig.run("ADD", runtimeConfig=runtime_config)
    rig.run("DEL", runtimeConfig={})
    expected = {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}, "odd"]}
    seen = {
        (conf["type"], variables["CNI_COMMAND"]): conf.get("runtimeConfig")
        for conf, variables in zip(rig.delegates.confs, rig.delegates.environments, strict=True)
    }
    assert seen == {
        ("p1", "ADD"): expected,
        ("p1", "DEL"): expected,
        ("q1", "ADD"): None,
        ("q1", "DEL"): None,
    }


def test_the_agent_is_asked_only_if_the_runtime_passes_no_annotations(rig: Rig) -> None:
    """Then the agent's answer counts."""
    rig.agent = "weave"
    rig.run("ADD", runtimeConfig={}, agentSocket="/run/agent.sock")
    assert rig.delegates.calls[0] == "ADD w1 weave-net eth0"
    rig.run("ADD", container="c2", runtimeConfig={"io.kubernetes.cri.pod-annotations": None})
    rig.run("ADD", container="c3", runtimeConfig={})
    assert rig.delegates.calls[2:] == ["ADD c1 canal-net eth0"] * 2


def test_the_journal_gets_each_operation_in_order(rig: Rig) -> None:
    """With the network and the code, ADDs and DELs alike."""
    rig.delegates.faults["ADD", "c1"] = failure(42)
    error_of(rig, "ADD", "weave,canal")
    assert [(each["network"], each["code"]) for each in rig.timings] == [
        ("weave", 0),
        ("canal", 42),
        ("canal", 0),
        ("weave", 0),
    ]


def test_an_annotation_of_a_wrong_type_is_refused(rig: Rig) -> None:
    """The API allows strings alone, but a runtime may pass anything."""
    runtime_config = {keys.POD_ANNOTATIONS: {"cni": ["weave"]}}
    error = error_of(rig, "ADD", runtimeConfig=runtime_config)
    assert (error.code, error.msg) == (100, 'annotation "cni" must be a string')


def test_port_mappings_of_a_wrong_type_reach_the_plugin_as_they_are(rig: Rig) -> None:
    """The plugin reports the fault."""
    conf = json.loads((rig.conf / "10-canal.conflist").read_text())
    conf["plugins"][0]["capabilities"] = {"portMappings": True}
    (rig.conf / "10-canal.conflist").write_text(json.dumps(conf))
    rig.run("ADD", runtimeConfig={"portMappings": "80", keys.POD_ANNOTATIONS: {}})
    assert rig.delegates.confs[-1]["runtimeConfig"] == {"portMappings": "80"}


def test_a_combination_that_known_plugins_cannot_attach_is_refused(rig: Rig) -> None:
    """Two networks of such a plugin: no delegate runs, and nothing is recorded."""
    rig.network("flannel", "flannel", "portmap")
    rig.network("other", "flannel")
    error = error_of(rig, "ADD", "weave,flannel@net1,other@net2")
    assert error.code == cni_errors.INVALID_ANNOTATION
    assert error.msg == (
        'cannot apply annotation "cni": Invalid value: "other": item 3: item 2 '
        '("flannel") uses the same plugin "flannel", which can attach a pod only once: it '
        "remembers one attachment per container, so the address of the other is never released; "
        "choose one of the two networks"
    )
    assert (rig.delegates.calls, rig.records) == ([], [])
    assert not rig.state.exists()


def test_known_plugins_may_be_combined_once_each(rig: Rig) -> None:
    """Other plugins may attach a pod more than once."""
    rig.network("flannel", "flannel")
    rig.network("calico", "calico")
    rig.run("ADD", "flannel,calico@net1,weave@net2,weave@net3")
    assert [call.split()[1] for call in rig.delegates.calls] == [
        "flannel",
        "calico",
        *("w1", "w2") * 2,
    ]
