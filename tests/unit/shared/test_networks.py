"""Which networks a node has: one answer, whether one name is asked for or all."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.conf import Conf, InvalidConfError
from dispatcher.networks import (
    UnknownNetworkError,
    find,
    find_executable,
    missing_executables,
    scan,
)


def put(file: Path, name: str = "", kind: str = "bridge", **more: Any) -> Path:
    """Write a configuration of one plugin."""
    file.parent.mkdir(exist_ok=True)
    plugin = {"type": kind, **more}
    conf = {"cniVersion": "1.0.0", "name": name or "n", "plugins": [plugin]}
    file.write_text(json.dumps(conf))
    return file


@pytest.mark.parametrize(
    ("files", "network", "expected"),
    [
        pytest.param({"b/canal.conflist": "x"}, "canal", "b/canal.conflist", id="by its stem"),
        pytest.param({"b/10-canal.conf": "x"}, "canal", "b/10-canal.conf", id="after a number"),
        pytest.param({"b/10-canal.json": "x"}, "10-canal", "b/10-canal.json", id="whole stem"),
        pytest.param({"b/10-a.conflist": "canal"}, "canal", "b/10-a.conflist", id="by its name"),
        pytest.param({"b/my-canal.conf": "x"}, "canal", "b/my-canal.conf", id="after a dash"),
        pytest.param({"b/a-b-c.conf": "x"}, "b-c", "b/a-b-c.conf", id="after the first dash"),
        pytest.param(
            {"b/10-a.conf": "canal", "b/20-canal.conf": "x"}, "canal", "b/20-canal.conf",
            id="a stem is stronger than a name",
        ),
        pytest.param(
            {"b/my-canal.conf": "x", "b/z.conf": "canal"}, "canal", "b/z.conf",
            id="a name is stronger than a tail",
        ),
        pytest.param(
            {"b/canal.conf": "x", "a/canal.conf": "y"}, "canal", "a/canal.conf",
            id="the first directory wins",
        ),
        pytest.param(
            {"b/20-canal.conf": "x", "b/10-canal.conf": "y"}, "canal", "b/10-canal.conf",
            id="lexical order breaks ties",
        ),
        pytest.param({"b/Canal.conf": "x"}, "canal", None, id="case counts"),
        pytest.param({"b/canal.txt": "canal"}, "canal", None, id="other endings do not"),
        pytest.param({"b/.canal.conf": "canal"}, "canal", None, id="hidden files do not"),
    ],
)  # fmt: skip
def test_a_name_leads_to_a_file(
    tmp_path: Path, files: dict[str, str], network: str, expected: str | None
) -> None:
    """The rules of finding, and which of several wins."""
    for file, name in files.items():
        put(tmp_path / file, name)
    directories = [f"{tmp_path}/a", f"{tmp_path}/b"]
    if expected is None:
        with pytest.raises(UnknownNetworkError):
            find(network, directories)
    else:
        assert find(network, directories).path == f"{tmp_path}/{expected}"
    assert (network in scan(directories).confs) is (expected is not None)


def outcome(name: str, directories: list[str]) -> str:
    """Return the file that a name leads to, broken or not."""
    try:
        return find(name, directories).path
    except InvalidConfError as error:
        return error.path
    except UnknownNetworkError:
        return ""


STEMS = st.sampled_from(["a", "b", "a-b", "10-a", "10-b", "20-a", "b-a", "1-2-a", "x.y", "-a"])
KINDS = st.sampled_from(["bridge", "genie", "loopback", "broken"])


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("pq"), STEMS, st.sampled_from(["conf", "json"])),
        st.tuples(st.sampled_from(["a", "b", "c"]), KINDS),
        max_size=6,
    )
)
def test_one_name_and_all_names_agree(files: dict[tuple[str, str, str], tuple[str, str]]) -> None:
    """For every name: ``find`` gives what ``scan`` says, errors included."""
    with tempfile.TemporaryDirectory() as folder:
        for (directory, stem, ending), (name, kind) in files.items():
            file = put(Path(folder, directory) / f"{stem}.{ending}", name, kind)
            if kind == "broken":
                file.write_text("{")
        directories = [f"{folder}/p", f"{folder}/q"]
        node_networks = scan(directories)
        for name in ["a", "b", "c", "a-b", "10-a", "2-a", "x.y", "genie", "-a"]:
            known: dict[str, Conf | InvalidConfError] = {
                **node_networks.confs,
                **node_networks.broken_names,
            }
            assert outcome(name, directories) == (known[name].path if name in known else "")


def test_a_broken_file_harms_only_itself(tmp_path: Path) -> None:
    """Its own names are refused with its reason; the others stay."""
    put(tmp_path / "10-weave.conf", "weave")
    (tmp_path / "20-canal.conf").write_text("{")
    actual = scan([str(tmp_path)])
    assert sorted(actual.confs) == ["10-weave", "weave"]
    assert list(actual.broken_files) == [f"{tmp_path}/20-canal.conf"]
    assert sorted(actual.broken_names) == ["20-canal", "canal"]
    with pytest.raises(InvalidConfError, match=r"20-canal\.conf: not valid JSON"):
        find("canal", [str(tmp_path)])


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    """The error names the directories and what was probably meant."""
    put(tmp_path / "10-weave.conf", "weave-net")
    with pytest.raises(
        UnknownNetworkError, match=r'"wave" in .* or /none; did you mean "weave"\?'
    ) as caught:
        find("wave", [str(tmp_path), "/none"])
    assert caught.value.known == ("10-weave", "weave", "weave-net")


@pytest.mark.parametrize("name", ["calico", "10-calico", "k8s-pod-network"])
def test_what_is_ignored_by_one_name_is_ignored_by_all(tmp_path: Path, name: str) -> None:
    """A setting of the agent leaves some networks out; it need not list each one's names."""
    put(tmp_path / "10-calico.conf", "k8s-pod-network")
    put(tmp_path / "canal.conf", "canal")
    actual = scan([str(tmp_path)], ignore=[name, "absent"])
    assert list(actual.confs) == ["canal"]
    assert {"10-calico", "calico", "k8s-pod-network"} <= actual.ignored
    assert "canal" not in actual.ignored


