"""One run of a command: the API server, and what several commands read from it."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer

from cli.documents import Document
from cli.facts import read_node, read_workload
from cli.lint import EXCLUDED_NAMESPACES, LintContext
from cli.networks import summarise
from cli.reader import Reader
from cli.status import AGENT, WEBHOOK, Installation
from webhook.objects import has_controller
from webhook.snapshot import parse_namespace

if TYPE_CHECKING:
    from cli.facts import NodeFacts, Workload
    from cli.networks import NetworkSummary
    from webhook.snapshot import Namespace

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cni-genie"

WORKLOADS = (
    ("", "pods", "Pod"),
    ("", "replicationcontrollers", "ReplicationController"),
    ("apps", "deployments", "Deployment"),
    ("apps", "statefulsets", "StatefulSet"),
    ("apps", "daemonsets", "DaemonSet"),
    ("apps", "replicasets", "ReplicaSet"),
    ("batch", "jobs", "Job"),
    ("batch", "cronjobs", "CronJob"),
)


def own_version() -> str:
    """Return the version of this command."""
    try:
        return version("cni-genie")
    except PackageNotFoundError:
        return "unreleased"


def connect(kubeconfig: str) -> Reader:
    """Return a reader of the cluster that *kubeconfig* names. Raises KubeError."""
    from dispatcher.kube.client import Kube  # noqa: PLC0415 - --help does without TLS and HTTP

    return Reader(Kube.load(f"kubectl-genie/{own_version()}", kubeconfig or None))


def current_namespace(kubeconfig: str) -> str:
    """Return the namespace of the kubeconfig's current context, as kubectl would use it."""
    from kubernetes import config  # noqa: PLC0415 - takes a quarter of a second

    try:
        _, current = config.list_kube_config_contexts(kubeconfig or None)
    except config.ConfigException:
        return "default"
    return str(current["context"].get("namespace") or "default")


class Session:
    """What commands read, each thing once; *genie* is the namespace that Genie is installed in."""

    def __init__(self, kubeconfig: str, genie: str) -> None:
        self.reader = connect(kubeconfig)
        self.genie = genie

    def finish(self) -> None:
        """Say on standard error what the user was not allowed to read."""
        for right in self.reader.missing:
            typer.echo(f"note: incomplete, since you may not {right}", err=True)

    @cached_property
    def nodes(self) -> list[NodeFacts] | None:
        """Return the nodes; None: forbidden, and :meth:`finish` reports the right."""
        found = self.reader.list_all("nodes", metadata_only=True)
        return None if found is None else list(map(read_node, found))

    @cached_property
    def namespaces(self) -> dict[str, Namespace]:
        """Return what the webhook's rules need of each namespace, by its name."""
        found = self.reader.list_all("namespaces", metadata_only=True) or []
        return {each.name: each for each in map(parse_namespace, found)}

    def context(self, default_namespace: str = "default") -> LintContext:
        """Return what the webhook's rules need to know of the cluster."""
        nodes = self.nodes
        known = None if nodes is None else frozenset(n for node in nodes for n in node.networks)
        excluded = frozenset({*EXCLUDED_NAMESPACES, self.genie})
        return LintContext(known, self.namespaces, default_namespace, excluded)

    def workloads(self) -> list[Document]:
        """Return the pods and workloads of the cluster that no controller made."""
        return [
            Document("cluster", {**item, "kind": kind})
            for group, resource, kind in WORKLOADS
            for item in self.reader.list_all(resource, group) or []
            if not has_controller(item)
        ]

    @cached_property
    def networks(self) -> list[NetworkSummary] | None:
        """Return the networks over all nodes; None where :attr:`nodes` is None."""
        if self.nodes is None:
            return None
        return summarise(self.nodes, self.namespaces.values(), self.default_network)

    @cached_property
    def settings(self) -> dict[str, str] | None:
        """Return Genie's settings; None if there are none, or reading them is forbidden."""
        path = f"/api/v1/namespaces/{self.genie}/configmaps/genie"
        found = self.reader.one(path, f"get configmaps in namespace {self.genie}")
        return None if found is None else found.get("data") or {}

    @property
    def default_network(self) -> str:
        """Return the cluster's default network; empty if it has none, or it may not be read."""
        return (self.settings or {}).get("default-network", "")

    def programs(self) -> tuple[dict[str, Workload], bool]:
        """Return Genie's own workloads by name, and whether the user may list them all."""
        workloads = {}
        readable = True
        for resource, kind in (("daemonsets", "DaemonSet"), ("deployments", "Deployment")):
            items = self.reader.list_all(resource, "apps", namespace=self.genie)
            readable = readable and items is not None
            for item in items or []:
                found = read_workload({**item, "kind": kind})  # lists leave the kind out
                workloads[found.name] = found
        return workloads, readable

    def installation(self) -> Installation:
        """Return what is installed."""
        workloads, readable = self.programs()
        return Installation(
            self.genie,
            workloads.get(AGENT),
            workloads.get(WEBHOOK),
            self.settings,
            self.networks,
            self.reader.one(CONFIGURATION, "get mutatingwebhookconfigurations"),
            readable,
        )
