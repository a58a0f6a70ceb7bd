"""What a hostile tenant writes into NetworkAttachmentDefinitions, for tests at every level.

:data:`TEMPLATES` permit one chain, of which :func:`network` is an example. :func:`attacks` has what
goes beyond it or is meant to crash a reader.
"""

from __future__ import annotations

import json
from typing import Any

BRIDGE = "tenants0"
TRUSTED = "kube-system"

TEMPLATES: list[dict[str, Any]] = [
    {
        "namespaces": ["*"],
        "cniNamePrefix": "tenant_",
        "subnets": ["10.78.0.0/16"],
        "nodeNetworks": ["storage"],
        "plugins": [
            {
                "type": "bridge",
                "fixed": {"bridge": BRIDGE},
                "free": ["mtu"],
                "ipam": "host-local",
                "capabilities": ["ips"],
            },
            {"type": "portmap", "capabilities": ["portMappings"]},
        ],
    }
]


def network(namespace: str, portmap: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Return what the templates permit, with *changes* of the bridge and of *portmap*."""
    return {
        "cniVersion": "1.0.0",
        "name": f"tenant_{namespace}.net",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "ipam": {"type": "host-local", "subnet": "10.78.1.0/24"},
                "capabilities": {"ips": True},
                **changes,
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, **(portmap or {})},
        ],
    }


def definition(namespace: str, name: str, config: Any) -> dict[str, Any]:
    """Return the object of a definition; *config* is an object, or the text of ``spec.config``."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"config": config if isinstance(config, str) else json.dumps(config)},
    }


def hostile_definitions(namespace: str) -> list[dict[str, Any]]:
    """Return the object of each attack."""
    return [definition(namespace, name, each) for name, (each, _) in attacks(namespace).items()]


def attacks(own: str) -> dict[str, tuple[Any, str]]:
    """Return what the tenant of *own* defines, by name: the config, and part of the refusal.

    A config is an object, or the text of ``spec.config``.
    """
    return {**_other_chains(own), **_changed_fields(own), **HOSTILE_TEXTS}


def _other_chains(own: str) -> dict[str, tuple[Any, str]]:
    """Return the attacks by plugins or names of another chain than the permitted one."""
    ptp = {"type": "ptp", "ipam": {"type": "static", "addresses": [{"address": "10.96.0.1/32"}]}}
    return {
        "program": ({"type": "../../../bin/sh"}, "must be the name of an executable"),
        "host-device": (
            {"name": f"tenant_{own}.x", "type": "host-device", "device": "eth0"},
            'no template permits the plugins "host-device"',
        ),
        "host-route": (
            {"name": f"tenant_{own}.x", "plugins": [ptp, {"type": "portmap"}]},
            'no template permits the plugins "ptp, portmap"',
        ),
        "sysctl": (
            {"name": f"tenant_{own}.x", "type": "tuning", "sysctl": {}},
            'no template permits the plugins "tuning"',
        ),
        "weave": ("", 'which no tenant template lists in "nodeNetworks"'),
        "store": (
            {**network(own), "name": "canal"},
            f'the CNI name "canal" must begin with "tenant_{own}.", followed by a name',
        ),
        "another-tenant": (
            {**network(own), "name": "tenant_bank.net"},
            'the CNI name "tenant_bank.net" must begin with',
        ),
    }


def _changed_fields(own: str) -> dict[str, tuple[Any, str]]:
    """Return the attacks by one field of the permitted chain."""
    static = {"type": "static", "addresses": [{"address": "10.244.0.9/16"}]}
    hidden = {"runtimeConfig": {"portMappings": [{"hostPort": 22, "containerPort": 22}]}}
    paths = {"type": "host-local", "subnet": "10.78.1.0/24", "dataDir": "/etc/cni/net.d"}
    return {
        "program-of-ipam": (
            network(own, ipam={"type": "../../bin/sh"}),
            '"ipam.type" of "bridge" must be the name of an executable',
        ),
        "host-path": (network(own, ipam=paths), "ipam.dataDir: the template does not permit"),
        "cluster-bridge": (
            network(own, bridge="cni0", ipam=static),
            f'plugins[0].bridge: must be "{BRIDGE}"',
        ),
        "default-bridge": (
            {
                "name": f"tenant_{own}.net",
                "plugins": [{"type": "bridge"}, {"type": "portmap"}],
            },
            f'plugins[0].bridge: must be "{BRIDGE}"',
        ),
        "spelling": (
            network(own, Bridge="cni0"),
            "plugins[0].Bridge: the template does not permit",
        ),
        "cluster-range": (
            network(own, ipam={"type": "host-local", "subnet": "10.244.0.0/16"}),
            "ipam.subnet: must be a range with its prefix length inside the template's subnets",
        ),
        "gateway": (network(own, isGateway=True), "isGateway: the template does not permit"),
        "conditions": (
            network(own, {"conditionsV4": ["-j", "ACCEPT"]}),
            "plugins[1].conditionsV4: the template does not permit",
        ),
        "runtime-config": (network(own, hidden), "plugins[1].runtimeConfig: the template"),
    }


HOSTILE_TEXTS: dict[str, tuple[Any, str]] = {
    "list-of-null": ("[null]", "must be a JSON object, not a list"),
    "megabyte": ({"type": "bridge", "x": "y" * (1 << 20)}, "may not be more than 64 KiB"),
    "brackets": ("[" * 100_000, "may not be more than 64 KiB"),
    "nesting": ('{"type":' + "[" * 30_000, "nested deeper than 32 levels"),
    "keys-twice": ('{"type":"bridge","type":"host-device"}', 'the key "type" stands twice'),
    "huge-number": ('{"type":"bridge","mtu":1e999}', "not valid JSON"),
    "digits": ('{"type":"bridge","mtu":' + "9" * 5000 + "}", "no template permits the plugins"),
    "not-a-number": ('{"type":"bridge","mtu":NaN}', "not valid JSON"),
    "surrogate": ('{"type":"\\ud800"}', "no template permits the plugins"),
}
"""Attacks on the reader of the text, by name, as of :func:`attacks`."""
