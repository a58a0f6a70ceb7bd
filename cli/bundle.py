"""The archive for a support case: one file that answers the first questions of the supporter.

Each part is collected by itself, so that a node that does not answer costs its own files only;
``errors.txt`` says what could not be collected. Everything passes through :mod:`cli.redact`.
"""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from cli.output import as_data
from cli.redact import redact, redact_text
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Part = tuple[str, Callable[[], Any]]
    """A file's name and what computes it: a text for a ``.txt`` or ``.log``, else data for JSON."""

LOG_LINES = 2000
EVENT_SOURCE = "genie-agent"


def archive(parts: Iterable[Part], folder: str, progress: Callable[[str], None]) -> bytes:
    """Return a gzipped tar of *parts* below *folder*; *progress* gets each file's name."""
    buffer = io.BytesIO()
    errors = []
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, compute in parts:
            progress(name)
            try:
                _add(tar, f"{folder}/{name}", _text(name, compute()))
            except (KubeError, ValueError) as error:
                errors.append(f"{name}: {error}")
        if errors:
            _add(tar, f"{folder}/errors.txt", redact_text("\n".join(errors)) + "\n")
    return buffer.getvalue()


def own_events(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of the Events *items* that Genie emitted, in order of time."""
    own = [each for each in items if _source(each) == EVENT_SOURCE]
    own.sort(key=_last_time)
    keys = (
        "type", "reason", "message", "eventTime", "series", "count", "lastTimestamp",
        "involvedObject",
    )  # fmt: skip
    return [{key: each.get(key) for key in keys} for each in own]


def _last_time(event: dict[str, Any]) -> str:
    """Return when *event* was observed last (older agents: lastTimestamp)."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(each) for each in times if each), "")


def _source(event: dict[str, Any]) -> str:
    source = event.get("source") or {}
    return str(event.get("reportingComponent") or source.get("component") or "")


def _text(name: str, value: Any) -> str:
    if name.endswith(".json"):
        return json.dumps(redact(as_data(value)), indent=2, ensure_ascii=False) + "\n"
    return redact_text(value)


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8", "replace")
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o600
    tar.addfile(info, io.BytesIO(data))
