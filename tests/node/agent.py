"""Run two rounds of the reaper on the node of a test.

    python -m tests.node.agent KNOWN,… SETTINGS

It runs inside the node's namespaces. The runtime knows only the sandboxes KNOWN. The reaper calls
the installed plugin, as on a real node. SETTINGS are settings of agent and reaper. The last line of
the output names the released containers.
"""

from __future__ import annotations

import sys

from dispatcher.node.settings_loader import load
from dispatcher.reaper import plugin_del
from dispatcher.reaper.reaper import Reaper

known, *arguments = sys.argv[1:]
settings = load(
    "python -m dispatcher.reaper", ["--node-name=test", "--reap-age-seconds=0", *arguments]
)
reaper = Reaper(
    settings,
    list_sandboxes=lambda: set(known.split(",")),
    run_del=lambda cached: plugin_del.run(settings, cached),
    allow_force=lambda: True,
)
reaper.run_once()
print("freed:", *reaper.release_orphans())
