"""Environment and configuration of a call: what is required, and the errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CNIError
from dispatcher.conf import VERSIONS
from dispatcher.plugin.genie_conf import read_conf, stated_version
from dispatcher.plugin.request import COMMANDS, ENVIRONMENT, read_environment

FULL = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/ns",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/a::/b",
    "CNI_ARGS": "K=V",
}
CONF = {"cniVersion": "1.1.0", "name": "genie", "type": "genie"}


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        pytest.param("ADD", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH", id="ADD"),
        pytest.param("DEL", "CNI_CONTAINERID, CNI_IFNAME, CNI_PATH", id="DEL"),
        pytest.param("CHECK", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH", id="CHECK"),
        pytest.param("GC", "CNI_PATH", id="GC"),
        pytest.param("STATUS", "CNI_PATH", id="STATUS"),
        pytest.param("", "CNI_COMMAND", id="no command"),
    ],
)
def test_everything_that_is_missing_is_named_together(command: str, needed: str) -> None:
    """The specification's table of required variables, with code 4."""
    with pytest.raises(CNIError) as caught:
        read_environment({"CNI_COMMAND": command})
    assert caught.value.code == cni_errors.INVALID_ENVIRONMENT
    assert caught.value.msg == f"environment variables are missing: {needed}"
    if command:
        request = read_environment({**FULL, "CNI_COMMAND": command})
        assert (request.command, request.path) == (command, ["/a", "/b"])


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        pytest.param("CNI_COMMAND", "add", "must be one of ADD", id="a command in small letters"),
        pytest.param("CNI_CONTAINERID", "../x", "letters", id="a path as container"),
        pytest.param("CNI_CONTAINERID", "-x", "start with", id="a container that begins oddly"),
        pytest.param("CNI_CONTAINERID", "a\nb", "letters", id="a newline in the container"),
        pytest.param("CNI_CONTAINERID", "é", "letters", id="a container that is not ASCII"),
        pytest.param("CNI_CONTAINERID", "a" * 201, "at most 200", id="a container too long"),
        pytest.param("CNI_IFNAME", "a" * 16, "at most 15 bytes", id="an interface too long"),
        pytest.param("CNI_IFNAME", "é" * 8, "at most 15 bytes", id="an interface of 16 bytes"),
        pytest.param("CNI_IFNAME", "..", "must not be", id="an interface of dots"),
        pytest.param("CNI_IFNAME", "a/b", "must not contain", id="an interface with a slash"),
        pytest.param("CNI_IFNAME", "a:b", "must not contain", id="an interface with a colon"),
        pytest.param("CNI_IFNAME", "a b", "must not contain", id="an interface with a blank"),
    ],
)
def test_values_are_validated_before_any_effect(name: str, value: str, part: str) -> None:
    """An invalid value is refused with code 4 and its own message."""
    with pytest.raises(CNIError) as caught:
        read_environment({**FULL, "CNI_COMMAND": "ADD", name: value})
    assert caught.value.code == cni_errors.INVALID_ENVIRONMENT
    assert part in caught.value.msg
    assert "\n" not in caught.value.msg


def test_what_is_missing_and_what_is_wrong_are_named_together() -> None:
    """So that one correction suffices."""
    with pytest.raises(CNIError) as caught:
        read_environment({"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "../x", "CNI_IFNAME": "a/b"})
    assert caught.value.code == cni_errors.INVALID_ENVIRONMENT
    assert caught.value.msg == (
        "environment variables are missing: CNI_NETNS, CNI_PATH; "
        'CNI_CONTAINERID "../x" must consist of letters, digits, "_", "." and "-", and start with '
        'a letter or digit; CNI_IFNAME "a/b" must not be "." or "..", and must not contain "/", '
        '":" or whitespace'
    )


def test_a_value_that_a_command_does_not_need_is_not_validated() -> None:
    """GC has no container."""
    read_environment({**FULL, "CNI_COMMAND": "GC", "CNI_CONTAINERID": "../x"})


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "True"])
def test_the_override_of_the_netns(value: str) -> None:
    """Any spelling that the reference implementation accepts."""
    request = read_environment({**FULL, "CNI_COMMAND": "ADD", "CNI_NETNS_OVERRIDE": value})
    assert request.netns_override


