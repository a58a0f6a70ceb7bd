"""ADD and DEL: what reaches the delegates, what is kept, what a failure leaves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CannotRunError, CNIError, NotStartedError
from dispatcher.state import lock, store
from dispatcher.state.record import FORMAT
from tests.unit.plugin.rig import Delegates, Rig, failure, hung


def caught(rig: Rig, command: str, *args: Any, **more: Any) -> CNIError:
    with pytest.raises(CNIError) as raised:
        rig.run(command, *args, **more)
    return raised.value


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
    error = caught(rig, "ADD", cni, interface="ens5")
    assert (error.code, part in error.msg) == (code, True), error.msg
    assert rig.delegates.calls == []
    assert not rig.state.exists()


def test_no_default_is_an_error_that_says_how_to_set_one(rig: Rig) -> None:
    """A pod that asks for nothing cannot be attached where there is no default."""
    error = caught(rig, "ADD", None, default="")
    assert error.code == cni_errors.INVALID_CONF
    assert "default" in error.details


def test_an_absent_executable_is_told_before_anything_is_done(rig: Rig) -> None:
    """A plan that could only fail half-way is not begun."""
    rig.delegates.absent.add("w2")
    error = caught(rig, "ADD", "canal,weave")
    assert error.code == cni_errors.CANNOT_RUN
    assert error.msg == 'cannot attach network "weave": plugin w2 is missing'
    assert rig.delegates.calls == []
    assert not rig.state.exists()


def test_the_record_is_on_disk_before_each_delegate(rig: Rig) -> None:
    """When a delegate knows what to do, the record says that its attachment was begun."""
    seen: list[list[str]] = []
    run = rig.delegates.__class__.__call__

    class Watching(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, until: float, meanwhile: Any) -> Any:
            def told() -> None:
                if meanwhile:
                    meanwhile()
                seen.append([each["phase"] for each in rig.record()["attachments"]])

            return run(self, conf, variables, until, told)

    rig.delegates.__class__ = Watching
    rig.run("ADD", "weave,canal")
    assert seen == [
        ["attaching", "planned"],
        ["attaching", "planned"],
        ["attached", "attaching"],
    ]


def test_a_failure_is_rolled_back_in_reverse(rig: Rig) -> None:
    """The failing network too is freed; its own words stand under our sentence."""
    rig.delegates.faults["ADD", "w2"] = failure(42, "no address left", "pool")
    error = caught(rig, "ADD", "canal@net1,weave")
    assert (error.code, error.details) == (42, "pool")
    assert error.msg == (
        'ADD failed for network "weave" on interface "eth0" (plugin w2): no address left'
    )
    assert rig.delegates.calls[3:] == [
        "DEL w2 weave-net eth0",
        "DEL w1 weave-net eth0",
        "DEL c1 canal-net net1",
    ]
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_what_a_roll_back_cannot_free_stays_recorded(rig: Rig) -> None:
    """The first error is returned, the rest waits for a later DEL."""
    rig.delegates.faults["ADD", "c1"] = failure()
    rig.delegates.faults["DEL", "w1"] = hung()
    error = caught(rig, "ADD", "weave@net1,canal")
    assert error.msg.endswith("no address left")
    kept = rig.record()["attachments"]
    assert [(each["network"], each["failure"]["code"]) for each in kept] == [("weave", 11)]
    assert any("is incomplete" in line for line in rig.warnings)
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


NOT_STARTED = {
    "cannot be executed": CannotRunError("cannot execute /bin/x: Text file busy"),
    "finds no room on the machine": NotStartedError(cni_errors.TRY_AGAIN, "no memory"),
}
NEVER_RAN = {
    "the primary": ("canal", "c1", []),
    "a secondary": ("weave,canal@net1", "c1", ["w2", "w1"]),
    "the second of a chain": ("weave", "w2", ["w1"]),
    "the second of a secondary's chain": ("canal,weave@net1", "w2", ["w1", "c1"]),
}
"""By what it is: the annotation, its type, and what ran before it and has to be freed."""


@pytest.mark.parametrize("error", NOT_STARTED.values(), ids=NOT_STARTED)
@pytest.mark.parametrize(("cni", "kind", "freed"), NEVER_RAN.values(), ids=NEVER_RAN)
def test_a_delegate_that_never_ran_leaves_nothing_to_free(
    rig: Rig, error: NotStartedError, cni: str, kind: str, freed: list[str]
) -> None:
    """It can be executed no better on DEL: what ran before it is freed, and no DEL waits for it."""
    rig.delegates.not_started[kind] = error
    assert caught(rig, "ADD", cni).code == error.code
    called = [call.split()[1] for call in rig.delegates.calls if call.startswith("DEL")]
    assert called == freed
    assert (rig.delegates.held, rig.left()) == (set(), [])


@pytest.mark.parametrize("error", [failure(), hung()], ids=["fails", "hangs"])
def test_a_delegate_that_ran_is_freed_with_all_that_ran_before_it(
    rig: Rig, error: CNIError
) -> None:
    """It may have done something before it was ended."""
    rig.delegates.faults["ADD", "w2"] = error
    caught(rig, "ADD", "canal,weave@net1")
    called = [call.split()[1] for call in rig.delegates.calls if call.startswith("DEL")]
    assert called == ["w2", "w1", "c1"]
    assert (rig.delegates.held, rig.left()) == (set(), [])


def test_the_record_of_a_failed_roll_back_holds_what_ran_alone(rig: Rig) -> None:
    """A later DEL frees that though the plugin behind it still cannot be executed."""
    rig.delegates.not_started["w2"] = CannotRunError("busy")
    rig.delegates.faults["DEL", "w1"] = failure()
    caught(rig, "ADD", "weave")
    [kept] = rig.record()["attachments"]
    assert [each["type"] for each in kept["conf"]["plugins"]] == ["w1"]
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert (rig.delegates.held, rig.left()) == (set(), [])


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
    assert part in caught(rig, "ADD", "canal").msg
    assert rig.delegates.held == set()


def test_a_result_that_the_caller_cannot_have_fails_the_add(rig: Rig) -> None:
    """Version 0.2.0 needs an address: without one everything is freed again."""
    rig.version = "0.2.0"
    rig.delegates.results["c1"] = {"cniVersion": "1.0.0"}
    assert "needs an address" in caught(rig, "ADD", "canal").msg
    assert rig.left() == []


def test_a_result_that_the_next_plugin_cannot_have_says_which_network(rig: Rig) -> None:
    """Versions before 0.3.0 need an address; the sentence is that of any other failure."""
    rig.network("old", "o1", "o2", cniVersion="0.2.0")
    rig.delegates.results["o1"] = {"cniVersion": "0.2.0"}
    error = caught(rig, "ADD", "old")
    assert error.code == cni_errors.DECODING_FAILURE
    assert error.msg.startswith('ADD failed for network "old" on interface "eth0" (plugin o2): ')


def test_a_second_add_is_refused(rig: Rig) -> None:
    """What is attached stays as it is."""
    rig.run("ADD", "weave")
    assert caught(rig, "ADD", "weave").code == cni_errors.ALREADY_ATTACHED
    assert rig.record()["attachments"][0]["phase"] == "attached"


def test_an_add_after_a_killed_one_frees_what_that_left(rig: Rig) -> None:
    """A record that was never completed is freed first."""
    rig.delegates.faults["ADD", "w2"] = failure()
    rig.delegates.faults["DEL", "w2"] = failure()
    caught(rig, "ADD", "weave")
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
    error = caught(rig, "ADD", "canal", interface="net1")
    assert (error.code, error.msg) == (104, "interfaces already exist in the container: net1")
    assert len(rig.record()["attachments"]) == 2


def test_delete_needs_nothing_but_the_record(rig: Rig) -> None:
    """Without netns, configurations, annotation: all is freed with what was recorded."""
    rig.run("ADD", "weave,canal")
    for file in rig.conf.iterdir():
        file.unlink()
    rig.run("DEL", "bad@@", netns="", default="")
    assert rig.delegates.held == set()
    assert rig.delegates.environments[-1]["CNI_NETNS"] == ""
    assert rig.left() == []


def test_a_first_record_that_was_never_finished_goes_with_the_next_delete(rig: Rig) -> None:
    """A plugin killed while it wrote had attached nothing; its half file must not stay."""
    rig.state.mkdir()
    (rig.state / "c1.json.tmp").write_text('{"form')
    rig.run("DEL")
    assert rig.left() == []


def test_delete_twice(rig: Rig) -> None:
    """The second finds nothing and succeeds; the default's DEL is harmless."""
    rig.run("ADD", "weave")
    rig.run("DEL", "weave")
    rig.run("DEL", "weave")
    assert rig.left() == []


