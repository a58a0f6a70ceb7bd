"""The names of the clusters that tests start.

All begin with :data:`BASE`. Several processes of one run (``pytest --numprocesses``) have clusters
of their own: the names of each carry its number.
"""

from __future__ import annotations

import os

_PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")

BASE = "-".join(filter(None, (os.environ.get("GENIE_CLUSTER", "genie-test"), _PROCESS)))
"""The cluster that most tests share: the one that GENIE_CLUSTER names, else genie-test."""


def name_of(suffix: str) -> str:
    """Return the name of another cluster of this process."""
    return f"{BASE}-{suffix}"
