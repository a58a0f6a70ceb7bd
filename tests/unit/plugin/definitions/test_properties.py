"""Whatever the annotations say: an error, or exactly what was permitted, and nothing is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.nad.attachments import parse_attachments

if TYPE_CHECKING:
    from tests.unit.plugin.definitions.rig import DefinitionRig

PORTS = [{"hostPort": 80, "containerPort": 80}]
CODES = {cni_errors.TRY_AGAIN, cni_errors.INVALID_ANNOTATION, cni_errors.BROKEN_NETWORK}

requests = st.fixed_dictionaries(
    {"name": st.sampled_from(["blue", "red", "weave"])},
    optional={
        "namespace": st.sampled_from(["", "ns"]),
        "interface": st.sampled_from(["net1", "net2", "d", "e"]),
        "cni-args": st.dictionaries(st.text(max_size=2), st.integers() | st.none(), max_size=2),
    },
)
rare: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"portMappings": PORTS},
        {"ips": ["10.0.0.2/24"]},
        {"default-route": ["fd00::1", "10.0.0.1"]},
        {"interface": "eth0"},
        {"namespace": "other"},
        {"name": "gone"},
        {"name": None},
        {"deviceID": "x"},
    ]
)


@st.composite
def pods(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Draw the items of ``networks``, and marks of definitions that mostly permit them."""
    items = draw(st.lists(requests, min_size=1, max_size=3))
    marks = [f"ns/{each['name']}" for each in items]
    changes = draw(st.sampled_from(["", "", "host port", "item", "item and host port", "order"]))
    if "host port" in changes:
        marks[-1] += "+hostPort"
    if "item" in changes:
        items[-1] |= draw(rare)
    if changes == "order":
        marks = draw(st.permutations(marks)) + draw(st.lists(st.just("ns/red"), max_size=1))
    return items, marks


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pods(), st.sampled_from([None, "", "weave", "canal,weave@d"]))
def test_a_pod_gets_what_was_permitted_or_an_error(
    rig: DefinitionRig, pod: tuple[list[dict[str, Any]], list[str]], cni: str | None
) -> None:
    """The record names the definitions of ``attachments``, in order."""
    capabilities = {"ips": True, "portMappings": True}
    rig.define("ns/blue", {"type": "b1", "capabilities": capabilities})
    rig.define("ns/weave", "")
    items, marks = pod
    permitted = rig.permit(*marks)
    error = _error_of_add(rig, items, permitted, cni)
    event("attached" if error is None else "refused")
    if error is not None:
        assert error.code in CODES
        assert (rig.delegates.held, rig.records) == (set(), [])
        return

    attachments = rig.record()["attachments"]
    given_names = [each["network"] for each in attachments if "/" in each["network"]]
    expected = parse_attachments(permitted)
    assert given_names == [f"{each.namespace}/{each.name}" for each in expected]
    assert len({each["interface"] for each in attachments}) == len(attachments)
    for item, each in zip(items, expected, strict=True):
        assert each.allows_host_port or "portMappings" not in item
    rig.run("CHECK")
    rig.run("DEL")
    assert (rig.delegates.held, rig.records) == (set(), [])


def _error_of_add(
    rig: DefinitionRig, items: list[dict[str, Any]], permitted: str, cni: str | None
) -> CNIError | None:
    try:
        rig.ask("ADD", json.dumps(items), permitted, cni=cni)
    except CNIError as error:
        return error
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_text_breaks_the_plan(
    rig: DefinitionRig, networks: str, default: str, permitted: str
) -> None:
    """It selects nothing, or is an error of the specification."""
    try:
        rig.ask("ADD", networks, permitted, default=default)
    except CNIError as error:
        assert error.code == cni_errors.INVALID_ANNOTATION, error  # noqa: PT017 - or no error
    else:
        rig.run("DEL")
    assert (rig.delegates.held, rig.records) == (set(), [])