@given(st.dictionaries(st.sampled_from(sorted(ENVIRONMENT)), st.text(max_size=20)))
def test_any_environment_is_read_or_refused(environ: dict[str, str]) -> None:
    """No other error is raised, and a container ID that is accepted is safe as a file name."""
    try:
        request = read_environment(environ)
    except CNIError:
        return
    if request.command in {"ADD", "DEL", "CHECK"}:
        assert "/" not in request.container_id
        assert request.container_id[0] != "."


def conf(**changes: Any) -> bytes:
    value = {**CONF, **changes}
    return json.dumps({key: item for key, item in value.items() if item is not ...}).encode()


@pytest.mark.parametrize(
    ("data", "code", "part"),
    [
        pytest.param(b"", 6, "not JSON", id="nothing"),
        pytest.param(b"{", 6, "not JSON", id="broken"),
        pytest.param(b"\xff", 6, "not UTF-8", id="not UTF-8"),
        pytest.param(b"[]", 6, "not a JSON object", id="a list"),
        pytest.param(b'{"name":"a","name":"b"}', 6, "twice", id="a key twice"),
        pytest.param(conf(cniVersion=1), 6, '"cniVersion"', id="a version of a wrong type"),
        pytest.param(conf(cniVersion="1.2.0"), 1, '"1.2.0"', id="a version from the future"),
        pytest.param(conf(cniVersion="x"), 1, '"x"', id="no version at all"),
        pytest.param(conf(name=...), 7, 'has no "name"', id="no name"),
        pytest.param(conf(name=5), 7, "must be a string", id="a name of a wrong type"),
        pytest.param(conf(name="a/b"), 7, '"a/b"', id="a name with a slash"),
        pytest.param(conf(default=1), 7, '"default"', id="default"),
        pytest.param(conf(confDirs="x"), 7, '"confDirs"', id="confDirs of a wrong type"),
        pytest.param(conf(confDirs=[]), 7, '"confDirs"', id="no confDirs"),
        pytest.param(conf(confDirs=["x"]), 7, '"confDirs"', id="a relative path"),
        pytest.param(conf(stateDir="state"), 7, '"stateDir"', id="stateDir"),
        pytest.param(conf(stateDir="/a\0"), 7, '"stateDir"', id="a NUL in a path"),
        pytest.param(conf(agentSocket=1), 7, '"agentSocket"', id="agentSocket"),
        pytest.param(conf(deadlineSeconds=0), 7, '"deadlineSeconds"', id="no time"),
        pytest.param(conf(deadlineSeconds=True), 7, '"deadlineSeconds"', id="a boolean"),
        pytest.param(conf(deadlineSeconds=1.5), 7, '"deadlineSeconds"', id="a fraction"),
        pytest.param(conf(parkAfterSeconds="x"), 7, '"parkAfterSeconds"', id="parkAfterSeconds"),
        pytest.param(conf(defualt="weave"), 7, '"defualt"', id="an option that there is not"),
        pytest.param(conf(runtimeConfig=[]), 7, '"runtimeConfig"', id="runtimeConfig"),
        pytest.param(
            conf(runtimeConfig={keys.POD_ANNOTATIONS: "x"}),
            7,
            "must be an object",
            id="annotations",
        ),
    ],
)
def test_a_configuration_is_refused(data: bytes, code: int, part: str) -> None:
    """Each fault has the specification's code and a message that names it."""
    with pytest.raises(CNIError) as caught:
        read_conf(data, "ADD")
    assert caught.value.code == code
    assert part in caught.value.msg


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("version", VERSIONS)
def test_commands_exist_since_a_version(command: str, version: str) -> None:
    """CHECK was added in 0.4.0, GC and STATUS in 1.1.0: before, code 1."""
    since = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}.get(command, "0.1.0")
    if VERSIONS.index(version) >= VERSIONS.index(since):
        assert read_conf(conf(cniVersion=version), command).cni_version == version
        return
    with pytest.raises(CNIError) as caught:
        read_conf(conf(cniVersion=version), command)
    assert caught.value.code == cni_errors.INCOMPATIBLE_VERSION
    assert since in caught.value.msg


