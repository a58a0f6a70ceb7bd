"""Pods with NetworkAttachmentDefinitions: what is attached, and what its plugins get."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli.release import record_current_confs
from tests.unit.plugin.definitions.rig import ENFORCE
from tests.unit.plugin.rig import failure

if TYPE_CHECKING:
    from tests.unit.plugin.definitions.rig import DefinitionRig


ENFORCED: dict[str, Any] = {"args": {keys.CONF_ARGS: ENFORCE}}
OBSERVED: dict[str, Any] = {"args": {keys.CONF_ARGS: {"attachmentDefinitions": "observe"}}}


def attached(rig: DefinitionRig) -> list[str]:
    """Return network and interface of each attachment in the record."""
    return [f"{each['network']}@{each['interface']}" for each in rig.record()["attachments"]]


PLANS: dict[str, tuple[str | None, tuple[str, ...], dict[str, Any], str]] = {
    "networks beside the default": ("blue,red@data", ("ns/blue", "ns/red"), {},
                                    "canal@eth0 ns/blue@net1 ns/red@data"),
    "JSON": ('[{"name": "blue", "interface": "x"}]', ("ns/blue",), {}, "canal@eth0 ns/blue@x"),
    "networks beside cni": ("red", ("ns/red",), {"cni": "canal@net1,weave"},
                            "weave@eth0 canal@net1 ns/red@net2"),
    "one definition twice": ("blue,blue", ("ns/blue", "ns/blue"), {},
                             "canal@eth0 ns/blue@net1 ns/blue@net2"),
    "another primary": (None, ("=ns/blue",), {"default": "ns/blue"}, "ns/blue@eth0"),
    "another primary and networks": ("red", ("=ns/blue", "ns/red"), {"default": "ns/blue"},
                                     "ns/blue@eth0 ns/red@net1"),
    "blank annotations": (" ", (), {}, "canal@eth0"),
}  # fmt: skip


@pytest.mark.parametrize(("networks", "marks", "more", "expected"), PLANS.values(), ids=PLANS)
def test_a_pod_is_attached_to_its_plan(
    rig: DefinitionRig,
    networks: str | None,
    marks: tuple[str, ...],
    more: dict[str, Any],
    expected: str,
) -> None:
    """The primary first; CHECK and DEL work without annotations, copies and option."""
    rig.attach(networks, *marks, **more)
    assert " ".join(attached(rig)) == expected
    rig.options, rig.hashes = {}, {}
    for file in (*rig.definitions.rglob("*"),):
        if file.is_file():
            file.unlink()
    rig.run("CHECK")
    rig.run("DEL")
    assert (rig.delegates.held, rig.records) == (set(), [])


def test_a_default_network_without_a_namespace_is_one_of_multus(rig: DefinitionRig) -> None:
    """As with Multus itself. Its namespace is an option of the conflist, kube-system by default."""
    own = rig.options["args"][keys.CONF_ARGS]
    for namespace, option in (("kube-system", {}), ("multus", {"multusNamespace": "multus"})):
        rig.define(f"{namespace}/blue", {"plugins": [{"type": "b1"}]})
        rig.options["args"] = {keys.CONF_ARGS: {**own, **option}}
        rig.attach("blue", f"={namespace}/blue", "ns/blue", default="blue")
        assert attached(rig) == [f"{namespace}/blue@eth0", "ns/blue@net1"]
        rig.run("DEL")
    with pytest.raises(CNIError, match='but the pod selects "=multus/blue"'):
        rig.attach(None, "=ns/blue", default="blue")


def test_without_the_option_the_annotations_are_ignored(rig: DefinitionRig) -> None:
    """That is the behaviour of a cluster that does not attach definitions."""
    for mode in ("off", "observe"):
        args = {keys.CONF_ARGS: {"attachmentDefinitions": mode}}
        rig.ask("ADD", "blue@@", default="x,y", args=args)
        assert attached(rig) == ["canal@eth0"]
        rig.run("DEL")


def test_a_definition_without_a_name_gives_its_own_to_the_plugins(rig: DefinitionRig) -> None:
    """Section 3.4.2 of the specification; a configuration with a name keeps it."""
    rig.attach("red,blue", "ns/red", "ns/blue")
    assert [each["name"] for each in rig.delegates.confs] == ["canal-net", "red", "red", "blue-net"]


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        pytest.param({"ips": ["10.1.0.9/24"]}, {"ips": ["10.1.0.9/24"]}, id="ips"),
        pytest.param({"mac": "02-23-45-67-89-AB"}, {"mac": "02:23:45:67:89:ab"}, id="mac"),
        pytest.param(
            {"infiniband-guid": "24:8a:07:03:00:8d:ae:2f"},
            {"infinibandGUID": "24:8a:07:03:00:8d:ae:2f"},
            id="infiniband-guid",
        ),
        pytest.param(
            {"portMappings": [{"hostPort": 80, "containerPort": 8080}]},
            {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]},
            id="portMappings",
        ),
        pytest.param(
            {"bandwidth": {"ingressRate": 9000, "egressRate": 8000, "egressBurst": 70}},
            {
                "bandwidth": {
                    "ingressRate": 9000,
                    "ingressBurst": (1 << 32) - 1,
                    "egressRate": 8000,
                    "egressBurst": 70,
                }
            },
            id="bandwidth",
        ),
        pytest.param(
            {"bandwidth": {"egressRate": 8000}},
            {"bandwidth": {"egressRate": 8000, "egressBurst": (1 << 32) - 1}},
            id="bandwidth in one direction",
        ),
    ],
)
def test_a_request_becomes_a_capability_argument(
    rig: DefinitionRig, element: dict[str, Any], expected: dict[str, Any]
) -> None:
    """It reaches the plugin that declares the capability, and no other; the record has it."""
    [capability] = expected
    plugins = [{"type": "r1", "capabilities": {capability: True}}, {"type": "r2"}]
    rig.define("ns/red", {"plugins": plugins})
    rig.attach([{"name": "red", **element}], "ns/red+hostPort")
    first, second = rig.delegates.confs[1:]
    assert (first["runtimeConfig"], second.get("runtimeConfig")) == (expected, None)
    assert rig.record()["attachments"][1]["capabilityArgs"] == expected

    rig.define("ns/red", {"plugins": [{"type": "r1", "capabilities": {capability: False}}]})
    rig.run("DEL")
    rig.delegates.calls.clear()
    with pytest.raises(CNIError, match=f'declares the capability "{capability}"') as caught:
        rig.attach([{"name": "red", **element}], "ns/red+hostPort")
    assert caught.value.code == cni_errors.INVALID_ANNOTATION
    assert (rig.delegates.calls, rig.records) == ([], [])


def test_addresses_without_a_capability_may_go_into_cni_args(rig: DefinitionRig) -> None:
    """Where the option says so, and nothing else; CHECK and DEL get the same."""
    rig.options["args"][keys.CONF_ARGS]["missingCapability"] = "cni-args"
    element = {"name": "blue", "ips": ["10.0.0.7/24", "fd00::7/64"], "mac": "02:00:00:00:00:07"}
    rig.attach([element], "ns/blue")
    rig.run("CHECK")
    rig.run("DEL")
    own = [each["CNI_ARGS"] for each in rig.delegates.environments if each["CNI_IFNAME"] == "net1"]
    variables = "IP=10.0.0.7/24,fd00::7/64;MAC=02:00:00:00:00:07"
    assert own == [f"K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;K8S_POD_UID=u;{variables}"] * 3
    assert "runtimeConfig" not in rig.delegates.confs[1]

    limited = {"name": "blue", "mac": "02:00:00:00:00:07", "bandwidth": {"egressRate": 1}}
    with pytest.raises(CNIError, match='declares the capability "bandwidth", "mac"'):
        rig.attach([limited], "ns/blue")
    rig.define("ns/blue", {"type": "b1", "capabilities": {"mac": True}})
    rig.attach([{"name": "blue", "mac": "02:00:00:00:00:07"}], "ns/blue")
    assert rig.delegates.confs[-1]["runtimeConfig"] == {"mac": "02:00:00:00:00:07"}


def test_the_arguments_of_the_runtime_go_to_the_primary_alone(rig: DefinitionRig) -> None:
    """A definition as primary gets them; what its pod asks for there takes their place."""
    config = {"type": "b1", "capabilities": {"portMappings": True, "ips": True}}
    rig.define("ns/blue", config)
    runtime = {"portMappings": [{"HostPort": 1}], "ips": ["10.0.0.1/24"], "mac": "x"}
    selection = '[{"name": "blue", "namespace": "ns", "ips": ["10.0.0.7/24"]}]'
    rig.attach("blue", "=ns/blue", "ns/blue", default=selection, runtime=runtime)
    primary, secondary = rig.delegates.confs
    expected = {"portMappings": [{"hostPort": 1}], "ips": ["10.0.0.7/24"]}
    assert primary["runtimeConfig"] == expected
    assert "runtimeConfig" not in secondary


def test_cni_args_go_to_every_plugin_over_those_of_the_definition(rig: DefinitionRig) -> None:
    """A delegate gets the same bytes on CHECK and DEL."""
    plugins: list[dict[str, Any]] = [
        {"type": "r1", "args": {"cni": {"a": 1, "b": 1}, "other": 2}},
        {"type": "r2"},
    ]
    rig.define("ns/red", {"plugins": plugins})
    rig.attach([{"name": "red", "cni-args": {"b": [2], "c": {}}}], "ns/red")
    first, second = rig.delegates.confs[1:]
    assert first["args"] == {"cni": {"a": 1, "b": [2], "c": {}}, "other": 2}
    assert second["args"] == {"cni": {"b": [2], "c": {}}}
    rig.run("CHECK")
    rig.run("DEL")
    assert [each["args"] for each in rig.delegates.confs if "args" in each] == [
        *(first["args"], second["args"]),
        *(first["args"], second["args"]),
        *(second["args"], first["args"]),
    ]


@pytest.mark.parametrize("args", ["x", {"cni": [1]}, {"cni": "x"}], ids=str)
def test_cni_args_have_no_place_in_a_definition_with_something_else_there(
    rig: DefinitionRig, args: Any
) -> None:
    """Without them its plugin may know what it means."""
    rig.define("ns/blue", {"type": "b1", "args": args})
    with pytest.raises(CNIError, match='"args" of its plugin "b1"'):
        rig.attach([{"name": "blue", "cni-args": {"a": 1}}], "ns/blue")
    rig.attach([{"name": "blue", "cni-args": {}}], "ns/blue")


def test_a_definition_without_a_configuration_is_the_network_of_the_node(
    rig: DefinitionRig,
) -> None:
    """It counts as that network for a static pod's limits."""
    rig.define("ns/weave", "")
    rig.attach("weave", "ns/weave+nodeNetwork")
    assert attached(rig) == ["canal@eth0", "ns/weave@net1"]
    assert rig.delegates.calls[1:] == ["ADD w1 weave-net net1", "ADD w2 weave-net net1"]
    rig.run("DEL")

    limit = {keys.CONF_ARGS: {"attachmentDefinitions": "enforce", "maxPerNetwork": 1}}
    with pytest.raises(CNIError, match='at most 1 attachments of network "weave" \\(has 2\\)'):
        rig.ask("ADD", "weave", cni="weave", source="file", args=limit)
    rig.ask("ADD", "blue,weave", source="file", args=limit)
    rig.run("DEL")
    with pytest.raises(CNIError, match='network "ns/blue" \\(has 2\\)'):
        rig.ask("ADD", "blue,blue", source="file", args=limit)


