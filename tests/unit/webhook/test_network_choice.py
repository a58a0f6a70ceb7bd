"""Pods of namespaces with a list of networks to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import keys
from tests.unit.apiserver import namespace_object as stored_namespace
from tests.unit.webhook.builders import admit, messages, patched, pod, review
from webhook.namespaces import admit_namespace
from webhook.network_choice import choose_network, resolve_choice
from webhook.node_index import merge_nodes
from webhook.snapshot import ClusterNetworks, Namespace, NodeCount, parse_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision

CNI = "metadata.annotations[cni]"
CHOOSE = "metadata.annotations[cni-genie.io/choose]"
CHOOSING = Namespace("team-a", choose=" weave,\tcanal")
WITH_DEFAULT = Namespace("team-a", default="canal", choose="weave,canal")


def cluster(**counts: tuple[int, int]) -> ClusterNetworks:
    """Return a cluster with so many nodes that can attach a network, of so many with its label."""
    present = frozenset(name for name, (attachable, _) in counts.items() if attachable)
    nodes = {name: NodeCount(*each) for name, each in counts.items()}
    return ClusterNetworks(known=frozenset(counts), present=present, nodes=nodes)


BOTH = cluster(weave=(4, 4), canal=(4, 4))
WEAVE_DOWN = cluster(weave=(1, 4), canal=(4, 4))


def create(
    written: str | None,
    namespace: Namespace = CHOOSING,
    networks: ClusterNetworks = BOTH,
    scheduling: str = "required",
) -> tuple[Decision, Any]:
    """Admit a new pod; return the decision and the stored pod, None if it is refused."""
    return admit_new(pod(written), namespace, networks, scheduling)


def admit_new(
    manifest: dict[str, Any], namespace: Namespace, networks: ClusterNetworks, scheduling: str
) -> tuple[Decision, Any]:
    annotations = manifest["metadata"].get("annotations", {})
    resolved = resolve_choice(namespace, annotations, networks)
    decision = admit(manifest, resolved, networks, scheduling)
    return decision, patched(manifest, decision) if decision.allowed else None


@pytest.mark.parametrize(
    ("counts", "network", "warning"),
    [
        pytest.param({"weave": (4, 4), "canal": (4, 4)}, "weave", "", id="the first"),
        pytest.param({"weave": (2, 4), "canal": (4, 4)}, "weave", "", id="just enough nodes"),
        pytest.param({"weave": (1, 1), "canal": (4, 4)}, "weave", "", id="the only node"),
        pytest.param(
            {"weave": (1, 4), "canal": (2, 4)},
            "canal",
            'the pod gets network "canal": only 1 of 4 nodes can attach network "weave"',
            id="the first has too few nodes",
        ),
        pytest.param(
            {"canal": (1, 1)},
            "canal",
            'the pod gets network "canal": no node has network "weave"',
            id="the first is unknown",
        ),
        pytest.param(
            {"weave": (0, 1), "canal": (1, 4)},
            "canal",
            'the pod gets network "canal": only 0 of 1 node can attach network "weave"; '
            'only 1 of 4 nodes can attach network "canal"',
            id="none has enough nodes and one has some",
        ),
        pytest.param(
            {"weave": (0, 4), "canal": (0, 4)},
            "weave",
            'the pod gets network "weave": only 0 of 4 nodes can attach network "weave"',
            id="none can be attached",
        ),
    ],
)
def test_the_choice(counts: Mapping[str, tuple[int, int]], network: str, warning: str) -> None:
    """Half of the nodes are enough here."""
    choice = choose_network(("weave", "canal"), cluster(**counts).nodes, 50)
    assert choice == (network, warning)


COUNTS = st.dictionaries(
    st.sampled_from("abcd"),
    st.integers(1, 9).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))),
)
LISTS = st.lists(st.sampled_from("abcd"), min_size=1, unique=True)


@given(LISTS, COUNTS, st.integers(1, 100))
def test_no_network_before_the_choice_is_better(
    listed: list[str], counts: dict[str, tuple[int, int]], minimum: int
) -> None:
    """Better means: enough nodes rather than some, and some rather than none."""

    def rank(name: str) -> int:
        attachable, labelled = counts.get(name, (0, 0))
        return (attachable > 0) + (attachable > 0 and 100 * attachable / labelled >= minimum)

    network, warning = choose_network(listed, cluster(**counts).nodes, minimum)
    position = listed.index(network)
    assert all(rank(each) < rank(network) for each in listed[:position])
    assert all(rank(each) <= rank(network) for each in listed)
    assert bool(warning) == (position > 0 or rank(network) < 2)


def test_nodes_are_counted_by_the_label_of_the_network() -> None:
    """Also nodes that are equal; a node without the label does not count."""
    labels = [{"weave": "true"}, {"weave": "true"}, {"weave": "false", "canal": "true"}, {}]
    nodes = [
        parse_node({"metadata": {"labels": {keys.network_label(k): v for k, v in each.items()}}})
        for each in labels
    ]
    assert merge_nodes(nodes).nodes == {"weave": (2, 3), "canal": (1, 1)}


@pytest.mark.parametrize(
    ("written", "namespace", "networks", "value", "source"),
    [
        pytest.param("", CHOOSING, BOTH, "weave", "choice", id="blank"),
        pytest.param(None, CHOOSING, BOTH, "weave", "choice", id="missing"),
        pytest.param(" ", CHOOSING, WEAVE_DOWN, "canal", "choice", id="the next one"),
        pytest.param("weave", CHOOSING, WEAVE_DOWN, "weave", "annotation", id="its own value"),
        pytest.param(None, WITH_DEFAULT, BOTH, "canal", "namespace", id="the default"),
        pytest.param("", WITH_DEFAULT, BOTH, "weave", "choice", id="blank beside a default"),
    ],
)
def test_a_new_pod_gets(
    written: str | None,
    namespace: Namespace,
    networks: ClusterNetworks,
    value: str,
    source: str,
) -> None:
    """The chosen network becomes the value of its annotation."""
    decision, stored = create(written, namespace, networks)
    assert stored["metadata"]["annotations"]["cni"] == value
    assert decision.audit["source"] == source


def test_a_warning_says_why_it_was_not_the_first() -> None:
    """And nothing is said of the first."""
    assert create("")[0].warnings == ()
    (warning,) = create("", networks=WEAVE_DOWN)[0].warnings
    assert warning == (
        f'{CNI}: the pod gets network "canal": only 1 of 4 nodes can attach network "weave"'
    )


@pytest.mark.parametrize(
    ("scheduling", "expected"),
    [
        pytest.param("", "preferred", id="without an annotation"),
        pytest.param("required", "required", id="required"),
        pytest.param("off", None, id="off"),
        pytest.param("always", "preferred", id="unknown word"),
    ],
)
def test_the_affinity_is_preferred_unless_the_namespace_says_otherwise(
    scheduling: str, expected: str | None
) -> None:
    """Whatever the cluster's setting; a pod that names the network has that of the setting."""
    namespace = CHOOSING._replace(scheduling=scheduling)
    _, stored = create("", namespace, scheduling="required")
    affinity = stored["spec"].get("affinity", {}).get("nodeAffinity", {})
    wanted = [] if expected is None else [f"{expected}DuringSchedulingIgnoredDuringExecution"]
    assert list(affinity) == wanted
    _, stored = create("weave", CHOOSING, scheduling="required")
    affinity = stored["spec"]["affinity"]["nodeAffinity"]
    assert list(affinity) == ["requiredDuringSchedulingIgnoredDuringExecution"]


