import errno
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.devcluster import machine
from tests.devcluster.build import gobuild, imagebuild, programs
from tests.devcluster.commands import ClusterError
from tests.devcluster.node import cgroups


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param('NAME="x"\nID=debian\nVERSION_ID="12"\n', True, id="Debian 12"),
        pytest.param('ID=debian\nVERSION_ID="13"\n', True, id="a newer one"),
        pytest.param("ID=debian\n", True, id="testing, which has no version"),
        pytest.param('ID=debian\nVERSION_ID="11"\n', False, id="one that is too old"),
        pytest.param(
            'ID=ubuntu\nID_LIKE="debian"\nVERSION_ID="24.04"\n', False, id="made from Debian"
        ),
        pytest.param('ID="fedora"\n', False, id="another family"),
        pytest.param('ID=x\nHOME_URL="https://debian.org"\n', False, id="only mentions it"),
        pytest.param("", False, id="no such file"),
    ],
)
def test_debian_is_told_by_os_release(content: str, *, expected: bool) -> None:
    """By ID and VERSION_ID; what is made from Debian has no archive of Debian's."""
    assert machine.is_new_debian(content) is expected


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


def test_apt_waits_for_who_else_installs_and_reads_new_lists_where_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake apt-get, whose first install fails: an unattended upgrade is waited for."""
    log = tmp_path / "log"
    apt = tmp_path / "apt-get"
    apt.write_text(f'#!/bin/sh\necho "$*" >>{log}\ntest "$(wc -l <{log})" -gt 1\n')
    apt.chmod(0o755)
    monkeypatch.setattr(machine, "PROGRAMS", {"no-such-program": "its-package"})
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    machine.install_packages()
    first, update, second = log.read_text().splitlines()
    assert first == second
    assert "DPkg::Lock::Timeout=300 its-package" in first
    assert update == "update --quiet"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param("128\n", "1024", id="the kernel's default is raised"),
        pytest.param("8192\n", "8192\n", id="a higher limit stays"),
    ],
)
def test_inotify_instances_suffice_for_several_clusters(
    tmp_path: Path, limit: str, expected: str
) -> None:
    """A few nodes use up the default, and then daemons fail depending on what else runs."""
    file = tmp_path / "max_user_instances"
    file.write_text(limit)
    machine.raise_inotify_limit(file)
    assert file.read_text() == expected


def test_a_limit_that_cannot_be_raised_is_an_error_that_says_what_to_set() -> None:
    """As in a container, whose /proc/sys is read-only."""
    file = Mock(spec=Path)
    file.read_text.return_value = "128\n"
    file.write_text.side_effect = OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(ClusterError, match="set it to 1024"):
        machine.raise_inotify_limit(file)


MIRROR = "http://deb.example/debian Debian Debian main"


def test_apts_lists_are_read_anew_where_they_name_no_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake apt-get, as on a machine whose lists are empty: there are mirrors after an update."""
    lists = tmp_path / "lists"
    apt = tmp_path / "apt-get"
    apt.write_text(
        f'#!/bin/sh\nif test "$1" = update; then echo "{MIRROR}" >{lists}; else cat {lists}; fi\n'
    )
    apt.chmod(0o755)
    lists.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert imagebuild.debian_mirror() == "http://deb.example/debian"


def test_a_machine_without_a_mirror_of_debians_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake apt-get that knows of none; with the base in the cache, nobody asks."""
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\n")
    apt.chmod(0o755)
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(machine, "PROGRAMS", {})
    monkeypatch.setattr(gobuild, "build", lambda programs: pytest.fail(f"{programs.name} is built"))
    with pytest.raises(ClusterError, match="apt knows no Debian archive"):
        programs.prepare()
    monkeypatch.setattr(imagebuild, "is_cached", lambda _kind, _key: True)
    imagebuild.check_base()


def test_control_groups_that_cannot_be_made_are_told_before_anything_is_built(
    tmp_path: Path,
) -> None:
    """Version 2 in a container: its root group hands on nothing while it has processes."""
    assert "needs control groups, mounted" in cgroups.lacking([])[0]
    content = {"type": "domain", "controllers": "cpu memory", "subtree_control": "cpu"}
    for name, text in {**content, "procs": "1\n17\n"}.items():
        (tmp_path / f"cgroup.{name}").write_text(f"{text}\n")
    assert "that group itself contains processes" in cgroups.lacking([tmp_path])[0]
    (tmp_path / "cgroup.procs").write_text("")
    assert cgroups.lacking([tmp_path]) == []
    (tmp_path / "cgroup.procs").write_text("1\n")
    (tmp_path / "cgroup.type").unlink()  # the machine's own root
    assert cgroups.lacking([tmp_path]) == []
