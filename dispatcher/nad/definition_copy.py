"""The copy of a definition on a node: one file each, by which the plugin asks no API server.

    <stateDir>/nad/<namespace>/<name>  {"format": 1, "uid", "hash", "config", "resource", "refused"}
                                       "cniArgs": of a tenant's definition only
    <stateDir>/nad/.synced             {"format": 1, "complete", "alive"}

The agent writes them, the plugin reads them. ``hash`` is :attr:`Definition.short_hash`. ``refused``
says why the definition is never attached ("": it may be); ``config`` is empty then. ``cniArgs``
lists the keys that a pod may give in ``cni-args`` of a tenant's definition. ``complete`` says
whether the copies once were all that the API server had, and ``alive`` is the Unix time at which
it was last heard of.

Rules of this file: any bytes give a copy, or :class:`StaleCopyError`: the agent writes the file
again. A reader ignores keys that it does not know, and refuses other formats.
"""

from __future__ import annotations

from dispatcher.jsontext import InvalidJSONError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.nad.definition import Definition

FORMAT = 1

DIRECTORY = "nad"
"""The directory of all copies, in ``stateDir``."""

SYNCED = ".synced"
"""The file in it about all copies. No namespace begins with a dot."""

MAX_RESOURCE = 317
"""Limit of the name of a resource in Kubernetes: a domain, a slash, and 63 characters."""

_TEXTS = ("uid", "hash", "config", "resource", "refused")


class StaleCopyError(Exception):
    """The bytes are no copy that this version can read."""


class DefinitionCopy:
    """The content of one copy; see the top of this file. ``cni_args`` is None for any keys."""

    __slots__ = ("cni_args", "config", "hash", "refused", "resource", "uid")

    def __init__(
        self,
        uid: str,
        digest: str,
        config: str,
        resource: str,
        refused: str,
        *,
        cni_args: frozenset[str] | None = None,
    ) -> None:
        self.uid = uid
        self.hash = digest
        self.config = config
        self.resource = resource
        self.refused = refused
        self.cni_args = cni_args


class SyncState:
    """The content of ``.synced``: whether the copies are complete, and as of which Unix time."""

    __slots__ = ("alive", "is_complete")

    def __init__(self, alive: float = 0.0, *, is_complete: bool = False) -> None:
        self.alive = alive
        self.is_complete = is_complete


def encode(definition: Definition, refused: str, cni_args: frozenset[str] | None = None) -> bytes:
    """Return the file of *definition*.

    *refused* is why it is never attached, or "". *cni_args* are the keys that a pod may give, or
    None for any.
    """
    return dump(
        {
            "format": FORMAT,
            "uid": definition.uid,
            "hash": definition.short_hash,
            "config": "" if refused else definition.config,
            "resource": definition.resource[:MAX_RESOURCE],
            "refused": refused,
            **({} if cni_args is None else {"cniArgs": sorted(cni_args)}),
        }
    )


def decode(data: bytes) -> DefinitionCopy:
    """Return the copy in *data*. Raises :class:`StaleCopyError`."""
    value = _object(data)
    texts = [text for key in _TEXTS if isinstance(text := value.get(key), str)]
    if len(texts) != len(_TEXTS):
        raise StaleCopyError("a field is missing")
    return DefinitionCopy(*texts, cni_args=_cni_args(value.get("cniArgs")))


def _cni_args(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise StaleCopyError("cniArgs must be a list of texts")
    return frozenset(value)


def encode_sync(state: SyncState) -> bytes:
    """Return the file about all copies."""
    return dump({"format": FORMAT, "complete": state.is_complete, "alive": int(state.alive)})


def decode_sync(data: bytes) -> SyncState:
    """Return the content of the file about all copies. Raises :class:`StaleCopyError`."""
    value = _object(data)
    complete, alive = value.get("complete"), value.get("alive")
    if not isinstance(complete, bool) or isinstance(alive, bool) or not isinstance(alive, int):
        raise StaleCopyError("a field is missing")
    return SyncState(float(alive), is_complete=complete)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = parse(data)
    except InvalidJSONError as error:
        raise StaleCopyError(str(error)) from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise StaleCopyError(f"not of format {FORMAT}")
    return value
