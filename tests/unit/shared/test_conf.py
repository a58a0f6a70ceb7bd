"""Configuration files: what is read from each form, and what is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.conf import MAX_BYTES, InvalidConfError, decode, is_cni_name, load

if TYPE_CHECKING:
    from pathlib import Path

BRIDGE = {"type": "bridge", "mtu": 1450}


def conflist(**changes: Any) -> bytes:
    conf = {"cniVersion": "1.0.0", "name": "net", "plugins": [BRIDGE]} | changes
    return json.dumps({key: value for key, value in conf.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(conflist(), ("net", "1.0.0", ["bridge"], False, False), id="a list"),
        pytest.param(
            b'{"cniVersion":"0.3.1","name":"one","type":"macvlan"}',
            ("one", "0.3.1", ["macvlan"], False, False),
            id="a single plugin",
        ),
        pytest.param(
            conflist(cniVersion=...), ("net", "0.1.0", ["bridge"], False, False), id="no version"
        ),
        pytest.param(
            conflist(cniVersions=["0.4.0", "1.1.0", "9.9.9"]),
            ("net", "1.1.0", ["bridge"], False, False),
            id="the highest version that we speak",
        ),
        pytest.param(
            conflist(disableCheck=True, disableGC="TRUE"),
            ("net", "1.0.0", ["bridge"], True, True),
            id="flags, as a boolean and as a string",
        ),
        pytest.param(
            conflist(disableCheck="false", disableGC=False),
            ("net", "1.0.0", ["bridge"], False, False),
            id="flags that are off",
        ),
    ],
)
def test_a_configuration_is_read(
    data: bytes, expected: tuple[str, str, list[str], bool, bool]
) -> None:
    """Each form gives name, version, chain and flags."""
    conf = decode(data, "/x.conflist")
    assert (
        conf.name,
        conf.cni_version,
        conf.types,
        conf.disable_check,
        conf.disable_gc,
    ) == expected


@pytest.mark.parametrize(
    ("data", "part"),
    [
        pytest.param(b"{", "not valid JSON", id="broken JSON"),
        pytest.param(b"[]", "a JSON object", id="not an object"),
        pytest.param(conflist(name=...), '"name"', id="no name"),
        pytest.param(conflist(name=7), '"name"', id="a name of a wrong type"),
        pytest.param(conflist(name="../x"), '"name"', id="a name with a slash"),
        pytest.param(conflist(cniVersion=1), '"cniVersion"', id="a version of a wrong type"),
        pytest.param(conflist(cniVersion="2.0.0"), '"2.0.0"', id="a version from the future"),
        pytest.param(conflist(cniVersions="1.0.0"), '"cniVersions"', id="versions of a wrong type"),
        pytest.param(conflist(plugins={}), '"plugins"', id="plugins of a wrong type"),
        pytest.param(conflist(plugins=[]), '"plugins"', id="no plugins in the list"),
        pytest.param(conflist(plugins=...), "has no plugins", id="no plugins anywhere"),
        pytest.param(
            conflist(plugins=["bridge"]), "must be a JSON object", id="a plugin in a word"
        ),
        pytest.param(conflist(plugins=[{}]), 'no "type"', id="a plugin without a type"),
        pytest.param(conflist(plugins=[{"type": "a/b"}]), '"a/b"', id="a type with a slash"),
        pytest.param(conflist(plugins=[{"type": ".."}]), '".."', id="a type that is a directory"),
        pytest.param(conflist(plugins=[{"type": "a\0"}]), '"a\\x00"', id="a type with a NUL"),
        *[
            pytest.param(
                conflist(plugins=[{"type": "bridge", "ipam": {"type": value}}]),
                f'"ipam.type" of "bridge" must be the name of an executable, not {shown}',
                id=f"an ipam.type that is {name}",
            )
            for name, value, shown in [
                ("a path", "../../bin/sh", '"../../bin/sh"'),
                ("a folder", "..", '".."'),
                ("a NUL", "a\0", '"a\\x00"'),
                ("a number", 7, "a value of another type"),
                ("a list", ["host-local"], "a value of another type"),
                ("false", False, "a value of another type"),
            ]
        ],
        *[
            pytest.param(
                conflist(plugins=[{"type": "multus", key: value}]),
                f'"{key}" of "multus" leads back to Genie',
                id=f"multus with Genie as its default, by {name}",
            )
            for name, key, value in [
                ("a plugin", "delegates", [{"type": "bridge"}, {"type": "genie"}]),
                ("a list", "delegates", [{"plugins": [7, {"type": "genie"}]}]),
                ("name", "clusterNetwork", "genie"),
                ("file", "clusterNetwork", "/etc/cni/net.d/00-genie.conflist"),
            ]
        ],
        pytest.param(
            conflist(plugins=[{"type": "a", "capabilities": []}]), '"capabilities"', id="no object"
        ),
        pytest.param(
            conflist(plugins=[{"type": "a", "capabilities": {"x": 1}}]),
            '"capabilities"',
            id="a capability that is no boolean",
        ),
        pytest.param(conflist(disableCheck="yes"), '"disableCheck"', id="a flag in other words"),
        pytest.param(
            conflist(plugins=..., loadOnlyInlinedPlugins=True),
            'but "plugins" is missing',
            id="inlined: none",
        ),
    ],
)
def test_a_configuration_is_refused(data: bytes, part: str) -> None:
    """What cannot be used says why, and in which file."""
    with pytest.raises(InvalidConfError) as caught:
        decode(data, "/x.conflist")
    assert part in caught.value.reason
    assert str(caught.value).startswith("/x.conflist: ")


@pytest.mark.parametrize(
    "plugin",
    [
        pytest.param({}, id="none"),
        pytest.param({"ipam": {}}, id="an empty one"),
        pytest.param({"ipam": None}, id="null"),
        pytest.param({"ipam": {"type": ""}}, id="one of no type"),
        pytest.param({"ipam": {"type": None}}, id="one whose type is null"),
        pytest.param({"ipam": {"type": "host-local"}}, id="one of a type"),
    ],
)
def test_an_ipam_may_be(plugin: dict[str, Any]) -> None:
    """As plugins take it: without a type there is no address plugin."""
    value = {"type": "bridge", **plugin}
    assert decode(conflist(plugins=[value]), "/x.conflist").plugins == [value]


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        pytest.param(..., ["bridge", "b", "c"], id="not said"),
        pytest.param(False, ["bridge", "b", "c"], id="false"),
        pytest.param("False", ["bridge", "b", "c"], id="false, as a string"),
        pytest.param(True, ["bridge"], id="true"),
    ],
)
def test_plugins_in_files_of_their_own(tmp_path: Path, flag: Any, expected: list[str]) -> None:
    """Below the network's name, `.conf` files add plugins unless only inlined ones count."""
    folder = tmp_path / "net"
    folder.mkdir()
    for name, kind in (("20-c.conf", "c"), ("10-b.conf", "b"), ("x.conflist", "no")):
        (folder / name).write_text(json.dumps({"type": kind}))
    file = tmp_path / "net.conflist"
    file.write_bytes(conflist(loadOnlyInlinedPlugins=flag))
    assert load(str(file)).types == expected


