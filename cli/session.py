"""One run of a command: the API server, and what several commands read from it.

Where the user may not list namespaces or workloads of the whole cluster, those of the current
namespace are read instead, and :meth:`Session.finish` says so.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from cli.attaching_nodes import MODE
from cli.documents import Document
from cli.facts import read_network, read_node, read_workload
from cli.lint import EXCLUDED_NAMESPACES, LintContext
from cli.networks import summarise
from cli.options import GENIE_NAMESPACE
from cli.pod_selections import DefinitionContext, known_definitions
from cli.reader import Reader
from cli.versions import versions
from dispatcher import keys
from dispatcher.annotation import split_list
from dispatcher.kube.build_info import own_version as own_version  # noqa: PLC0414 - commands import it from here
from dispatcher.kube.errors import KubeError
from dispatcher.nad.definition import GROUP, RESOURCE
from dispatcher.nad.template_rules import ANY
from dispatcher.nad.tenant_templates import InvalidTemplateError, TenantRules, read_templates
from webhook.definition_check import DefinitionRules
from webhook.limits import CLUSTER, Limits, parse_limit
from webhook.network_choice import DEFAULT_MINIMUM
from webhook.node_index import merge_nodes
from webhook.objects import has_controller
from webhook.snapshot import ClusterNetworks, NodeCount, parse_namespace, parse_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cli.facts import NodeFacts, PublishedNetwork, Workload
    from cli.networks import NetworkSummary
    from cli.versions import PartVersion
    from dispatcher.kube.client import Kube
    from webhook.settings import DefinitionsMode
    from webhook.snapshot import Namespace

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

FOREIGN = (
    ("k8s.cni.cncf.io", "network-attachment-definitions", "NetworkAttachmentDefinition"),
    ("alpha.network.k8s.io", "logicalnetworks", "LogicalNetwork"),
    ("alpha.network.k8s.io", "physicalnetworks", "PhysicalNetwork"),
    ("networking.k8s.io", "networkpolicies", "NetworkPolicy"),
)

_MODES: Mapping[str, DefinitionsMode] = {"observe": "observe", "enforce": "enforce"}

AGENT = "genie-agent"
"""The agents' DaemonSet."""

WEBHOOK = "genie-webhook"
"""The webhook's Deployment."""

WEBHOOK_SELECTOR = "app.kubernetes.io/component=webhook"
"""The webhook's pods."""


class Access(NamedTuple):
    """Which cluster: a kubeconfig and one of its contexts; empty means what kubectl would use."""

    kubeconfig: str = ""
    context: str = ""


def connect(access: Access) -> Reader:
    """Return a reader of the cluster that *access* names. Raises KubeError."""
    return Reader(open_client(access))


def open_client(access: Access) -> Kube:
    """Return a client of the cluster that *access* names. Raises KubeError with the fix."""
    from dispatcher.kube.client import Kube  # noqa: PLC0415 - --help does without TLS and HTTP

    agent = f"kubectl-genie/{own_version()}"
    try:
        return Kube.load(agent, access.kubeconfig or None, access.context or None)
    except KubeError as error:
        fix = "set KUBECONFIG, or give --kubeconfig and --context"
        raise KubeError(0, error.reason, f"{error.message} ({fix})") from None


def current_namespace(access: Access) -> str:
    """Return the namespace of the context, as kubectl would use it."""
    from kubernetes import config  # noqa: PLC0415 - takes a quarter of a second

    try:
        contexts, current = config.list_kube_config_contexts(access.kubeconfig or None)
    except config.ConfigException:
        return "default"
    if access.context:
        current = next((each for each in contexts if each["name"] == access.context), current)
    return str(current["context"].get("namespace") or "default")


