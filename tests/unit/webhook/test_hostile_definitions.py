"""Hostile definitions, as admission, informer cache and command line get them: none crashes one."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.documents import Document
from cli.lint import LintContext, lint
from cli.migrate import migrate
from cli.pod_migration import MigrationContext
from dispatcher.jsontext import dump
from dispatcher.nad import definition
from dispatcher.nad.tenant_templates import TenantRules, read_templates
from tests.tenants import TEMPLATES, TRUSTED, attacks, network
from tests.unit.webhook.builders import UNSYNCED, review
from webhook.definition_cache import DefinitionCache
from webhook.definitions import admit_definition
from webhook.handlers import Handlers
from webhook.review import encode_response
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from webhook.definition_snapshot import KnownDefinition
    from webhook.settings import DefinitionsMode

TEMPLATE_TEXT = dump(TEMPLATES).decode()
SETTINGS = WebhookSettings(trusted_namespaces=(TRUSTED,), tenant_templates=TEMPLATE_TEXT)
RULES = TenantRules(frozenset({TRUSTED}), read_templates(TEMPLATE_TEXT))
MODES: tuple[DefinitionsMode, ...] = ("observe", "enforce")
SECONDS = 1.0
"""Limit for one definition; the slowest takes a hundredth of it."""


def manifest(spec: Any, metadata: Any = None) -> dict[str, Any]:
    names = {"namespace": "shop", "name": "blue"}
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": names if metadata is None else metadata,
        "spec": spec,
    }


def cached(value: dict[str, Any]) -> KnownDefinition | None:
    """Return what the webhook keeps of *value*."""
    cache = DefinitionCache(cast("Any", None), RULES)
    cache.put(definition.read(value))
    return cache.get("shop", "blue")


@pytest.mark.parametrize("name", attacks("shop"))
def test_an_attack_is_refused_by_all_and_crashes_none(name: str) -> None:
    """Admission, cache, ``lint`` and ``migrate``; in little time and with few words."""
    config, part = attacks("shop")[name]
    value = manifest({"config": config if isinstance(config, str) else dump(config).decode()})
    start = time.monotonic()

    handlers = Handlers(cast("Any", None), UNSYNCED, SETTINGS)
    decision = asyncio.run(handlers.definitions(review(value, None)))
    texts = [*decision.warnings, *(each.message for each in decision.causes)]
    assert any(part in each for each in texts), texts
    assert sum(map(len, texts)) < 4096
    known = cached(value)
    assert known is not None
    assert known.refused
    assert len(known.refused) <= 256

    documents = [Document("f", value)]
    lint(documents, LintContext())
    migrate(documents, MigrationContext())
    assert time.monotonic() - start < SECONDS


ODD_KEYS = st.sampled_from(
    ["\ud800", "x\udfff", "Type", "\u017f", "type", "ipam", "plugins", "subnet", "ranges"]
)
ODD_CONFIGS = st.recursive(
    st.none() | st.integers() | st.sampled_from(["bridge", "portmap", "host-local", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ODD_KEYS, inner, max_size=4),
    max_leaves=6,
)


@given(ODD_CONFIGS, ODD_CONFIGS, st.sampled_from(["shop", TRUSTED]), st.sampled_from(MODES))
def test_the_response_to_any_config_can_be_encoded(
    plugin: Any, more: Any, namespace: str, mode: DefinitionsMode
) -> None:
    """Whatever its keys: without a response the definition would be stored unchecked."""
    bridge = network(namespace, **more) if isinstance(more, dict) else network(namespace)
    twice = f'{{"type":"bridge","\\ud800":{json.dumps(plugin)},"\\ud800":1}}'
    for config in (json.dumps(plugin), json.dumps(bridge), twice):
        own = review(manifest({"config": config}, {"namespace": namespace, "name": "blue"}))
        encode_response(own, admit_definition(own, RULES, mode))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["config", "name", "namespace", "annotations", "labels", "plugins"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_object_is_read_by_cache_and_command_line(spec: Any, metadata: Any) -> None:
    """Whatever type a field has: a manifest has met no schema."""
    value = manifest(spec, metadata)
    cached(value)
    documents = [Document("f", value)]
    lint(documents, LintContext())
    migrate(documents, MigrationContext())