def test_a_delegate_that_fails_keeps_its_record_and_the_others_are_freed(rig: Rig) -> None:
    """The next DEL goes on from there."""
    rig.run("ADD", "weave,canal,weave@net5")
    rig.delegates.faults["DEL", "c1"] = failure(5, "busy", "later")
    error = caught(rig, "DEL")
    assert (error.code, error.details) == (5, "later")
    assert [each["network"] for each in rig.record()["attachments"]] == ["canal"]
    rig.delegates.faults.clear()
    rig.delegates.calls.clear()
    rig.run("DEL")
    assert rig.delegates.calls == ["DEL c1 canal-net eth1"]
    assert rig.left() == []


class Sharing(Delegates):
    """Frees all that a container has of a network with the last of its interfaces only."""

    def __call__(
        self, conf: dict[str, Any], variables: dict[str, str], until: float, *more: Any
    ) -> dict[str, Any] | None:
        """Fail a DEL while the network has another interface of the container."""
        answer = super().__call__(conf, variables, until, *more)
        mine = (variables["CNI_CONTAINERID"], conf["name"], conf["type"])
        shared = mine in {(container, name, kind) for container, _, name, kind in self.held}
        if variables["CNI_COMMAND"] == "DEL" and shared:
            raise failure(msg="busy")
        return answer


