"""The rest of the world, as a cluster sees it: it answers HTTP, on addresses of no pod."""

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
    """Make the namespace and start the server that answers on OUTSIDE_IPV4 and OUTSIDE_IPV6."""
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
