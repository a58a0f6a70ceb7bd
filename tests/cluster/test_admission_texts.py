"""The texts that people see, word by word, on a real API server: see transcripts/*.md."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from dispatcher.keys import NETWORK_LABEL
from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import (
    SPACES,
    THEFTS,
    VALUES,
    admitted,
    api,
    cannot_change,
    make_spaces,
    node,
    own_cluster,
    pod,
    replica_metrics,
    scale,
    spaces,
)
from tests.cluster.support.outside_webhook import apply_chart, running_webhook, webhook_kubeconfig
from tests.cluster.support.transcript import Section, add, replay, rewrite, sections
from tests.devcluster.build.imagebuild import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

TRANSCRIPTS = Path(__file__).parent / "transcripts"
REWRITE = bool(os.environ.get("GENIE_REWRITE"))


@pytest.fixture(scope="module")
def with_webhook(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the transcripts' namespaces, and a network that no node has now."""
    cluster.kubectl("label", "node", "node1", "network.cni-genie.io/flannel=false", "--overwrite")
    with spaces(cluster, SPACES):
        cluster.wait_for(lambda: _know_networks(cluster), 120, "both replicas to know flannel")
        yield cluster
    cluster.kubectl("label", "node", "node1", "network.cni-genie.io/flannel-")


def _know_networks(cluster: Cluster) -> bool:
    """Return whether each replica's cache has the networks that the nodes' labels name."""
    labels = {
        label for each in cluster.get("nodes")["items"] for label in each["metadata"]["labels"]
    }
    known = sum(label.startswith(NETWORK_LABEL) for label in labels)
    metrics = replica_metrics(cluster)
    return all(each.get("genie_webhook_known_networks") == known for each in metrics)


@pytest.fixture(scope="module")
def with_webhook_down(with_webhook: Cluster) -> Iterator[Cluster]:
    """Give the same cluster with the webhook scaled to zero."""
    scale(with_webhook, 0)
    yield with_webhook
    scale(with_webhook, 2)


@pytest.fixture(scope="module")
def oldest() -> Iterator[tuple[Cluster, contextlib.ExitStack]]:
    """Give a cluster of the oldest API server that is supported, and what ends its webhook.

    The webhook runs outside it.
    """
    with (
        own_cluster("oldest", api_server="oldest") as cluster,
        contextlib.ExitStack() as webhook,
    ):
        cluster.apply(node("node1"))
        webhook.enter_context(running_webhook(cluster))
        make_spaces(cluster, SPACES)
        yield cluster, webhook


@pytest.fixture(scope="module")
def with_oldest_api_server(oldest: tuple[Cluster, contextlib.ExitStack]) -> Cluster:
    """Give that cluster while its webhook runs."""
    cluster, _ = oldest
    return cluster


@pytest.fixture(scope="module")
def with_oldest_api_server_alone(oldest: tuple[Cluster, contextlib.ExitStack]) -> Cluster:
    """Give that cluster once its webhook has ended."""
    cluster, webhook = oldest
    webhook.close()
    return cluster


@pytest.fixture(scope="module")
def with_policies_alone() -> Iterator[Cluster]:
    """Give a cluster whose chart has no webhook."""
    with own_cluster("policies") as cluster:
        cluster.apply(node("node1"))
        apply_chart(cluster, values={"webhook": {"enabled": False}})
        make_spaces(cluster, SPACES)
        for value in (" weave", "@"):  # normalised and refused, once the policies are in force
            is_as_expected = functools.partial(_is_decided, cluster, value)
            cluster.wait_for(is_as_expected, 120, "the policies to be in force")
        yield cluster


def _is_decided(cluster: Cluster, value: str) -> bool:
    return _stored(cluster, value) == admitted(value)


def surroundings(cluster: Cluster) -> dict[str, str]:
    return {
        **cluster.environment,
        "PATH": f"{cluster.layout.bin}:{os.environ['PATH']}",
        "KUBECTL_EXTERNAL_DIFF": "diff --unified=0",
    }


def check(cluster: Cluster, path: Path, section: Section) -> None:
    printed = replay(section, surroundings(cluster))
    if REWRITE:
        rewrite(path, section, printed)
        return
    assert printed == section.commands


def transcript(name: str) -> pytest.MarkDecorator:
    """Run a test once for each section of a transcript."""
    path = TRANSCRIPTS / name
    parameters = [pytest.param(path, section, id=section.title) for section in sections(path)]
    return pytest.mark.parametrize(("path", "section"), parameters)


@transcript("webhook.md")
def test_while_the_webhook_runs(with_webhook: Cluster, path: Path, section: Section) -> None:
    """Each section is what a person typed and saw."""
    check(with_webhook, path, section)


@transcript("down.md")
def test_while_no_webhook_runs(with_webhook_down: Cluster, path: Path, section: Section) -> None:
    """Nothing is in the way but the policies, and these say what is missing."""
    check(with_webhook_down, path, section)


@transcript("webhook.md")
def test_on_the_oldest_api_server(
    with_oldest_api_server: Cluster, path: Path, section: Section
) -> None:
    """Entries and policies work the same, and so do the texts."""
    check(with_oldest_api_server, path, section)