def test_a_network_that_is_there_twice_is_freed_by_one_delete(rig: Rig) -> None:
    """What the first interface's DEL could not remove is tried again after the second's."""
    rig.delegates = Sharing()
    rig.run("ADD", "canal,weave@net1,canal@net2")
    rig.delegates.calls.clear()
    rig.run("DEL")
    assert [call for call in rig.delegates.calls if "canal" in call] == [
        "DEL c1 canal-net net2",
        "DEL c1 canal-net eth0",
        "DEL c1 canal-net net2",
    ]
    assert (rig.delegates.held, rig.left()) == (set(), [])


def test_a_network_that_is_there_twice_and_never_freed_is_tried_twice(rig: Rig) -> None:
    """There is an end to it, and both stay recorded."""
    rig.run("ADD", "canal,canal@net1")
    rig.delegates.faults["DEL", "c1"] = failure()
    rig.delegates.calls.clear()
    with pytest.raises(CNIError, match="no address left"):
        rig.run("DEL")
    assert rig.delegates.calls == [
        "DEL c1 canal-net net1",
        "DEL c1 canal-net eth0",
        "DEL c1 canal-net net1",
        "DEL c1 canal-net eth0",
    ]
    assert [each["failure"]["code"] for each in rig.record()["attachments"]] == [7, 7]


