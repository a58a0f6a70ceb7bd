"""New pods: the whole table of decisions."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher import keys
from tests.unit.webhook.builders import (
    NOTHING_KNOWN,
    PLAIN,
    admit,
    annotated,
    messages,
    patched,
    pod,
    review,
)
from webhook import annotation_check
from webhook.decision import Decision, NoDecisionError
from webhook.objects import parse_pod
from webhook.pods import may_get_default
from webhook.snapshot import ClusterNetworks, Namespace

CNI = "metadata.annotations[cni]"
DEFAULTED = Namespace("team-a", default=" weave , canal@net1 ")
LIMITED = Namespace("team-b", default="canal", allowed=("canal", "flannel"))


def test_a_value_that_is_too_long_is_not_remembered() -> None:
    """It is refused, and may have megabytes."""
    before = annotation_check._parse_cached.cache_info().currsize
    for number in range(3):
        decision = admit(pod(f"{number}{'x' * 1024}"))
        assert messages(decision) == [
            f"{CNI}: Too long: may not be more than 1024 bytes (has 1025)"
        ]
    assert annotation_check._parse_cached.cache_info().currsize == before


def test_a_node_that_changes_its_networks_for_ever_fills_no_memory() -> None:
    """Each answer on an unknown name keeps a set of up to a thousand names alive."""
    for number in range(3 * annotation_check.MAX_SUGGESTIONS):
        known = frozenset(f"n{number}-{each}" for each in range(1000))
        admit(pod("weave"), networks=ClusterNetworks(known=known))
    for remembered in (annotation_check.suggestion, annotation_check._expected):
        assert remembered.cache_info().currsize <= 64  # each some 130 KB


def test_of_a_value_with_hundreds_of_networks_only_the_first_are_looked_up() -> None:
    """Each look for what was meant takes time, and the API server waits."""
    decision = admit(pod(",".join(f"n{number}" for number in range(200))))
    unknown = [cause for cause in decision.causes if cause.reason == "FieldValueNotSupported"]
    assert len(unknown) == 16
    assert any(cause.message.startswith("Too many") for cause in decision.causes)


@pytest.mark.parametrize(
    ("written", "namespace", "stored", "source"),
    [
        pytest.param("weave", PLAIN, "weave", "annotation", id="normal-form-stays"),
        pytest.param(
            " weave\t,canal @ net1 ", PLAIN, "weave,canal@net1", "annotation", id="blanks-go"
        ),
        pytest.param("weave,weave", PLAIN, "weave,weave", "annotation", id="one-network-twice"),
        pytest.param("", PLAIN, "", "node", id="empty-leaves-it-to-the-node"),
        pytest.param(" \t", PLAIN, "", "node", id="blank-leaves-it-to-the-node"),
        pytest.param(None, PLAIN, None, None, id="nothing-asked-nothing-given"),
        pytest.param(None, DEFAULTED, "weave,canal@net1", "namespace", id="missing-gets-default"),
        pytest.param("", DEFAULTED, "weave,canal@net1", "namespace", id="blank-gets-default"),
        pytest.param("canal", DEFAULTED, "canal", "annotation", id="own-choice-beats-default"),
        pytest.param("canal", LIMITED, "canal", "annotation", id="allowed-network"),
        pytest.param(None, LIMITED, "canal", "namespace", id="default-within-the-list"),
    ],
)
def test_a_new_pod_is_stored_with(
    written: str | None, namespace: Namespace, stored: str | None, source: str | None
) -> None:
    """What is stored is the choice of the pod or else of its namespace, in normal form."""
    manifest = pod(written)
    decision = admit(manifest, namespace)
    assert decision.allowed
    assert patched(manifest, decision)["metadata"].get("annotations", {}).get("cni") == stored
    assert decision.audit.get("source") == source
    assert decision.audit.get("networks", stored) == stored


@pytest.mark.parametrize("cni", [None, " weave ", "weave"])
def test_what_an_author_writes_in_place_of_the_webhook_is_removed(cni: str | None) -> None:
    """In the mode ``off``, too: after a change to ``enforce`` the nodes would believe it."""
    forged = {keys.NETWORKS: "bank/gold", keys.ATTACHMENTS: "bank/gold:000000+hostPort"}
    manifest = pod(metadata={"annotations": annotated(cni, **forged)})
    stored = patched(manifest, admit(manifest))["metadata"]["annotations"]
    assert stored == annotated(cni and cni.strip(), **{keys.NETWORKS: "bank/gold"})


@pytest.mark.parametrize(
    ("value", "namespace", "code", "expected"),
    [
        pytest.param(
            "wave",
            PLAIN,
            422,
            [
                (
                    f'{CNI}: Unsupported value: "wave": item 1: supported values: "canal", "weave"'
                    ' (did you mean "weave"?)'
                    "; to list networks, try: kubectl get networks.cni-genie.io"
                )
            ],
            id="unknown-network-with-the-nearest",
        ),
        pytest.param(
            "a/b,wave,canal@lo",
            PLAIN,
            422,
            [
                f'{CNI}: Invalid value: "a/b": item 1: a network name must consist of at most 63',
                f'{CNI}: Unsupported value: "wave": item 2: supported',
                f'{CNI}: Invalid value: "lo": item 3: an interface name',
            ],
            id="all-faults-at-once-in-order",
        ),
        pytest.param(
            "weave@eth1,canal@eth1",
            PLAIN,
            422,
            [f'{CNI}: Duplicate value: "eth1": item 2: the interface is already used by item 1'],
            id="one-interface-twice",
        ),
        pytest.param(
            "weave@net1",
            PLAIN,
            422,
            [f'{CNI}: Required value: one network must be attached to "eth0"'],
            id="no-primary",
        ),
        pytest.param(
            ",".join(["weave"] * 17),
            PLAIN,
            422,
            [f"{CNI}: Too many: must have at most 16 networks (has 17)"],
            id="too-many-networks",
        ),
        pytest.param(
            "w" * 1025,
            PLAIN,
            422,
            [f"{CNI}: Too long: may not be more than 1024 bytes (has 1025)"],
            id="too-long",
        ),
        pytest.param(
            "weave",
            LIMITED,
            403,
            [
                (
                    f'{CNI}: Forbidden: item 1: network "weave" is not allowed in namespace '
                    '"team-b" (allowed: "canal", "flannel"); ask a cluster administrator to add it '
                    'to the namespace\'s annotation "cni-genie.io/allowed"'
                )
            ],
            id="not-allowed-here",
        ),
        pytest.param(
            "weave,wave",
            LIMITED,
            422,
            [
                f'{CNI}: Forbidden: item 1: network "weave"',
                f'{CNI}: Unsupported value: "wave": item 2: supported values: "canal"',
            ],
            id="not-allowed-and-unknown-offers-only-what-is-allowed",
        ),
        pytest.param(
            "weave",
            Namespace("shut", allowed=()),
            403,
            [
                (
                    f'{CNI}: Forbidden: item 1: network "weave" is not allowed in namespace "shut"'
                    " (allowed: none)"
                )
            ],
            id="empty-allow-list-allows-nothing",
        ),
        pytest.param(
            "wave",
            Namespace("shut", allowed=("flannel",)),
            422,
            [f'{CNI}: Unsupported value: "wave": item 1: supported values: none'],
            id="nothing-known-is-allowed",
        ),
    ],
)
def test_a_new_pod_is_refused(
    value: str, namespace: Namespace, code: int, expected: list[str]
) -> None:
    """Every fault of a value is named at once, in Kubernetes' own form."""
    decision = admit(pod(value), namespace)
    assert (decision.allowed, decision.code) == (False, code)
    assert len(decision.causes) == len(expected)
    for message, start in zip(messages(decision), expected, strict=True):
        assert message.startswith(start)
    assert not decision.patch
    assert decision.audit["reason"] == decision.reason


