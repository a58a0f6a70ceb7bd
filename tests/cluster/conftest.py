"""Fixtures of all tests on a real Kubernetes.

GENIE_CLUSTER names the cluster to use. If that cluster runs already, it stays running afterwards.
Otherwise the cluster (:mod:`tests.cluster.support.names`) is started anew and taken down after the
tests; remains of a killed run are never reused.
"""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import label, wait_for_default
from tests.cluster.support.names import BASE, name_of
from tests.cluster.support.pods import temporary_namespace
from tests.devcluster.cluster import BOTH_NETWORKS, Cluster, is_running, reserved, take_down
from tests.devcluster.commands import ClusterError
from tests.devcluster.diagnosis import describe
from tests.devcluster.genie import install_genie
from tests.devcluster.interrupts import as_interrupts
from tests.devcluster.network.products import FLANNEL, PRODUCTS, install_products

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence


# Of several processes, each takes the next file of this list, then of the others: a long file that
# began last would leave the other processes without work.
LONGEST = (
    "test_real_networks.py",
    "test_node_modes.py",
    "test_helm.py",
    "test_from_multus.py",
    "test_upgrade.py",
    "test_two_nodes.py",
    "test_certs.py",
    "test_cluster_tool.py",
    "test_certs_installed.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first where processes share the tests (--numprocesses)."""
    if hasattr(config, "workerinput"):
        ranks = {name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


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
    """Reserve the clusters' names; let SIGTERM and a closed terminal end the run like Ctrl-C."""
    try:
        with as_interrupts(), reserved(BASE):
            yield
    except ClusterError as error:
        pytest.exit(str(error), returncode=1)


# Their scope is the package, not the session: other tests need the machine for themselves.
@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Yield the cluster with Genie that most tests share: one node with both networks."""
    yield from _running(BASE, {"node1": BOTH_NETWORKS})


@pytest.fixture(scope="package")
def uneven_cluster() -> Iterator[Cluster]:
    """Yield a cluster with Genie whose nodes differ: node1 has both networks, node2 only weave.

    The default network is weave, since Genie installs itself only where the default exists.
    """
    nodes = {"node1": BOTH_NETWORKS, "node2": ["weave"]}
    yield from _running(name_of("uneven"), nodes, partial(install_genie, default_network="weave"))


@pytest.fixture(scope="module")
def helm_cluster() -> Iterator[Cluster]:
    """Yield a cluster of two nodes with both networks, and without Genie."""
    nodes = {"node1": BOTH_NETWORKS, "node2": BOTH_NETWORKS}
    yield from _running(name_of("helm"), nodes, lambda _: None)


@pytest.fixture(scope="module")
def real_cluster() -> Iterator[Cluster]:
    """Yield a cluster of two nodes with Genie and the networks of products.py; flannel is default.

    The nodes start with canal, since a node without any network is not Ready.
    """
    nodes = {"node1": ["canal"], "node2": ["canal"]}
    yield from _running(name_of("real"), nodes, _install_with_products)


def _install_with_products(cluster: Cluster) -> None:
    install_products(cluster)
    install_genie(cluster, FLANNEL.network)
    wait_for_default(cluster, FLANNEL.network)
    expected = list(itertools.product(cluster.nodes, PRODUCTS))
    cluster.wait_for(
        lambda: all(label(cluster, node, network) == "true" for node, network in expected),
        120,
        "the labels of all networks",
    )


@pytest.fixture
def real_namespace(real_cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace on the cluster with the networks of products.py."""
    yield from temporary_namespace(real_cluster)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace, whose pods are gone when the next test begins."""
    yield from temporary_namespace(cluster)


@pytest.fixture
def uneven_namespace(uneven_cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace on the cluster whose nodes differ."""
    yield from temporary_namespace(uneven_cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a description of the cluster, with its logs, to the report of a failed test."""
    report = yield
    used: dict[str, Any] = getattr(item, "funcargs", {})
    for name in ("cluster", "uneven_cluster", "helm_cluster", "real_cluster"):
        if report.failed and isinstance(used.get(name), Cluster):
            namespace = used.get(name.replace("cluster", "namespace"))
            report.sections.append((name, describe(used[name], namespace)))
    return report