def test_a_delegate_that_cannot_be_run_is_parked_after_ten_minutes(rig: Rig) -> None:
    """An error first, success later; the attachment stays until its executable is back."""
    rig.run("ADD", "weave")
    rig.delegates.absent.add("w2")
    assert caught(rig, "DEL").code == cni_errors.CANNOT_RUN
    assert {held[3] for held in rig.delegates.held} == {"w2"}, "the rest of the chain was freed"
    rig.now += 599
    assert isinstance(caught(rig, "DEL"), CannotRunError)
    rig.now += 1
    rig.run("DEL")
    assert rig.record()["attachments"][0]["phase"] == "parked"
    rig.now += 9999
    rig.run("DEL")
    rig.delegates.absent.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_the_time_to_parking_starts_with_the_first_failure_of_that_kind(rig: Rig) -> None:
    """A delegate that ran in between, and failed, is not parked for it."""
    rig.run("ADD", "canal")
    rig.delegates.absent.add("c1")
    caught(rig, "DEL")
    rig.delegates.absent.clear()
    rig.delegates.faults["DEL", "c1"] = failure()
    rig.now += 700
    caught(rig, "DEL")
    rig.delegates.absent.add("c1")
    rig.now += 1
    assert caught(rig, "DEL").code == cni_errors.CANNOT_RUN
    assert rig.record()["attachments"][0]["phase"] == "releasing"


@pytest.mark.parametrize(
    ("exists", "fails"),
    [
        pytest.param(True, True, id="its error counts while the netns exists"),
        pytest.param(False, False, id="its error is dropped once the netns is gone"),
    ],
)
def test_a_container_that_nothing_knows(rig: Rig, *, exists: bool, fails: bool) -> None:
    """The default network's DEL is run, as the runtime would have done without Genie."""
    netns = rig.folder / "netns"
    if exists:
        netns.touch()
    rig.delegates.faults["DEL", "c1"] = failure()
    if fails:
        assert caught(rig, "DEL", netns=str(netns)).code == 7
    else:
        rig.run("DEL", netns=str(netns))
    assert rig.delegates.calls == ["DEL c1 canal-net eth0"]
    assert rig.left() == []


@pytest.mark.parametrize("default", ["", "gone"], ids=["no default", "a default that is gone"])
def test_a_container_that_nothing_knows_where_nothing_can_be_done(rig: Rig, default: str) -> None:
    """There is nothing to free, and that is success."""
    rig.run("DEL", default=default)
    assert rig.delegates.calls == []


def cached(rig: Rig, types: list[str], *, interface: str = "eth0", name: str = "old") -> None:
    """Write what libcni keeps of an attachment that it made."""
    conf = {"cniVersion": "0.4.0", "name": "cbr0", "plugins": [{"type": each} for each in types]}
    entry = {
        "kind": "cniCacheV1",
        "containerId": "c1",
        "ifName": interface,
        "networkName": "cbr0",
        "netns": "/ns",
        "config": base64.b64encode(json.dumps(conf).encode()).decode(),
        "cniArgs": [["K8S_POD_NAME", "old"]],
        "capabilityArgs": {"portMappings": [{"hostPort": 80}]},
        "result": {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.4.0.5/24"}]},
    }
    (rig.cache / name).write_text(json.dumps(entry))


def test_a_container_from_before_genie_is_freed_with_what_libcni_kept(rig: Rig) -> None:
    """Its cached configuration and result are used; the entry goes after success."""
    cached(rig, ["flannel"])
    cached(rig, ["genie"], name="a-ours")
    cached(rig, ["loopback"], interface="lo", name="b-lo")
    (rig.cache / "c-garbage").write_text('{"c1":')
    rig.delegates.faults["DEL", "flannel"] = failure()
    assert caught(rig, "DEL").code == 7
    assert rig.records == ["c1"]
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.calls == ["DEL flannel cbr0 eth0"] * 2
    assert rig.delegates.given[-1]["prevResult"]["ips"][0]["address"] == "10.4.0.5/24"
    assert rig.delegates.environments[-1]["CNI_ARGS"] == "K8S_POD_NAME=old"
    assert rig.left() == []


def test_a_cache_entry_goes_with_its_attachment(rig: Rig) -> None:
    """Nothing of the time before Genie is left after its DEL."""
    cached(rig, ["flannel"])
    rig.run("DEL")
    assert list(rig.cache.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"format":1,"oldestRea', id="truncated"),
        pytest.param(b'{"some":"thing"}', id="foreign"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b"\x00\xff", id="noise"),
    ],
)
def test_a_corrupt_record_is_rebuilt_from_the_annotations(rig: Rig, data: bytes) -> None:
    """DEL frees what its own call asks for; the unreadable file is kept beside."""
    rig.run("ADD", "weave,canal")
    (rig.state / "c1.json").write_bytes(data)
    rig.delegates.faults["DEL", "w1"] = failure()
    caught(rig, "DEL", "weave,canal")
    assert [each["network"] for each in rig.record()["attachments"]] == ["weave"]
    rig.delegates.faults.clear()
    rig.run("DEL", "anything")
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]
    assert (rig.state / "c1.json.corrupt").read_bytes() == data