@pytest.mark.parametrize("mode", ["", "required", "off", "always"])
@pytest.mark.parametrize("networks", [BOTH, WEAVE_DOWN], ids=["as before", "less available"])
def test_a_pod_that_is_reviewed_again_keeps_what_was_chosen(
    networks: ClusterNetworks, mode: str
) -> None:
    """The API server calls again if another webhook changes the pod, here its containers."""
    namespace = CHOOSING._replace(scheduling=mode)
    _, stored = create("", namespace, BOTH)
    stored["spec"]["containers"] *= 2
    again, same = admit_new(stored, namespace, networks, "required")
    assert same == stored
    assert not again.patch


def test_the_preference_of_another_network_is_the_authors_own() -> None:
    """And so is one of the namespace's networks if the namespace chooses none."""
    _, stored = create("")
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    _, same = admit_new(stored, Namespace("team-a"), BOTH, "required")
    assert required in same["spec"]["affinity"]["nodeAffinity"]
    stored["metadata"]["annotations"]["cni"] = "canal"
    _, same = admit_new(stored, CHOOSING, BOTH, "required")
    assert required in same["spec"]["affinity"]["nodeAffinity"]


def test_an_unknown_network_that_was_chosen_is_refused_with_its_origin() -> None:
    """The author of the pod did not write it."""
    decision, _ = create("", Namespace("team-a", choose="wave"), BOTH)
    (message,) = messages(decision)
    assert message.startswith(f'{CNI}: Unsupported value: "wave"')
    assert '(from "cni-genie.io/choose" of namespace "team-a")' in message


