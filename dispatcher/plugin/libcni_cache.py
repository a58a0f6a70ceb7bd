"""libcni's own cache: what the network plugin that ran before Genie attached.

How it works: libcni, inside every container runtime, keeps a JSON file for each attachment
that it made, with the configuration that it used. A container that our records do not know
but such a file does was attached before Genie was installed; its DEL uses that file. The
file's fields count, not its name, in which the parts cannot be told apart for certain. The
configuration in it is the list as it was written; plugins that stood in files of their own
(``loadOnlyInlinedPlugins`` false) are looked for where configurations are.

Rules of this file: a file of our own calls, or of the loopback, is never taken; one that
cannot be understood is passed over, since it is not ours to judge.
"""

from __future__ import annotations

import posix
from binascii import a2b_base64

from dispatcher import cni_result, keys
from dispatcher.cni_errors import CNIError
from dispatcher.conf import InvalidConfError, decode
from dispatcher.jsontext import InvalidJSONError, parse
from dispatcher.state import store
from dispatcher.state.record import ATTACHED, Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from dispatcher.plugin.call import Call


class Cached:
    """An attachment that was made before Genie; its configuration's path is the cache's file."""

    __slots__ = ("attachment", "container_id")

    def __init__(self, container_id: str, attachment: Attachment) -> None:
        self.container_id = container_id
        self.attachment = attachment


def for_call(call: Call) -> Cached | None:
    """Return what was attached to the container of *call* before Genie, or None."""
    request, conf_dirs = call.request, call.conf.settings.conf_dirs
    return find(call.effects.cache_dir, conf_dirs, request.container_id, request.interface)


def find(
    directory: str, conf_dirs: Sequence[str], container_id: str, interface: str
) -> Cached | None:
    """Return what was attached to *container_id* as *interface* before Genie, or None."""
    for cached in _entries(directory, conf_dirs, container_id.encode()):
        if (cached.container_id, cached.attachment.interface) == (container_id, interface):
            return cached
    return None


def _entries(directory: str, conf_dirs: Sequence[str], holding: bytes) -> Iterator[Cached]:
    """Yield every attachment of the cache that is not ours and whose file has *holding*."""
    try:
        names = sorted(posix.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            data = store.read_file(path)
            entry = _entry(path, data, conf_dirs) if holding in data else None
        except (OSError, InvalidJSONError, InvalidConfError, KeyError, TypeError, ValueError):
            continue
        if entry is not None:
            yield entry


def _entry(path: str, data: bytes, conf_dirs: Sequence[str]) -> Cached | None:
    value = parse(data)
    if value["kind"] != keys.LIBCNI_CACHE_KIND:
        return None
    conf = decode(a2b_base64(value["config"]), path, conf_dirs)
    if not conf.is_network:
        return None
    attachment = Attachment(
        conf.name,
        value["ifName"],
        value["ifName"],
        conf,
        args=";".join("=".join(pair) for pair in value.get("cniArgs") or []),
        capability_args=value.get("capabilityArgs") or {},
        is_primary=True,
    )
    attachment.phase = ATTACHED
    attachment.result = _result(value.get("result"), conf.cni_version)
    return Cached(value["containerId"], attachment)


def _result(said: Any, version: str) -> dict[str, Any] | None:
    try:
        return cni_result.decode(said, version) if isinstance(said, dict) else None
    except CNIError:
        return None  # its plugins free without it, as after an ADD that was killed
