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
    """Attachments are made in list order, freed in reverse; the primary's result is the pod's."""
    rig.delegates.results["w2"] = {
        "cniVersion": "0.4.0",
        "ips": [{"version": "4", "address": "10.2.0.9/24"}],
    }
    answer = rig.run("ADD", "canal@net1,weave")
    assert answer == {"cniVersion": "1.1.0", "ips": [{"address": "10.2.0.9/24"}]}
    rig.run("DEL", "")
    assert [call.split()[1] for call in rig.delegates.calls] == ["c1", "w1", "w2", "w2", "w1", "c1"]


@pytest.mark.parametrize("cni", [None, "", " \t"], ids=["absent", "empty", "blank"])
def test_nothing_asked_for_means_the_default(rig: Rig, cni: str | None) -> None:
    """A pod without a choice gets the node's default network."""
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
def test_a_bad_choice_is_refused_before_anything_is_done(
    rig: Rig, cni: str, code: int, part: str
) -> None:
    """Nothing is called, nothing is written."""
    rig.network("genie", "genie")
    (rig.conf / "broken.conf").write_text("{")
    error = error_of(rig, "ADD", cni, interface="ens5")
    assert (error.code, part in error.msg) == (code, True), error.msg
    assert rig.delegates.calls == []
    assert not rig.state.exists()


def test_no_default_is_an_error_that_says_how_to_set_one(rig: Rig) -> None:
    """A pod that asks for nothing cannot be attached where there is no default."""
    error = error_of(rig, "ADD", None, default="")
    assert error.code == cni_errors.INVALID_CONF
    assert "default" in error.details


def test_an_absent_executable_is_told_before_anything_is_done(rig: Rig) -> None:
    """A plan that could only fail half-way is not begun."""
    rig.delegates.absent.add("w2")
    error = error_of(rig, "ADD", "canal,weave")
    assert error.code == cni_errors.CANNOT_RUN
    assert error.msg == 'cannot attach network "weave": plugin w2 is missing'
    assert rig.delegates.calls == []
    assert not rig.state.exists()


def test_the_record_is_on_disk_before_each_delegate(rig: Rig) -> None:
    """When a delegate knows what to do, the record says that its attachment was begun."""
    seen: list[list[str]] = []
    run = rig.delegates.__class__.__call__

    class Watching(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, deadline: float, meanwhile: Any) -> Any:
            def begin() -> None:
                if meanwhile:
                    meanwhile()
                seen.append([each["phase"] for each in rig.record()["attachments"]])

            return run(self, conf, variables, deadline, begin)

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
def test_a_result_that_cannot_be_used_fails_the_add(rig: Rig, result: Any, part: str) -> None:
    """Success with garbage counts as failure, and is rolled back."""
    rig.delegates.results["c1"] = result
    assert part in error_of(rig, "ADD", "canal").msg
    assert rig.delegates.held == set()


def test_a_result_that_the_caller_cannot_have_fails_the_add(rig: Rig) -> None:
    """Version 0.2.0 needs an address: without one everything is freed again."""
    rig.version = "0.2.0"
    rig.delegates.results["c1"] = {"cniVersion": "1.0.0"}
    assert "needs an address" in error_of(rig, "ADD", "canal").msg
    assert rig.left() == []


def test_a_result_that_the_next_plugin_cannot_have_says_which_network(rig: Rig) -> None:
    """Versions before 0.3.0 need an address; the sentence is that of any other failure."""
    rig.network("old", "o1", "o2", cniVersion="0.2.0")
    rig.delegates.results["o1"] = {"cniVersion": "0.2.0"}
    error = error_of(rig, "ADD", "old")
    assert error.code == cni_errors.DECODING_FAILURE
    assert error.msg.startswith('ADD failed for network "old" on interface "eth0" (plugin o2): ')


def test_a_second_add_is_refused(rig: Rig) -> None:
    """What is attached stays as it is."""
    rig.run("ADD", "weave")
    assert error_of(rig, "ADD", "weave").code == cni_errors.ALREADY_ATTACHED
    assert rig.record()["attachments"][0]["phase"] == "attached"


def test_an_add_after_a_killed_one_frees_what_that_left(rig: Rig) -> None:
    """A record that was never completed is freed first."""
    rig.delegates.faults["ADD", "w2"] = failure()
    rig.delegates.faults["DEL", "w2"] = failure()
    error_of(rig, "ADD", "weave")
    rig.delegates.faults.clear()
    rig.run("ADD", "canal")
    assert {held[2] for held in rig.delegates.held} == {"canal-net"}
    assert [each["network"] for each in rig.record()["attachments"]] == ["canal"]


