"""Configures the logs of the services: structlog, one line an event, JSON unless on a terminal.

Every service calls :func:`configure` once at its start, and then ``structlog.get_logger("name")``.
Lines go to stderr. The loggers of the standard library (asyncio, urllib3) get the same form. No
object or Secret is logged whole: callers pass the few fields that a reader needs.

Our own lines do not pass through :mod:`logging`, where a line costs ten times as much: a webhook
writes one for every pod that it changes, while the API server waits. A line is written before the
call returns, so a killed process has lost none.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str = "info", *, json: bool | None = None) -> None:
    """Set up logging for the process.

    *level* is one of :data:`LEVELS`. *json* None means: JSON, unless stderr is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        shared.append(structlog.processors.format_exc_info)
    render = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[_json_line] if as_json else [*shared, render, _encoded_line],
        logger_factory=_Stderr,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    _adopt_standard_library(level, shared, render)


class _Stderr:
    """A logger that writes lines to the current standard error.

    A line that cannot be written is lost, as with :mod:`logging`.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: bytes) -> None:
        """Write *line* in one call, because other threads write lines, too."""
        try:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = msg


def _json_line(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    """Return the line: what the processors ``shared`` add, and JSON, in one step."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    event["level"] = method
    event["logger"] = logger.name
    event["timestamp"] = now = datetime.now(UTC)
    try:
        return orjson.dumps(event, repr, _OPTIONS)
    except TypeError:  # a file name that is not UTF-8, a number of more than 64 bits
        event["timestamp"] = now.isoformat()
        return json.dumps(event, default=repr).encode() + b"\n"


def _encoded_line(_logger: WrappedLogger, _method: str, line: Any) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")


def _adopt_standard_library(level: str, shared: list[Processor], render: Processor) -> None:
    handler = logging.StreamHandler(sys.stderr)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[remove_meta, render]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("urllib3").setLevel("WARNING")
