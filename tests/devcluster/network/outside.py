"""The world outside a cluster: an HTTP server on addresses that no pod has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.devcluster.build.gobuild import build_small_programs
from tests.devcluster.layout import OUTSIDE_PORT
from tests.devcluster.network import fabric
from tests.devcluster.processes import Daemon

if TYPE_CHECKING:
    from tests.devcluster.layout import Layout


def create(layout: Layout) -> None:
    """Create the namespace and start the server on OUTSIDE_IPV4 and OUTSIDE_IPV6."""
    fabric.create_outside(layout)
    netns = fabric.NETNS_FOLDER / layout.netns("outside")
    program = os.fspath(build_small_programs() / "nginx")
    Daemon(
        name="outside",
        record=layout.state / "outside.json",
        log=layout.logs / "outside.log",
        argv=["nsenter", f"--net={netns}", "--", program, f"-listen=:{OUTSIDE_PORT}"],
        env={},
    ).start()
