"""Encode what the agent reports of a removal as its Node's annotation ``cni-genie.io/removal``.

    value := key "=" text (";" key "=" text)*

The agent writes it, ``lifecycle`` and ``kubectl genie version`` read it:
``mode=install;next=canal;plugin=0.1.0-518f2aaabced`` or
``mode=remove;next=canal;pods=shop/web,shop/db;more=3``. The keys:

    mode   the mode that this node has applied
    next   the networks to which the runtime attaches pods without Genie, by all their names
    plugin the version of the plugin that the runtime of this node starts
    pods   pods that need Genie, at most MAX_PODS; in the modes of a removal only
    more   how many other pods need Genie
    ended  how many containers that no longer exist wait for the reaper

The annotation is the last thing of Genie's on a Node. The agent removes it when plugin and records
are gone, so it lives as long as the plugin. Readers ignore keys that they do not know.

Rules: equal reports give equal text. Any text is decoded, without its malformed parts.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_BYTES = 2048
"""Limit of a value, in bytes; a policy of the API server has the same."""

MAX_PODS = 3
"""Pods that a report names: namespace and name have 317 bytes at most."""

MAX_SUCCESSORS = 8
"""Names of one network that a report has; it has three unless files share names."""

MAX_VERSION = 64
"""Characters of a version."""

_SEPARATORS = frozenset(";,=")


class RemovalReport(NamedTuple):
    """What a node says of its removal; see the module for the fields."""

    mode: str
    successors: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    more_pods: int = 0
    ended_containers: int = 0
    plugin: str = ""


def encode(report: RemovalReport) -> str:
    """Return the text of *report*."""
    successors = [each for each in sorted(report.successors) if _is_plain(each)][:MAX_SUCCESSORS]
    plain = [each for each in report.pods if _is_plain(each)]
    more = report.more_pods + len(report.pods) - len(plain[:MAX_PODS])
    plugin = report.plugin[:MAX_VERSION]
    parts = {
        "mode": report.mode,
        "next": ",".join(successors),
        "plugin": plugin if _is_plain(plugin) else "",
        "pods": ",".join(plain[:MAX_PODS]),
        "more": str(more or ""),
        "ended": str(report.ended_containers or ""),
    }
    return ";".join(f"{key}={text}" for key, text in parts.items() if text)


def decode(text: str) -> RemovalReport | None:
    """Return the report in *text*; None if there is none, or it is beyond the limit."""
    if not text or len(text) > MAX_BYTES:
        return None
    parts = {key: value for key, _, value in (each.partition("=") for each in text.split(";"))}
    return RemovalReport(
        parts.get("mode", ""),
        _names(parts.get("next", "")),
        _names(parts.get("pods", "")),
        _number(parts.get("more", "")),
        _number(parts.get("ended", "")),
        parts.get("plugin", ""),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _is_plain(name: str) -> bool:
    return bool(name) and len(name) <= 317 and _SEPARATORS.isdisjoint(name)  # noqa: PLR2004 - above
