"""The layout of the installed plugin on a node, which build, agent and reaper share."""

from __future__ import annotations

VERSIONS_FOLDER = ".genie"
"""The hidden folder in the directory of CNI plugins; has one folder for each version."""

LAUNCHER_MARK = b"\n# Genie "
"""How the second line of every launcher of Genie begins; its version and a colon follow."""

LOADER_PLACEHOLDER = b"/genie-fills-in-the-path-of-its-loader/".ljust(255, b"-")
"""Stands in the carried interpreter for the path of its loader. The kernel needs an absolute path,
which only the node knows; the agent replaces the placeholder when it installs the plugin."""
