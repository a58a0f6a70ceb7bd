"""Read the pods of a Kubernetes manifest: name, namespace and annotations.

Only JSON is read: the node has no YAML library, and the annotation must not be guessed. ``kubectl``
prints every object as JSON. The pod template of a workload counts as its pod.
"""

from __future__ import annotations

from dispatcher import jsontext, keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_TEMPLATES = (("spec", "jobTemplate", "spec", "template"), ("spec", "template"), ("template",))
"""Where the pod template is: of a CronJob, of the other workloads, of a PodTemplate."""

_HINT = (
    "genie explain reads JSON only: kubectl get pod NAME -o json, or, for a file, "
    "kubectl create --dry-run=client -o json -f FILE"
)


class PodManifestError(ValueError):
    """The text is not a manifest in JSON; ``str()`` says why, and how to get one."""


class PodManifest:
    """The pod of one object, with its ``annotations``.

    ``is_stored`` tells whether it is a pod of the API server, so that the webhook has seen it.
    ``skip_reason`` says why Genie attaches nothing whatever the annotations are; "" if it does.
    """

    __slots__ = ("annotations", "is_stored", "kind", "name", "namespace", "skip_reason")

    def __init__(self, manifest: dict[str, Any], kind: str) -> None:
        metadata = _mapping(manifest, "metadata")
        self.kind = kind
        self.name = str(metadata.get("name") or metadata.get("generateName") or "")
        self.namespace = str(metadata.get("namespace") or "default")

        pod = manifest if kind == "Pod" else _template(manifest)
        annotations = _mapping(_mapping(pod, "metadata"), "annotations")
        self.annotations = {key: value for key, value in annotations.items() if value is not None}
        self.is_stored = kind == "Pod" and bool(metadata.get("uid"))
        self.skip_reason = ""
        if not pod:
            self.skip_reason = "nothing to attach: the object has no pods"
        elif _mapping(pod, "spec").get("hostNetwork") is True:
            self.skip_reason = "nothing to attach: a pod with hostNetwork uses the node's network"

    @property
    def annotation(self) -> Any:
        """The value of ``cni``, None if there is none."""
        return self.annotations.get(keys.ANNOTATION)

    @property
    def selections(self) -> dict[str, Any]:
        """The annotations that select NetworkAttachmentDefinitions."""
        return {
            key: self.annotations[key] for key in keys.SELECTION_KEYS if key in self.annotations
        }


def read(data: bytes) -> list[PodManifest]:
    """Return the pods of the manifests in *data*. Raises :class:`PodManifestError`."""
    # kubectl prints several objects one after another. Inside JSON no "{" follows a "}" directly.
    documents = data.replace(b"}\n{", b"}\n\0{").split(b"\0")
    pods = [pod for each in documents for pod in _pods(_parse(each))]
    if not pods:
        raise PodManifestError("the list has no items")
    return pods


def _parse(document: bytes) -> dict[str, Any]:
    try:
        value = jsontext.parse(document)
    except jsontext.InvalidJSONError as error:
        raise PodManifestError(f"not valid JSON: {error}; {_HINT}") from None
    if not isinstance(value, dict):
        raise PodManifestError("not a Kubernetes object")
    return value


def _pods(manifest: dict[str, Any]) -> Iterator[PodManifest]:
    kind = manifest.get("kind")
    if not isinstance(kind, str) or not kind:
        raise PodManifestError('not a Kubernetes object: "kind" is missing')

    items = manifest.get("items")
    if not isinstance(items, list):
        yield PodManifest(manifest, kind)
        return
    for item in items:
        if not isinstance(item, dict):
            raise PodManifestError("an item of the list is not a Kubernetes object")
        # In a list of one kind (PodList), the API server leaves out the kind of the items.
        yield PodManifest(item, str(item.get("kind") or kind.removesuffix("List")))


def _template(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the pod template in *manifest*, empty if it has none."""
    templates = (_at(manifest, path) for path in _TEMPLATES)
    return next((each for each in templates if "containers" in _mapping(each, "spec")), {})


def _at(manifest: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        manifest = _mapping(manifest, key)
    return manifest


def _mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}
