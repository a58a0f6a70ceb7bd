import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.devcluster.build.cache import cache_folder, cached, digest, digest_files

PARTS = st.lists(st.text(max_size=5), max_size=4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> None:
    (folder / "program").write_text("built")


def refuse(_folder: Path) -> None:
    raise AssertionError("made again")


def test_a_cached_folder_is_built_once() -> None:
    """The second call finds the result of the first."""
    first = cached("go/etcd", "key", write)
    assert (first / "program").read_text() == "built"
    assert cached("go/etcd", "key", refuse) == first


def test_an_incomplete_folder_is_never_found(own_cache: Path) -> None:
    """A failed build leaves no folder under the key, and the next one starts anew."""

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("the compiler was killed")

    with pytest.raises(RuntimeError):
        cached("go/etcd", "key", fail)
    assert not (own_cache / "go/etcd/key").exists()
    entry = cached("go/etcd", "key", write)
    assert [file.name for file in entry.iterdir()] == ["program"]
    assert list((own_cache / "go/etcd").glob("*.part")) == []


def test_categories_with_a_common_prefix_are_separate(own_cache: Path) -> None:
    """`kubernetes` and `kubernetes-oldest` do not delete each other's folders."""
    oldest = cached("go/kubernetes-oldest", "key", write)
    for number in range(4):
        cached("go/kubernetes", f"key{number}", write, keep=1)
    assert oldest.is_dir()
    assert sorted(p.name for p in (own_cache / "go/kubernetes").iterdir()) == ["key3", "lock"]


def test_the_folders_used_last_are_kept() -> None:
    """Using a folder counts like building it."""
    folders = [cached("images", f"key{number}", write) for number in range(3)]
    for age, folder in enumerate(folders):
        os.utime(folder, (age, age))
    cached("images", "key0", refuse)
    cached("images", "key3", write)
    assert [folder.is_dir() for folder in folders] == [True, False, True]


@given(PARTS, PARTS)
def test_different_parts_have_different_digests(one: list[str], other: list[str]) -> None:
    """Also if they are equal when joined."""
    assert (digest(one) == digest(other)) == (one == other)


def test_the_digest_of_files_covers_content_path_and_executable_bit(tmp_path: Path) -> None:
    """It does not cover times and the folder above."""
    names = set()
    for folder, file, content, mode in (
        ("a", "x", "1", 0o644),
        ("b", "x", "1", 0o644),
        ("c", "x", "2", 0o644),
        ("d", "y", "1", 0o644),
        ("e", "x", "1", 0o755),
    ):
        path = tmp_path / folder / file
        path.parent.mkdir()
        path.write_text(content)
        path.chmod(mode)
        names.add(digest_files(path.parent, [path]))
    assert len(names) == 4


def test_the_cache_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """GENIE_CACHE overrides that."""
    assert cache_folder().name == "cache"
    monkeypatch.delenv("GENIE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/genie-cluster")
