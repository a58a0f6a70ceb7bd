"""The rig of the plugin, with copies of definitions as the agent writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.nad import definition_copy
from dispatcher.nad.attachments import PermittedAttachment, format_attachments
from dispatcher.nad.definition import Definition
from dispatcher.nad.definition_copy import SyncState
from tests.unit.plugin.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

ENFORCE: dict[str, Any] = {
    "attachmentDefinitions": "enforce",
    "excludedNamespaces": ["kube-system"],
}


class DefinitionRig(Rig):
    """A node with the definitions ns/blue and ns/red, in a cluster in which pods select them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.options = {"args": {keys.CONF_ARGS: dict(ENFORCE)}}
        self.definitions = self.state / "nad"
        self.hashes: dict[str, str] = {}
        self.sync(0)
        self.define("ns/blue", {"name": "blue-net", "type": "b1"})
        self.define("ns/red", {"plugins": [{"type": "r1"}, {"type": "r2"}]})

    def define(
        self,
        full_name: str,
        config: Any,
        *,
        resource: str = "",
        refused: str = "",
        cni_args: frozenset[str] | None = None,
    ) -> None:
        """Write the copy of a definition; *config* is an object, or the text of ``spec.config``."""
        namespace, _, name = full_name.partition("/")
        text = config if isinstance(config, str) else json.dumps({"cniVersion": "1.0.0", **config})
        definition = Definition(namespace, name, uid="u", config=text, resource=resource)
        self.hashes[full_name] = definition.short_hash
        folder = self.definitions / namespace
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(definition_copy.encode(definition, refused, cni_args))

    def sync(self, age: float, *, complete: bool = True) -> None:
        """Write that the agent heard of the API server *age* seconds ago."""
        self.definitions.mkdir(parents=True, exist_ok=True)
        state = SyncState(self.now - age, is_complete=complete)
        (self.definitions / ".synced").write_bytes(definition_copy.encode_sync(state))

    def permit(self, *marks: str) -> str:
        """Return the value of ``cni-genie.io/attachments`` for items such as ``=ns/a+hostPort``."""
        return format_attachments(map(self._permitted, marks))

    def _permitted(self, mark: str) -> PermittedAttachment:
        full_name = mark.removeprefix("=").partition("+")[0]
        namespace, _, name = full_name.partition("/")
        return PermittedAttachment(
            namespace,
            name,
            self.hashes.get(full_name, "000000"),
            is_default=mark.startswith("="),
            allows_node_network="+nodeNetwork" in mark,
            allows_host_port=mark.endswith("+hostPort"),
        )

    def ask(
        self,
        command: str,
        networks: Any = None,
        permitted: str | None = None,
        *,
        cni: str | None = None,
        default: str | None = None,
        **more: Any,
    ) -> Any:
        """Carry out *command* for a pod with these annotations; *networks* may be a list."""
        text = networks if networks is None or isinstance(networks, str) else json.dumps(networks)
        values = {
            keys.ANNOTATION: cni,
            keys.NETWORKS: text,
            keys.DEFAULT_NETWORK: default,
            keys.ATTACHMENTS: permitted,
            keys.CONFIG_SOURCE: more.pop("source", "api"),
        }
        annotations = {key: value for key, value in values.items() if value is not None}
        runtime_config = {keys.POD_ANNOTATIONS: annotations, **more.pop("runtime", {})}
        return self.run(command, runtimeConfig=runtime_config, **more)

    def attach(self, networks: Any, *marks: str, **more: Any) -> Any:
        """Carry out ADD for a pod that admission has permitted the definitions *marks*."""
        return self.ask("ADD", networks, self.permit(*marks), **more)