def test_an_empty_version_is_the_oldest() -> None:
    """As in the reference implementation."""
    assert read_conf(conf(cniVersion=...), "ADD").cni_version == "0.1.0"
    assert read_conf(conf(cniVersion=""), "ADD").cni_version == "0.1.0"


def test_options_have_defaults() -> None:
    """They agree with the docs and the manifests."""
    settings = read_conf(conf(), "ADD").settings
    assert settings.default == ""
    assert settings.conf_dirs == ["/etc/cni/genie.d", "/etc/cni/net.d"]
    assert settings.state_dir == "/var/lib/cni/genie"
    assert settings.agent_socket == ""
    assert (settings.deadline, settings.park_after) == (90, 600)


def test_keys_of_runtimes_are_no_unknown_options() -> None:
    """Keys of the specification, and those that it reserves for runtimes, are accepted."""
    more: dict[str, Any] = {
        "capabilities": {},
        "prevResult": {},
        "args": {},
        "cni.dev/attachments": [],
    }
    read = read_conf(conf(**more, runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "a"}}), "ADD")
    assert read.annotations == {"cni": "a"}
    assert read.valid_attachments == []


@pytest.mark.parametrize(
    ("data", "version"),
    [
        pytest.param(conf(cniVersion="0.4.0"), "0.4.0", id="the caller's own"),
        pytest.param(conf(cniVersion="7"), "0.1.0", id="one that we do not speak"),
        pytest.param(b"{", "0.1.0", id="nothing to be read"),
        pytest.param(b"[]", "0.1.0", id="no object"),
    ],
)
def test_errors_have_a_version(data: bytes, version: str) -> None:
    """An error object has one even if the configuration has none."""
    assert stated_version(data) == version


@pytest.mark.parametrize(
    ("data", "version"),
    [
        pytest.param(b'{"cniVersion": "1.0.0", "name":"a","name":"b"}', "1.0.0", id="a key twice"),
        pytest.param(b'{"name": NaN, "cniVersion" : "0.4.0"}', "0.4.0", id="NaN"),
        pytest.param(b'{"cniVersion": "1.0.0", "na', "1.0.0", id="cut off"),
        pytest.param(b'{"cniVersion": "9.9.9", NaN', "0.1.0", id="one that nobody speaks"),
        pytest.param(b'{"cniVersion", "1.0.0"', "0.1.0", id="no value"),
        pytest.param(b'{"cniVersion": "1.0.\xff"', "0.1.0", id="not UTF-8"),
        pytest.param(b'{"cniVersion"', "0.1.0", id="nothing behind"),
    ],
)
def test_the_version_to_answer_in_is_read_from_invalid_json_too(data: bytes, version: str) -> None:
    """An error is in the caller's version, also if the caller's JSON is invalid."""
    assert stated_version(data) == version


def test_an_option_that_is_nearly_right_is_suggested() -> None:
    """The details list all options."""
    with pytest.raises(CNIError) as caught:
        read_conf(conf(defualt="x"), "ADD")
    assert caught.value.msg == 'unknown option "defualt"; did you mean "default"?'
    assert "confDirs" in caught.value.details


@pytest.mark.parametrize(
    ("list_options", "expected"),
    [
        pytest.param({}, None, id="no list"),
        pytest.param({"cni.dev/attachments": [1]}, [1], id="the older key"),
        pytest.param({"cni.dev/valid-attachments": [1]}, [1], id="the key"),
        pytest.param(
            {"cni.dev/valid-attachments": [1], "cni.dev/attachments": [2]}, [1], id="both"
        ),
        pytest.param({"cni.dev/valid-attachments": None}, [], id="null, libcni's empty list"),
    ],
)
def test_the_valid_attachments_of_gc(list_options: dict[str, Any], expected: Any) -> None:
    """A missing list differs from an empty one, which libcni writes as null."""
    assert read_conf(conf(**list_options), "GC").valid_attachments == expected


def test_genie_is_the_first_plugin_of_its_list() -> None:
    """ADD would lose the result of another plugin; on DEL and CHECK the result is Genie's own."""
    data = conf(prevResult={"cniVersion": "1.1.0"})
    with pytest.raises(CNIError, match="first plugin") as caught:
        read_conf(data, "ADD")
    assert caught.value.code == cni_errors.INVALID_CONF
    read_conf(data, "DEL")
    read_conf(data, "CHECK")
