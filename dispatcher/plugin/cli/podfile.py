"""A pod's manifest, as far as ``genie explain`` needs it: name, namespace, ``cni``.

How it works: JSON is read whole. Of YAML, which the standard library cannot read, the block
mappings are read by their indentation, with plain, quoted and block scalars and one-line
flow mappings; lists are passed over. That covers what people write and what kubectl prints
above a pod's containers. A workload's pod template counts as the pod; other objects are
passed over.

Rules of this file: what cannot be read for certain (anchors, tags, tabs) on the way to the
annotation is refused with :class:`PodFileError`, which says how to get the same as JSON.
"""

from __future__ import annotations

import re

from dispatcher import jsontext, keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_TEMPLATES = (("spec", "jobTemplate", "spec", "template"), ("spec", "template"), ("template",))
_BLANKS = " \t\r"  # a no-break space is a letter like any other
_KEY = re.compile(
    r"""( *)("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s'"#\-\[\]{},&*!|>%@`][^#]*?) *:(?= |$) *(.*)""",
    re.ASCII,
)
_ITEM = re.compile(
    r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,:{}\[\]]+?)\s*:\s+("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,{}\[\]]*?)\s*(?:,|$)""",
    re.ASCII,
)

_TRUE = ("true", "yes", "on", "y")  # for YAML 1.1, which Kubernetes reads; in any case
_BREAK = re.compile(".*[\x85\u2028\u2029].*")  # ends a line for YAML 1.1, and not for 1.2


class PodFileError(ValueError):
    """A manifest that this reader does not understand."""


class Pod:
    """What a manifest says: ``annotation`` is None where the pod has none.

    ``passed_over`` tells why Genie attaches nothing, whatever the annotation; "" if it does.
    """

    __slots__ = ("annotation", "kind", "name", "namespace", "passed_over")

    def __init__(self, manifest: dict[str, Any], kind: str) -> None:
        self.kind = kind
        metadata = _mapping(manifest, "metadata")
        self.name = str(metadata.get("name") or metadata.get("generateName") or "")
        self.namespace = str(metadata.get("namespace") or "default")
        pod = manifest if kind == "Pod" else _template(manifest)
        self.annotation: Any = _mapping(_mapping(pod, "metadata"), "annotations").get(
            keys.ANNOTATION
        )
        self.passed_over = ""
        if not pod:
            self.passed_over = "it has no pods, so nothing is attached"
        elif str(_mapping(pod, "spec").get("hostNetwork")).lower() in _TRUE:
            self.passed_over = "hostNetwork: its network is the node's, so nothing is attached"


