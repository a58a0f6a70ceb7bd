"""The names of the clusters that tests start.

All begin with :data:`BASE`. Several processes of one run (``pytest --numprocesses``) have clusters
of their own: each process gets a name of its own.
"""

from __future__ import annotations

import os

_DEFAULT = "-".join(filter(None, ("genie-test", os.environ.get("PYTEST_XDIST_WORKER"))))

BASE = os.environ.get("GENIE_CLUSTER", _DEFAULT)
"""The cluster that most tests share: the one that GENIE_CLUSTER names, else genie-test."""


def name_of(suffix: str) -> str:
    """Return the name of another cluster of this process."""
    return f"{BASE}-{suffix}"
