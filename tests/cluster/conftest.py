"""Fixtures of all tests on a real Kubernetes.

GENIE_CLUSTER names a cluster to use; if it runs already, it is left running. Else the cluster
(genie-test, where none is named) is started anew and taken down after the tests: what a killed run
has left is not used.
"""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import label, wait_for_default
from tests.cluster.support.pods import temporary_namespace
from tests.devcluster.cluster import BOTH_NETWORKS, Cluster, is_running, reserved, take_down
from tests.devcluster.commands import ClusterError
from tests.devcluster.diagnosis import describe
from tests.devcluster.genie import install_genie
from tests.devcluster.interrupts import as_interrupts
from tests.devcluster.network.products import FLANNEL, PRODUCTS, install_products

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

_NAME = os.environ.get("GENIE_CLUSTER", "genie-test")


def _running(
    name: str,
    nodes: Mapping[str, Sequence[str]],
    install: Callable[[Cluster], None] = install_genie,
) -> Iterator[Cluster]:
    keep = "GENIE_CLUSTER" in os.environ and is_running(name)
    if not keep:
        take_down(name)
    cluster = Cluster.up(name, nodes)
    try:
        install(cluster)
        yield cluster
    finally:
        if not keep:
            cluster.down()


@pytest.fixture(scope="session", autouse=True)
def one_run_at_a_time() -> Iterator[None]:
    """Keep the names to this run, which SIGTERM and a lost terminal end as Ctrl-C does."""
    try:
        with as_interrupts(), reserved(_NAME):
            yield
    except ClusterError as taken:
        pytest.exit(str(taken), returncode=1)


# Of the package, not the session: none of them runs beside other tests, which need the machine.
@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Give the cluster with Genie that most tests share: one node with both networks."""
    yield from _running(_NAME, {"node1": BOTH_NETWORKS})


@pytest.fixture(scope="package")
def uneven_cluster() -> Iterator[Cluster]:
    """Give a cluster with Genie whose nodes differ: node1 has both networks, node2 only weave.

    The default is the network that every node has: no node is complete without its default.
    """
    nodes = {"node1": BOTH_NETWORKS, "node2": ["weave"]}
    yield from _running(f"{_NAME}-uneven", nodes, partial(install_genie, default_network="weave"))


@pytest.fixture(scope="module")
def real_cluster() -> Iterator[Cluster]:
    """Give a cluster with Genie and the networks of products.py on two nodes; flannel is default.

    The nodes start with canal, since a node without any network is not Ready.
    """
    nodes = {"node1": ["canal"], "node2": ["canal"]}
    yield from _running(f"{_NAME}-real", nodes, _install_with_products)


def _install_with_products(cluster: Cluster) -> None:
    install_products(cluster)
    install_genie(cluster, FLANNEL.network)
    wait_for_default(cluster, FLANNEL.network)
    expected = list(itertools.product(cluster.nodes, PRODUCTS))
    cluster.wait_for(
        lambda: all(label(cluster, node, network) == "true" for node, network in expected),
        30,
        "the labels of all networks",
    )


@pytest.fixture
def real_namespace(real_cluster: Cluster) -> Iterator[str]:
    """Give a namespace of the test's own on the cluster with the networks of products.py."""
    yield from temporary_namespace(real_cluster)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Give a namespace of the test's own; its pods are gone when the next test begins."""
    yield from temporary_namespace(cluster)


@pytest.fixture
def uneven_namespace(uneven_cluster: Cluster) -> Iterator[str]:
    """Give a namespace of the test's own on the cluster whose nodes differ."""
    yield from temporary_namespace(uneven_cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the cluster's parts have said to the report of a test that failed."""
    report = yield
    used: dict[str, Any] = getattr(item, "funcargs", {})
    for name in ("cluster", "uneven_cluster", "real_cluster"):
        if report.failed and isinstance(used.get(name), Cluster):
            namespace = used.get(name.replace("cluster", "namespace"))
            report.sections.append((name, describe(used[name], namespace)))
    return report