def test_a_corrupt_record_with_an_annotation_that_nobody_could_follow(rig: Rig) -> None:
    """Nothing was attached by it; the default's DEL is all that is left to do."""
    rig.run("ADD", "canal")
    (rig.state / "c1.json").write_bytes(b"{")
    rig.run("DEL", "bad@@")
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]
    assert len(rig.warnings) == 2


def test_a_corrupt_record_of_a_network_that_is_not_configured_now(rig: Rig) -> None:
    """Its DEL fails, is parked in the end, and frees it once the configuration is back."""
    rig.run("ADD", "canal,weave@net1")
    (rig.state / "c1.json").write_bytes(b"{")
    (rig.conf / "10-weave.conflist").unlink()
    error = caught(rig, "DEL", "canal,weave@net1")
    assert error.code == cni_errors.CANNOT_RUN
    assert "cannot release interface net1: no configuration" in error.msg
    assert {held[2] for held in rig.delegates.held} == {"weave-net"}
    rig.now += 600
    rig.run("DEL", "whatever")
    assert [each["phase"] for each in rig.record()["attachments"]] == ["parked"]
    rig.network("weave", "w1", "w2")
    rig.run("DEL", "whatever")
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]


@pytest.mark.parametrize("code", [cni_errors.TRY_AGAIN, 120, 121, 122, 123])
def test_a_corrupt_record_while_nobody_can_tell_the_annotation(rig: Rig, code: int) -> None:
    """An old runtime, and the agent is away or has another answer: the record waits."""
    rig.run("ADD", "weave")
    (rig.state / "c1.json").write_bytes(b"{")
    away: dict[str, Any] = {"runtimeConfig": {}, "agentSocket": "/run/agent.sock"}
    rig.agent_error = CNIError(code, "no such pod")
    error = caught(rig, "DEL", **away)
    assert error.code == code
    assert error.msg.endswith(
        "c1.json is corrupt, and the pod's annotation is unknown: no such pod"
    )
    assert (rig.state / "c1.json").read_bytes() == b"{"
    rig.agent_error, rig.agent = None, "weave"
    rig.run("DEL", **away)
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]


def test_what_is_planned_on_disk_is_freed_too(rig: Rig) -> None:
    """A power cut may have taken the step that said it had begun."""
    rig.run("ADD", "weave,canal")
    value = rig.record()
    for attachment in value["attachments"]:
        attachment["phase"] = "planned"
    rig.rewrite(value)
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_delete_that_is_killed_has_forgotten_what_it_freed(rig: Rig) -> None:
    """What was freed is not freed again: its address may have a new owner."""
    rig.run("ADD", "weave,canal@net1")
    rig.delegates.faults["DEL", "w2"] = SystemExit("killed")
    with pytest.raises(SystemExit):
        rig.run("DEL")
    assert [each["network"] for each in rig.record()["attachments"]] == ["weave"]


