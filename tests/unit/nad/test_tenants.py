"""Definitions of tenants: each attack that a definition could be is refused, and only those."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher.nad.definition import Definition
from dispatcher.nad.tenant_templates import TenantRules, read_templates
from dispatcher.nad.validation import check

HOST_LOCAL = {"type": "host-local", "subnet": "10.20.0.0/24"}
BRIDGE = {"name": "t_shop.blue", "type": "bridge", "bridge": "tenants0", "ipam": HOST_LOCAL}

TEMPLATES: list[dict[str, Any]] = [
    {
        "namespaces": ["shop", "bank"],
        "cniNamePrefix": "t_",
        "subnets": ["10.20.0.0/16", "fd20::/48"],
        "nodeNetworks": ["storage"],
        "plugins": [
            {
                "type": "bridge",
                "fixed": {"bridge": "tenants0", "vlan": 1},
                "free": ["mtu", "label"],
                "ipam": "host-local",
                "capabilities": ["ips", "mac"],
            }
        ],
    },
    {
        "namespaces": ["*"],
        "subnets": ["10.30.0.0/16"],
        "plugins": [
            {"type": "ptp", "ipam": "host-local"},
            {"type": "portmap", "capabilities": ["portMappings"]},
        ],
    },
    {"namespaces": ["shop"], "plugins": [{"type": "macvlan", "fixed": {"master": "eth9"}}]},
]
RULES = TenantRules(frozenset({"infra"}), read_templates(json.dumps(TEMPLATES)))


def faults(config: Any, namespace: str = "shop", name: str = "blue", **more: Any) -> list[str]:
    """Return the faults of a tenant's definition with *config* ("": none)."""
    text = config if isinstance(config, str) else json.dumps(config)
    result = check(Definition(namespace, name, config=text), RULES, **more)
    assert (result.configuration is None) == bool(result.faults or not text)
    return [str(each) for each in result.faults]


def bridge(**changes: Any) -> dict[str, Any]:
    """Return what the template permits, with *changes*; None removes a key."""
    value = {**BRIDGE, "vlan": 1, **changes}
    return {key: each for key, each in value.items() if each is not None}


def ptp(**changes: Any) -> dict[str, Any]:
    """Return a chain that a template permits, with *changes* to its second plugin."""
    ipam = {"type": "host-local", "subnet": "10.30.1.0/24"}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, **changes}
    return {"name": "shop.web", "plugins": [{"type": "ptp", "ipam": ipam}, portmap]}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(bridge(), id="what the template has"),
        pytest.param(bridge(mtu=1400, label="x"), id="keys that are free"),
        pytest.param(bridge(ipam=None), id="without addresses"),
        pytest.param(bridge(ipam={}), id="with an empty ipam"),
        pytest.param(bridge(capabilities={"mac": True, "other": False}), id="a capability"),
        pytest.param(bridge(cniVersion="1.0.0", disableCheck=True), id="a version"),
        pytest.param(
            bridge(
                ipam={
                    "type": "host-local",
                    "ranges": [
                        [{"subnet": "10.20.4.0/24", "rangeStart": "10.20.4.9"}],
                        [{"subnet": "fd20::/64", "gateway": "fd20::1"}],
                    ],
                }
            ),
            id="ranges of both families",
        ),
        pytest.param(ptp(), id="a chain"),
        pytest.param(
            {"name": "shop.m", "type": "macvlan", "master": "eth9"}, id="an interface of the node"
        ),
    ],
)
def test_what_a_template_permits_is_accepted(config: Any) -> None:
    """The whole configuration, as the tenant wrote it."""
    assert faults(config) == []


