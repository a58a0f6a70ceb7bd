"""Namespaces: what is refused, what is a warning, and the label that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.annotation import EMPTY_ITEM, NETWORK_RULE
from tests.unit.webhook.builders import (
    NETWORKS,
    NOTHING_KNOWN,
    messages,
    namespace_object,
    patched,
    review,
)
from webhook.decision import Decision
from webhook.namespaces import admit_namespace
from webhook.review import MalformedReviewError

if TYPE_CHECKING:
    from webhook.snapshot import ClusterNetworks

CNI = "metadata.annotations[cni]"
ALLOWED = "metadata.annotations[cni-genie.io/allowed]"
REFUSED = "; pods that name it will be refused"
NO_DEFAULT = (
    f'{ALLOWED}: the namespace has no default: pods without "cni" get the cluster\'s default '
    "network, even if this list does not contain it"
)
LABEL = "cni-genie.io/defaulted"


def decide(
    manifest: dict[str, Any],
    old: dict[str, Any] | None = None,
    networks: ClusterNetworks = NETWORKS,
    **request: Any,
) -> Decision:
    return admit_namespace(review(manifest, old, **request), networks)


def scheduling(value: str) -> dict[str, Any]:
    return {"annotations": {"cni-genie.io/scheduling": value}}


@pytest.mark.parametrize(
    ("manifest", "old", "expected"),
    [
        pytest.param(
            namespace_object("a/b,lo@lo"),
            None,
            [
                f'{CNI}: Invalid value: "a/b": item 1',
                f'{CNI}: Invalid value: "lo": item 2',
            ],
            id="default-of-bad-grammar",
        ),
        pytest.param(
            namespace_object(allowed="weave, a/b ,-"),
            None,
            [
                f'{ALLOWED}: Invalid value: "a/b": item 2: ' + NETWORK_RULE,
                f'{ALLOWED}: Invalid value: "-": item 3',
            ],
            id="allow-list-with-what-is-no-name",
        ),
        pytest.param(
            namespace_object(allowed="canal,"),
            None,
            [f'{ALLOWED}: Invalid value: "": item 2: {EMPTY_ITEM}'],
            id="allow-list-with-a-comma-too-many",
        ),
        pytest.param(
            namespace_object(allowed="canal,\n,weave"),
            None,
            [f'{ALLOWED}: Invalid value: "": item 2: {EMPTY_ITEM}'],
            id="allow-list-with-an-empty-item",
        ),
        pytest.param(
            namespace_object(allowed="weave\x1c"),
            None,
            [f'{ALLOWED}: Invalid value: "weave\\x1c": item 1: ' + NETWORK_RULE],
            id="allow-list-with-white-space-that-is-no-blank",
        ),
        pytest.param(
            namespace_object(allowed="," * 8192),
            None,
            [f'{ALLOWED}: Invalid value: "": item {position}: ' for position in range(1, 11)],
            id="of-thousands-of-faults-ten-are-named",
        ),
        pytest.param(
            namespace_object(allowed="w" * 8193),
            None,
            [f"{ALLOWED}: Too long: may not be more than 8192 bytes (has 8193)"],
            id="allow-list-too-long",
        ),
        pytest.param(
            namespace_object("weave,canal@net1", ",".join(f"n{number}" for number in range(2000))),
            None,
            [f"{ALLOWED}: Too long: may not be more than 8192 bytes (has 10889)"],
            id="allow-list-too-long-to-be-compared-with-the-default",
        ),
        pytest.param(
            namespace_object("weave,canal@net1", "weave"),
            None,
            [
                (
                    f'{CNI}: Invalid value: the default network "canal" is not in the list '
                    '"cni-genie.io/allowed" ("weave"); add it there, or choose another default'
                )
            ],
            id="default-outside-the-list",
        ),
        pytest.param(
            namespace_object("canal", "weave"),
            namespace_object("canal"),
            [f'{ALLOWED}: Invalid value: the default network "canal"'],
            id="list-set-without-the-default",
        ),
        pytest.param(
            namespace_object(**scheduling("always")),
            None,
            [
                (
                    'metadata.annotations[cni-genie.io/scheduling]: Unsupported value: "always": '
                    'supported values: "off", "preferred", "required"'
                )
            ],
            id="unknown-scheduling",
        ),
        pytest.param(
            namespace_object(annotations={"cni-genie.io/host-ports": "true"}),
            None,
            [
                (
                    'metadata.annotations[cni-genie.io/host-ports]: Unsupported value: "true": '
                    'supported values: "allow", "deny"'
                )
            ],
            id="unknown-word-for-host-ports",
        ),
    ],
)
def test_what_can_never_work_is_refused(
    manifest: dict[str, Any], old: dict[str, Any] | None, expected: list[str]
) -> None:
    """The administrator learns at once what no pod could ever be given."""
    decision = decide(manifest, old)
    assert decision.code == 422
    assert len(decision.causes) == len(expected)
    for message, start in zip(messages(decision), expected, strict=True):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("manifest", "old", "expected"),
    [
        pytest.param(
            namespace_object("weave", "\n weave ,\r\n canal\n"), None, [], id="all-is-well"
        ),
        pytest.param(
            namespace_object("wave"),
            None,
            [f'{CNI}: unknown network "wave" (did you mean "weave"?){REFUSED}'],
            id="unknown-default",
        ),
        pytest.param(
            namespace_object(allowed="wave"),
            None,
            [
                f'{ALLOWED}: unknown network "wave" (did you mean "weave"?){REFUSED}',
                NO_DEFAULT,
            ],
            id="unknown-allowed-and-no-default",
        ),
        pytest.param(
            namespace_object(None, "weave"),
            namespace_object("weave", "weave"),
            [NO_DEFAULT],
            id="default-taken-away-from-a-limited-namespace",
        ),
        pytest.param(
            namespace_object(allowed=""),
            None,
            [
                f"{ALLOWED}: the list is empty: pods in this namespace may not name any network",
                NO_DEFAULT,
            ],
            id="empty-allow-list",
        ),
        pytest.param(
            namespace_object("weave", "weave," + ",".join(f"n{number}" for number in range(12))),
            None,
            [
                *(f'{ALLOWED}: unknown network "n{number}"{REFUSED}' for number in range(10)),
                f"{ALLOWED}: 2 more unknown networks",
            ],
            id="of-many-unknown-networks-ten-are-named",
        ),
    ],
)
def test_what_may_be_a_mistake_is_a_warning(
    manifest: dict[str, Any], old: dict[str, Any] | None, expected: list[str]
) -> None:
    """Namespaces are often applied before the networks exist."""
    decision = decide(manifest, old)
    assert decision.allowed
    assert list(decision.warnings) == expected


def test_a_warning_is_whole_with_the_longest_name() -> None:
    """The API server may cut it after 256 characters."""
    name = "w" * 63
    texts = decide(namespace_object(name, name)).warnings
    assert len(texts) == 2
    assert all(one.endswith(f'unknown network "{name}"{REFUSED}') for one in texts)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param(
            {"annotations": {"cni-genie.io/alowed": "x"}},
            "metadata.annotations[cni-genie.io/alowed]: Genie ignores this annotation; "
            'did you mean "cni-genie.io/allowed"?',
            id="misspelt-allow-list",
        ),
        pytest.param(
            {"annotations": {"cni-genie.io/schedule": "off"}},
            "metadata.annotations[cni-genie.io/schedule]: Genie ignores this annotation; "
            'did you mean "cni-genie.io/scheduling"?',
            id="misspelt-scheduling",
        ),
        pytest.param(
            {"annotations": {"genie.io/allowed": "x"}},
            "metadata.annotations[genie.io/allowed]: Genie ignores this annotation; "
            'did you mean "cni-genie.io/allowed"?',
            id="another-prefix",
        ),
        pytest.param(
            {"annotations": {"cni-genie.io/xyz": "x"}},
            "metadata.annotations[cni-genie.io/xyz]: Genie ignores this annotation",
            id="nothing-like-it",
        ),
        pytest.param(
            {"annotations": {"CNI": "weave"}},
            'metadata.annotations[CNI]: Genie ignores this annotation; did you mean "cni"?',
            id="near-miss-of-the-default",
        ),
        pytest.param(
            {"labels": {"cni": "weave"}},
            'metadata.labels[cni]: Genie ignores this label; did you mean the annotation "cni"?',
            id="label-for-the-default",
        ),
        pytest.param(
            {"labels": {"cni-genie.io/allowed": "weave"}},
            "metadata.labels[cni-genie.io/allowed]: Genie ignores this label; "
            "set it as an annotation",
            id="label-for-the-allow-list",
        ),
    ],
)
def test_a_key_that_is_ignored_is_a_warning_once(metadata: dict[str, Any], expected: str) -> None:
    """When it is written, and not with every later change of the namespace."""
    manifest = namespace_object(**metadata)
    assert decide(manifest).warnings == (expected,)
    assert decide(manifest, namespace_object()).warnings == (expected,)
    assert decide(manifest, manifest).warnings == ()


def test_our_own_keys_and_those_of_others_are_no_warning() -> None:
    """Also beside the key that was probably meant."""
    manifest = namespace_object("weave", "weave", annotations={"CNI": "x", "a.example/cni": "y"})
    assert decide(manifest).warnings == ()


def test_of_many_ignored_keys_ten_are_named() -> None:
    """A namespace of thousands keeps nobody waiting."""
    written = {f"cni-genie.io/{number}": "x" for number in range(5000)}
    assert len(decide(namespace_object(annotations=written)).warnings) == 10


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"cni": 5}},
        {"annotations": {"cni-genie.io/allowed": 7}},
        {"annotations": {"cni-genie.io/scheduling": {}}},
        {"annotations": [1]},
        {"labels": [1]},
        {"labels": {"a": None}},
    ],
    ids=str,
)
def test_what_no_namespace_can_hold_is_malformed(metadata: dict[str, Any]) -> None:
    """It comes from no API server, and is no fault of ours."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", **metadata}}
    with pytest.raises(MalformedReviewError):
        decide(manifest)


