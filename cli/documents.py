"""Reads manifests: YAML or JSON, several documents in a file, Lists; with each field's place.

YAML is composed into nodes first, which have their line and column, and then constructed. So a
value that cannot be constructed is reported at the position of its field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from cli.scalar_places import place_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")
"""Files that a folder is searched for."""

MAX_DEPTH = 100
"""Levels of a document. Manifests have some 20; more would exhaust the stack."""

_PART = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")


class Place(NamedTuple):
    """Where something stands: lines and columns count from 1."""

    file: str
    line: int
    column: int


class ManifestError(ValueError):
    """A file that cannot be read as manifests; ``place`` is where it goes wrong."""

    def __init__(self, place: Place, message: str) -> None:
        self.place = place
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Document:
    """One Kubernetes object: of a file, or of the cluster, where it has no place."""

    file: str
    value: dict[str, Any]
    node: yaml.Node | None = None

    @property
    def kind(self) -> str:
        """The object's kind; empty if it has none."""
        return _text(self.value.get("kind"))

    @property
    def name(self) -> str:
        """The object's name, or the prefix that the API server completes."""
        metadata = self._metadata
        return _text(metadata.get("name")) or _text(metadata.get("generateName"))

    @property
    def namespace(self) -> str:
        """The object's namespace; empty if it names none."""
        return _text(self._metadata.get("namespace"))

    def place(self, field: str) -> Place:
        """Return where *field* stands (``metadata.annotations[cni]``), or its nearest parent."""
        node, _ = self._node(field)
        if node is None:
            return Place(self.file, 0, 0)
        mark = node.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1)

    def place_in(self, field: str, offset: int) -> Place | None:
        """Return where the character at *offset* of *field* stands; None if it is not certain."""
        node, is_field = self._node(field)
        if not is_field or not isinstance(node, yaml.ScalarNode):
            return None
        position = place_in(node, offset)
        return Place(self.file, *position) if position else None

    def _node(self, field: str) -> tuple[yaml.Node | None, bool]:
        """Return the node of *field* or of its nearest parent, and whether it is the field's."""
        node = self.node
        for bracketed, plain in _PART.findall(field):
            child = None if node is None else _child(node, bracketed or plain)
            if child is None:
                return node, False
            node = child
        return node, node is not None

    @property
    def _metadata(self) -> dict[str, Any]:
        metadata = self.value.get("metadata")
        return metadata if isinstance(metadata, dict) else {}


def manifest_files(path: Path) -> list[Path]:
    """Return the manifests at *path*: the file itself, or those of a directory, recursively."""
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())


def read_documents(text: str, file: str) -> Iterator[Document]:
    """Yield the objects in *text*, those of a List one by one. Raises ManifestError."""
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _check_depth(node, file)
                yield from _objects(loader.construct_document(node), node, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        raise ManifestError(place, f"not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(Place(file, 1, 1), f"not YAML: {error}") from None


def _objects(value: Any, node: yaml.Node, file: str) -> Iterator[Document]:
    if not isinstance(value, dict):
        return
    items = value.get("items")
    if not (_text(value.get("kind")).endswith("List") and isinstance(items, list)):
        yield Document(file, value, node)
        return
    nodes = _child(node, "items")
    for item, item_node in zip(items, nodes.value if nodes else (), strict=True):
        yield from _objects(item, item_node, file)


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and key.isdigit():
        return node.value[int(key)] if int(key) < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value  # type: ignore[no-any-return]  # not in the library's types
    return None


def _check_depth(root: yaml.Node, file: str) -> None:
    """Refuse nesting that the recursive constructor could not follow."""
    level = [root]
    for _ in range(MAX_DEPTH):
        # Each node once: aliases can make a few lines stand for billions of nodes.
        level = list({id(child): child for node in level for child in _children(node)}.values())
        if not level:
            return
    mark = level[0].start_mark
    raise ManifestError(
        Place(file, mark.line + 1, mark.column + 1), f"more than {MAX_DEPTH} levels"
    )


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
