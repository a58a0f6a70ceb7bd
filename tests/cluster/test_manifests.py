"""Send genie.yaml, and the chart with many values, to real API servers in a dry run.

With kubectl's strict validation and the server's own, admission included: on the newest API server,
and on the oldest that Genie supports.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cluster.support.admission import own_cluster
from tests.cluster.support.chart_values import COMBINATIONS, POLICIES_ALONE
from tests.cluster.support.other_kinds import CERT_MANAGER, PROMETHEUS, defined
from tests.devcluster.helm import GENIE_YAML, NAMESPACE, PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

DRY_RUN = ("--dry-run=server", "--validate=strict", "--output=json")


@pytest.fixture(scope="module", params=["current", "oldest"])
def api_server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Give an API server that knows the kinds of other projects that the chart uses."""
    with (
        own_cluster(f"manifests-{request.param}", api_server=request.param) as cluster,
        defined(cluster, CERT_MANAGER | PROMETHEUS),
    ):
        # A dry run creates none.
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield cluster


def accepted(cluster: Cluster, *source: str, input: str | None = None) -> list[tuple[str, str]]:  # noqa: A002 - as in commands.run
    """Return kind and name of the objects that `kubectl apply` would write, without a warning."""
    result = cluster.kubectl("apply", *source, *DRY_RUN, input=input)
    assert "Warning" not in result.stderr
    written = json.loads(result.stdout)
    objects = written["items"] if written["kind"] == "List" else [written]
    return sorted((each["kind"], each["metadata"]["name"]) for each in objects)


def names(objects: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((each["kind"], each["metadata"]["name"]) for each in objects)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(("-f", os.fspath(GENIE_YAML)), id="kubectl apply -f manifests/genie.yaml"),
        pytest.param(("-k", os.fspath(GENIE_YAML.parent)), id="kubectl apply -k manifests"),
    ],
)
def test_an_api_server_accepts_genie_yaml_by(api_server: Cluster, source: tuple[str, str]) -> None:
    """All objects, none of a kind or with a field that it does not know."""
    expected = names([each for each in yaml.safe_load_all(GENIE_YAML.read_text()) if each])
    assert accepted(api_server, *source) == expected


@pytest.mark.parametrize("values", COMBINATIONS)
def test_an_api_server_accepts_every_object_with(
    api_server: Cluster, values: dict[str, Any]
) -> None:
    """All objects, in one dry run."""
    objects = render({**PLAIN, **values})
    text = yaml.safe_dump_all(objects)
    assert accepted(api_server, "-f", "-", input=text) == names(objects)


@pytest.mark.parametrize("values", POLICIES_ALONE)
@pytest.mark.parametrize("api_server", ["current"], indirect=True)
def test_the_newest_api_server_accepts_every_object_with(
    api_server: Cluster, values: dict[str, Any]
) -> None:
    """The chart refuses these values for Kubernetes before 1.36 (test_chart.py)."""
    objects = render({**PLAIN, **values}, kube_version="1.36.0")
    text = yaml.safe_dump_all(objects)
    assert accepted(api_server, "-f", "-", input=text) == names(objects)