@pytest.mark.parametrize(
    ("network", "types", "code", "part"),
    [
        pytest.param("nowhere", (), cni_errors.UNKNOWN_NETWORK, "no configuration", id="unknown"),
        pytest.param(
            "multi", ("multus",), cni_errors.BROKEN_NETWORK, 'plugin "multus"', id="of Multus"
        ),
    ],
)
def test_a_definition_of_a_network_of_the_node_that_cannot_be_attached(
    rig: DefinitionRig, network: str, types: tuple[str, ...], code: int, part: str
) -> None:
    """The error names the definition."""
    if types:
        rig.network(network, *types)
    rig.define(f"ns/{network}", "")
    with pytest.raises(CNIError, match=part) as caught:
        rig.attach(network, f"ns/{network}+nodeNetwork")
    assert caught.value.code == code
    assert f'NetworkAttachmentDefinition "ns/{network}"' in caught.value.msg


def test_a_pod_of_multus_is_left_to_it(rig: DefinitionRig) -> None:
    """Multus reads the annotations itself; also the grammar is its own."""
    rig.network("multus", "multus")
    for more in ({"cni": "multus"}, {"default_network": "multus"}):
        options = {"default": more["default_network"]} if "default_network" in more else {}
        rig.options.update(options)
        rig.ask("ADD", "blue@@,", cni=more.get("cni"), default="x,y")
        assert attached(rig) == ["multus@eth0"]
        rig.run("DEL")


