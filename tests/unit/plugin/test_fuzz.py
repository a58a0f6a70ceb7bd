"""The fuzz target, driven by hypothesis: bytes, and calls that nearly make sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher import keys
from dispatcher.plugin import delegate, request
from tests.unit.plugin.fuzz import NAMES, Target

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


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """Draw a call that is well formed here and there."""
    environ = "\n".join(draw(ODD) for _ in NAMES)
    conf: dict[str, Any] = {
        "cniVersion": draw(st.sampled_from(["1.1.0", "0.4.0", "0.2.0", "9"])),
        "name": "genie",
        "default": "net",
        "confDirs": ["$F"],
        "stateDir": "$F/state",
        "runtimeConfig": {keys.POD_ANNOTATIONS: {"cni": draw(ODD)}, "x": draw(VALUE)},
        "cni.dev/valid-attachments": draw(
            VALUE | st.just([{"containerID": "c1", "ifname": "eth0"}])
        ),
    }
    if draw(st.booleans()):
        conf[draw(st.sampled_from([*conf, "odd"]))] = draw(VALUE)
    said = draw(
        st.dictionaries(st.sampled_from(["ips", "ip4", "routes", "dns", "interfaces"]), VALUE)
    )
    parts = ["x" * draw(st.integers(0, 7)), environ]
    return (
        "\n".join(parts).encode()
        + b"\n\n"
        + json.dumps(said).encode()
        + b"\n\n\n"
        + json.dumps(conf).encode()
    )


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Return the target; what it replaces comes back when the test does."""
    monkeypatch.setattr(delegate, "run", delegate.run)
    monkeypatch.setattr(request, "Settings", request.Settings)
    return Target(tmp_path)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls() | st.binary(max_size=120))
def test_no_bytes_break_the_plugin(target: Target, data: bytes) -> None:
    """Standard output is empty or exactly one object, and no file is touched elsewhere."""
    target(data)