def test_no_network_is_called_unknown_while_none_is_known() -> None:
    """Before the caches are filled there is nothing to say about names."""
    assert decide(namespace_object("wave"), networks=NOTHING_KNOWN).warnings == ()


@pytest.mark.parametrize(
    ("manifest", "old"),
    [
        pytest.param(
            namespace_object("a/b", labels={LABEL: "true", "x": "y"}),
            namespace_object("a/b", labels={LABEL: "true"}),
            id="another-label-changes",
        ),
        pytest.param(
            namespace_object("canal", "weave", labels={LABEL: "true"}, **scheduling("off")),
            namespace_object("canal", "weave", labels={LABEL: "true"}),
            id="another-key-changes",
        ),
        pytest.param(
            namespace_object("a/b", deletionTimestamp="2026-01-01T00:00:00Z"),
            namespace_object("weave"),
            id="is-being-deleted",
        ),
    ],
)
def test_what_was_stored_before_holds_nothing_up(
    manifest: dict[str, Any], old: dict[str, Any]
) -> None:
    """A key is validated only if its value changed, and a dying namespace not at all."""
    decision = decide(manifest, old)
    assert decision.allowed
    assert not decision.patch


@pytest.mark.parametrize(
    "request_fields",
    [{"operation": "DELETE", "object": None}, {"subResource": "finalize"}],
    ids=["delete", "finalize"],
)
def test_deleting_and_finalising_pass(request_fields: dict[str, Any]) -> None:
    """Whatever the annotations say."""
    manifest = namespace_object("a/b")
    assert decide(manifest, manifest, **request_fields) == Decision()


