"""All attachments of a pod from its annotations: order, interfaces, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import annotation
from dispatcher.annotation import Selection
from dispatcher.keys import ATTACHMENTS, DEFAULT_NETWORK, NETWORKS
from dispatcher.nad.plan import InvalidPlanError, PlannedAttachment, plan_pod


def pod(cni: str | None, networks: str = "", default: str = "") -> dict[str, str]:
    """Return the annotations with these values; those that are empty are missing."""
    written = {} if cni is None else {"cni": cni}
    return {**written, **({NETWORKS: networks} if networks else {}), **(
        {DEFAULT_NETWORK: default} if default else {}
    )}  # fmt: skip


def shown(planned: PlannedAttachment) -> str:
    selection = planned.selection
    if isinstance(selection, Selection):
        return f"{selection.network}@{planned.interface}"
    namespace = f"{selection.namespace}/" if selection.namespace else ""
    return f"{namespace}{selection.name}@{planned.interface}"


PLANS = {
    "nothing but the default": ((None,), "canal", "canal@eth0"),
    "no default": ((None,), "", ""),
    "a blank choice": ((" ",), "canal", "canal@eth0"),
    "a namespace's default with two networks": ((None,), "a,b@x", "a@eth0 b@x"),
    "cni alone": (("a,b@net1",), "canal", "a@eth0 b@net1"),
    "the primary comes first": (("b@net1,c@net2,a",), "", "a@eth0 b@net1 c@net2"),
    "networks beside the default": ((None, "x,ns/y"), "canal", "canal@eth0 x@net1 ns/y@net2"),
    "networks beside cni": (("a,b@eth5", "x"), "canal", "a@eth0 b@eth5 x@net1"),
    "one network twice": ((None, "x,x"), "c", "c@eth0 x@net1 x@net2"),
    "a name by position": ((None, "x@data,y"), "c", "c@eth0 x@data y@net2"),
    "a name that a later item requests": ((None, "x,y@net1"), "c", "c@eth0 x@net3 y@net1"),
    "a name that an item of cni has": (("a,b@net1", "x,y"), "", "a@eth0 b@net1 x@net3 y@net2"),
    "names past those that are requested": (
        (None, "x,y,z@net1,v@net4,w@net5,u@net2"),
        "c",
        "c@eth0 x@net7 y@net8 z@net1 v@net4 w@net5 u@net2",
    ),
    "another primary": ((None, "x", "ns/y"), "canal", "ns/y@eth0 x@net1"),
    "another primary with a blank cni": (("\t", "", "y@eth0"), "canal", "y@eth0"),
    "another primary takes the place of the whole default": ((None, "", "y"), "a,b@x", "y@eth0"),
    "an empty list as another primary": ((None, "", "[]"), "canal", "canal@eth0"),
    "32 attachments": ((None, ",".join("x" * 31)), "c", None),
}


@pytest.mark.parametrize(("values", "default", "expected"), PLANS.values(), ids=PLANS)
def test_a_pod_has_this_plan(values: tuple[str, ...], default: str, expected: str | None) -> None:
    """Networks and interfaces, the primary first, then in the order of the annotations."""
    plan = plan_pod(pod(*values), default)
    assert expected is None or " ".join(map(shown, plan)) == expected
    assert [each.is_primary for each in plan] == [n == 0 for n in range(len(plan))]


def test_each_attachment_names_its_annotation() -> None:
    """A message about it can say where it was asked for."""
    plan = plan_pod(pod(None, "x", "y"), "c")
    assert [each.source for each in plan] == [DEFAULT_NETWORK, NETWORKS]
    assert [each.source for each in plan_pod(pod(None, "x"), "c")] == ["cni", NETWORKS]


ROUTE = '[{"name":"x","default-route":[]}]'
REFUSED = {
    "the primary's interface": (("a", "x@eth0"), NETWORKS, 1, "already used by the primary"),
    "the primary's interface where no primary is known": (
        (None, "x@eth0"),
        NETWORKS,
        1,
        "already used by the primary",
    ),
    "an interface of cni": (("a,b@d", "x,y@d"), NETWORKS, 2, 'already used by "cni"'),
    "an interface twice": ((None, "x@d,y@d"), NETWORKS, 2, "already used by item 1"),
    "an interface twice in JSON": (
        (None, '[{"name":"x","interface":"d"},\n{"name":"y","interface":"d"}]'),
        NETWORKS,
        2,
        "(line 2 column 25)",
    ),
    "cni and another primary": (("a", "", "y"), DEFAULT_NETWORK, 0, 'combined with "cni"'),
    "two primaries": ((None, "", "y,z"), DEFAULT_NETWORK, 0, "must have one network (has 2)"),
    "a primary on another interface": (
        (None, "", "y@d"),
        DEFAULT_NETWORK,
        1,
        "leave the interface",
    ),
    "two default routes": ((None, ROUTE, ROUTE), NETWORKS, 1, "the item of"),
    "33 attachments": (("a", ",".join("x" * 32)), NETWORKS, 0, "at most 32 networks (has 33"),
}


@pytest.mark.parametrize(("values", "key", "position", "part"), REFUSED.values(), ids=REFUSED)
def test_a_pod_has_no_plan(values: tuple[str, ...], key: str, position: int, part: str) -> None:
    """The refusal names the annotation and the item."""
    with pytest.raises(InvalidPlanError) as caught:
        plan_pod(pod(*values), "")
    [(where, fault)] = caught.value.faults
    assert (where, fault.position) == (key, position)
    assert part in str(caught.value)


def test_a_default_that_observe_filled_in_does_not_exclude_another_primary() -> None:
    """Only beside a primary that was validated, and with all items of the default."""
    filled_in = pod("a,b@net1", "x", "y")
    plan = plan_pod({**filled_in, ATTACHMENTS: "=ns/y:3f9c2a,ns/x:3f9c2a"}, "canal")
    assert " ".join(map(shown, plan)) == "y@eth0 x@net1"
    for validated in ("", "ns/y:3f9c2a"):
        with pytest.raises(InvalidPlanError, match='combined with "cni"'):
            plan_pod({**filled_in, ATTACHMENTS: validated}, "canal")
    for chosen in ("", "[]"):
        plan = plan_pod({**pod("a", "", chosen), ATTACHMENTS: "=ns/y:3f9c2a"}, "canal")
        assert " ".join(map(shown, plan)) == "a@eth0"


def test_the_faults_of_all_annotations_are_reported_at_once() -> None:
    """Those of each value, and then those that they have together."""
    with pytest.raises(InvalidPlanError) as caught:
        plan_pod(pod("a/b", "a,,", "B"), "")
    assert [(key, fault.position) for key, fault in caught.value.faults] == [
        (DEFAULT_NETWORK, 1),
        (NETWORKS, 2),
        (NETWORKS, 3),
        ("cni", 1),
    ]
    with pytest.raises(InvalidPlanError) as caught:
        plan_pod(pod("a", "x@eth0,y@d,z@d", "b,c@e"), "")
    actual = [key for key, _ in caught.value.faults]
    assert actual == [DEFAULT_NETWORK, DEFAULT_NETWORK, NETWORKS, NETWORKS]
    with pytest.raises(InvalidPlanError) as caught:
        plan_pod(pod("a/b", "x@d,y@d", "B"), "")
    assert [key for key, _ in caught.value.faults] == [DEFAULT_NETWORK, "cni", NETWORKS]


interfaces = st.sampled_from(["", "@net1", "@net2", "@net3", "@net4", "@eth1", "@eth0", "@d"])
items = st.lists(st.builds("{}{}".format, st.sampled_from("abc"), interfaces), max_size=5)
values = items.map(",".join)


@given(st.none() | values, values, st.just("") | interfaces.map("p{}".format), values)
def test_interfaces_of_a_plan_are_distinct(
    cni: str | None, networks: str, default_network: str, default: str
) -> None:
    """Whatever the annotations are, and each that is requested is given."""
    try:
        plan = plan_pod(pod(cni, networks, default_network), default)
    except InvalidPlanError:
        return
    given_names = [each.interface for each in plan]
    assert len(set(given_names)) == len(given_names)
    assert {item.partition("@")[2] for item in networks.split(",")} - {""} <= set(given_names)


LOADED = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
from dispatcher.nad import attachments, plan
networks = '[{"name": "a", "ips": ["10.0.0.2/24"], "mac": "02:00:00:00:00:01", "cni-args": {}}]'
assert plan.plan_pod({"k8s.v1.cni.cncf.io/networks": networks}, "canal")[1].interface == "net1"
assert attachments.parse_attachments("shop/a:3f9c2a")
loaded = set(sys.modules) - before
print(*sorted(name for name in loaded if not name.startswith("dispatcher")))
assert "dispatcher.nad.json_places" not in loaded
"""


def test_a_valid_plan_loads_cheap_modules_alone() -> None:
    """The plugin will make it for every pod with definitions, before the pod starts."""
    root = Path(annotation.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-IS", "-c", LOADED, root], capture_output=True, text=True, check=True
    )
    assert set(result.stdout.split()) <= {"__future__", "_json", "_socket"}
