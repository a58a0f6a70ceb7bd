from __future__ import annotations

import pytest

from cli.facts import read_node
from cli.networks import NetworkSummary, reason, shorten, summarise
from tests.unit.kubectl_genie.builders import namespace, node
from webhook.snapshot import parse_namespace

NODES = [
    read_node(node("n1", "canal=calico;weave=weave-net", canal="true", weave="true")),
    read_node(node("n2", canal="true", weave="false")),
    read_node(node("n3", canal="true")),
]
SHOP = parse_namespace(namespace("shop", cni=" weave@eth0, canal", allowed="weave, canal"))
OPEN = parse_namespace(namespace("open"))


def test_a_network_names_the_nodes_that_have_it_and_those_that_lack_it() -> None:
    """True, false and no label are three answers."""
    canal, weave = summarise(NODES, [SHOP, OPEN], "canal")
    assert canal == NetworkSummary(
        "canal",
        ("n1", "n2", "n3"),
        (),
        (),
        ("calico",),
        is_default=True,
        default_of=(),
        allowed_in=("shop",),
    )
    assert weave == NetworkSummary(
        "weave",
        ("n1",),
        ("n2",),
        ("n3",),
        ("weave-net",),
        is_default=False,
        default_of=("shop",),
        allowed_in=("shop",),
    )


def test_without_an_allow_list_every_network_is_allowed_everywhere() -> None:
    """None, which is not the same as in no namespace."""
    [canal, _] = summarise(NODES, [OPEN], "")
    assert canal.allowed_in is None
    limited = parse_namespace(namespace("shop", allowed="weave"))
    [canal, _] = summarise(NODES, [limited], "")
    assert canal.allowed_in == ()


@pytest.mark.parametrize(
    ("default", "canal_is_default"),
    [
        pytest.param("canal , weave", True, id="blanks around a name are dropped"),
        pytest.param("canal @ net1, weave", True, id="so are those before an interface"),
        pytest.param("canal,canal@", False, id="an invalid default counts as none"),
        pytest.param(" \n", False, id="a blank default names no network"),
    ],
)
def test_a_namespaces_default_is_parsed_as_an_annotation(
    default: str, *, canal_is_default: bool
) -> None:
    """The value of a pod and the default of its namespace have the same grammar."""
    canal, weave = summarise(NODES, [parse_namespace(namespace("shop", cni=default))], "")
    assert canal.default_of == (("shop",) if canal_is_default else ())
    assert weave.default_of == ()


def test_the_reason_tells_a_network_that_fails_from_one_that_is_not_there() -> None:
    """An administrator does different things about the two."""
    _, weave = summarise(NODES, [], "")
    assert reason(weave) == "not attachable on n2; no configuration on n3"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, "n0"), (3, "n0, n1, n2"), (5, "n0, n1, n2 and 2 more")],
)
def test_at_most_three_nodes_are_named(count: int, shown: str) -> None:
    """Of thousands, the first are enough to begin with."""
    assert shorten(tuple(f"n{number}" for number in range(count))) == shown
