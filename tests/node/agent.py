"""Let the agent's reaper look twice, on the node of a test.

    python -m tests.node.agent KNOWN,… SETTINGS

It runs inside the node's namespaces, with a runtime that knows the sandboxes KNOWN and no others,
and frees with the installed plugin, as it does on a node. SETTINGS are the agent's own. The last
line says which containers were freed.
"""

from __future__ import annotations

import sys

from dispatcher.node.settings import load
from dispatcher.reaper import plugin_del
from dispatcher.reaper.reaper import Reaper

known, *arguments = sys.argv[1:]
settings = load(["--node-name=test", "--reap-age-seconds=0", *arguments])
reaper = Reaper(
    settings,
    list_sandboxes=lambda: set(known.split(",")),
    run_del=lambda cached: plugin_del.run(settings, cached),
)
reaper.run_once()
print("freed:", *reaper.release_orphans())