@transcript("down.md")
def test_on_the_oldest_api_server_while_no_webhook_runs(
    with_oldest_api_server_alone: Cluster, path: Path, section: Section
) -> None:
    """There, too, the policies refuse by themselves."""
    check(with_oldest_api_server_alone, path, section)


@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS)
def test_a_stolen_token_is_no_better_on_the_oldest_api_server(
    with_oldest_api_server: Cluster, theft: list[dict[str, Any]]
) -> None:
    """Policies can look at webhook configurations there too."""
    thief = api(with_oldest_api_server, webhook_kubeconfig(with_oldest_api_server))
    cannot_change(thief, theft)


LOST = {
    "known networks": "Checks for unknown networks, and suggestions.",
    "warnings": "Warnings, except those of `limits: warn`.",
    "namespaces": "Checks of namespaces, and their label.",
    "workloads": "Checks of workload templates.",
    "preferred": "Preferred node affinity:",
    "detailed messages": "Refusals with all faults at once:",
}
"""What a cluster without webhook pods lacks; docs/admission.md tells its administrator."""

OTHERWISE = {one.title: one for one in sections(TRANSCRIPTS / "policies.md")}
"""The sections of webhook.md whose commands print something else there."""


@transcript("webhook.md")
def test_without_webhook_pods(with_policies_alone: Cluster, path: Path, section: Section) -> None:
    """The very same sections: what prints something else is in policies.md, with what is lost."""
    other = OTHERWISE.get(section.title)
    if other is not None:
        other.manifests = section.manifests
        check(with_policies_alone, path.with_name("policies.md"), other)
        return
    printed = replay(section, surroundings(with_policies_alone))
    if REWRITE and printed != section.commands:
        add(path.with_name("policies.md"), section.title, printed)
        return
    assert printed == section.commands


def test_what_is_lost_without_webhook_pods_is_said() -> None:
    """Each difference has one of the reasons, each reason a difference and a line in the docs."""
    whole = {one.title: one for one in sections(TRANSCRIPTS / "webhook.md")}
    reasons = set()
    for title, other in OTHERWISE.items():
        same = whole[title]
        assert [command for command, _ in same.commands] == [typed for typed, _ in other.commands]
        assert same.commands != other.commands, f"{title}: nothing is lost"
        lost = re.findall(r"^Not available without webhook pods: (.+)$", other.text, re.MULTILINE)
        reasons.update(lost[0].split(", "))
    assert reasons == set(LOST)
    text = " ".join((PROJECT / "docs/admission.md").read_text().split())
    section = text.partition("Not available in this mode:")[2].partition(" ## ")[0]
    for sentence in LOST.values():
        assert f" - {sentence}" in section


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=VALUES)
def test_without_webhook_pods_the_grammar_is_the_parsers(
    with_policies_alone: Cluster, value: str
) -> None:
    """What is stored is the parser's normal form; what is none, or over a limit, is refused."""
    assert _stored(with_policies_alone, value) == admitted(value)


def test_without_webhook_pods_a_wish_that_means_nothing_is_none(
    with_policies_alone: Cluster,
) -> None:
    """Taken for "off", a misspelt word would send pods to where they cannot start."""
    make_spaces(with_policies_alone, {"misspelt": {"cni-genie.io/scheduling": "of"}})
    admin = api(with_policies_alone)
    actual = admin.create("/api/v1/namespaces/misspelt/pods?dryRun=All", pod("weave"))
    assert "requiredDuringSchedulingIgnoredDuringExecution" in str(actual["spec"]["affinity"])


EXISTS = {"key": "disk", "operator": "Exists"}


@pytest.mark.parametrize(
    ("terms", "expressions", "taken"),
    [
        pytest.param(100, 1, True, id="as-many-as-there-may-be"),
        pytest.param(25_000, 1, False, id="too-many-terms"),
        pytest.param(1, 50_000, False, id="too-many-expressions"),
    ],
)
def test_without_webhook_pods_too_many_alternatives_are_refused_soon(
    with_policies_alone: Cluster, terms: int, expressions: int, *, taken: bool
) -> None:
    """A loop over all of them would keep the API server busy for half a minute."""
    selector = {"nodeSelectorTerms": [{"matchExpressions": [EXISTS] * expressions}] * terms}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": selector}
    pod_object = pod("weave,canal", affinity={"nodeAffinity": required})
    admin = api(with_policies_alone)
    path = "/api/v1/namespaces/plain/pods?dryRun=All"
    if taken:
        assert str(admin.create(path, pod_object)["spec"]["affinity"]).count("/canal") == terms
        return
    with pytest.raises(KubeError, match="Too many: must have at most 100 node selector terms"):
        admin.create(path, pod_object, timeout=15)


_client: list[Kube] = []


def _stored(cluster: Cluster, value: str) -> str | None:
    if not _client:
        _client.append(api(cluster))
    try:
        answer = _client[0].create("/api/v1/namespaces/plain/pods?dryRun=All", pod(value))
    except KubeError as error:
        if "cni-genie-pod-" not in error.message:
            raise
        return None
    return str(answer["metadata"]["annotations"]["cni"])