INCOMPLETE: dict[str, tuple[str, str, int]] = {
    "a secondary without a file": ("multus,weave", "", cni_errors.UNKNOWN_NETWORK),
    "a primary without a file": ("weave,multus@net1", "", cni_errors.UNKNOWN_NETWORK),
    "a file half written": ("multus,weave", '{"cniVersion": "1.0', cni_errors.BROKEN_NETWORK),
    "the primary's interface": ("multus,canal@ens5", "", cni_errors.INVALID_ANNOTATION),
}


@pytest.mark.parametrize("networks", [None, "blue"], ids=["no definition", "a definition"])
@pytest.mark.parametrize(("cni", "content", "code"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_pod_of_multus_gets_all_its_networks_or_an_error(
    rig: DefinitionRig, networks: str | None, cni: str, content: str, code: int
) -> None:
    """The same one with and without a definition, and nothing is attached."""
    rig.network("multus", "multus")
    file = rig.conf / "10-weave.conflist"
    file.write_text(content) if content else file.unlink()
    with pytest.raises(CNIError) as caught:
        rig.ask("ADD", networks, cni=cni, interface="ens5")
    assert caught.value.code == code, caught.value
    assert (rig.delegates.calls, rig.records) == ([], [])


@pytest.mark.parametrize("cni", ["multus", "canal,multus@net1"])
def test_a_network_of_multus_that_is_not_ready_is_named(rig: DefinitionRig, cni: str) -> None:
    """Admission has permitted no definition of such a pod; the error does not speak of that."""
    with pytest.raises(CNIError, match='for the network "multus"') as caught:
        rig.ask("ADD", "blue", "", cni=cni)
    assert caught.value.code == cni_errors.UNKNOWN_NETWORK


def test_what_the_node_cannot_attach_is_refused_before_anything_is_attached(
    rig: DefinitionRig,
) -> None:
    """An unknown network of ``cni``, a missing executable, the interface of the runtime."""
    rig.delegates.absent.add("r2")
    cases: list[tuple[dict[str, Any], int]] = [
        ({"networks": "blue", "cni": "wave"}, cni_errors.UNKNOWN_NETWORK),
        ({"networks": "red"}, cni_errors.CANNOT_RUN),
        ({"networks": "blue@ens5", "interface": "ens5"}, cni_errors.INVALID_ANNOTATION),
        ({"networks": "blue@eth0"}, cni_errors.INVALID_ANNOTATION),
        ({"networks": "blue@d,red@d"}, cni_errors.INVALID_ANNOTATION),
    ]
    for more, code in cases:
        marks = [f"ns/{item.partition('@')[0]}" for item in more["networks"].split(",")]
        with pytest.raises(CNIError) as caught:
            rig.attach(more.pop("networks"), *marks, **more)
        assert caught.value.code == code, caught.value
    assert (rig.delegates.calls, rig.records) == ([], [])


def test_a_node_without_a_default_needs_a_primary(rig: DefinitionRig) -> None:
    """The annotation of the default network is one, and then an unknown default is no fault."""
    rig.options["default"] = ""
    with pytest.raises(CNIError) as caught:
        rig.attach("blue", "ns/blue")
    assert caught.value.code == cni_errors.INVALID_CONF
    rig.attach(None, "=ns/blue", default="ns/blue")
    rig.run("DEL")
    rig.options["default"] = "wave"
    rig.attach(None, "=ns/blue", default="ns/blue")


def test_a_permitted_primary_takes_the_place_of_the_default_that_observe_filled_in(
    rig: DefinitionRig,
) -> None:
    """With all its networks; the author of a pod cannot have both, nor a static pod."""
    filled_in = {"cni": "canal,weave@net1", "default": "ns/blue"}
    rig.attach("red", "=ns/blue", "ns/red", **filled_in)
    assert attached(rig) == ["ns/blue@eth0", "ns/red@net1"]
    rig.run("DEL")

    for marks, source in (((), "file"), ((), "api"), (("ns/blue",), "api")):
        with pytest.raises(CNIError, match='cannot be combined with "cni"') as caught:
            rig.attach(None, *marks, source=source, **filled_in)
        assert caught.value.code == cni_errors.INVALID_ANNOTATION
    with pytest.raises(CNIError, match='item 1 is "=ns/blue", but the pod selects "ns/blue"'):
        rig.attach("blue", "=ns/blue", cni="canal")
    assert rig.records == []


def test_a_second_definition_that_fails_rolls_back_the_first(rig: DefinitionRig) -> None:
    """Nothing is left."""
    rig.delegates.faults["ADD", "r2"] = failure()
    with pytest.raises(CNIError, match='network "ns/red" on interface "net2"'):
        rig.attach("blue,red", "ns/blue", "ns/red")
    assert (rig.delegates.held, rig.records) == (set(), [])


def test_a_corrupt_record_is_rebuilt_from_annotations_and_copies(rig: DefinitionRig) -> None:
    """A definition that is unknown now is released once it is known again."""
    permitted = rig.permit("ns/blue", "ns/red")
    rig.ask("ADD", "blue,red", permitted, cni="canal")
    (rig.state / "c1.json").write_bytes(b"{")
    content = (rig.definitions / "ns" / "red").read_bytes()
    (rig.definitions / "ns" / "red").unlink()
    (rig.conf / "10-canal.conflist").rename(rig.conf / "away")
    with pytest.raises(CNIError) as caught:
        rig.ask("DEL", "blue,red", permitted, cni="canal")
    assert caught.value.code == cni_errors.CANNOT_RUN
    assert {held[3] for held in rig.delegates.held} == {"c1", "r1", "r2"}
    (rig.definitions / "ns" / "red").write_bytes(content)
    (rig.conf / "away").rename(rig.conf / "10-canal.conflist")
    rig.run("DEL")
    assert rig.delegates.held == set()


def test_a_corrupt_record_of_a_pod_of_multus(rig: DefinitionRig) -> None:
    """Its networks are those of ``cni``."""
    rig.network("multus", "multus")
    rig.ask("ADD", "blue", cni="multus")
    (rig.state / "c1.json").write_bytes(b"{")
    rig.ask("DEL", "blue", cni="multus")
    assert rig.delegates.held == set()


def test_a_corrupt_record_of_a_pod_of_multus_and_a_network_that_is_not_configured_now(
    rig: DefinitionRig,
) -> None:
    """Its DEL fails until the configuration is back, as without a definition."""
    rig.network("multus", "multus")
    rig.ask("ADD", "blue", cni="multus,weave")
    (rig.state / "c1.json").write_bytes(b"{")
    (rig.conf / "10-weave.conflist").unlink()
    with pytest.raises(CNIError) as caught:
        rig.ask("DEL", "blue", cni="multus,weave")
    assert caught.value.code == cni_errors.CANNOT_RUN
    assert {held[2] for held in rig.delegates.held} == {"weave-net"}
    rig.network("weave", "w1", "w2")
    rig.ask("DEL", "blue", cni="multus,weave")
    assert rig.delegates.held == set()


OTHER_MODES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "off, then enforce": ({}, ENFORCED, {"networks": "blue", "cni": "weave"}),
    "off, then enforce, with an invalid annotation": (
        {}, ENFORCED, {"networks": "blue@@", "cni": "weave"}),
    "off, then enforce, with another primary": ({}, ENFORCED, {"default": "ns/blue"}),
    "off, then enforce, with two primaries": ({}, ENFORCED, {"default": "ns/blue", "cni": "weave"}),
    "observe, then enforce": (
        OBSERVED, ENFORCED, {"default": "ns/blue", "permitted": "=ns/blue:000000", "cni": "weave"}),
    "enforce, then off": (ENFORCED, {}, {"networks": "blue", "permitted": "ns/blue:000000"}),
    "enforce, then off, with another primary": (
        ENFORCED, {}, {"default": "ns/blue", "permitted": "=ns/blue:000000"}),
    "enforce, then off, of a static pod": (ENFORCED, {}, {"networks": "blue", "source": "file"}),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "pod"), OTHER_MODES.values(), ids=OTHER_MODES)
