import os
from pathlib import Path

import pytest

from tests.cluster import machine
from tests.cluster.commands import ClusterError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param('NAME="x"\nID=debian\n', True, id="Debian"),
        pytest.param('ID=ubuntu\nID_LIKE="debian"\n', True, id="made from Debian"),
        pytest.param('ID=mint\nID_LIKE="ubuntu debian"\n', True, id="made from what is made of it"),
        pytest.param('ID="fedora"\n', False, id="another family"),
        pytest.param('ID=x\nHOME_URL="https://debian.org"\n', False, id="only mentions it"),
        pytest.param("", False, id="no such file"),
    ],
)
def test_debian_is_told_by_os_release(content: str, *, expected: bool) -> None:
    """By ID and ID_LIKE alone."""
    assert machine.is_debian(content) is expected


@pytest.mark.parametrize(
    ("text", "new_enough"),
    [
        ("go1.26.6", True),
        ("go1.27", True),
        ("go1.26.10", True),
        ("go1.26.5", False),
        ("go1.9", False),
        ("devel go1.28-abcdef", True),
    ],
)
def test_gos_version_is_compared_by_numbers(text: str, *, new_enough: bool) -> None:
    """Not by letters; a development version has no number and is taken for new."""
    assert (machine.go_version(text) >= machine.GO_AT_LEAST) is new_enough


def test_all_that_is_missing_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root, without Go and without apt-get: three things to do, known at once."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError) as error:
        machine.check_machine(tmp_path)
    text = str(error.value)
    assert text.startswith("this machine cannot run a cluster: ")
    assert "needs root" in text
    assert "needs Go 1.26.6 or newer" in text
    assert "needs Debian" in text
    assert "\n" not in text


def test_an_old_go_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one sees which of several was found."""
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.21.0\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=rf"{go} is go1\.21\.0"):
        machine.check_machine(tmp_path)


def test_folders_of_administrators_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's users do not have /usr/sbin on their PATH; it is added once, at the end."""
    monkeypatch.setenv("PATH", "/opt/go/bin:/usr/bin:/usr/sbin")
    machine.extend_path()
    machine.extend_path()
    expected = "/opt/go/bin:/usr/bin:/usr/sbin:/usr/local/sbin:/sbin"
    assert os.environ["PATH"] == expected
