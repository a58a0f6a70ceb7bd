"""Loads the settings of a service: command line, environment, then one YAML file.

A service describes its settings as a subclass of :class:`ServiceSettings`, each field with its
unit, default and reason in ``description``, and calls :func:`load`. A field ``drain_seconds`` is
the option ``--drain-seconds``, the environment variable ``GENIE_DRAIN_SECONDS``, or the key
``drain_seconds`` of the file that ``GENIE_CONFIG`` names; the first of these wins. All services
read the same variables, so one ConfigMap can serve several of them.

Rules: settings never change while a service runs. An unknown option, an unknown key in the file or
an invalid value stops the start; :class:`InvalidSettingsError` says in one line which.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from dispatcher.annotation import is_network_name, quote, split_list
from dispatcher.kube.errors import InvalidSettingsError as InvalidSettingsError  # noqa: PLC0414 - callers import it from here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PREFIX = "GENIE_"
FILE_VARIABLE = f"{PREFIX}CONFIG"


class ServiceSettings(BaseSettings):
    """The base of every service's settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        allow_inf_nan=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file, if there is one, after the command line and the environment."""
        path = os.environ.get(FILE_VARIABLE)
        file = [YamlConfigSettingsSource(settings_cls, yaml_file=path)] if path else []
        return (init_settings, env_settings, *file)


def _split(value: Any) -> Any:
    return split_list(value) if isinstance(value, str) else value


def _validate_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not is_network_name(name):
            raise ValueError(f"{quote(name)} is not the name of a network")
    return names


Names = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_validate_names)
]
"""Names of networks, as a YAML list or as text with commas."""

S = TypeVar("S", bound=ServiceSettings)


def load(settings_class: type[S], program: str, arguments: Sequence[str]) -> S:
    """Return the settings of a service, which a person starts as *program*.

    Prints all settings and exits for ``--help``. Raises :class:`InvalidSettingsError`.
    """
    path = os.environ.get(FILE_VARIABLE)
    if path and not Path(path).is_file():
        raise InvalidSettingsError(
            f"{FILE_VARIABLE} names the file {quote(path, 256)}, which does not exist"
        )
    try:
        return settings_class(_cli_parse_args=list(arguments), _cli_prog_name=program)
    except ValidationError as error:
        raise explain(error, _option) from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InvalidSettingsError(f"{FILE_VARIABLE}: {path} is not valid YAML: {reason}") from None


def explain(error: ValidationError, named: Callable[[str], str]) -> InvalidSettingsError:
    """Return *error* as one line; ``named(field)`` returns how a person sets that field.

    A fault of several settings together has no field: its own text names them.
    """
    return InvalidSettingsError("; ".join(_fault(one, named) for one in error.errors()))


def _fault(fault: Any, named: Callable[[str], str]) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    return f"setting {named(str(fault['loc'][0]))}: {message}, got {quote(str(fault['input']))}"


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')} ({PREFIX}{field.upper()})"
