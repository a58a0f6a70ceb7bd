"""A transport without a network, for the protocols of the server."""

from __future__ import annotations

import asyncio
from typing import Any


class MemoryTransport(asyncio.Transport):
    """Keeps what is written, and what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.calls: list[str] = []
        self._is_paused = False

    def write(self, data: Any) -> None:
        """Keep *data*."""
        assert not self.is_closing()
        self.written += data

    def write_eof(self) -> None:
        """Remember that nothing follows."""
        self.calls.append("eof")

    def close(self) -> None:
        """Remember that the connection is closed."""
        self.calls.append("close")

    def abort(self) -> None:
        """Remember that the connection is aborted."""
        self.calls.append("abort")

    def is_closing(self) -> bool:
        """Tell whether it was closed or aborted."""
        return "close" in self.calls or "abort" in self.calls

    def pause_reading(self) -> None:
        """Read no more."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Read again."""
        self._is_paused = False

    def is_reading(self) -> bool:
        """Tell whether it reads."""
        return not self._is_paused

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have no limits."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Know one thing."""
        return "here" if name == "sockname" else default