def test_a_delete_on_a_full_disk_frees_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps cannot be noted, and need not be."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "x.json.tmp")

    rig.run("ADD", "weave,canal@net1")
    monkeypatch.setattr(store, "_put", full)
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_roll_back_does_not_free_what_was_not_begun(rig: Rig) -> None:
    """This process knows which delegates it called."""
    rig.delegates.faults["ADD", "c1"] = failure()
    caught(rig, "ADD", "canal,weave,weave")
    assert rig.delegates.calls == ["ADD c1 canal-net eth0", "DEL c1 canal-net eth0"]
    assert rig.left() == []


def test_a_record_that_a_power_cut_left_unnamed_is_freed(rig: Rig) -> None:
    """The folder is not waited for, the file is."""
    rig.run("ADD", "weave,canal")
    (rig.state / "c1.json").rename(rig.state / "c1.json.tmp")
    rig.run("DEL", "canal")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_an_add_over_a_corrupt_record(rig: Rig) -> None:
    """The unreadable file is kept, and what it may have held is freed before it is attached."""
    rig.state.mkdir()
    (rig.state / "c1.json").write_bytes(b"{")
    rig.run("ADD", "canal,weave")
    assert rig.delegates.calls == [
        "DEL w2 weave-net eth1",
        "DEL w1 weave-net eth1",
        "DEL c1 canal-net eth0",
        "ADD c1 canal-net eth0",
        "ADD w1 weave-net eth1",
        "ADD w2 weave-net eth1",
    ]
    assert {each["phase"] for each in rig.record()["attachments"]} == {"attached"}
    assert "c1.json.corrupt" in rig.left()


def test_an_add_over_a_corrupt_record_that_cannot_be_freed(rig: Rig) -> None:
    """It fails, as after an ADD that was killed, and what it may have held stays recorded."""
    rig.state.mkdir()
    (rig.state / "c1.json").write_bytes(b"{")
    rig.delegates.faults["DEL", "c1"] = failure(42)
    assert caught(rig, "ADD", "canal").code == 42
    assert [each["network"] for each in rig.record()["attachments"]] == ["canal"]
    assert not rig.delegates.held


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
def test_a_record_of_a_later_version_is_never_touched(rig: Rig, command: str) -> None:
    """It is an error that asks for an upgrade, and the file stays."""
    rig.run("ADD", "canal")
    rig.rewrite(rig.record() | {"format": FORMAT + 1, "oldestReader": FORMAT + 1})
    before = rig.record()
    error = caught(rig, command, "canal")
    assert error.code == cni_errors.TRY_AGAIN
    assert "upgrade" in error.details
    assert rig.record() == before


def test_a_record_of_a_later_version_that_we_can_read_is_used(rig: Rig) -> None:
    """A newer plugin's ADD is freed by this one; keys unknown here survive a rewrite."""
    rig.run("ADD", "weave,canal")
    record = rig.record() | {"format": FORMAT + 1, "later": {"x": 1}}
    record["attachments"][0]["colour"] = "red"
    rig.rewrite(record)
    rig.delegates.faults["DEL", "w1"] = failure()
    caught(rig, "DEL")
    assert rig.record()["later"] == {"x": 1}
    assert rig.record()["attachments"][0]["colour"] == "red"
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()