def test_a_folder_of_plugins_that_cannot_be_read(tmp_path: Path) -> None:
    """A file in its place breaks the network, as libcni has it; a folder inside is no plugin."""
    file = tmp_path / "net.conflist"
    file.write_bytes(conflist())
    (tmp_path / "net").touch()
    with pytest.raises(InvalidConfError, match="Not a directory"):
        load(str(file))
    (tmp_path / "net").unlink()
    (tmp_path / "net" / "x.conf").mkdir(parents=True)
    assert load(str(file)).types == ["bridge"]


def test_capabilities_may_be_null() -> None:
    """Go's JSON takes null for an object that is not there."""
    conf = decode(conflist(plugins=[{"type": "a", "capabilities": None}]), "/x")
    assert conf.plugins == [{"type": "a", "capabilities": None}]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory, a pipe and a huge file are broken, and nobody waits."""
    os.mkfifo(tmp_path / "pipe.conf")
    (tmp_path / "dir.conf").mkdir()
    (tmp_path / "huge.conf").write_bytes(b" " * (MAX_BYTES + 1))
    for name, part in (
        ("none.conf", "No such file"),
        ("dir.conf", "Is a directory"),
        ("pipe.conf", "not valid JSON"),
        ("huge.conf", "larger than 4 MiB"),
        ("a\0b.conf", "null"),
    ):
        with pytest.raises(InvalidConfError) as caught:
            load(f"{tmp_path}/{name}")
        assert part in caught.value.reason


@pytest.mark.parametrize(
    ("types", "network"),
    [
        pytest.param(["bridge", "portmap"], True, id="a chain"),
        pytest.param(["loopback"], False, id="loopback alone"),
        pytest.param(["bridge", "loopback"], True, id="loopback among others"),
        pytest.param(["genie"], False, id="Genie"),
        pytest.param(["bridge", "genie"], False, id="Genie in a chain"),
    ],
)
def test_what_is_a_network(types: list[str], *, network: bool) -> None:
    """Genie itself and the loopback are never networks."""
    conf = decode(conflist(plugins=[{"type": kind} for kind in types]), "/x")
    assert conf.is_network is network


def test_versions_are_ordered() -> None:
    """A configuration has what its version and the earlier ones have."""
    conf = decode(conflist(cniVersion="0.4.0"), "/x")
    assert conf.supports("0.3.1")
    assert conf.supports("0.4.0")
    assert not conf.supports("1.0.0")


@given(st.text(max_size=20))
def test_names_are_what_the_specification_allows(text: str) -> None:
    """A name starts with a letter or digit and goes on with those and three signs."""
    alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    allowed = text[:1] in tuple(alnum) and all(char in alnum + "_.-" for char in text)
    assert is_cni_name(text) is allowed


@given(
    st.dictionaries(
        st.sampled_from(["name", "type", "plugins", "cniVersion", "cniVersions", "disableGC"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=3)
        | st.lists(
            st.dictionaries(st.sampled_from(["type", "capabilities"]), st.text(max_size=3)),
            max_size=2,
        ),
    )
)
def test_any_object_is_read_or_refused(value: dict[str, Any]) -> None:
    """No object gets past :class:`InvalidConfError`, and what is read has its types."""
    try:
        conf = decode(json.dumps(value).encode(), "/x")
    except InvalidConfError:
        return
    assert all(isinstance(kind, str) for kind in conf.types)
    assert is_cni_name(conf.name)


@pytest.mark.parametrize(
    "way",
    [
        {"delegates": [{"plugins": [{"type": "bridge"}]}, 7, {"plugins": 7}]},
        {"delegates": "genie"},
        {"clusterNetwork": "canal"},
        {"clusterNetwork": 7},
    ],
    ids=str,
)
def test_multus_may_have_another_default(way: dict[str, Any]) -> None:
    """What Genie does not know there is for Multus to refuse."""
    assert decode(conflist(plugins=[{"type": "multus", **way}]), "x.conflist").types == ["multus"]
