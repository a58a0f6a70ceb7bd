"""Inputs of the fuzz target that nearly make sense, drawn by hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from dispatcher import keys
from tests.unit.plugin.fuzz import NAMES, SEQUENCES

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
