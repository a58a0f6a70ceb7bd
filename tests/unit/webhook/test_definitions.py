"""NetworkAttachmentDefinitions: what their author is warned of."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dispatcher.jsontext import dump
from tests.unit.webhook.builders import UNSYNCED, messages, review
from webhook.decision import ALLOWED
from webhook.handlers import Handlers
from webhook.review import MalformedReviewError
from webhook.settings import WebhookSettings
from webhook.snapshot import ClusterNetworks

if TYPE_CHECKING:
    from webhook.decision import Decision

TEMPLATE = '[{"namespaces":["shop"],"plugins":[{"type":"bridge","fixed":{"bridge":"tenants0"}}]}]'
WHOLE = "Genie will attach no pod to this definition: "


def nad(value: object, annotations: object = None, **spec: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else dump(value).decode()
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "blue", "namespace": "shop", "annotations": annotations},
        "spec": {"config": text, **spec},
    }


def warnings(manifest: dict[str, Any], **settings: Any) -> list[str]:
    """Return the warnings at creation and at a change, which are the same."""
    handlers = Handlers(cast("Any", None), UNSYNCED, WebhookSettings(**settings))
    results = []
    for old in (None, nad({"type": "bridge"})):
        decision = asyncio.run(handlers.definitions(review(manifest, old)))
        assert (decision.allowed, list(decision.patch)) == (True, [])
        results.append(list(decision.warnings))
    assert results[0] == results[1]
    return results[0]


CASES = {
    "not JSON": (nad("{"), "spec.config: ", "not valid JSON: "),
    "no type": (nad({"name": "x"}), "spec.config: ", "plugins: must be a list of at least one"),
    "a path in type": (
        nad({"plugins": [{"type": "bridge"}, {"type": "../x"}]}),
        "spec.config: ",
        "plugins[1].type: ",
    ),
    "a plugin that chooses networks": (
        nad({"type": "multus"}),
        "spec.config: ",
        "type: the plugin",
    ),
    "an object for the text": (nad("", config={}), "spec.config: ", "must be a string"),
    "a network device": (
        nad({"type": "sriov"}, {"k8s.v1.cni.cncf.io/resourceName": "a/b"}),
        "metadata.annotations[k8s.v1.cni.cncf.io/resourceName]: ",
        'asks for the device "a/b"',
    ),
}


@pytest.mark.parametrize(("manifest", "field", "sentence"), CASES.values(), ids=CASES)
def test_what_no_node_attaches_is_a_warning_with_its_place(
    manifest: dict[str, Any], field: str, sentence: str
) -> None:
    """Never a refusal: another program may still use the definition."""
    [warned] = warnings(manifest)
    assert warned.startswith(f"{field}{WHOLE}{sentence}")


def test_a_valid_definition_costs_no_word() -> None:
    """Nor does one without a config, or one that is deleted."""
    assert warnings(nad({"type": "bridge"})) == []
    assert warnings(nad("")) == []
    handlers = Handlers(cast("Any", None), UNSYNCED, WebhookSettings())
    deleted = review(None, nad("{"), operation="DELETE")
    assert asyncio.run(handlers.definitions(deleted)) == ALLOWED


def test_a_tenant_is_held_to_the_templates() -> None:
    """By the same settings as the agents have."""
    rules = {"trusted_namespaces": ("infra",), "tenant_templates": TEMPLATE}
    [refused] = warnings(nad({"type": "ptp"}), **rules)
    assert 'namespace "shop" is not trusted' in refused
    assert warnings(nad({"name": "shop.a", "type": "bridge", "bridge": "tenants0"}), **rules) == []
    assert warnings(nad({"type": "ptp"})) == []


def test_a_tenant_may_not_take_the_name_of_a_network_of_the_nodes() -> None:
    """The agents hold it against the networks of their node."""
    rules = WebhookSettings(trusted_namespaces=(), tenant_templates=TEMPLATE)
    written = review(nad({"name": "shop.lan", "type": "bridge", "bridge": "tenants0"}))
    for known, expected in ((("shop.lan", "canal"), True), (("canal",), False)):
        networks = ClusterNetworks(known=frozenset(known))
        caches = cast("Any", SimpleNamespace(synced=True, networks=networks))
        handlers = Handlers(cast("Any", None), caches, rules)
        texts = asyncio.run(handlers.definitions(written)).warnings
        sentence = '"shop.lan" is taken by the network "shop.lan" of the nodes: choose another'
        assert any(sentence in each for each in texts) is expected
        assert bool(texts) is expected


def decide(manifest: dict[str, Any], old: Any = None, **settings: Any) -> Decision:
    """Return the decision in the mode ``enforce``."""
    rules = WebhookSettings(attachment_definitions_mode="enforce", **settings)
    handlers = Handlers(cast("Any", None), UNSYNCED, rules)
    return asyncio.run(handlers.definitions(review(manifest, old)))


SELECTING = nad({"type": "bridge"}, {"k8s.v1.cni.cncf.io/nodeSelector": "a=b=c"})


@pytest.mark.parametrize(
    ("manifest", "field", "sentence"),
    [
        *(CASES[name] for name in CASES if name != "a network device"),
        (
            SELECTING,
            "metadata.annotations[k8s.v1.cni.cncf.io/nodeSelector]: ",
            "must be one label of a node, KEY=VALUE",
        ),
    ],
)
def test_what_can_never_work_is_refused_in_the_mode_enforce(
    manifest: dict[str, Any], field: str, sentence: str
) -> None:
    """With the place of the fault; not an update of something else, which is only warned."""
    for old in (None, nad({"type": "bridge"})):
        decision = decide(manifest, old)
        assert (decision.allowed, decision.code) == (False, 422)
        [message] = messages(decision)
        assert message.startswith(f"{field}Invalid value: {sentence}")
    kept = decide(manifest, manifest)
    assert (kept.allowed, len(kept.warnings)) == (True, 1)


def test_a_device_is_a_warning_in_the_mode_enforce() -> None:
    """Pods on Multus may have it; beside another fault that one is the cause."""
    manifest, _, _ = CASES["a network device"]
    assert decide(manifest).allowed
    assert 'asks for the device "a/b"' in decide(manifest).warnings[0]
    both = nad("{", {"k8s.v1.cni.cncf.io/resourceName": "a/b"})
    assert ["not valid JSON" in each for each in messages(decide(both))] == [True]


def test_a_tenant_is_refused_in_the_mode_enforce() -> None:
    """What no template permits has no effect on any node."""
    rules = {"trusted_namespaces": ("infra",), "tenant_templates": TEMPLATE}
    assert 'namespace "shop" is not trusted' in messages(decide(nad({"type": "ptp"}), **rules))[0]
    tenant = nad({"name": "shop.a", "type": "bridge", "bridge": "tenants0"})
    assert decide(tenant, **rules) == ALLOWED


def test_many_faults_give_few_warnings() -> None:
    """API servers truncate all warnings of an object together."""
    actual = warnings(nad({"plugins": [{"type": "/"}] * 9}))
    assert len(actual) == 6
    assert actual[-1] == "spec.config: more faults: 4; to list all: kubectl genie lint -f FILE"


@pytest.mark.parametrize(
    "config", ["[" * 60_000, "[null]", '{"type":1}', "x" * 2_000_000], ids=lambda text: text[:9]
)
def test_hostile_configs_give_one_short_warning(config: str) -> None:
    """Whatever the text is, the API server gets its answer."""
    [warned] = warnings(nad(config))
    assert len(warned) <= 256


def test_any_object_of_the_kind_is_accepted_and_no_other() -> None:
    """The resource is the cluster's: its schema is not certain."""
    odd = {"kind": "NetworkAttachmentDefinition", "metadata": [], "spec": 1, "apiVersion": "a/v1"}
    handlers = Handlers(cast("Any", None), UNSYNCED, WebhookSettings())
    with pytest.raises(MalformedReviewError):
        asyncio.run(handlers.definitions(review({"kind": "Pod", "metadata": {}})))
    request = review({**odd, "metadata": {}})
    assert len(asyncio.run(handlers.definitions(request)).warnings) == 1
