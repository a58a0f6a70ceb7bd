"""Read the machine's pip configuration (index, certificates, local wheels) for image builds.

It is mounted into the build as a file; nothing of it remains in the image.
"""

from __future__ import annotations

import configparser
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOT_SETTINGS = {
    "PIP_CONFIG_FILE",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
}
MACHINE_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def files(home: Path, env: Mapping[str, str]) -> list[Path]:
    """Return the configuration files that pip reads on Linux, in ascending priority."""
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    paths = [Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf"]
    if "PIP_CONFIG_FILE" in env:
        paths.append(Path(env["PIP_CONFIG_FILE"]))
    return paths


def merge(texts: Iterable[str], env: Mapping[str, str]) -> str:
    """Merge configuration files and PIP_* variables into the text of one pip.conf."""
    merged = configparser.RawConfigParser()
    merged.read_dict({"global": {}})
    for text in texts:
        merged.read_string(text)
    for name, value in sorted(env.items()):
        if name.startswith("PIP_") and name not in _NOT_SETTINGS:
            merged.set("global", name.removeprefix("PIP_").lower().replace("_", "-"), value)
    output = io.StringIO()
    merged.write(output)
    return output.getvalue()


def machine_configuration(env: Mapping[str, str]) -> str:
    """Return the machine's pip configuration as the text of one pip.conf."""
    existing = (file for file in files(Path.home(), env) if file.is_file())
    return merge((file.read_text() for file in existing), env)


def mounted_paths(configuration: str) -> list[str]:
    """Return the machine's paths that a build needs because the configuration names them."""
    parser = configparser.RawConfigParser()
    parser.read_string(configuration)
    words = {
        word
        for section in parser.sections()
        for value in dict(parser[section]).values()
        for word in value.split()
    }
    words.add(str(MACHINE_CERTIFICATES))  # for a proxy with its own CA
    return sorted(word for word in words if word.startswith("/") and Path(word).exists())
