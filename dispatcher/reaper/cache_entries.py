"""libcni's cache: write the entries of handed-over attachments, remove those of Genie's calls.

Every container runtime calls plugins through libcni, which keeps one file for each attachment: the
configuration, the arguments and the result of the ADD. Its DEL passes the result to the plugins, as
the specification asks (section 4).

Rule of this file: entries are written by :mod:`dispatcher.jsontext`, which keeps the spelling of
the numbers in a record.
"""

from __future__ import annotations

import contextlib
from base64 import b64encode
from binascii import a2b_base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher import cni_result, conf, jsontext, keys
from dispatcher.cni_errors import CNIError
from dispatcher.node import atomic_file
from dispatcher.state import store

if TYPE_CHECKING:
    from dispatcher.state.record import Attachment, Record

RESULTS_DIR = Path(keys.LIBCNI_CACHE)
"""Where the cache is on every host."""


def write(results_dir: Path, record: Record) -> None:
    """Write the entry of each attachment of *record* into *results_dir*. Raises OSError."""
    results_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for attachment in record.attachments:
        name = f"{attachment.conf.name}-{record.container_id}-{attachment.interface}"
        content = jsontext.dump(cache_entry(record, attachment))
        atomic_file.replace(results_dir / name, content, 0o600)


def cache_entry(record: Record, attachment: Attachment) -> dict[str, Any]:
    """Return what libcni writes when the runtime itself attaches *attachment*."""
    network_conf = attachment.conf
    cni_args = [item.partition("=")[::2] for item in attachment.args.split(";") if item]
    config = {
        "cniVersion": network_conf.cni_version,
        "name": network_conf.name,
        "disableCheck": network_conf.disable_check,
        "disableGC": network_conf.disable_gc,
        "loadOnlyInlinedPlugins": True,  # the record has plugins of other files, too
        "plugins": network_conf.plugins,
    }
    entry = {
        "kind": keys.LIBCNI_CACHE_KIND,
        "containerId": record.container_id,
        "config": b64encode(jsontext.dump(config)).decode(),
        "ifName": attachment.interface,
        "networkName": network_conf.name,
        "netns": record.netns,
        "cniArgs": cni_args,
        "capabilityArgs": attachment.capability_args,
    }
    if attachment.result is not None:
        # A result that the network's CNI version cannot express is omitted: plugins release without
        # one, too, as after an ADD that was killed.
        with contextlib.suppress(CNIError):
            entry["result"] = cni_result.encode(attachment.result, network_conf.cni_version)
    return entry


def remove_genie_entries(results_dir: Path) -> None:
    """Remove the entries of Genie's own calls from *results_dir*.

    libcni removes an entry with a DEL of the same configuration. Genie's configuration was removed,
    so nothing else would remove them.
    """
    for path in results_dir.glob("*"):
        try:
            entry = jsontext.parse(store.read_file(str(path)))
            network_conf = conf.decode(a2b_base64(entry["config"]), str(path))
        except (conf.InvalidConfError, OSError, KeyError, TypeError, ValueError):
            continue  # not written by libcni, or damaged

        if keys.PLUGIN_TYPE in network_conf.types:
            path.unlink(missing_ok=True)
