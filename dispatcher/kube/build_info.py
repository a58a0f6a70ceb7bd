"""The version of Genie that runs, and the metric ``genie_build_info`` that shows it.

The reaper has no port: it runs from the same image as the agent of its pod.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

UNRELEASED = "unreleased"
"""The version of a checkout that was not installed as a package."""


def own_version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 20 ms

    try:
        return version("cni-genie")
    except PackageNotFoundError:
        return UNRELEASED


def register(registry: CollectorRegistry, component: str) -> None:
    """Add ``genie_build_info`` of *component* (agent, webhook) to *registry*."""
    from prometheus_client import Gauge  # noqa: PLC0415 - the client command has no metrics

    gauge = Gauge(
        "genie_build_info",
        "Version of Genie and of the Python that runs it; always 1.",
        ("component", "version", "python"),
        registry=registry,
    )
    python = ".".join(map(str, sys.version_info[:3]))
    gauge.labels(component, own_version(), python).set(1)