ANY_ADDRESS = {"type": "static", "addresses": [{"address": "10.244.0.9/16"}]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(
            bridge(bridge="cni0", ipam=ANY_ADDRESS),
            ['bridge: must be "tenants0"', 'ipam.type: must be "host-local"'],
            id="join the cluster's bridge with a static address",
        ),
        pytest.param(
            bridge(bridge=None), ['bridge: must be "tenants0"'], id="the plugin's default bridge"
        ),
        pytest.param(
            bridge(Bridge="cni0"), ["Bridge: the template does not permit"], id="another spelling"
        ),
        pytest.param(
            {
                "name": "shop.x",
                "plugins": [{"type": "ptp", "ipam": ANY_ADDRESS}, {"type": "portmap"}],
            },
            ['plugins[0].ipam.type: must be "host-local"'],
            id="a host route to any address, by ptp",
        ),
        pytest.param(
            {
                "name": "shop.x",
                "plugins": [
                    {"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.96.0.10/32"}},
                    {"type": "portmap"},
                ],
            },
            ["a range with its prefix length inside the template's subnets (10.30.0.0/16)"],
            id="a host route to a Service, by ptp",
        ),
        pytest.param(
            bridge(isGateway=True), ["isGateway: the template does not permit"], id="be the gateway"
        ),
        pytest.param(
            bridge(isDefaultGateway=True, forceAddress=True),
            ["forceAddress: the template", "isDefaultGateway: the template"],
            id="put an address on the host by force",
        ),
        pytest.param(
            bridge(name="canal"),
            ['name: the CNI name "canal" must begin with "t_shop.", followed by a name'],
            id="the address store of the default network, by its CNI name",
        ),
        pytest.param(
            bridge(name=None),
            ['name: the CNI name "blue" must begin with "t_shop.", followed by a name'],
            id="the same with the object's name",
        ),
        pytest.param(
            bridge(name="t_bank.blue"), ["name: the CNI name"], id="another namespace's CNI name"
        ),
        pytest.param(bridge(name="t_shop."), ["name: the CNI name"], id="the prefix alone"),
        pytest.param(
            bridge(name="t_shop-2.blue"), ["name: the CNI name"], id="a namespace with this prefix"
        ),
        pytest.param(
            ptp(conditionsV4=["-m", "comment"]),
            ["plugins[1].conditionsV4: the template does not permit"],
            id="firewall rules, by the conditions of portmap",
        ),
        pytest.param(
            ptp(conditionsV6=[]), ["plugins[1].conditionsV6: the template"], id="the same for IPv6"
        ),
        pytest.param(
            ptp(runtimeConfig={"portMappings": [{"hostPort": 22}]}),
            ["plugins[1].runtimeConfig: the template does not permit"],
            id="hidden port mappings, by a literal runtimeConfig",
        ),
        pytest.param(
            ptp(args={"cni": {"ips": ["10.96.0.1"]}}), ["plugins[1].args: the template"], id="args"
        ),
        pytest.param(
            bridge(args={}, runtimeConfig={}, prevResult={}),
            ["args:", "prevResult:", "runtimeConfig:"],
            id="all three in a single plugin",
        ),
        pytest.param(
            {**ptp(), "args": {}, "x": 1, "runtimeConfig": {}},
            ["args:", "runtimeConfig:", "x:"],
            id="keys beside the plugins",
        ),
        pytest.param(bridge(dns={}), ["dns: the template does not permit"], id="an unlisted key"),
        pytest.param(bridge(vlan=2), ["vlan: must be 1"], id="another VLAN"),
        pytest.param(bridge(vlan=True), ["vlan: must be 1"], id="a value that Python takes for it"),
        pytest.param(bridge(mtu=[1]), ["mtu: must be a text"], id="a list in a free key"),
        pytest.param(bridge(label="x" * 65), ["label: may have"], id="a long text in a free key"),
        pytest.param(
            {"name": "shop.x", "type": "host-device", "device": "eth0"},
            ['no template permits the plugins "host-device": use "bridge" or "macvlan" or "ptp'],
            id="take an interface of the node, by host-device",
        ),
        pytest.param(
            {"name": "shop.x", "type": "macvlan", "master": "eth0"},
            ['master: must be "eth9"'],
            id="join a network of the node, by macvlan",
        ),
        pytest.param(
            {"name": "shop.x", "type": "macvlan", "master": "eth9", "ipam": {"type": "dhcp"}},
            ["ipam: the template permits no address plugin"],
            id="an address plugin where there is none",
        ),
        pytest.param(
            bridge(type="../../bin/sh"), ['type: "type" must be the name'], id="a path as type"
        ),
        pytest.param(
            bridge(ipam={"type": "../x"}), ["ipam.type: "], id="a path as the address plugin"
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "dataDir": "/etc", "resolvConf": "/etc/shadow"}),
            ["ipam.dataDir: the template", "ipam.resolvConf: the template"],
            id="write and read paths of the node, by host-local",
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "subnet": "10.244.0.0/16"}),
            ["inside the template's subnets (10.20.0.0/16, fd20::/48)"],
            id="addresses of the cluster's network",
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "subnet": "10.0.0.0/8"}), ["ipam.subnet"], id="a wider range"
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "gateway": "10.244.0.1", "rangeEnd": "x", "rangeStart": 7}),
            ["ipam.gateway", "ipam.rangeEnd", "ipam.rangeStart"],
            id="addresses outside, and what is none",
        ),
        pytest.param(
            bridge(ipam={"type": "host-local", "ranges": [[{"subnet": "0.0.0.0/0", "x": 1}, 3]]}),
            ["ipam.ranges[0][0].subnet", "ipam.ranges[0][0].x", "ipam.ranges[0][1]"],
            id="inside a list of ranges",
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "ranges": {}}), ["ipam.ranges: must be"], id="no list"
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "subnet": "::ffff:10.20.0.0/112"}),
            ["ipam.subnet"],
            id="an IPv4 range in the clothes of IPv6",
        ),
        pytest.param(bridge(ipam=[HOST_LOCAL]), ["ipam.type: must be"], id="a list as ipam"),
        pytest.param(
            bridge(capabilities={"portMappings": True, "ips": True}),
            ['capabilities: the template does not permit the capability "portMappings"'],
            id="a capability that the template does not have",
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "subnet": "10.20.0.0/255.255.255.0"}),
            ["ipam.subnet: must be a range with its prefix length"],
            id="a range in a form that the plugin reads otherwise",
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "gateway": "10.20.0.1/16"}),
            ["ipam.gateway: must be an address inside"],
            id="a range as the gateway",
        ),
        pytest.param(
            bridge(ipam={**HOST_LOCAL, "routes": [{"dst": "0.0.0.0/0"}], "Subnet": "0.0.0.0/0"}),
            ["ipam.Subnet: the template does not permit", "ipam.routes: the template"],
            id="routes of the pod, and another spelling in the ipam",
        ),
        pytest.param("[null]", ["spec.config: must be a JSON object"], id="[null]"),
    ],
)
def test_an_attack_is_refused(config: Any, expected: list[str]) -> None:
    """With the field, all at once."""
    messages = sorted(faults(config))
    assert len(messages) == len(expected), messages
    for sentence, part in zip(messages, sorted(expected), strict=True):
        assert part in sentence


