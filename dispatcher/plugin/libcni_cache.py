"""Find in libcni's cache what was attached before Genie was installed.

libcni, inside every container runtime, keeps a JSON file for each attachment, with the
configuration that it used. A container that has such a file but no record was attached before
Genie. Only the fields of a file count: its name cannot be split into its parts for certain. The
configuration is the list as it was written; plugins in files of their own
(``loadOnlyInlinedPlugins`` false) are read from the directories of configurations.

Files of Genie's own calls and of the loopback are ignored, and so are files that are invalid.
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
    """An attachment from before Genie; the path of its configuration is the cache's file."""

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
    for cached in _read_all(directory, conf_dirs, container_id.encode()):
        if (cached.container_id, cached.attachment.interface) == (container_id, interface):
            return cached
    return None


def _read_all(directory: str, conf_dirs: Sequence[str], text: bytes) -> Iterator[Cached]:
    """Yield the attachments of other plugins than Genie, from the files that contain *text*."""
    try:
        names = sorted(posix.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            data = store.read_file(path)
            cached = _decode(path, data, conf_dirs) if text in data else None
        except (OSError, InvalidJSONError, InvalidConfError, KeyError, TypeError, ValueError):
            continue
        if cached is not None:
            yield cached


def _decode(path: str, data: bytes, conf_dirs: Sequence[str]) -> Cached | None:
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


def _result(value: Any, version: str) -> dict[str, Any] | None:
    try:
        return cni_result.decode(value, version) if isinstance(value, dict) else None
    except CNIError:
        return None  # plugins run DEL without a result, as after an ADD that was killed
