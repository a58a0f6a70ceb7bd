"""Pods that select a tenant's definition get no more than a tenant template permits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CNIError

if TYPE_CHECKING:
    from tests.unit.plugin.definitions.rig import DefinitionRig

NO_KEYS = frozenset[str]()
MAC = "02:00:00:00:00:07"


@pytest.mark.parametrize(
    ("cni_args", "listed"),
    [
        pytest.param(
            {"sysctl": {"net.ipv4.ip_forward": "1"}}, '"sysctl" in "cni-args"', id="a sysctl"
        ),
        pytest.param({"mac": MAC, "ips": []}, '"mac" in "cni-args"', id="beside a listed key"),
        pytest.param({"IPs": ["10.0.0.9"]}, '"IPs" in "cni-args"', id="another spelling"),
    ],
)
def test_arguments_that_no_template_lists_are_refused(
    rig: DefinitionRig, cni_args: dict[str, Any], listed: str
) -> None:
    """Plugins would read them over what the template fixes. Nothing is attached."""
    rig.define("ns/red", {"plugins": [{"type": "r1"}]}, cni_args=frozenset({"ips"}))
    with pytest.raises(CNIError, match=f"do not permit {listed}$") as caught:
        rig.attach([{"name": "red", "cni-args": cni_args}], "ns/red")
    assert caught.value.code == cni_errors.INVALID_ANNOTATION
    assert 'NetworkAttachmentDefinition "ns/red"' in caught.value.msg
    assert (rig.delegates.calls, rig.records) == ([], [])


def test_arguments_that_a_template_lists_are_passed(rig: DefinitionRig) -> None:
    """As those of any other definition; so is an empty object."""
    rig.define("ns/red", {"plugins": [{"type": "r1"}]}, cni_args=frozenset({"ips"}))
    rig.attach([{"name": "red", "cni-args": {"ips": ["10.0.0.9"]}}], "ns/red")
    assert rig.delegates.confs[1]["args"] == {"cni": {"ips": ["10.0.0.9"]}}
    rig.run("DEL")
    rig.define("ns/red", {"plugins": [{"type": "r1"}]}, cni_args=NO_KEYS)
    rig.attach([{"name": "red", "cni-args": {}}], "ns/red")


def test_a_missing_capability_never_goes_into_cni_args(rig: DefinitionRig) -> None:
    """Otherwise a pod would choose a MAC that the template keeps from it."""
    rig.options["args"][keys.CONF_ARGS]["missingCapability"] = "cni-args"
    rig.define("ns/red", {"plugins": [{"type": "r1"}]}, cni_args=NO_KEYS)
    with pytest.raises(CNIError, match='no plugin of its configuration declares the capability "m'):
        rig.attach([{"name": "red", "mac": MAC}], "ns/red")


def test_a_reference_to_a_network_of_the_node_takes_no_request(rig: DefinitionRig) -> None:
    """Its capabilities are for the pods of trusted definitions; an interface may be named."""
    rig.network("storage", "s1")
    rig.define("ns/storage", "", cni_args=NO_KEYS)
    element = {"name": "storage", "ips": ["10.0.0.7/24"], "cni-args": {"a": 1}}
    with pytest.raises(CNIError, match=r'do not permit "a" in "cni-args", "ips"$'):
        rig.attach([element], "ns/storage+nodeNetwork")
    rig.attach("storage@data", "ns/storage+nodeNetwork")
    assert [each["interface"] for each in rig.record()["attachments"]] == ["eth0", "data"]