def test_a_name_that_another_has_is_refused() -> None:
    """A network of the node, or a definition of another namespace, keeps its addresses."""
    owner = {"t_shop.blue": 'the network "blue" of the node'}
    [sentence] = faults(bridge(), name_owner=lambda name: owner.get(name, ""))
    assert 'the CNI name "t_shop.blue" is taken by the network "blue" of the node' in sentence
    assert faults(bridge(name="t_shop.red"), name_owner=lambda name: owner.get(name, "")) == []


def test_a_reference_to_a_network_of_the_node_needs_a_template() -> None:
    """Otherwise the empty definition own/weave would get around the allow-list."""
    [sentence] = faults("", name="weave")
    assert 'so it selects the nodes\' network "weave"' in sentence
    assert "(permitted: storage)" in sentence
    assert faults("", name="storage") == []
    assert len(faults("", name="storage", namespace="other")) == 1


def test_without_a_template_a_tenant_may_define_nothing() -> None:
    """The default of a namespace that is not trusted."""
    deny = TenantRules(frozenset({"infra"}))
    definition = Definition("shop", "blue", config=json.dumps(BRIDGE))
    assert "ask a cluster administrator" in check(definition, deny).refused
    assert "nodeNetworks" in check(Definition("shop", "weave"), deny).refused


def test_a_trusted_namespace_may_define_any_network() -> None:
    """Except what can never work."""
    config = {"type": "host-device", "device": "eth0", "runtimeConfig": {}}
    assert faults(config, namespace="infra") == []
    assert faults({"type": "genie"}, namespace="infra") != []
    everything = TenantRules(frozenset({"*"}))
    assert check(Definition("any", "x", config='{"type":"ptp"}'), everything).refused == ""


def test_a_pod_gives_only_the_arguments_that_the_template_lists() -> None:
    """They reach each plugin, over its configuration; in a trusted namespace a pod gives any."""
    templates = [
        {"namespaces": ["shop"], "cniArgs": ["ips"], "plugins": [{"type": "a"}]},
        {"namespaces": ["shop"], "cniArgs": ["mac"], "plugins": [{"type": "a", "free": ["x"]}]},
        {"namespaces": ["shop"], "cniArgs": ["other"], "nodeNetworks": ["storage"]},
    ]
    rules = TenantRules(frozenset({"infra"}), read_templates(json.dumps(templates)))

    def permitted(namespace: str, config: Any, name: str = "blue") -> set[str] | None:
        text = json.dumps(config) if config else ""
        result = check(Definition(namespace, name, config=text), rules)
        assert result.faults == ()
        return None if result.cni_args is None else set(result.cni_args)

    assert permitted("infra", {"type": "a"}) is None
    assert permitted("shop", {"name": "shop.b", "type": "a"}) == {"ips", "mac"}
    assert permitted("shop", {"name": "shop.b", "type": "a", "x": 1}) == {"mac"}
    assert permitted("shop", None, "storage") == {"other"}