@pytest.mark.parametrize(
    ("default", "code", "expected"),
    [
        pytest.param(
            "wave",
            422,
            'Unsupported value: "wave": item 1: supported values: "canal", "weave" (did you mean'
            ' "weave"?) (the default of namespace "team-a")'
            "; to list networks, try: kubectl get networks.cni-genie.io",
            id="unknown",
        ),
        pytest.param(
            "a/b",
            403,
            'Forbidden: Invalid value: "a/b": item 1: a network name must consist of at most 63'
            " letters, digits, '.', '_' or '-', and must start and end with a letter or digit"
            " (the default of"
            ' namespace "team-a"); ask a cluster administrator to correct it',
            id="malformed",
        ),
    ],
)
def test_a_default_that_cannot_be_used_names_the_namespace(
    default: str, code: int, expected: str
) -> None:
    """The author of the pod learns that the fault is not in the pod."""
    decision = admit(pod(), Namespace("team-a", default=default))
    assert decision.code == code
    assert messages(decision) == [f"{CNI}: {expected}"]


def test_names_beyond_ten_are_counted_not_listed() -> None:
    """A cluster with many networks gets a message of bounded length."""
    many = ClusterNetworks(known=frozenset(f"net{n:02}" for n in range(40)))
    (message,) = messages(admit(pod("zz"), networks=many))
    assert '"net08", "net09" and 30 more; to list networks, try: ' in message


