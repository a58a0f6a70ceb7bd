"""The types of settings: from a text to a value, or what a valid text is.

Each function returns a :class:`SettingType`. Settings come as texts, from the command line, the
environment or a file, and these few types are all that they need. pydantic would take twelve MiB
for the same, in two processes on every node.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dispatcher.annotation import is_network_name, quote, split_list
from dispatcher.nad.names import is_label
from dispatcher.nad.tenant_templates import read_templates
from dispatcher.node.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Callable


class SettingType(NamedTuple):
    """``parse`` returns the value of a text, or raises ValueError or LookupError.

    ``expected`` says what is valid: it completes the sentence "the setting must be …".
    """

    expected: str
    parse: Callable[[str], object]


def text() -> SettingType:
    """Return the type of any text but ""."""
    return SettingType("a text that is not empty", _accept_filled)


def any_text() -> SettingType:
    """Return the type of any text."""
    return SettingType("a text", str)


def choice(*texts: str) -> SettingType:
    """Return the type of one of *texts*."""

    def parse(value: str) -> str:
        if value not in texts:
            raise ValueError
        return value

    return SettingType(f"one of {_listed(texts)}", parse)


def boolean() -> SettingType:
    """Return the type of true or false."""
    return SettingType('"true" or "false"', {"true": True, "false": False}.__getitem__)


def mode() -> SettingType:
    """Return the type of the setting ``mode``."""
    return SettingType(f"one of {_listed([str(each) for each in Mode])}", Mode)


def whole_number(least: int, most: int) -> SettingType:
    """Return the type of the whole numbers from *least* to *most*."""

    def parse(value: str) -> int:
        number = int(value)
        if "_" in value or not least <= number <= most:
            raise ValueError
        return number

    return SettingType(f"a whole number from {least} to {most}", parse)


def seconds(*, above_zero: bool = False, most: float = math.inf) -> SettingType:
    """Return the type of a number of seconds: 0 or more, or more than 0, and at most *most*."""
    bound = "" if most == math.inf else f", at most {most:g}"
    least = "above 0" if above_zero else "0 or above"

    def parse(value: str) -> float:
        number = float(value)
        is_in_range = 0 <= number <= most and math.isfinite(number)
        if "_" in value or not is_in_range or (above_zero and number == 0):
            raise ValueError
        return number

    return SettingType(f"a number of seconds, {least}{bound}", parse)


def network() -> SettingType:
    """Return the type of the name of one network, or ""."""

    def parse(value: str) -> str:
        if value and not is_network_name(value):
            raise ValueError
        return value

    return SettingType("the name of one network", parse)


def networks() -> SettingType:
    """Return the type of names of networks, separated by commas."""

    def parse(value: str) -> tuple[str, ...]:
        names = tuple(split_list(value))
        if not all(map(is_network_name, names)):
            raise ValueError
        return names

    return SettingType("names of networks, separated by commas", parse)


def namespace() -> SettingType:
    """Return the type of the name of one namespace."""

    def parse(value: str) -> str:
        if not is_label(value):
            raise ValueError
        return value

    return SettingType("the name of one namespace", parse)


def texts() -> SettingType:
    """Return the type of texts, separated by commas."""
    return SettingType("texts, separated by commas", split_list)


def tenant_templates() -> SettingType:
    """Return the type of templates for the definitions of tenants."""
    return SettingType("a JSON list of tenant templates", read_templates)


def path() -> SettingType:
    """Return the type of a path."""
    return SettingType("a path", Path)


def paths() -> SettingType:
    """Return the type of paths, separated by commas."""
    return SettingType(
        "paths, separated by commas", lambda value: tuple(map(Path, split_list(value)))
    )


def _accept_filled(value: str) -> str:
    if not value:
        raise ValueError
    return value


def _listed(texts: tuple[str, ...] | list[str]) -> str:
    return ", ".join(quote(each) for each in texts)
