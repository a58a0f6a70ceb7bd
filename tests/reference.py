"""The tables of docs/reference that follow from the code: settings, chart values and commands.

``python -m tests.reference`` writes each table into its page, between the comments ``<!-- table:
NAME -->`` and ``<!-- end of table -->``. tests/unit/shared/test_reference.py compares the pages
with the code.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from certs.__main__ import make_parser
from certs.settings import PREFIX as CERTS_PREFIX
from certs.settings import CertificateSettings
from cli.app import COMMANDS, load_command
from dispatcher.node.settings import LIVE, NodeSettings
from dispatcher.node.settings_loader import PREFIX
from dispatcher.plugin.cli.installation import PluginInstallation
from dispatcher.plugin.cli.main import _parser
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic_settings import BaseSettings

TREE = Path(__file__).parents[1]
PAGES = TREE / "docs" / "reference"
CHART = TREE / "manifests" / "chart"
_REGION = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(\n<!-- end of table -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return the text of a page with each of its tables as the code has it."""
    return _REGION.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}{found[3]}", page)


def table_names(page: str) -> list[str]:
    """Return the names of the tables in the text of a page."""
    return [name for _, name, _ in _REGION.findall(page)]


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _sentence(text: str | None) -> str:
    """Return *text* in one line of a table."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("``", "`").rstrip(".")


def _default(value: object) -> str:
    """Return a default as a person would write it; "-" for none."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    empty = value is None or value in ("", (), [], {})
    return "-" if empty else f"`{value}`"


def agent_settings() -> str:
    """Return the settings of agent and reaper that are no keys of the ConfigMap ``genie``."""
    rows = (
        (
            f"`{PREFIX}{each.name.upper()}`",
            "required" if each.default is dataclasses.MISSING else _default(each.default),
            _sentence(each.metadata["help"]),
        )
        for each in dataclasses.fields(NodeSettings)
        if each.name not in LIVE
    )
    return _table(("variable", "default", "meaning"), rows)


def _service_settings(model: type[BaseSettings], prefix: str) -> str:
    rows = (
        (f"`{prefix}{name.upper()}`", _default(each.default), _sentence(each.description))
        for name, each in model.model_fields.items()
    )
    return _table(("variable", "default", "meaning"), rows)


def webhook_settings() -> str:
    """Return the settings of the webhook."""
    return _service_settings(WebhookSettings, PREFIX)


def certificate_settings() -> str:
    """Return the settings of the webhook's certificates."""
    return _service_settings(CertificateSettings, CERTS_PREFIX)


def chart_values() -> str:
    """Return the values of the chart, with their defaults."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return _table(("value", "default", "meaning"), _chart_rows(schema, values))


def _chart_rows(schema: Any, values: Any, path: str = "") -> Iterator[tuple[str, ...]]:
    for name, each in schema["properties"].items():
        if name == "global":  # Helm's own
            continue
        inner = values[name]
        if "properties" in each and inner:
            yield from _chart_rows(each, inner, f"{path}{name}.")
            continue
        choice = " or ".join(_default(value) for value in each.get("enum", []))
        meaning = " ".join(filter(None, [_sentence(each["description"]), choice and f"({choice})"]))
        yield f"`{path}{name}`", _chart_default(inner), meaning


def _chart_default(value: Any) -> str:
    """Return a default of the chart; lists and mappings in the flow style of YAML."""
    if isinstance(value, list | dict) and value:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        return "see `values.yaml`" if len(text) > 80 else f"`{text.strip()}`"
    return _default(value)


class Command(NamedTuple):
    """A command of a program: how it is written, its options, and its line in ``--help``."""

    usage: str
    options: set[str]
    summary: str


def node_commands() -> str:
    """Return the commands of the node's own command line."""
    return _command_table(_argparse("genie", _parser(PluginInstallation("/opt/cni/bin/genie"))))


def certificate_commands() -> str:
    """Return the commands of ``python -m certs``."""
    return _command_table(_argparse("python -m certs", make_parser(CertificateSettings())))


def _argparse(program: str, parser: argparse.ArgumentParser) -> list[Command]:
    (subparsers,) = (
        each for each in parser._actions if isinstance(each, argparse._SubParsersAction)
    )
    commands = []
    for name, command in subparsers.choices.items():
        actions = command._actions
        arguments = [str(each.metavar) for each in actions if not each.option_strings]
        options = {each.option_strings[-1] for each in actions if each.option_strings}
        usage = " ".join([program, name, *arguments])
        commands.append(Command(usage, options - {"--help"}, command.description or ""))
    return commands


def client_commands() -> str:
    """Return the commands of ``kubectl genie``."""
    commands = []
    for name, entry in COMMANDS.items():
        parameters = [each for each in load_command(name).params if not each.hidden]
        arguments = [
            each.name.upper() if each.required else f"[{each.name.upper()}]"
            for each in parameters
            if each.param_type_name == "argument"
        ]
        options = {
            max(each.opts, key=len) for each in parameters if each.param_type_name == "option"
        }
        usage = " ".join(["kubectl genie", name, *arguments])
        commands.append(Command(usage, options, entry.summary))
    return _command_table(commands)


def _command_table(commands: list[Command]) -> str:
    """Return the table of *commands*; options of all of them are in its last row."""
    common = set.intersection(*(each.options for each in commands))
    rows = [
        (f"`{each.usage}`", _codes(each.options - common), _sentence(each.summary))
        for each in commands
    ]
    return _table(("command", "options", "what it does"), [*rows, ("every", _codes(common), "")])


def _codes(words: set[str]) -> str:
    return " ".join(f"`{word}`" for word in sorted(words)) or "-"


TABLES: dict[str, Callable[[], str]] = {
    "agent-settings": agent_settings,
    "webhook-settings": webhook_settings,
    "certificate-settings": certificate_settings,
    "chart-values": chart_values,
    "node-commands": node_commands,
    "client-commands": client_commands,
    "certificate-commands": certificate_commands,
}
"""The tables by the name that a page has in its comment."""


def main() -> None:
    """Write every table into its page."""
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
