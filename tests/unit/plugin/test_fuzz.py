"""The fuzz target, driven by hypothesis: bytes, and calls that nearly make sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher import keys
from tests.unit.plugin.fuzz import NAMES, SEED, SEQUENCES, Target

if TYPE_CHECKING:
    from pathlib import Path

ODD = st.sampled_from(
    ["", "..", "a/b", "eth0", "c1", "/none", "x" * 300, "K=V;;=", "é", "net", "net,net@n", "genie"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=6,
)
ENVIRON = ("c1", "/none", "eth0", "K8S_POD_NAME=p", "1")
RESULT: dict[str, Any] = {
    "ips": [{"address": "10.0.0.9/24"}],
    "ip4": {"ip": "10.0.0.9/24"},
    "routes": [{"dst": "0.0.0.0/0"}],
    "interfaces": [{"name": "eth0"}],
    "dns": {},
}
ANNOTATIONS = st.just({"cni": "net,net@n"}) | ODD.map(lambda text: {"cni": text}) | VALUE


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """Draw calls that are valid, or invalid in a few places."""
    environ = list(ENVIRON)
    for index in draw(st.sets(st.integers(0, len(NAMES) - 1), max_size=1)):
        environ[index] = draw(ODD)
    versions = st.sampled_from(["1.1.0", "1.1.0", "0.4.0", "0.2.0", "9"])
    conf: dict[str, Any] = {
        "cniVersion": draw(versions),
        "name": "genie",
        "default": "net",
        "confDirs": ["$F"],
        "runtimeConfig": {
            keys.POD_ANNOTATIONS: draw(ANNOTATIONS),
            "x": draw(VALUE),
        },
        "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
    }
    for key in draw(st.sets(st.sampled_from([*conf, "odd"]), max_size=1)):
        conf[key] = draw(VALUE)
    output = dict(RESULT)
    for key in draw(st.sets(st.sampled_from([*RESULT, "cniVersion"]), max_size=1)):
        output[key] = draw(VALUE)
    conf["stateDir"] = "$F/state"
    texts = [*environ, json.dumps(output), json.dumps(conf)]
    return bytes([draw(st.integers(0, len(SEQUENCES) - 1))]) + "\0".join(texts).encode()


@pytest.mark.parametrize("commands", SEQUENCES, ids="-".join)
def test_the_fuzzer_starts_from_calls_that_succeed(
    tmp_path: Path, commands: tuple[str, ...]
) -> None:
    """Every command succeeds with the seed."""
    target = Target(tmp_path)
    target(bytes([SEQUENCES.index(commands)]) + SEED[1:])
    assert target.succeeded == set(commands) - {"add", ""} - ({"CHECK"} & set(commands[:1]))


def test_no_bytes_break_the_plugin(tmp_path: Path) -> None:
    """Standard output is empty or exactly one object, and no other file is touched."""
    target = Target(tmp_path)

    @settings(max_examples=400)
    @given(calls() | st.binary(max_size=120))
    def holds(data: bytes) -> None:
        target(data)

    holds()
    assert target.succeeded == {"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"}