def test_a_corrupt_record_of_a_pod_from_another_mode(
    rig: DefinitionRig, before: dict[str, Any], after: dict[str, Any], pod: dict[str, Any]
) -> None:
    """DEL releases what either of the modes attaches."""
    rig.options = before
    rig.ask("ADD", **pod)
    assert rig.delegates.held
    (rig.state / "c1.json").write_bytes(b"{")
    rig.options = after
    rig.ask("DEL", **pod)
    assert (rig.delegates.held, rig.left()) == (set(), ["c1.json.corrupt", "nad"])


def test_a_corrupt_record_where_definitions_were_never_attached(rig: DefinitionRig) -> None:
    """Annotations of Multus without effect do not keep the pod from being released."""
    rig.options = {}
    rig.ask("ADD", "missing", cni="weave")
    (rig.state / "c1.json").write_bytes(b"{")
    rig.ask("DEL", "missing", cni="weave")
    assert (rig.delegates.held, rig.records) == (set(), [])


@pytest.mark.parametrize("own", [{"cni": "weave"}, {}], ids=["cni", "default network"])
def test_a_corrupt_record_of_a_pod_from_observe_after_the_copies_are_gone(
    rig: DefinitionRig, own: dict[str, str]
) -> None:
    """The webhook permitted its definitions, which nothing has attached or could release."""
    pod = {"networks": "blue", "permitted": "ns/blue:000000", **own}
    rig.options = OBSERVED
    rig.ask("ADD", **pod)
    assert rig.delegates.held
    (rig.state / "c1.json").write_bytes(b"{")
    rig.options = {}
    shutil.rmtree(rig.definitions)
    rig.ask("DEL", **pod)
    assert (rig.delegates.held, rig.left()) == (set(), ["c1.json.corrupt"])
    assert any('"ns/blue" is left out' in warning for warning in rig.warnings)


def test_a_corrupt_record_of_a_pod_that_every_mode_refuses(rig: DefinitionRig) -> None:
    """Only the DEL of the default network is left to run."""
    rig.state.mkdir(exist_ok=True)
    for pod in ({"networks": "blue", "cni": "bad@@"}, {"networks": " "}):
        rig.options["default"] = "" if pod["networks"] == " " else "canal"
        (rig.state / "c1.json").write_bytes(b"{")
        rig.ask("DEL", **pod)
        assert rig.records == []
    assert rig.delegates.calls == ["DEL c1 canal-net eth0"]


def test_the_configuration_of_a_definition_is_not_replaced_by_todays(rig: DefinitionRig) -> None:
    """``genie free --current-config`` looks up the networks of the node alone."""
    rig.attach("blue", "ns/blue")
    rig.network("canal", "c1", "c2")
    record_current_confs(str(rig.state), "c1", [str(rig.conf)], str(rig.cache))
    types = [
        [plugin["type"] for plugin in each["conf"]["plugins"]]
        for each in rig.record()["attachments"]
    ]
    assert types == [["c1", "c2"], ["b1"]]
