from __future__ import annotations

import os
from pathlib import Path

import pytest

from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node import settings_dir
from dispatcher.node.mode import Mode
from dispatcher.node.settings import LiveSettings
from tests.unit.mounts import Mount


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "settings")


def test_each_file_is_a_setting(mount: Mount) -> None:
    """An editor's newline at the end does not count; what is missing or empty has its default."""
    mount.write({"default-network": "canal\n", "mode": "remove --force", "ignored-networks": ""})
    assert settings_dir.read(mount.path) == LiveSettings(
        default_network="canal", mode=Mode.REMOVE_FORCE
    )


def test_files_of_other_names_are_ignored(mount: Mount) -> None:
    """A newer ConfigMap may have more keys."""
    mount.write({"max-attachments": "7", "from-the-future": "x"})
    assert settings_dir.read(mount.path) == LiveSettings(max_attachments=7)


def test_a_plain_directory_is_read_as_it_is(tmp_path: Path) -> None:
    """For a person who tries it without a cluster."""
    (tmp_path / "limits").write_text("warn")
    assert settings_dir.read(tmp_path) == LiveSettings(limits="warn")


def test_every_invalid_value_is_named_with_its_key(mount: Mount) -> None:
    """By the name in the ConfigMap."""
    mount.write({"default-network": "a/b", "mode": "gone"})
    with pytest.raises(InvalidSettingsError) as refused:
        settings_dir.read(mount.path)
    assert str(refused.value) == (
        'setting "default-network" of the ConfigMap genie: must be the name of one network, got '
        '"a/b"; setting "mode" of the ConfigMap genie: must be one of "install", "disable", '
        '"remove", "remove --force", got "gone"'
    )


def test_bytes_that_are_no_text_are_invalid(mount: Mount) -> None:
    """They come from binaryData of a ConfigMap."""
    mount.write({"mode": b"\xff"})
    with pytest.raises(InvalidSettingsError, match=r'got "\\\\xff"'):
        settings_dir.read(mount.path)


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """Not six defaults."""
    with pytest.raises(InvalidSettingsError, match=r"cannot read /.*/none: No such file"):
        settings_dir.read(tmp_path / "none")


def test_two_versions_are_never_mixed(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet replaces all files after the first has been read, and removes the old ones."""
    mount.write({"default-network": "canal", "max-attachments": "5", "limits": "warn"})
    read_bytes = Path.read_bytes
    replaced: list[Path] = []

    def read_and_replace(path: Path) -> bytes:
        content = read_bytes(path)
        if not replaced:
            replaced.append(path)
            mount.write({"default-network": "weave", "max-attachments": "6", "limits": "enforce"})
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_replace)
    assert settings_dir.read(mount.path) == LiveSettings(default_network="weave", max_attachments=6)
    assert replaced


def test_files_that_never_rest_are_an_error(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent reads them again in a few seconds."""
    mount.write({})
    versions = iter(range(100))
    monkeypatch.setattr(
        os.path, "realpath", lambda _: str(_folder(mount.path / f"version{next(versions)}"))
    )
    with pytest.raises(InvalidSettingsError, match="keep changing"):
        settings_dir.read(mount.path)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