def test_an_unreadable_record_is_an_error_that_names_it(rig: Rig) -> None:
    """A file that is there and cannot be read is for a person to mend."""
    rig.run("ADD", "canal")
    (rig.state / "c1.json").unlink()
    (rig.state / "c1.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"c1\.json"):
        rig.run("DEL")


def test_capability_arguments_reach_the_primary_alone(rig: Rig) -> None:
    """Declared and given, on ADD and DEL alike; port mappings in the specification's spelling."""
    for name, kind in (("p", "p1"), ("q", "q1")):
        plugin = {
            "type": kind,
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


def test_a_network_twice_whose_plugin_frees_only_the_last_one_first(rig: Rig) -> None:
    """What fails while the other is there has a second try after it, and no third."""
    run = rig.delegates.__class__.__call__

    class Tied(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, until: float, *more: Any) -> Any:
            ties = [each for each in self.held if each[3] == "w1"]
            last = variables["CNI_IFNAME"] == "eth1" and len(ties) > 1
            if variables["CNI_COMMAND"] == "DEL" and conf["type"] == "w1" and last:
                raise failure(5, "busy")
            return run(self, conf, variables, until, *more)

    rig.delegates.__class__ = Tied
    rig.run("ADD", "weave,weave")
    rig.run("DEL")
    assert rig.left() == []
    rig.delegates.__class__ = Delegates
    rig.run("ADD", "weave,weave")
    rig.delegates.faults["DEL", "w2"] = failure()
    rig.delegates.calls.clear()
    assert caught(rig, "DEL").code == 7
    assert [call.split()[3] for call in rig.delegates.calls] == ["eth1", "eth0"] * 2


def test_what_was_begun_is_noted_for_the_journal(rig: Rig) -> None:
    """Each attachment with its code, in order."""
    rig.delegates.faults["ADD", "c1"] = failure(42)
    caught(rig, "ADD", "weave,canal")
    assert [(each["network"], each["code"]) for each in rig.timings] == [
        ("weave", 0),
        ("canal", 42),
        ("canal", 0),
        ("weave", 0),
    ]


def test_a_state_directory_that_cannot_be_made(rig: Rig) -> None:
    """ADD does nothing; DEL of a container that has no record goes on without a lock."""
    rig.state.write_text("a file is in the way")
    with pytest.raises(OSError, match="state"):
        rig.run("ADD", "canal")
    assert rig.delegates.calls == []
    rig.run("DEL", "canal")
    assert rig.delegates.calls == ["DEL c1 canal-net eth0"]


def test_what_a_delegate_did_before_it_was_told_is_recorded_though_the_disk_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads nothing has acted by then; where its DEL fails as well, a later one frees."""

    class Deaf(Delegates):
        def __call__(self, conf: Any, variables: Any, until: float, meanwhile: Any = None) -> Any:
            said = super().__call__(conf, variables, until)
            if meanwhile:
                meanwhile()
            return said

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    rig.delegates.__class__ = Deaf
    rig.delegates.faults["DEL", "w1"] = failure(7, "busy")
    monkeypatch.setattr("posix.fdatasync", broken)
    with pytest.raises(OSError, match=r"Input/output error: '.*c1\.json\.tmp'"):
        rig.run("ADD", "weave")
    assert rig.delegates.held
    assert [each["phase"] for each in rig.record()["attachments"]] == ["attaching"]
    assert rig.timings[0]["code"] == cni_errors.IO_FAILURE
    monkeypatch.undo()
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_record_that_cannot_be_named_again_is_complained_of(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roll-back goes on."""

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("posix.replace", read_only)
    with pytest.raises(OSError, match="Read-only"):
        rig.run("ADD", "weave")
    assert rig.delegates.held == set()
    assert any("cannot rename the record" in each for each in rig.warnings)


def test_a_record_that_cannot_be_written_stops_the_add(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at each step of each write in turn: nothing is held in the end."""
    real = store._write_beside
    for last in range(1, 7):
        steps = iter(range(1, 100))

        def step(*_: object, steps: Any = steps, last: int = last) -> None:
            if next(steps) >= last:
                raise OSError(28, "No space left on device", "x.json.tmp")

        def write_beside(*args: Any, step: Any = step) -> int:
            step()
            return real(*args)

        monkeypatch.setattr(store, "_write_beside", write_beside)
        monkeypatch.setattr("posix.fdatasync", step)
        if last <= 5:
            with pytest.raises(OSError, match="No space"):
                rig.run("ADD", "weave,canal")
            assert rig.delegates.held == set()
            assert rig.left() == []
        else:
            rig.run("ADD", "weave,canal")
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_delegate_that_never_ended_leaves_time_for_the_others(rig: Rig) -> None:
    """On DEL each attachment gets its share of the time that is left."""
    rig.run("ADD", "weave,canal,weave,canal")
    untils: list[float] = []
    run = rig.delegates.__class__.__call__

    class Slow(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, until: float, *more: Any) -> Any:
            untils.append(until)
            if conf["type"] == "c1":
                rig.clock = until
                raise hung()
            return run(self, conf, variables, until, *more)

    rig.delegates.__class__ = Slow
    start = rig.clock
    assert caught(rig, "DEL").code == cni_errors.TRY_AGAIN
    assert [round(until - start, 1) for until in untils] == [22.5, 45.0, 45.0, 56.2, 90.0, 90.0]
    assert {held[2] for held in rig.delegates.held} == {"canal-net"}


def test_a_container_that_is_busy_does_not_keep_gc_away(rig: Rig) -> None:
    """Who cannot have the container's lock lets go of the other."""
    rig.state.mkdir()
    held = lock.acquire_container(str(rig.state), "c1", 1e12)
    error = caught(rig, "ADD", "canal", deadlineSeconds=1)
    assert error.code == cni_errors.TRY_AGAIN
    held.release(unlink=True)
    lock.acquire_gc_exclusive(str(rig.state), 1e12).release()


def test_a_lock_that_cannot_be_had_stops_a_delete_of_what_is_recorded(rig: Rig) -> None:
    """Without it a delegate that still runs could be raced."""
    rig.run("ADD", "canal")
    (rig.state / ".gc.lock").unlink()
    (rig.state / ".gc.lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match=r"gc\.lock"):
        rig.run("DEL")
    assert rig.records == ["c1"]


def test_a_delegates_failure_counts_more_than_a_full_disk(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk says more than there is; the reason that can be cured is told."""
    rig.run("ADD", "weave,canal")
    rig.delegates.faults["DEL", "c1"] = failure(42)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_synced", full)
    assert caught(rig, "DEL").code == 42
    rig.delegates.faults.clear()
    monkeypatch.setattr(store, "remove", full)
    with pytest.raises(OSError, match="No space"):
        rig.run("DEL")
    monkeypatch.undo()
    rig.run("DEL")
    assert (rig.delegates.held, rig.left()) == (set(), [])


def test_an_entry_of_the_cache_that_goes_by_itself(rig: Rig) -> None:
    """The runtime removes its own files too; others of the same container are left alone."""
    cached(rig, ["flannel"], interface="net7", name="a-other")
    cached(rig, ["odd"], name="b-odd")
    odd = json.loads((rig.cache / "b-odd").read_text())
    (rig.cache / "b-odd").write_text(json.dumps({**odd, "kind": "cniCacheV2"}))
    cached(rig, ["flannel"])
    run = rig.delegates.__class__.__call__

    class Removing(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, *args: Any) -> Any:
            (rig.cache / "old").unlink()
            return run(self, *args)

    rig.delegates.__class__ = Removing
    rig.run("DEL")
    assert rig.delegates.calls == ["DEL flannel cbr0 eth0"]
    assert {file.name for file in rig.cache.iterdir()} == {"a-other", "b-odd"}


def test_an_annotation_of_a_wrong_type_is_refused(rig: Rig) -> None:
    """The API allows strings alone, a runtime may hand over anything."""
    given = {keys.POD_ANNOTATIONS: {"cni": ["weave"]}}
    error = caught(rig, "ADD", runtimeConfig=given)
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
    error = caught(rig, "ADD", "weave,flannel@net1,other@net2")
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
