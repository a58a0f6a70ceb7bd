"""Limits of static pods: no webhook admitted them, so the plugin counts their networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.genie_conf import read_conf

if TYPE_CHECKING:
    from tests.unit.plugin.rig import Rig

LIMITS = {keys.CONF_ARGS: {"maxAttachments": 4, "maxPerNetwork": 2}}


def ask(cni: str, source: str | None) -> dict[str, Any]:
    """Return the runtimeConfig of a pod that the kubelet has from *source*."""
    annotations = {keys.ANNOTATION: cni, keys.CONFIG_SOURCE: source}
    written = {key: value for key, value in annotations.items() if value is not None}
    return {"args": LIMITS, "runtimeConfig": {keys.POD_ANNOTATIONS: written}}


@pytest.mark.parametrize("source", ["file", "http"])
@pytest.mark.parametrize(
    ("cni", "sentence"),
    [
        pytest.param(
            "canal,weave,a,b,c", "a static pod may have at most 4 networks (has 5)", id="too-many"
        ),
        pytest.param(
            "canal,weave@net1,canal@net2,canal@net3",
            'a static pod may have at most 2 attachments of network "canal" (has 3)',
            id="one-too-often",
        ),
        pytest.param(
            "weave,canal@net1,canal-net@net2,canal@net3",
            'a static pod may have at most 2 attachments of network "canal" (has 3)',
            id="one-under-two-names",
        ),
    ],
)
def test_a_static_pod_over_a_limit_is_refused_before_anything_is_attached(
    rig: Rig, cni: str, sentence: str, source: str
) -> None:
    """The error names the setting to raise."""
    for name in "abc":
        rig.network(name, "x")
    with pytest.raises(CNIError) as refused:
        rig.run("ADD", **ask(cni, source))
    assert (refused.value.code, refused.value.msg) == (cni_errors.INVALID_ANNOTATION, sentence)
    assert "in the ConfigMap genie" in refused.value.details
    assert (rig.delegates.calls, rig.records) == ([], [])


def test_a_static_pod_over_a_limit_is_refused_by_the_agents_answer_too(rig: Rig) -> None:
    """Of a runtime that passes no annotations; the agent is asked once."""
    old: dict[str, Any] = {"args": LIMITS, "runtimeConfig": {}, "agentSocket": "/run/x.sock"}
    rig.agent, rig.agent_annotations = "canal,canal,canal", {keys.CONFIG_SOURCE: "file"}
    with pytest.raises(CNIError, match="a static pod may have at most 2 attachments"):
        rig.run("ADD", **old)
    assert (rig.delegates.calls, rig.records, rig.questions) == ([], [], 1)
    rig.agent_annotations.clear()
    rig.run("ADD", **old)
    assert len(rig.record()["attachments"]) == 3


@pytest.mark.parametrize(
    ("cni", "source", "args"),
    [
        pytest.param("canal,weave,canal,weave", "file", LIMITS, id="a-static-pod-within"),
        pytest.param("canal,canal,canal", "api", LIMITS, id="a-pod-of-the-api"),
        pytest.param("canal,canal,canal", None, LIMITS, id="a-runtime-that-tells-no-source"),
        pytest.param("canal,canal,canal", "file", {}, id="limits-that-only-warn"),
        pytest.param("canal,canal,canal", "file", None, id="a-conflist-of-an-older-agent"),
        pytest.param(
            "canal,canal,canal",
            "file",
            {keys.CONF_ARGS: {"maxAttachments": 0, "maxPerNetwork": 0}},
            id="zero",
        ),
    ],
)
def test_every_other_pod_is_attached(rig: Rig, cni: str, source: str | None, args: Any) -> None:
    """The API server admits them, within the limits of their namespaces."""
    rig.run("ADD", **ask(cni, source) | {"args": args})
    assert len(rig.delegates.held) >= cni.count(",") + 1


def test_a_container_that_has_a_record_is_not_refused(rig: Rig) -> None:
    """What a killed ADD left is released, and the container gets its networks again."""
    rig.delegates.faults["ADD", "w1"] = SystemExit()
    rig.delegates.faults["DEL", "w1"] = SystemExit()
    with pytest.raises(SystemExit):
        rig.run("ADD", **ask("canal,canal,canal,weave", "api"))
    assert rig.records == ["c1"]
    rig.delegates.faults.clear()
    rig.run("ADD", **ask("canal,canal,canal", "file"))
    assert len(rig.record()["attachments"]) == 3


def test_a_static_pod_over_a_limit_can_be_deleted_and_checked(rig: Rig) -> None:
    """A limit that is set later stops neither DEL nor CHECK."""
    request = ask("canal,canal,canal", "file")
    rig.run("ADD", **request | {"args": {}})
    rig.run("CHECK", **request)
    rig.run("DEL", **request)
    assert (rig.delegates.held, rig.records) == (set(), [])


@pytest.mark.parametrize(
    ("args", "word"),
    [
        pytest.param({keys.CONF_ARGS: {"maxAttachments": "4"}}, "maxAttachments", id="a-string"),
        pytest.param({keys.CONF_ARGS: {"maxPerNetwork": True}}, "maxPerNetwork", id="a-boolean"),
        pytest.param({keys.CONF_ARGS: {"maxPerNetwork": -1}}, "maxPerNetwork", id="negative"),
        pytest.param(
            {keys.CONF_ARGS: {"attachmentDefinitions": "on"}},
            '"attachmentDefinitions" in "args" must be "off", "observe" or "enforce"',
            id="a-mode",
        ),
        pytest.param({keys.CONF_ARGS: {"missingCapability": []}}, '"deny"', id="a-list"),
        pytest.param({keys.CONF_ARGS: {"excludedNamespaces": "a"}}, "a list", id="no-list"),
        pytest.param({keys.CONF_ARGS: {"excludedNamespaces": [1]}}, "a list", id="numbers"),
        pytest.param({keys.CONF_ARGS: {"later": 1}}, "", id="a-later-versions"),
        pytest.param({keys.CONF_ARGS: 4, "labels": []}, "", id="not-ours"),
        pytest.param("x", "", id="no-object"),
    ],
)
def test_what_is_in_args_is_an_error_only_where_it_is_an_option_of_a_wrong_type(
    args: Any, word: str
) -> None:
    """Other keys belong to the runtime or a later version."""
    conf = {"cniVersion": "1.1.0", "name": "genie", "type": "genie", "args": args}
    data = json.dumps(conf).encode()
    if not word:
        settings = read_conf(data, "ADD").settings
        assert (settings.max_attachments, settings.max_per_network) == (0, 0)
        return
    with pytest.raises(CNIError, match=word) as refused:
        read_conf(data, "ADD")
    assert refused.value.code == cni_errors.INVALID_CONF
