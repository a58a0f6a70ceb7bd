"""Reads the settings of agent and reaper from the command line and the environment.

A setting ``reap_age_seconds`` is the option ``--reap-age-seconds`` or the environment variable
``GENIE_REAP_AGE_SECONDS``; the option wins. Empty texts mean the default. With ``--settings-dir``,
the settings of :class:`LiveSettings` are read from that directory alone
(:mod:`dispatcher.node.settings_dir`), and options and variables of these names are ignored: a
variable that was set long ago must not override the ConfigMap.

A small parser of its own: pydantic would take twelve MiB and argparse half a MiB, in two processes
on every node.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from dispatcher.annotation import BLANKS, quote
from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.nad.tenant_templates import InvalidTemplateError
from dispatcher.node.settings import LIVE, NodeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dispatcher.node.setting_types import SettingType

PREFIX = "GENIE_"

_HELP = frozenset({"-h", "--help"})


def load(
    program: str, arguments: Sequence[str], environ: Mapping[str, str] = os.environ
) -> NodeSettings:
    """Return the settings; *arguments* is the command line, *program* is how a person starts it.

    Prints all settings and exits for ``--help``. Raises :class:`InvalidSettingsError`.
    """
    if environ.get(f"{PREFIX}CONFIG"):
        raise InvalidSettingsError(
            f"{PREFIX}CONFIG is not read by agent and reaper: use options, environment variables "
            f"or {PREFIX}SETTINGS_DIR"
        )
    if not _HELP.isdisjoint(arguments):
        print(describe(program))  # noqa: T201 - for a person
        raise SystemExit(0)
    options = _options(arguments)
    texts = {
        each.name: options.get(each.name) or environ.get(_variable(each.name), "")
        for each in dataclasses.fields(NodeSettings)
    }
    if texts["settings_dir"]:
        texts |= dict.fromkeys(LIVE, "")
    if not texts["node_name"]:
        raise InvalidSettingsError(f"setting {_option('node_name')} is required")
    return NodeSettings(**parse(dataclasses.fields(NodeSettings), texts, _option))


def parse(
    fields: Iterable[dataclasses.Field[Any]],
    texts: Mapping[str, str],
    label: Callable[[str], str],
) -> dict[str, Any]:
    """Return the values of *texts*, by the names of their *fields*; "" means the default.

    ``label(name)`` returns how a person sets that field. Raises :class:`InvalidSettingsError`,
    which names every invalid setting.
    """
    values: dict[str, Any] = {}
    faults = []
    for each in fields:
        text = texts.get(each.name, "").strip(BLANKS)
        setting_type: SettingType = each.metadata["type"]
        try:
            if text:
                values[each.name] = setting_type.parse(text)
        except InvalidTemplateError as error:
            faults.append(f"setting {label(each.name)}: {error}")
        except (ValueError, LookupError):
            expected = f"must be {setting_type.expected}, got {quote(text)}"
            faults.append(f"setting {label(each.name)}: {expected}")

    if faults:
        raise InvalidSettingsError("; ".join(faults))
    return values


def describe(program: str) -> str:
    """Return the text of ``--help``: every setting with its variable, default and help."""
    lines = [
        f"usage: {program} [--SETTING=VALUE ...]",
        "",
        "Settings of Genie's agent and reaper. Each is an option or the environment",
        "variable beside it; the option wins. For example:",
        f"    {program} --node-name=node1",
        "",
    ]
    for each in dataclasses.fields(NodeSettings):
        lines.append(f"--{_dashed(each.name)} ({_variable(each.name)}; {_default(each)})")
        lines += _wrap(each.metadata["help"])
    return "\n".join(lines)


def _wrap(sentence: str, width: int = 76) -> list[str]:
    """Return *sentence* in indented lines; textwrap would stay in memory for this alone."""
    lines = [""]
    for word in sentence.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}"
    return [f"   {line}" for line in lines]


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Return the values of the command line by setting: ``--name=value`` or ``--name value``.

    Raises :class:`InvalidSettingsError`.
    """
    names = {f"--{_dashed(each.name)}": each.name for each in dataclasses.fields(NodeSettings)}
    options: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option not in names:
            raise InvalidSettingsError(f"unknown option {quote(option)}; --help lists all settings")
        if not equals and (following := next(rest, None)) is None:
            raise InvalidSettingsError(f"option {option} needs a value: {option}=VALUE")
        options[names[option]] = value if equals else str(following)
    return options


def _default(setting: dataclasses.Field[Any]) -> str:
    value = setting.default
    if value is dataclasses.MISSING:
        return "required"
    if value in {None, "", ()}:
        return "default: empty"
    if isinstance(value, tuple):
        return f"default: {','.join(value)}"
    return f"default: {str(value).lower() if isinstance(value, bool) else value}"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _option(name: str) -> str:
    return f"--{_dashed(name)} ({_variable(name)})"


def _dashed(name: str) -> str:
    return name.replace("_", "-")