@pytest.mark.parametrize(
    ("new", "old", "is_kept"),
    [
        pytest.param("", "canal", True, id="blank"),
        pytest.param(None, "canal", True, id="missing"),
        pytest.param(None, "flannel", False, id="missing, and the value was never chosen"),
        pytest.param("weave", "canal", False, id="what would be chosen now"),
    ],
)
def test_what_was_chosen_stays(new: str | None, old: str, *, is_kept: bool) -> None:
    """A manifest can be applied again, whatever is available now; another value is refused."""
    decision = admit(pod(new), CHOOSING, BOTH, "required", old=pod(old))
    assert decision.allowed == is_kept
    if is_kept:
        assert patched(pod(new), decision)["metadata"]["annotations"]["cni"] == old


def decide(choose: str, allowed: str | None = None, old: Any = None) -> Decision:
    """Return the decision on a namespace with this list, and perhaps an allow-list."""
    annotations = {keys.CHOOSE: choose, **({} if allowed is None else {keys.ALLOWED: allowed})}
    manifest = {**stored_namespace("team-a", annotations), "kind": "Namespace"}
    return admit_namespace(review(manifest, old), BOTH)


@pytest.mark.parametrize(
    ("choose", "allowed", "expected"),
    [
        pytest.param("weave,", None, f'{CHOOSE}: Invalid value: "": item 2: ', id="empty item"),
        pytest.param(",", None, f'{CHOOSE}: Invalid value: "": item 1: ', id="a comma alone"),
        pytest.param(
            "weave@net1", None, f'{CHOOSE}: Invalid value: "weave@net1": item 1: ', id="interface"
        ),
        pytest.param(
            "weave, weave", None, f'{CHOOSE}: Duplicate value: "weave": item 2: ', id="twice"
        ),
        pytest.param("w" * 1025, None, f"{CHOOSE}: Too long: ", id="too long"),
        pytest.param(
            ",".join(f"n{number}" for number in range(17)),
            None,
            f"{CHOOSE}: Too many: must have at most 16 networks (has 17)",
            id="too many",
        ),
        pytest.param(
            "weave,canal",
            "weave",
            f'{CHOOSE}: Invalid value: network "canal" of "cni-genie.io/choose" is not in the list '
            '"cni-genie.io/allowed" ("weave"); add it there, or remove it from the list',
            id="not allowed",
        ),
    ],
)
def test_a_list_that_can_never_work_is_refused(
    choose: str, allowed: str | None, expected: str
) -> None:
    """When it is written, at its own annotation."""
    decision = decide(choose, allowed)
    assert not decision.allowed
    assert messages(decision)[0].startswith(expected)


def test_a_conflict_is_reported_at_the_annotation_that_was_changed() -> None:
    """Here the allow-list."""
    old = {**stored_namespace("team-a", {keys.CHOOSE: "weave"}), "kind": "Namespace"}
    decision = decide("weave", "canal", old)
    assert [cause.field for cause in decision.causes] == [
        "metadata.annotations[cni-genie.io/allowed]"
    ]


def test_a_valid_list_gets_the_label_and_warnings_of_unknown_networks() -> None:
    """A blank one is no list."""
    decision = decide("weave, wave")
    assert cast("Any", decision.patch[0])["value"] == {keys.DEFAULTED: "true"}
    (warning,) = decision.warnings
    assert warning.startswith(f'{CHOOSE}: unknown network "wave" (did you mean "weave"?); ')
    assert decide(" ").patch == []
