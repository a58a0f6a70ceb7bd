"""The webhook's settings; ``python -m webhook --help`` prints them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from dispatcher import keys
from dispatcher.annotation import split_list
from dispatcher.kube.settings import Names, ServiceSettings
from dispatcher.nad.names import is_label
from dispatcher.nad.template_rules import ANY
from dispatcher.nad.tenant_templates import TenantRules, read_templates
from webhook.limits import CLUSTER, MAX_LIMIT
from webhook.network_choice import DEFAULT_MINIMUM

Severity = Literal["deny", "warn", "off"]
Scheduling = Literal["required", "preferred", "off"]
LimitsMode = Literal["enforce", "warn"]
DefinitionsMode = Literal["off", "observe", "enforce"]
MissingCapability = Literal["deny", "cni-args"]
LogLevel = Literal["debug", "info", "warning", "error"]


def _split(value: object) -> object:
    return split_list(value) if isinstance(value, str) else value


def _validate_templates(text: str) -> str:
    read_templates(text)
    return text


def _validate_namespace(text: str) -> str:
    if not is_label(text):
        raise ValueError("it must be the name of one namespace")
    return text


Namespaces = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Names of namespaces, as a YAML list or as text with commas."""

Templates = Annotated[str, AfterValidator(_validate_templates)]
"""A JSON list of tenant templates, as text."""


class WebhookSettings(ServiceSettings):
    """Admission webhook of Genie.

    Every option can also be set as an environment variable (--drain-seconds is
    GENIE_DRAIN_SECONDS) or as a key of the YAML file that GENIE_CONFIG names (drain_seconds).
    The certificates have variables of their own, GENIE_CERTS_...: see docs/reference/settings.md.
    """

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    networks: Names = ()
    """NAME,NAME: networks that pods may name although no node has their label (yet), for example
    those of node groups that can scale to zero"""

    scheduling: Scheduling = "required"
    """node affinity that pods get for their networks; a namespace's annotation
    cni-genie.io/scheduling overrides it"""

    choose_minimum: int = Field(DEFAULT_MINIMUM, ge=1, le=100)
    """percent of the nodes with a network's label that must be able to attach it, before a pod gets
    the network from its namespace's list cni-genie.io/choose"""

    templates_invalid: Severity = "deny"
    """what to do with a workload whose template can never give a valid pod"""

    templates_doubtful: Severity = "warn"
    """what to do with a workload whose pods would be refused now (unknown network, not allowed,
    over a limit), but perhaps not later"""

    max_attachments: int = Field(CLUSTER.attachments, ge=1, le=MAX_LIMIT)
    """networks that one pod may have; a namespace's annotation cni-genie.io/max-attachments
    overrides it"""

    max_per_network: int = Field(CLUSTER.per_network, ge=1, le=MAX_LIMIT)
    """times that one pod may name one network; a namespace's annotation
    cni-genie.io/max-per-network overrides it"""

    limits: LimitsMode = "enforce"
    """enforce: refuse a pod over these limits. warn: create it with a warning. The policy
    cni-genie-pod-limits must do the same"""

    attachment_definitions_mode: DefinitionsMode = "off"
    """off: annotations that select NetworkAttachmentDefinitions are not checked. observe: they are
    validated, also against the objects of the cluster; faults are warnings. enforce: pods with
    faults are refused, and the others are attached. The agents must have the same value"""

    missing_capability: MissingCapability = "deny"
    """what to do with addresses and MACs of a selection that no plugin of its chain declares. deny:
    refuse the pod. cni-args: pass them as IP and MAC in CNI_ARGS, with a warning. The agents must
    have the same value"""

    multus_namespace: Annotated[str, AfterValidator(_validate_namespace)] = keys.MULTUS_NAMESPACE
    """namespace of the definition that v1.multus-cni.io/default-network names without one, as in
    Multus' configuration. The agents must have the same value"""

    trusted_namespaces: Namespaces = (ANY,)
    """namespaces whose definitions may be any CNI configuration, separated by commas; *: all. The
    agents must have the same value"""

    shared_namespaces: Namespaces = ()
    """namespaces whose definitions pods of all namespaces may select, separated by commas"""

    tenant_templates: Templates = "[]"
    """what the definitions of other namespaces may have, a JSON list. The agents must have the same
    value"""

    namespace: str = "genie-system"
    """namespace that Genie is installed in, with its ConfigMap and its Lease"""

    address: str = ""
    """address to listen on; empty: all, IPv4 and IPv6"""

    port: int = Field(8443, ge=1, le=65535)
    """port of the webhook (HTTPS)"""

    probe_port: int = Field(8080, ge=1, le=65535)
    """port of /healthz, /readyz and /metrics (plain HTTP)"""

    log_level: LogLevel = "info"
    """lowest level of the log lines that are written"""

    max_body_bytes: int = Field(7 * 2**20, ge=2**20)
    """maximum bytes of one review; the API server's own limits are lower"""

    max_buffered_bytes: int = Field(32 * 2**20, ge=2**23)
    """maximum bytes of all request bodies that are arriving; beyond it the oldest is dropped"""

    max_arriving: int = Field(256, ge=1)
    """maximum request bodies read at once; beyond it the oldest is dropped. Set this well
    below --max-connections"""

    max_connections: int = Field(512, ge=8)
    """maximum open connections; beyond it the one that has waited longest for its client is
    closed"""

    max_lookups: int = Field(16, ge=1)
    """maximum requests to the API server at once for namespaces that the cache lacks; beyond it
    the response is 503"""

    max_lookups_per_second: float = Field(20.0, ge=1)
    """maximum requests to the API server in one second for namespaces that the cache lacks; beyond
    it the response is 503"""

    handshake_seconds: float = Field(5.0, gt=0)
    """time limit of a TLS handshake, and of the TLS shutdown; like timeoutSeconds of the webhook
    configurations"""

    header_seconds: float = Field(5.0, gt=0)
    """time limit for the head of a request, from its first byte, and for a client to read a
    response"""

    body_seconds: float = Field(5.0, gt=0)
    """time limit for the body of a request"""

    lookup_seconds: float = Field(1.0, gt=0, lt=5)
    """time limit of a request to the API server for a namespace that the cache lacks"""

    keep_alive_seconds: int = Field(120, ge=91)
    """time that a connection may be idle, also before its first request. Keep it
    above the 90 s after which API servers close idle connections: otherwise the webhook could close
    one while a request is on its way"""

    drain_seconds: float = Field(10.0, ge=0)
    """time to serve after SIGTERM, closing every connection after its response, until all API
    servers use other replicas. The last responses get 5 s more, and all of it must fit into
    terminationGracePeriodSeconds (30) of the pod"""

    @property
    def tenant_rules(self) -> TenantRules:
        """Who may define networks."""
        return TenantRules(
            frozenset(self.trusted_namespaces), read_templates(self.tenant_templates)
        )
