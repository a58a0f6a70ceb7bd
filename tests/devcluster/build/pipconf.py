"""The machine's pip configuration, for builds inside images: index, certificates, local wheels.

It reaches the build as a file that is mounted for its duration; nothing of it stays in the image.
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
    """Return the configuration files that pip reads on Linux, the strongest last."""
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    found = [Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf"]
    if "PIP_CONFIG_FILE" in env:
        found.append(Path(env["PIP_CONFIG_FILE"]))
    return found


def merge(texts: Iterable[str], env: Mapping[str, str]) -> str:
    """Return one pip.conf that means what these files and PIP_* variables mean together."""
    merged = configparser.RawConfigParser()
    merged.read_dict({"global": {}})
    for text in texts:
        merged.read_string(text)
    for name, value in sorted(env.items()):
        if name.startswith("PIP_") and name not in _NOT_SETTINGS:
            merged.set("global", name.removeprefix("PIP_").lower().replace("_", "-"), value)
    written = io.StringIO()
    merged.write(written)
    return written.getvalue()


def machine_configuration(env: Mapping[str, str]) -> str:
    """Return the machine's pip configuration as one file's text."""
    present = (file for file in files(Path.home(), env) if file.is_file())
    return merge((file.read_text() for file in present), env)


def mounted_paths(configuration: str) -> list[str]:
    """Return the machine's paths that a build needs besides: those that the settings name."""
    parser = configparser.RawConfigParser()
    parser.read_string(configuration)
    words = {
        word
        for section in parser.sections()
        for value in dict(parser[section]).values()
        for word in value.split()
    }
    words.add(str(MACHINE_CERTIFICATES))  # where a proxy has an authority of its own
    return sorted(word for word in words if word.startswith("/") and Path(word).exists())
