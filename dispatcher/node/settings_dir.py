"""Reads the settings that may change from a directory: the mounted ConfigMap ``genie``.

A file has the name of a setting, with dashes, and its value. A missing or empty file means the
default; files of other names are ignored, since a newer ConfigMap may have more keys than this
version knows.

The kubelet replaces all files in one step: the names are links to ``..data``, itself a link to a
folder that contains the files of one version. :func:`read` reads that folder, so it never mixes two
versions. A directory without ``..data`` is read as it is.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node.settings import LIVE, LiveSettings
from dispatcher.node.settings_loader import parse

_ATTEMPTS = 5

_VERSION = "..data"
"""The link that the kubelet replaces."""


def read(directory: Path) -> LiveSettings:
    """Return the settings in *directory*.

    Raises :class:`InvalidSettingsError`: the directory cannot be read, or a value is invalid.
    """
    try:
        texts = _read_version(directory)
    except OSError as error:
        raise InvalidSettingsError(f"cannot read {directory}: {error.strerror}") from None
    return LiveSettings(**parse(dataclasses.fields(LiveSettings), texts, _key))


def _read_version(directory: Path) -> dict[str, str]:
    """Return the texts of one version of *directory*. Raises OSError."""
    for _ in range(_ATTEMPTS):
        folder = Path(os.path.realpath(directory / _VERSION))
        if not folder.is_dir():
            folder = directory
        texts = {name: _read_text(folder / name.replace("_", "-")) for name in LIVE}
        # The kubelet removes the old folder when it has replaced the link: files that seemed to be
        # missing may have been removed just then.
        if folder == directory or folder == Path(os.path.realpath(directory / _VERSION)):
            directory.stat()  # a missing directory is an error, not six defaults
            return texts
    raise TimeoutError(0, "its files keep changing")


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return ""


def _key(name: str) -> str:
    return f'"{name.replace("_", "-")}" of the ConfigMap genie'