def _template(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the pod template in *manifest*, nothing where it has none."""
    found = (_at(manifest, path) for path in _TEMPLATES)
    return next((each for each in found if "containers" in _mapping(each, "spec")), {})


def read(data: bytes) -> list[Pod]:
    """Return the pods of the manifests in *data*. Raises :class:`PodFileError`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise PodFileError("it is not UTF-8") from None
    if text.lstrip(f"{_BLANKS}\n").startswith("{"):
        manifests = [_json(data)]
    else:
        if odd := _BREAK.search(text):
            raise _odd(odd[0])
        documents = re.split(r"^---.*\n?", text, flags=re.MULTILINE)
        manifests = [made for each in documents if (made := _yaml(each))]
        if any(isinstance(made.get("items"), list) for made in manifests):
            raise _odd("items:")  # lists are passed over
    pods = [pod for made in manifests for pod in _pods(made)]
    if not pods:
        raise _nothing()
    return pods


def _pods(made: dict[str, Any]) -> Iterator[Pod]:
    kind = made.get("kind")
    if not isinstance(kind, str) or not kind:
        raise _nothing()
    items = made.get("items")
    if not isinstance(items, list):
        yield Pod(made, kind)
        return
    for item in items:
        if not isinstance(item, dict):
            raise _nothing()
        # The API server's own lists, of one kind each, do not repeat it in their items.
        yield Pod(item, str(item.get("kind") or kind.removesuffix("List")))


def _nothing() -> PodFileError:
    return PodFileError("it holds no Kubernetes object")


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = jsontext.parse(data)
    except jsontext.InvalidJSONError as error:
        raise PodFileError(f"it is not JSON: {error}") from None
    return dict(value)


def _mapping(value: Any, key: str) -> dict[str, Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _at(manifest: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        manifest = _mapping(manifest, key)
    return manifest


def _yaml(text: str) -> dict[str, Any]:
    lines = [
        line for line in text.split("\n") if line.strip(_BLANKS) and line.lstrip(_BLANKS)[0] != "#"
    ]
    if not lines or lines[0].lstrip(_BLANKS).startswith("%"):
        return {}
    made, rest = _block(lines, _indent(lines[0]))
    if rest:
        raise _odd(rest[0])
    return made


def _block(lines: list[str], indent: int) -> tuple[dict[str, Any], list[str]]:
    """Return the mapping whose keys stand at *indent*, and the lines after it."""
    made: dict[str, Any] = {}
    while lines and _indent(lines[0]) >= indent:
        line, lines = lines[0], lines[1:]
        match = _KEY.fullmatch(line.rstrip(_BLANKS))
        if _indent(line) != indent or not match:
            raise _odd(line)
        inner = list(_deeper(lines, indent))
        lines = lines[len(inner) :]
        made[_scalar(match[2])] = _value(match[3], inner)
    return made, lines


def _deeper(lines: list[str], indent: int) -> Iterator[str]:
    for line in lines:
        depth = _indent(line)
        if depth < indent or (depth == indent and not line.lstrip(_BLANKS).startswith("- ")):
            return
        yield line


def _value(text: str, inner: list[str]) -> Any:
    text = (
        re.sub(r"(?:^| )#.*$", "", text).strip(_BLANKS) if not text.startswith(('"', "'")) else text
    )
    if text.startswith(("|", ">")):
        joint = "\n" if text[0] == "|" else " "
        return joint.join(line.strip(_BLANKS) for line in inner) + ("" if "-" in text else "\n")
    if text:
        return _flow(" ".join([text, *(line.strip(_BLANKS) for line in inner)]))
    if not inner:
        return None
    if inner[0].lstrip(_BLANKS).startswith("- ") or inner[0].strip(_BLANKS) == "-":
        return []  # nothing on the way to an annotation is a list
    if not _KEY.fullmatch(inner[0].rstrip(_BLANKS)):
        return _flow(" ".join(line.strip(_BLANKS) for line in inner))
    return _block(inner, _indent(inner[0]))[0]


def _flow(text: str) -> Any:
    if text[0] == "[":
        return []
    if text[0] != "{":
        return _scalar(text)
    body = text[1 : text.rindex("}")] if "}" in text else ""
    if body.strip(_BLANKS) and "".join(match[0] for match in _ITEM.finditer(body)) != body:
        raise _odd(text)
    return {_scalar(match[1]): _scalar(match[2]) for match in _ITEM.finditer(body)}


def _scalar(text: str) -> Any:
    if text.startswith(("&", "*", "!")):
        raise _odd(text)
    quoted = re.match(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*(?:#.*)?$""", text, re.ASCII)
    if quoted and text[0] == "'":
        return quoted[1][1:-1].replace("''", "'")
    if quoted:
        try:
            return jsontext.parse(quoted[1].encode())
        except jsontext.InvalidJSONError:
            raise _odd(text) from None
    return None if text in {"", "~", "null"} else text


def _indent(line: str) -> int:
    if "\t" in line[: len(line) - len(line.lstrip(_BLANKS))]:
        raise _odd(line)
    return len(line) - len(line.lstrip(_BLANKS))


def _odd(line: str) -> PodFileError:
    return PodFileError(
        f"this small reader of YAML does not understand {line.strip(_BLANKS)[:60]!r}; "
        "kubectl create --dry-run=client -o json -f FILE gives the same as JSON"
    )
