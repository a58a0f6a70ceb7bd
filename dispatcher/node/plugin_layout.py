"""How the installed plugin lies on a node: what build, agent and reaper agree on."""

from __future__ import annotations

VERSIONS_FOLDER = ".genie"
"""The hidden folder, in the directory of CNI plugins, that holds the versions."""

LAUNCHER_MARK = b"\n# Genie "
"""What the second line of every launcher of ours begins with."""

LOADER_PLACEHOLDER = b"/genie-fills-in-the-path-of-its-loader/".ljust(255, b"-")
"""What stands in the carried interpreter for the path of its loader: the kernel wants that
absolute, and only the node knows it."""