@pytest.mark.parametrize(
    ("value", "namespace"),
    [("weave", PLAIN), (None, DEFAULTED)],
    ids=["named", "from-the-default"],
)
def test_without_any_known_network_there_is_no_decision(
    value: str | None, namespace: Namespace
) -> None:
    """A cluster whose nodes have no label yet is not a cluster in which every name is wrong."""
    with pytest.raises(NoDecisionError, match="no network is known yet"):
        admit(pod(value), namespace, NOTHING_KNOWN)


@pytest.mark.parametrize(
    ("value", "code"), [("", 200), ("a/b", 422), (None, 200)], ids=["blank", "malformed", "none"]
)
def test_what_needs_no_known_network_is_decided_without(value: str | None, code: int) -> None:
    """Bad grammar is bad in any cluster, and a pod that names nothing needs no list."""
    assert admit(pod(value), networks=NOTHING_KNOWN).code == code


EXCLUDED = {
    "host-network": pod("a/b", spec={"hostNetwork": True}),
    "mirror": pod(
        "a/b", metadata={"annotations": {"cni": "a/b", "kubernetes.io/config.mirror": "x"}}
    ),
    "windows-by-os": pod("a/b", spec={"os": {"name": "windows"}}),
    "windows-by-selector": pod("a/b", spec={"nodeSelector": {"kubernetes.io/os": "windows"}}),
}


@pytest.mark.parametrize("manifest", EXCLUDED.values(), ids=EXCLUDED)
def test_pods_that_genie_never_attaches_are_left_alone(manifest: dict[str, Any]) -> None:
    """The exclusion that webhook and policies share holds also if such a pod is sent to us."""
    assert parse_pod(manifest).is_excluded
    assert admit(manifest, DEFAULTED, scheduling="required") == Decision()
    linux = pod("a/b", spec={"hostNetwork": False, "os": {"name": "linux"}})
    assert not parse_pod(linux).is_excluded


@pytest.mark.parametrize(
    ("request_fields", "manifest"),
    [
        pytest.param({"subResource": "status"}, pod("a/b"), id="subresource"),
        pytest.param(
            {"operation": "DELETE", "object": None}, pod("a/b"), id="delete-without-object"
        ),
        pytest.param({"operation": "CONNECT"}, pod("a/b"), id="connect"),
    ],
)
def test_other_requests_pass(request_fields: dict[str, Any], manifest: dict[str, Any]) -> None:
    """What is not the writing of a pod is none of our business."""
    assert admit(manifest, DEFAULTED, **request_fields) == Decision()