@pytest.mark.parametrize(
    ("cni", "labels", "expected"),
    [
        pytest.param("weave", {}, {LABEL: "true"}, id="added"),
        pytest.param("weave", None, {LABEL: "true"}, id="added-with-the-map"),
        pytest.param("weave", {LABEL: "no", "a": "b"}, {LABEL: "true", "a": "b"}, id="corrected"),
        pytest.param("weave", {LABEL: "true"}, {LABEL: "true"}, id="stays"),
        pytest.param(None, {LABEL: "true", "a": "b"}, {"a": "b"}, id="removed"),
        pytest.param(" ", {LABEL: "true"}, {}, id="a-blank-default-is-none"),
        pytest.param(None, None, None, id="nothing-to-do"),
    ],
)
def test_the_label_follows_the_default(cni: str | None, labels: Any, expected: Any) -> None:
    """The webhook's selector sees the default in the same moment."""
    manifest = namespace_object(cni, labels=labels)
    decision = decide(manifest)
    assert patched(manifest, decision)["metadata"]["labels"] == expected
    assert decision.reason == ("labelled" if decision.patch else "valid")


@pytest.mark.parametrize(
    ("item", "is_valid"),
    [
        ("bank/gold", True),
        ("bank/*", True),
        ("bank/a.b", True),
        ("bank/", False),
        ("/gold", False),
        ("*/gold", False),
        ("bank/a/b", False),
        ("Bank/gold", False),
        ("*", False),
    ],
)
def test_an_allow_list_may_name_definitions_in_the_mode_observe(
    item: str, *, is_valid: bool
) -> None:
    """Of one namespace each; in the mode off such an item is refused, as it always was."""
    manifest = review(namespace_object(cni="weave", allowed=f"weave,{item}"))
    decision = admit_namespace(manifest, NETWORKS, definitions="observe")
    assert decision.allowed is is_valid
    assert not decision.warnings
    assert not admit_namespace(manifest, NETWORKS).allowed
