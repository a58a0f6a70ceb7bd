"""A NetworkAttachmentDefinition (NAD) as a value: any object in, fields with their types out.

The objects come from the API server or a manifest, and their authors are hostile. The resource is
defined by the cluster (NPWG specification v1.3, section 3), so no schema is certain: any field may
be missing or of any type.

Rules of this file: :func:`read` accepts every value. What does not have its type counts as empty
and is a fault of the result. A definition is never changed after that.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.nad.names import is_label, is_object_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KIND = "NetworkAttachmentDefinition"
GROUP = "k8s.cni.cncf.io"
RESOURCE = "network-attachment-definitions"
COLLECTION = f"/apis/{GROUP}/v1/{RESOURCE}"
"""The path of all definitions at the API server."""

RESOURCE_NAME = "k8s.v1.cni.cncf.io/resourceName"
"""On a definition: the device that a pod gets with it, from a device plugin of the node."""

NODE_SELECTOR = "k8s.v1.cni.cncf.io/nodeSelector"
"""On a definition: the nodes that have its network."""

HASH_DIGITS = 6
"""Length of :attr:`Definition.short_hash`: a hint that a copy is stale, no proof of identity."""


def collection_of(namespace: str) -> str:
    """Return the path of the definitions of *namespace*, a valid name, at the API server."""
    return f"/apis/{GROUP}/v1/namespaces/{namespace}/{RESOURCE}"


class DefinitionFault:
    """One fault of a definition.

    ``field`` is that of the object, ``spec.config`` mostly. ``position`` is the field in the JSON
    of that text, such as ``plugins[1].ipam.type``; "": all of it.
    """

    __slots__ = ("field", "message", "position")

    def __init__(self, field: str, message: str, position: str = "") -> None:
        self.field = field
        self.message = message
        self.position = position

    @property
    def sentence(self) -> str:
        """The fault with its position, and without its field."""
        return f"{self.position}: {self.message}" if self.position else self.message

    def __str__(self) -> str:
        return f"{self.field}: {self.sentence}" if self.field else self.sentence

    def __repr__(self) -> str:
        return f"DefinitionFault({self})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, DefinitionFault) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


class Definition:
    """One definition.

    ``config`` is the text of ``spec.config``; "": the definition refers to a network of the node
    that has its name. ``resource`` and ``node_selector`` are annotations ("": none). ``faults`` are
    the fields that do not have their type.
    """

    __slots__ = ("config", "faults", "name", "namespace", "node_selector", "resource", "uid")

    def __init__(
        self,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        config: str = "",
        resource: str = "",
        node_selector: str = "",
        faults: tuple[DefinitionFault, ...] = (),
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid
        self.config = config
        self.resource = resource
        self.node_selector = node_selector
        self.faults = faults

    @property
    def full_name(self) -> str:
        """The name as ``network-status`` has it: ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def refers_to_node_network(self) -> bool:
        """Whether the network is that of the node with this name (specification, 3.4.1)."""
        return not self.config

    @property
    def short_hash(self) -> str:
        """The hash of UID and config, by which a stale copy is noticed."""
        from hashlib import sha256  # expensive, and the plugin reads the hash of the copy

        text = f"{self.uid}\n{self.config}"
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]

    def __repr__(self) -> str:
        return f"Definition({self.full_name})"


def read(value: Any) -> Definition:
    """Return the definition in the object *value*, whatever it is."""
    faults: list[DefinitionFault] = []
    whole = _object(value, "", faults)
    metadata = _object(whole.get("metadata"), "metadata", faults)
    spec = _object(whole.get("spec"), "spec", faults)
    annotations = _object(metadata.get("annotations"), "metadata.annotations", faults)
    return Definition(
        _text(metadata.get("namespace"), "metadata.namespace", faults),
        _text(metadata.get("name"), "metadata.name", faults),
        uid=_text(metadata.get("uid"), "metadata.uid", faults),
        config=_config(spec.get("config"), faults),
        resource=_annotation(annotations, RESOURCE_NAME, faults).strip(),
        node_selector=_annotation(annotations, NODE_SELECTOR, faults).strip(),
        faults=tuple(faults),
    )


def is_path_safe(definition: Definition) -> bool:
    """Tell whether namespace and name are as Kubernetes has them, and so names of files."""
    return is_label(definition.namespace) and is_object_name(definition.name)


def _object(value: Any, field: str, faults: list[DefinitionFault]) -> dict[Any, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    faults.append(DefinitionFault(field, f"must be an object, not {type_name(value)}"))
    return {}


def _text(value: Any, field: str, faults: list[DefinitionFault]) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    faults.append(DefinitionFault(field, f"must be a string, not {type_name(value)}"))
    return ""


def _config(value: Any, faults: list[DefinitionFault]) -> str:
    if isinstance(value, dict):
        # A common mistake, since the field is a text: config: {type: bridge}.
        fix = 'write the JSON as a text, in YAML after "config: |"'
        faults.append(DefinitionFault("spec.config", f"must be a string, not an object: {fix}"))
        return ""
    return _text(value, "spec.config", faults)


def _annotation(annotations: dict[Any, Any], key: str, faults: list[DefinitionFault]) -> str:
    return _text(annotations.get(key), f"metadata.annotations[{key}]", faults)


def type_name(value: Any) -> str:
    """Return what JSON calls the type of *value*, for a sentence."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else "a number"