def test_ignoring_a_name_leaves_the_other_file_that_has_it_too(tmp_path: Path) -> None:
    """What the name stands for is ignored, as the plugin would find it; the rest is a network."""
    put(tmp_path / "10-weave.conf", "weave")
    put(tmp_path / "20-weave.conf", "weave")
    assert list(scan([str(tmp_path)], ignore=["weave"]).confs) == ["20-weave"]


def test_a_broken_file_can_be_ignored(tmp_path: Path) -> None:
    """By all its names, too."""
    tmp_path.joinpath("10-weave.conf").write_text("{")
    actual = scan([str(tmp_path)], ignore=["weave"])
    assert (actual.broken_names, actual.ignored) == ({}, {"weave", "10-weave"})


def test_names_that_no_annotation_could_hold_are_left_out(tmp_path: Path) -> None:
    """A stem may be anything; a network's name may not."""
    put(tmp_path / "a b.conf", "c")
    assert list(scan([str(tmp_path)]).confs) == ["c"]


def test_executables_are_looked_for_in_order(tmp_path: Path) -> None:
    """The first regular file of that name counts; IPAM plugins are part of a chain."""
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    (first / "bridge").mkdir()
    (second / "bridge").touch(mode=0o755)
    (second / "host-local").touch(mode=0o644)
    path = [str(first), "/none", str(second)]
    conf = find("w", [str(put(tmp_path / "c" / "w.conf", ipam={"type": "host-local"}).parent)])
    assert find_executable("bridge", path) == f"{second}/bridge"
    assert find_executable("none", path) is None
    assert find_executable("a\0b", path) is None
    assert missing_executables(conf, path) == ["host-local"]
    assert missing_executables(conf, [str(first)]) == ["bridge", "host-local"]
