"""NetworkAttachmentDefinitions on a node: copies as the agent writes them, and annotations."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.agent.definition_copies import DefinitionCopies
from dispatcher.nad import definition_copy
from dispatcher.nad.attachments import PermittedAttachment, format_attachments
from dispatcher.nad.definition import Definition
from dispatcher.nad.definition_copy import DefinitionCopy, SyncState

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.nad.tenant_templates import TenantRules
    from tests.node.harness import Node

ENFORCE = {keys.CONF_ARGS: {"attachmentDefinitions": "enforce"}}


def _folder(node: Node) -> Path:
    return node.folder / "state" / definition_copy.DIRECTORY


def define(node: Node, name: str, config: Any, *, refused: str = "") -> Definition:
    """Write the copy of the definition ns/*name*; *config* is an object, or "" for none."""
    text = json.dumps({"cniVersion": "1.0.0", **config}) if config else ""
    definition = Definition("ns", name, uid="u", config=text)
    folder = _folder(node) / "ns"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(definition_copy.encode(definition, refused))
    return definition


def copy_as_agent(node: Node, rules: TenantRules, name: str, config: str) -> DefinitionCopy:
    """Let the agent's code copy the definition ns/*name* by *rules*; return the copy."""
    copies = DefinitionCopies(_folder(node), rules, dict)
    copies.open()
    copies.put(Definition("ns", name, uid="u", config=config))
    return definition_copy.decode((_folder(node) / "ns" / name).read_bytes())


def sync(node: Node, age: float = 0) -> None:
    """Write that the agent heard of the API server *age* seconds ago."""
    state = SyncState(time.time() - age, is_complete=True)
    (_folder(node) / definition_copy.SYNCED).write_bytes(definition_copy.encode_sync(state))


def permit(*marks: str) -> str:
    """Return ``cni-genie.io/attachments`` for definitions of ns, such as ``=blue+hostPort``.

    The hash is that of no copy: it is a hint to wait. :func:`permit_copies` has the right ones.
    """
    items = []
    for mark in marks:
        namespace, _, name = mark.removeprefix("=").partition("+")[0].rpartition("/")
        items.append(
            PermittedAttachment(
                namespace or "ns",
                name,
                "000000",
                is_default=mark.startswith("="),
                allows_node_network="+nodeNetwork" in mark,
                allows_host_port=mark.endswith("+hostPort"),
            )
        )
    return format_attachments(items)


def permit_copies(node: Node, *marks: str) -> str:
    """Return the same with the hashes of the copies on *node*."""
    items = permit(*marks).split(",")
    for number, item in enumerate(items):
        path = item.removeprefix("=").partition(":")[0]
        copy = definition_copy.decode((_folder(node) / path).read_bytes())
        items[number] = item.replace(":000000", f":{copy.hash}")
    return ",".join(items)


def asks(
    networks: Any = None,
    permitted: str | None = None,
    *,
    cni: str | None = None,
    default: str | None = None,
    source: str = "api",
) -> dict[str, Any]:
    """Return the keys of Genie's configuration for a pod with these annotations."""
    values = {
        keys.ANNOTATION: cni,
        keys.NETWORKS: networks if isinstance(networks, str | None) else json.dumps(networks),
        keys.DEFAULT_NETWORK: default,
        keys.ATTACHMENTS: permitted,
        keys.CONFIG_SOURCE: source,
    }
    annotations = {key: value for key, value in values.items() if value is not None}
    return {"args": ENFORCE, "runtimeConfig": {keys.POD_ANNOTATIONS: annotations}}
