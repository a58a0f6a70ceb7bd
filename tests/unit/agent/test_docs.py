"""The pages have every reason of an Event, every metric, file and live setting of the agent."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from dispatcher import keys
from dispatcher.agent.metrics import AgentMetrics
from dispatcher.node.settings import LIVE, NodeSettings
from dispatcher.plugin.cli.installation import PluginInstallation
from dispatcher.plugin.cli.main import _parser
from dispatcher.state import journal, store

TREE = Path(__file__).parents[3]
DOCS = TREE / "docs"
PAGE = (DOCS / "operators.md").read_text()
REFERENCE = DOCS / "reference"


def rows(page: str) -> set[str]:
    """Return the names that begin the rows of tables in the text of a page."""
    return set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))


def reasons() -> set[str]:
    """Return the reasons of Events in the code of the agent: arguments of ``emit``."""
    emitted_reasons = set()
    for file in (TREE / "dispatcher" / "agent").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"emit", "_emit"}
            ):
                words = [str(each.value) for each in node.args if isinstance(each, ast.Constant)]
                emitted_reasons |= {word for word in words if re.fullmatch(r"[A-Z][A-Za-z]+", word)}
    return emitted_reasons


def test_every_reason_of_an_event_has_a_fix() -> None:
    """And none is described that is never emitted."""
    assert "NotInstalled" in reasons()
    assert rows((REFERENCE / "events.md").read_text()) == reasons()


def test_every_metric_of_ours_is_described() -> None:
    """By the name that Prometheus shows."""
    ours = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in AgentMetrics().registry.collect()
        if family.name.startswith("genie_")
    }
    assert "genie_build_info" in ours
    agent = metrics().partition("## Agent\n")[2].partition("\n## ")[0]
    assert rows(agent) == ours


def metrics() -> str:
    return (REFERENCE / "metrics.md").read_text()


def test_the_places_are_those_of_the_code() -> None:
    """Folders, files and the port, as they are when nothing is set."""
    settings = NodeSettings(node_name="n")
    for place in (
        settings.cni_bin_dir / keys.PLUGIN_TYPE,
        settings.cni_conf_dir / keys.CONFLIST,
        settings.cni_conf_dir,
        settings.extra_conf_dir,
        settings.state_dir / journal.NAME,
        settings.state_dir / store.AGENT_PROBLEM,
        settings.state_dir / store.REAPER_PROBLEM,
        settings.state_dir / store.NETWORK_PROBLEMS,
        settings.state_dir / store.STATUS_ANSWERS,
        settings.state_dir / store.ACCEPTED_SETTINGS,
        settings.state_dir / f"<container>{store.SUFFIX}{store.CORRUPT}",
        settings.socket,
    ):
        assert f"`{place}`" in PAGE
    assert f"{settings.listen}:{settings.port}/metrics" in metrics()
    assert settings.reap_age_seconds == 600
    assert settings.reap_look_seconds == 60
    for name in re.findall(r"`GENIE_([A-Z_]+)`", PAGE):
        assert hasattr(settings, name.lower())


def test_every_setting_that_may_change_is_in_the_table() -> None:
    """By its key in the ConfigMap."""
    page = (REFERENCE / "settings.md").read_text()
    section = page.partition("ConfigMap genie\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    names = re.findall(r"`([^`]+)`", " ".join(cells))
    assert sorted(names) == sorted(name.replace("_", "-") for name in LIVE)
    assert f"{keys.CONFIRM_REMOVE}={keys.CONFIRM_FORCE}" in (DOCS / "uninstall.md").read_text()


def options() -> dict[str, set[str]]:
    """Return the options of each command of `genie`."""
    parser = _parser(PluginInstallation("/opt/cni/bin/genie"))
    [commands] = [each.choices for each in parser._actions if isinstance(each.choices, dict)]
    return {name: {*each._option_string_actions} for name, each in commands.items()}


def test_every_command_that_the_page_shows_is_one() -> None:
    """With its options: those on a command's line are its own."""
    section = PAGE.partition("## See what a node has")[2].partition("\n## ")[0]
    ours = re.sub(r"kubectl [^`|\n]*", "", section)
    shown = re.findall(r"genie ([a-z]+)(.*)", ours)
    assert {command for command, _ in shown} == options().keys()

    option = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
    for command, line in shown:
        own = options()[command] if "# " in line else set().union(*options().values())
        assert set(option.findall(line)) <= own, command
    assert "--current-config" in option.findall(ours)
    assert set(option.findall(ours)) <= set().union(*options().values())