def test_two_calls_with_interfaces_of_their_own_share_a_record(rig: Rig) -> None:
    """Each DEL frees what its own ADD made, and no more."""
    rig.run("ADD", "weave", interface="eth0")
    rig.run("ADD", "canal", interface="net7")
    rig.run("DEL", interface="eth0")
    assert {held[1] for held in rig.delegates.held} == {"net7"}
    rig.run("DEL", interface="net7")
    assert rig.left() == []


def test_interfaces_of_two_calls_may_not_collide(rig: Rig) -> None:
    """An interface that another call made is taken."""
    rig.run("ADD", "weave,canal@net1", interface="eth0")
    error = error_of(rig, "ADD", "canal", interface="net1")
    assert (error.code, error.msg) == (104, "interfaces already exist in the container: net1")
    assert len(rig.record()["attachments"]) == 2


def test_capability_arguments_reach_the_primary_alone(rig: Rig) -> None:
    """Declared and given, on ADD and DEL alike; port mappings in the specification's spelling."""
    for name, plugin_type in (("p", "p1"), ("q", "q1")):
        plugin = {
            "type": plugin_type,
            "capabilities": {"portMappings": True, "bandwidth": False, "x": True},
        }
        conf = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
        (rig.conf / f"{name}.conflist").write_text(json.dumps(conf))
    mappings = [{"HostPort": 80, "ContainerPort": 8080, "protocol": "tcp"}, "odd"]
    given = {
        "portMappings": mappings,
        "bandwidth": {"rate": 1},
        "io.kubernetes.cri.pod-annotations": {"cni": "q@net1,p"},
    }
    rig.run("ADD", runtimeConfig=given)
    rig.run("DEL", runtimeConfig={})
    expected = {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}, "odd"]}
    seen = {
        (conf["type"], variables["CNI_COMMAND"]): conf.get("runtimeConfig")
        for conf, variables in zip(rig.delegates.given, rig.delegates.environments, strict=True)
    }
    assert seen == {
        ("p1", "ADD"): expected,
        ("p1", "DEL"): expected,
        ("q1", "ADD"): None,
        ("q1", "DEL"): None,
    }


def test_the_agent_is_asked_only_where_the_runtime_is_silent(rig: Rig) -> None:
    """A runtime without the capability: the agent's word counts."""
    rig.agent = "weave"
    rig.run("ADD", runtimeConfig={}, agentSocket="/run/agent.sock")
    assert rig.delegates.calls[0] == "ADD w1 weave-net eth0"
    rig.run("ADD", container="c2", runtimeConfig={"io.kubernetes.cri.pod-annotations": None})
    rig.run("ADD", container="c3", runtimeConfig={})
    assert rig.delegates.calls[2:] == ["ADD c1 canal-net eth0"] * 2


def test_what_was_begun_is_noted_for_the_journal(rig: Rig) -> None:
    """Each attachment with its code, in order."""
    rig.delegates.faults["ADD", "c1"] = failure(42)
    error_of(rig, "ADD", "weave,canal")
    assert [(each["network"], each["code"]) for each in rig.timings] == [
        ("weave", 0),
        ("canal", 42),
        ("canal", 0),
        ("weave", 0),
    ]


def test_an_annotation_of_a_wrong_type_is_refused(rig: Rig) -> None:
    """The API allows strings alone, a runtime may hand over anything."""
    given = {keys.POD_ANNOTATIONS: {"cni": ["weave"]}}
    error = error_of(rig, "ADD", runtimeConfig=given)
    assert (error.code, error.msg) == (100, 'annotation "cni" must be a string')


def test_port_mappings_of_a_wrong_type_reach_the_plugin_as_they_are(rig: Rig) -> None:
    """It is the plugin's to say what is wrong with them."""
    conf = json.loads((rig.conf / "10-canal.conflist").read_text())
    conf["plugins"][0]["capabilities"] = {"portMappings": True}
    (rig.conf / "10-canal.conflist").write_text(json.dumps(conf))
    rig.run("ADD", runtimeConfig={"portMappings": "80", keys.POD_ANNOTATIONS: {}})
    assert rig.delegates.given[-1]["runtimeConfig"] == {"portMappings": "80"}


def test_what_a_known_plugin_cannot_do_is_refused_before_anything_is_attached(rig: Rig) -> None:
    """Two networks of one such plugin; the delegates are not called and nothing is recorded."""
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


def test_networks_of_known_plugins_are_attached_where_each_is_named_once(rig: Rig) -> None:
    """And other plugins as often as a pod likes."""
    rig.network("flannel", "flannel")
    rig.network("calico", "calico")
    rig.run("ADD", "flannel,calico@net1,weave@net2,weave@net3")
    assert [call.split()[1] for call in rig.delegates.calls] == [
        "flannel",
        "calico",
        *("w1", "w2") * 2,
    ]