class Session:
    """What commands read, each thing once; *genie* is the namespace that Genie is installed in."""

    def __init__(self, access: Access, genie: str) -> None:
        self.access = access
        self.reader = connect(access)
        self.genie = genie or GENIE_NAMESPACE

    def finish(self) -> None:
        """Say on standard error what the user was not allowed to read."""
        if self.reader.missing:
            rights = ", ".join(self.reader.missing)
            typer.echo(f"note: incomplete, since you may not {rights}", err=True)

    @cached_property
    def current_namespace(self) -> str:
        """Return the namespace of the context."""
        return current_namespace(self.access)

    @cached_property
    def _node_objects(self) -> list[dict[str, Any]] | None:
        return self.reader.list_all("nodes", metadata_only=True)

    @cached_property
    def nodes(self) -> list[NodeFacts] | None:
        """Return the nodes; None: forbidden, and :meth:`finish` reports the right."""
        objects = self._node_objects
        return None if objects is None else list(map(read_node, objects))

    @cached_property
    def cluster_networks(self) -> ClusterNetworks | None:
        """Return what the webhook knows of networks; None: unknown.

        Where nodes may not be listed, it is what the webhook publishes.
        """
        if self._node_objects is None:
            return self._published_cluster_networks()
        listed = split_list(self.webhook_settings.get("GENIE_NETWORKS", ""))
        return merge_nodes(map(parse_node, self._node_objects), filter(None, listed))

    def _published_cluster_networks(self) -> ClusterNetworks | None:
        published = self.published_networks
        if published is None:
            return None
        return ClusterNetworks(
            known=frozenset(each.name for each in published),
            present=frozenset(each.name for each in published if each.ready_nodes),
            nodes={
                each.name: NodeCount(each.ready_nodes, each.configured_nodes) for each in published
            },
        )

    @cached_property
    def namespaces(self) -> dict[str, Namespace]:
        """Return what the webhook's rules need of each namespace, by its name."""
        objects = self.reader.list_all("namespaces", metadata_only=True)
        if objects is None:
            own = self.current_namespace
            one = self.reader.one(f"/api/v1/namespaces/{own}", f"get namespace {own}")
            objects = [one] if one else []
        return {each.name: each for each in map(parse_namespace, objects)}

    def workloads(self) -> Iterator[Document]:
        """Yield the pods and workloads of the cluster that no controller made."""
        for group, resource, kind in WORKLOADS:
            for item in self.list_or_own(resource, group):
                if not has_controller(item):
                    yield Document("cluster", {**item, "kind": kind})

    def foreign_objects(self) -> Iterator[Document]:
        """Yield the objects of Multus and CNI-Genie, and the policies that may name them."""
        for group, resource, kind in FOREIGN:
            for item in self.list_or_own(resource, group, is_optional=True):
                yield Document("cluster", {**item, "kind": kind})

    def list_or_own(
        self, resource: str, group: str = "", *, is_optional: bool = False
    ) -> list[dict[str, Any]]:
        """Return the objects of all namespaces, else those of the current one.

        *is_optional* says that the cluster may lack the resource.
        """
        objects = self.reader.list_all(resource, group, is_optional=is_optional)
        if objects is None:
            where = self.current_namespace
            objects = self.reader.list_all(
                resource, group, namespace=where, is_optional=is_optional
            )
        return objects or []

    @cached_property
    def networks(self) -> list[NetworkSummary] | None:
        """Return the networks over all nodes; None where :attr:`nodes` is None."""
        if self.nodes is None:
            return None
        return summarise(self.nodes, self.namespaces.values(), self.default_network)

    @cached_property
    def published_networks(self) -> list[PublishedNetwork] | None:
        """Return what the webhook publishes; None if that is nothing, or it may not be read."""
        group, version = keys.NETWORKS_GROUP, keys.NETWORKS_VERSION
        objects = self.reader.list_all("networks", group, version=version, is_optional=True)
        return list(map(read_network, objects)) if objects else None

    @property
    def network_names(self) -> list[str] | None:
        """Return the networks by the nodes, else as published; None: unknown."""
        networks = self.networks if self.nodes is not None else self.published_networks
        return None if networks is None else [each.name for each in networks]

    @cached_property
    def settings(self) -> dict[str, str] | None:
        """Return Genie's settings; None if there are none, or reading them is forbidden."""
        return self._config_map("genie")

    def _config_map(self, name: str) -> dict[str, str] | None:
        path = f"/api/v1/namespaces/{self.genie}/configmaps/{name}"
        config_map = self.reader.one(path, f"get configmaps in namespace {self.genie}")
        return None if config_map is None else config_map.get("data") or {}

    @property
    def default_network(self) -> str:
        """Return the cluster's default network; empty if it has none, or it may not be read."""
        return (self.settings or {}).get("default-network", "")

    @property
    def versions(self) -> list[PartVersion]:
        """Return the versions of all parts, as far as the user may read them."""
        programs, _ = self.programs
        return versions(own_version(), programs.get(AGENT), programs.get(WEBHOOK), self.nodes)

    @cached_property
    def webhook_pods(self) -> list[dict[str, Any]] | None:
        """Return the webhook's pods; None if listing them is forbidden."""
        return self.reader.list_all("pods", namespace=self.genie, selector=WEBHOOK_SELECTOR)

    @cached_property
    def webhook_settings(self) -> Mapping[str, str]:
        """Return the webhook's settings by variable; empty if it is not installed or forbidden."""
        webhook = self.programs[0].get(WEBHOOK)
        if webhook is None:
            return {}
        maps = [self._config_map(name) or {} for name in webhook.config_maps]
        return {key: value for each in (*maps, webhook.environ) for key, value in each.items()}

    @property
    def limits(self) -> Limits:
        """Return the limits of the cluster that are enforced now.

        The chart's Deployment takes them from the ConfigMap ``genie``, by reference. Without a
        webhook, the policies enforce what the ConfigMap says.
        """
        shared = {variable_of(key): value for key, value in (self.settings or {}).items()}
        settings = {**shared, **self.webhook_settings}
        return Limits(
            parse_limit(settings.get("GENIE_MAX_ATTACHMENTS", "")) or CLUSTER.attachments,
            parse_limit(settings.get("GENIE_MAX_PER_NETWORK", "")) or CLUSTER.per_network,
            are_enforced=settings.get("GENIE_LIMITS") != "warn",
        )

    @property
    def choose_minimum(self) -> int:
        """Return the percent of nodes that must be able to attach a network before it is chosen."""
        value = self.webhook_settings.get("GENIE_CHOOSE_MINIMUM", "")
        return int(value) if value.isdecimal() else DEFAULT_MINIMUM

    @cached_property
    def definitions(self) -> DefinitionContext:
        """Return what the webhook knows of NetworkAttachmentDefinitions, by its settings."""
        settings = self.webhook_settings
        mode: DefinitionsMode | None = _MODES.get(settings.get(MODE, "off"))
        if mode is None:
            return DefinitionContext()

        def names(variable: str, default: str = "") -> frozenset[str]:
            return frozenset(filter(None, split_list(settings.get(variable, default))))

        limits, default_network = self.limits, self.default_network
        allows_cni_args = settings.get("GENIE_MISSING_CAPABILITY") == "cni-args"
        rules = DefinitionRules(names("GENIE_SHARED_NAMESPACES"), limits, allows_cni_args)
        unknown = DefinitionContext(
            mode,
            None,
            rules,
            cluster_default=default_network,
            multus_namespace=settings.get("GENIE_MULTUS_NAMESPACE", keys.MULTUS_NAMESPACE),
        )
        objects = self.reader.list_all(RESOURCE, GROUP, is_optional=True)
        try:
            templates = read_templates(settings.get("GENIE_TENANT_TEMPLATES", "[]"))
        except InvalidTemplateError:
            return unknown
        if objects is None:
            return unknown
        tenants = TenantRules(names("GENIE_TRUSTED_NAMESPACES", ANY), templates)
        return unknown._replace(known=known_definitions(objects, tenants), tenants=tenants)

    @cached_property
    def programs(self) -> tuple[dict[str, Workload], bool]:
        """Return Genie's own workloads by name, and whether the user may list them all."""
        workloads = {}
        readable = True
        for resource, kind in (("daemonsets", "DaemonSet"), ("deployments", "Deployment")):
            items = self.reader.list_all(resource, "apps", namespace=self.genie)
            readable = readable and items is not None
            for item in items or []:
                workload = read_workload({**item, "kind": kind})  # lists leave the kind out
                workloads[workload.name] = workload
        return workloads, readable


def variable_of(key: str) -> str:
    """Return the webhook's variable for a *key* of the ConfigMap ``genie``."""
    return "GENIE_" + key.upper().replace("-", "_")


def rules_of(session: Session) -> LintContext:
    """Return what the webhook's rules need to know of the cluster."""
    excluded = frozenset({*EXCLUDED_NAMESPACES, session.genie})
    return LintContext(
        session.cluster_networks,
        session.namespaces,
        excluded=excluded,
        limits=session.limits,
        definitions=session.definitions,
    )