@pytest.mark.parametrize(
    ("metadata", "patch"),
    [
        pytest.param(
            {},
            {"op": "add", "path": "/metadata/annotations", "value": {"cni": "weave"}},
            id="adds-the-map",
        ),
        pytest.param(
            {"annotations": None},
            {"op": "add", "path": "/metadata/annotations", "value": {"cni": "weave"}},
            id="replaces-null",
        ),
        pytest.param(
            {"annotations": {"a": "b"}},
            {"op": "add", "path": "/metadata/annotations/cni", "value": "weave"},
            id="adds-the-key",
        ),
        pytest.param(
            {"annotations": {"a": "b", "cni": " "}},
            {"op": "replace", "path": "/metadata/annotations/cni", "value": "weave"},
            id="replaces-the-key",
        ),
    ],
)
def test_the_patch_is_the_smallest(metadata: dict[str, Any], patch: dict[str, Any]) -> None:
    """Other annotations are never sent back: someone may be changing them."""
    decision = admit(pod(metadata=metadata), Namespace("team-a", default="weave"))
    assert list(decision.patch) == [patch]


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        (Namespace("n", scheduling="preferred"), "preferred"),
        (Namespace("n", scheduling="off"), None),
        (Namespace("n"), "required"),
    ],
    ids=["preferred", "off", "setting"],
)
def test_the_namespace_chooses_how_pods_are_scheduled(
    namespace: Namespace, expected: str | None
) -> None:
    """A namespace's annotation wins over the webhook's setting."""
    manifest = pod("weave")
    stored = patched(manifest, admit(manifest, namespace, scheduling="required"))
    affinity = stored["spec"].get("affinity", {}).get("nodeAffinity", {})
    kinds = [key.removesuffix("DuringSchedulingIgnoredDuringExecution") for key in affinity]
    assert kinds == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("written", "namespace", "reason"),
    [
        ("weave", PLAIN, "scheduled"),
        (" weave", PLAIN, "normalised"),
        (None, DEFAULTED, "defaulted"),
    ],
    ids=["affinity-only", "normalised", "defaulted"],
)
def test_the_reason_says_why_a_pod_was_patched(
    written: str | None, namespace: Namespace, reason: str
) -> None:
    """Metrics and logs tell the kinds of change apart."""
    decision = admit(pod(written), namespace, scheduling="required")
    assert (decision.outcome, decision.reason) == ("patched", reason)
    assert admit(pod("weave")).outcome == "allowed"


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(pod(), True, id="missing"),
        pytest.param(pod(" "), False, id="blank"),
        pytest.param(pod("weave"), False, id="named"),
        pytest.param(pod(metadata={"annotations": {"CNI": "weave"}}), True, id="near-miss"),
        pytest.param(
            pod(metadata={"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}),
            True,
            id="another-products-key",
        ),
        pytest.param(pod(metadata={"labels": {"cni": "weave"}}), True, id="label"),
    ],
)
def test_a_pod_without_cni_may_have_been_sent_for_its_namespaces_default(
    manifest: dict[str, Any], *, expected: bool
) -> None:
    """Only then may the cache's word on the default be doubted."""
    assert may_get_default(review(manifest), parse_pod(manifest)) is expected
    assert not may_get_default(review(manifest, manifest), parse_pod(manifest))


def crowded(cni: str, terms: int) -> dict[str, Any]:
    """Return a pod with that many alternatives."""
    selector: dict[str, Any] = {"nodeSelectorTerms": [{"matchExpressions": [{}]}] * terms}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": selector}
    return pod(cni, spec={"affinity": {"nodeAffinity": required}})


def test_a_pod_with_too_many_alternatives_is_refused() -> None:
    """Each would get each network: a review of 5 MB would become a patch of 90."""
    field = (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ".nodeSelectorTerms"
    )
    decision = admit(crowded("weave", 101), scheduling="required")
    assert decision.code == 422
    assert messages(decision) == [
        (
            f"{field}: Too many: must have at most 100 node selector terms "
            "in a pod that has networks (has 101); use fewer"
        )
    ]
    both = admit(crowded("weave,wave", 101), scheduling="required").causes
    assert [cause.field for cause in both] == [CNI, field]
    assert admit(crowded("weave", 101), scheduling="off").allowed
    assert len(admit(crowded("weave,canal", 100), scheduling="required").patch) == 200
