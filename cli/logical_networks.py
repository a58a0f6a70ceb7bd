"""Converts CNI-Genie's logical networks (pure).

A LogicalNetwork is a plugin with a subnet of its own. Its plugin is that of the PhysicalNetwork
that it names, if that is dedicated, else its own; its subnet is its own, else the physical one's.
CNI-Genie took the plugin's configuration from the node and wrote the subnet into the ``ipam`` of
its first plugin. The converter does the same once: into a NetworkAttachmentDefinition, and into a
configuration for the nodes. A logical network without a subnet is the plugin's network itself.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher.kube.lenient import get_dict, get_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cli.documents import Document

GROUP = "alpha.network.k8s.io"
NAD_GROUP = "k8s.cni.cncf.io"
NAD_KIND = "NetworkAttachmentDefinition"


class LogicalNetwork(NamedTuple):
    """A logical network as CNI-Genie understood it; ``plugin`` is empty if none is named."""

    namespace: str
    name: str
    plugin: str
    subnet: str
    network: str
    """The network that pods name instead."""


def resolve(documents: Iterable[Document]) -> dict[tuple[str, str], LogicalNetwork]:
    """Return the logical networks among *documents* by namespace and name."""
    specs: dict[str, dict[tuple[str, str], Any]] = {"logicalnetwork": {}, "physicalnetwork": {}}
    for each in documents:
        kind = each.kind.lower()
        if kind in specs:
            specs[kind][each.namespace or "default", each.name] = get_dict(each.value, "spec")

    names = [name for _, name in specs["logicalnetwork"]]
    networks = {}
    for (namespace, name), spec in specs["logicalnetwork"].items():
        physical = specs["physicalnetwork"].get((namespace, get_text(spec, "physicalNet")), {})
        shared = get_dict(physical, "sharedStatus")
        is_dedicated = shared.get("dedicatedNet") is True
        plugin = get_text(shared, "plugin") if is_dedicated else get_text(spec, "plugin")
        subnet = get_text(spec, "sub_subnet") or get_text(shared, "subnet")
        own = name if names.count(name) == 1 else f"{namespace}-{name}"
        network = own if subnet else plugin
        networks[namespace, name] = LogicalNetwork(namespace, name, plugin, subnet, network)
    return networks


def is_subnet(text: str) -> bool:
    """Tell whether *text* is a range of addresses, as CIDR."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def conflist_of(logical: LogicalNetwork, confs: Mapping[str, Mapping[str, Any]]) -> Any | None:
    """Return the configuration list of *logical*; None if *confs* lacks its plugin."""
    base = confs.get(logical.plugin)
    if base is None:
        return None
    conflist = as_conflist(base, logical.network)
    plugins = conflist["plugins"]
    if plugins and isinstance(plugins[0], dict):
        plugins[0]["ipam"] = {**get_dict(plugins[0], "ipam"), "subnet": logical.subnet}
    return conflist


def as_conflist(conf: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of *conf*, a configuration or a list of them, as a list with this *name*."""
    copied = copy.deepcopy(dict(conf))
    if isinstance(copied.get("plugins"), list):
        return {**copied, "name": name}
    version = copied.pop("cniVersion", "0.3.1")
    copied.pop("name", None)
    return {"cniVersion": version, "name": name, "plugins": [copied]}


def definition(namespace: str, conflist: Mapping[str, Any]) -> dict[str, Any]:
    """Return *conflist* as a NetworkAttachmentDefinition."""
    return {
        "apiVersion": f"{NAD_GROUP}/v1",
        "kind": NAD_KIND,
        "metadata": {"name": conflist["name"], "namespace": namespace},
        "spec": {"config": json.dumps(conflist)},
    }


def parse_confs(files: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Return the configurations in *files* (name and text) by file stem and by their own name.

    Files that are no JSON objects are left out: the node's ``genie doctor`` names them.
    """
    confs: dict[str, dict[str, Any]] = {}
    for name, text in sorted(files):
        try:
            conf = json.loads(text)
        except ValueError:
            continue
        if isinstance(conf, dict):
            stem = re.sub(r"^\d+-", "", name.rpartition(".")[0])
            for known in (stem, get_text(conf, "name")):
                confs.setdefault(known, conf)
    return confs
