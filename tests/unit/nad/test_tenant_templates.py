"""Tenant templates: which an administrator cannot write, and what one can ever let through."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dispatcher.nad.definition import Definition
from dispatcher.nad.template_rules import MUST_BE_FIXED, NEVER_FREE, NEVER_PERMITTED
from dispatcher.nad.tenant_templates import (
    CAPABILITIES,
    InvalidTemplateError,
    TenantRules,
    read_templates,
)
from dispatcher.nad.tenants import CONFIG_KEYS
from dispatcher.nad.validation import check

ANYWHERE = {"namespaces": ["*"]}


def refusal(*templates: Any) -> str:
    """Return why *templates* cannot be used."""
    with pytest.raises(InvalidTemplateError) as caught:
        read_templates(json.dumps(templates))
    return str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(3, "[0]: must be an object", id="no object"),
        pytest.param({"name": "x"}, '[0]: unknown key "name"', id="an unknown key"),
        pytest.param({}, '[0].namespaces: name at least one, or "*"', id="no namespaces"),
        pytest.param({**ANYWHERE, "subnets": ["10.0.0.1/8"]}, "[0].subnets", id="a subnet"),
        pytest.param({"namespaces": "x"}, "[0].namespaces: must be a list of texts", id="a text"),
        pytest.param({**ANYWHERE, "cniArgs": [1]}, "[0].cniArgs: must be a list", id="arguments"),
        pytest.param({**ANYWHERE, "cniNamePrefix": "/"}, "cniNamePrefix: must", id="a prefix"),
        pytest.param({**ANYWHERE, "cniNamePrefix": "a."}, "without a dot", id="a dot in it"),
        pytest.param({**ANYWHERE, "plugins": {}}, "[0].plugins: must be", id="plugins"),
    ],
)
def test_a_template_with_a_fault_is_an_error(template: Any, expected: str) -> None:
    """When the program starts, with the field."""
    assert expected in refusal(template)


def test_what_is_no_list_of_templates_is_an_error() -> None:
    """JSON or not."""
    for text, expected in (("{", "not valid JSON"), ("{}", "must be a list of templates")):
        with pytest.raises(InvalidTemplateError, match=expected):
            read_templates(text)


PLUGINS: list[tuple[dict[str, Any], str]] = [
    ({}, "type: must be the name of an executable"),
    ({"type": "a/b"}, "type: must be"),
    ({"type": "a", "fixed": []}, "fixed: must be an object"),
    ({"type": "a", "fixed": {"args": 1}}, "fixed: must be an object without args"),
    ({"type": "a", "fixed": {"x": 1, "X": 2}}, "fixed: two keys differ in letter case only"),
    ({"type": "a", "fixed": {"x": 1}, "free": ["X"]}, 'free: "X" cannot be left free: "fixed" has'),
    ({"type": "a", "ipam": "static"}, 'ipam: must be "host-local" or "none"'),
    ({"type": "a", "ipam": []}, "ipam: must"),
    ({"type": "a", "capabilities": ["ipRanges"]}, "capabilities: must be of"),
    ({"type": "a", "capabilities": ["ips"]}, 'capabilities: "ips" needs "ipam": "host-local"'),
    ({"type": "a", "free": ["ISGATEWAY"]}, 'free: "ISGATEWAY" cannot be left free: it gives'),
    *[
        ({"type": "a", "free": [key]}, f'free: "{key}" cannot be left free: {reason}')
        for key, reason in NEVER_FREE.items()
    ],
    *[
        ({"type": name}, f'type: "{name}" cannot be used: {reason}')
        for name, reason in NEVER_PERMITTED.items()
    ],
    *[
        ({"type": name, "fixed": {key.title(): "x"}}, f'fixed: "{key}" must be in it: {reason}')
        for name, (key, reason) in MUST_BE_FIXED.items()
    ],
]


@pytest.mark.parametrize(("plugin", "expected"), PLUGINS, ids=[each[1] for each in PLUGINS])
def test_a_plugin_that_no_template_may_permit_is_an_error(
    plugin: dict[str, Any], expected: str
) -> None:
    """The second of a chain; ``host-device``, and a bridge without a name, are among them."""
    assert f"[0].plugins[1].{expected}" in refusal(
        {**ANYWHERE, "plugins": [{"type": "ptp"}, plugin]}
    )


def prefixed(prefix: str, *namespaces: str) -> dict[str, Any]:
    return {"namespaces": namespaces, "cniNamePrefix": prefix, "plugins": [{"type": "ptp"}]}


@pytest.mark.parametrize(
    ("one", "other", "namespace"),
    [
        pytest.param(prefixed("", "t-shop"), prefixed("t-", "shop"), "t-shop", id="both named"),
        pytest.param(prefixed("", "*"), prefixed("t-", "shop"), "t-shop", id="any, and a name"),
        pytest.param(prefixed("", "t-shop"), prefixed("t-", "*"), "t-shop", id="a name, and any"),
        pytest.param(prefixed("", "*"), prefixed("t-", "*"), "t-a", id="any of both"),
        pytest.param(prefixed("x-", "y"), prefixed("x", "shop"), "", id="no namespace in common"),
        pytest.param(prefixed("", "*"), prefixed("t_", "*"), "", id="what no namespace has"),
        pytest.param(prefixed("a-", "*"), prefixed("b-", "*"), "", id="other prefixes"),
        pytest.param(prefixed("t-", "*"), prefixed("t-", "shop"), "", id="the same prefix"),
        pytest.param(
            prefixed("", "*"),
            {**prefixed("t-", "*"), "plugins": [], "nodeNetworks": ["n"]},
            "",
            id="a template for references",
        ),
    ],
)
def test_two_templates_that_give_two_namespaces_one_cni_name_are_an_error(
    one: dict[str, Any], other: dict[str, Any], namespace: str
) -> None:
    """They would share a store of addresses. In either order of the templates."""
    for templates in ([one, other], [other, one]):
        if namespace:
            assert f'does for namespace "{namespace}"' in refusal(*templates)
        else:
            assert len(read_templates(json.dumps(templates))) == 2


@given(
    st.text("at-_", max_size=3),
    st.text("at-_", max_size=3),
    st.text("at-", min_size=1, max_size=3),
    st.text("at-", min_size=1, max_size=3),
)
def test_two_namespaces_never_have_one_cni_name(
    one: str, other: str, namespace: str, other_namespace: str
) -> None:
    """Of templates that are accepted, for any namespace."""
    assume(namespace != other_namespace)
    try:
        templates = read_templates(json.dumps([prefixed(one, "*"), prefixed(other, "*")]))
    except InvalidTemplateError:
        return
    rules = TenantRules(frozenset(), templates)
    owners = [
        name
        for name in (namespace, other_namespace)
        for prefix in (one, other)
        if not check(
            Definition(name, "x", config=f'{{"type":"ptp","name":"{prefix}{namespace}.x"}}'), rules
        ).refused
    ]
    assert set(owners) <= {namespace}


KEYS = ["mtu", "vlan", "label", "promiscMode"]
OTHER_KEYS = ["Mtu", "Bridge", "IPAM", "dns", "args", "runtimeConfig", "isGateway", *KEYS]
VALUES: st.SearchStrategy[Any] = st.sampled_from([1, True, "x", 1500, None])
INSIDE = ["10.20.0.0/16", "10.20.0.0/24", "fd20::/64"]
OUTSIDE = ["10.0.0.0/8", "10.244.0.0/16", "::/0", "x", "10.20.0.0", None]
IPAMS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["static", "host-local", "host-local"]),
        "subnet": st.sampled_from([*OUTSIDE, *INSIDE]),
    },
    optional={
        "gateway": st.sampled_from(["10.20.0.1", "10.1.0.1", "10.20.0.1/16"]),
        "dataDir": st.just("/etc"),
    },
)
CHANGES_OF_PLUGIN = st.one_of(
    st.tuples(st.sampled_from(OTHER_KEYS), VALUES | st.sampled_from([{}, [1]])),
    st.tuples(st.just("ipam"), IPAMS),
    st.tuples(
        st.just("capabilities"),
        st.dictionaries(st.sampled_from([*sorted(CAPABILITIES), "ipRanges"]), st.booleans()),
    ),
)
CHANGES_OF_CONFIG = st.one_of(
    st.tuples(st.just("name"), st.sampled_from(["t_bank.a", "canal", "t_shop.", "t_shop.b"])),
    st.tuples(st.sampled_from(OTHER_KEYS), VALUES),
)
"""A key, and its value."""


@st.composite
def templates(draw: st.DrawFn) -> dict[str, Any]:
    """Draw one template of a chain of one or two plugins."""
    plugins = []
    for _ in range(draw(st.integers(1, 2))):
        fixed = draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2))
        ipam = draw(st.sampled_from(["host-local", "host-local", "none"]))
        names = sorted(CAPABILITIES - (set() if ipam == "host-local" else {"ips"}))
        plugin = {
            "type": draw(st.sampled_from(["ptp", "portmap"])),
            "fixed": fixed,
            "free": draw(st.lists(st.sampled_from(KEYS), max_size=2).map(set(KEYS).intersection)),
            "ipam": ipam,
            "capabilities": draw(st.lists(st.sampled_from(names), max_size=2)),
        }
        plugins.append({**plugin, "free": sorted(plugin["free"] - fixed.keys())})
    return {"namespaces": ["shop"], "cniNamePrefix": "t_", "subnets": ["10.20.0.0/16", "fd20::/48"],
            "plugins": plugins}  # fmt: skip


@st.composite
def configs(draw: st.DrawFn, template: dict[str, Any]) -> dict[str, Any]:
    """Draw a config that *template* permits, or one that differs in a key."""
    plugins = []
    for permitted in template["plugins"]:
        free = {key: draw(VALUES) for key in permitted["free"] if draw(st.booleans())}
        plugin = {"type": permitted["type"], **permitted["fixed"], **free}
        if permitted["ipam"] == "host-local":
            plugin["ipam"] = {"type": "host-local", "subnet": draw(st.sampled_from(INSIDE))}
        plugins.append({**plugin, "capabilities": dict.fromkeys(permitted["capabilities"], True)})
    config: dict[str, Any] = {"name": "t_shop.a", "plugins": plugins}

    change = draw(st.sampled_from(["plugin", "plugin", "config", ""]))
    if change == "plugin":
        plugins[-1].update([draw(CHANGES_OF_PLUGIN)])
    elif change == "config":
        config.update([draw(CHANGES_OF_CONFIG)])
    if len(plugins) == 1 and draw(st.booleans()):
        del config["plugins"]
        config |= plugins[0]
    return config


@settings(max_examples=400)
@given(st.data())
def test_a_template_never_lets_through_a_key_that_it_does_not_list(data: st.DataObject) -> None:
    """Nor another value of a fixed key, another capability, or an address outside its subnets."""
    template = data.draw(templates())
    rules = TenantRules(frozenset(), read_templates(json.dumps([template])))
    config = data.draw(configs(template))
    if check(Definition("shop", "a", config=json.dumps(config)), rules).refused:
        return

    assert config["name"].startswith("t_shop.")
    assert len(config["name"]) > len("t_shop.")
    plugins = config.get("plugins") or [{k: v for k, v in config.items() if k not in CONFIG_KEYS}]
    assert config.keys() <= CONFIG_KEYS | {"plugins"} or "plugins" not in config
    assert len(plugins) == len(template["plugins"])
    for plugin, permitted in zip(plugins, template["plugins"], strict=True):
        listed = {"type", "ipam", "capabilities", *permitted["fixed"], *permitted["free"]}
        assert plugin.keys() <= listed
        assert {key: json.dumps(plugin[key]) for key in permitted["fixed"]} == {
            key: json.dumps(value) for key, value in permitted["fixed"].items()
        }
        assert plugin["type"] == permitted["type"]
        free = plugin.keys() & set(permitted["free"]) - permitted["fixed"].keys()
        assert not any(isinstance(plugin[key], dict | list) for key in free)
        declared = {name for name, is_on in plugin["capabilities"].items() if is_on}
        assert declared <= set(permitted["capabilities"])
        if ipam := plugin.get("ipam"):
            assert ipam["type"] == permitted["ipam"] == "host-local"
            outside = [
                text
                for key, text in ipam.items()
                if key != "type" and not any(_is_inside(text, each) for each in template["subnets"])
            ]
            assert outside == []


def _is_inside(text: str, subnet: str) -> bool:
    inner, outer = ipaddress.ip_network(text), ipaddress.ip_network(subnet)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
