"""The webhook's settings; ``python -m webhook --help`` prints them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dispatcher.kube.settings import Names, ServiceSettings
from webhook.limits import CLUSTER, MAX_LIMIT

Severity = Literal["deny", "warn", "off"]
Scheduling = Literal["required", "preferred", "off"]
LimitsMode = Literal["enforce", "warn"]
LogLevel = Literal["debug", "info", "warning", "error"]


class WebhookSettings(ServiceSettings):
    """Admission webhook of Genie.

    Every option can also be set as an environment variable (--drain-seconds is
    GENIE_DRAIN_SECONDS) or as a key of the YAML file that GENIE_CONFIG names (drain_seconds).
    The certificates have variables of their own, GENIE_CERTS_...: see docs/certificates.md.
    """

    networks: Names = Field(
        (),
        description="networks that exist although no node has their label (yet), with commas: "
        "those of node groups that can scale to zero, for example",
    )
    scheduling: Scheduling = Field(
        "required",
        description="node affinity that pods get for their networks; "
        "a namespace's annotation cni-genie.io/scheduling wins over it",
    )
    templates_invalid: Severity = Field(
        "deny",
        description="what happens to a workload whose template can never give a valid pod",
    )
    templates_doubtful: Severity = Field(
        "warn",
        description="what happens to a workload that names a network which is unknown, or not "
        "allowed in its namespace, at present",
    )
    max_attachments: int = Field(
        CLUSTER.attachments,
        ge=1,
        le=MAX_LIMIT,
        description="networks that one pod may have; a namespace's annotation "
        "cni-genie.io/max-attachments wins over it",
    )
    max_per_network: int = Field(
        CLUSTER.per_network,
        ge=1,
        le=MAX_LIMIT,
        description="times that one pod may name one network; a namespace's annotation "
        "cni-genie.io/max-per-network wins over it",
    )
    limits: LimitsMode = Field(
        "enforce",
        description="what happens to a pod over these limits: it is refused, or only warned of; "
        "the policy cni-genie-pod-limits must say the same",
    )
    address: str = Field("", description="address to listen on; empty: all, IPv4 and IPv6")
    port: int = Field(8443, ge=1, le=65535, description="port of the webhook (HTTPS)")
    probe_port: int = Field(
        8080, ge=1, le=65535, description="port of /healthz, /readyz and /metrics (plain HTTP)"
    )
    log_level: LogLevel = Field("info", description="least severe log lines that are written")
    max_body_bytes: int = Field(
        7 * 2**20,
        ge=2**20,
        description="largest review, in bytes; the API server's own limits add up to less",
    )
    max_buffered_bytes: int = Field(
        32 * 2**20,
        ge=2**23,
        description="what all bodies that are arriving may hold together, in bytes; "
        "over it the one that has been arriving longest is given up",
    )
    max_arriving: int = Field(
        256,
        ge=1,
        description="reviews whose bodies are arriving at one time; same rule; to be of use, "
        "well below max_connections",
    )
    max_connections: int = Field(
        512,
        ge=8,
        description="open connections; over it the one that has waited longest for its client "
        "is closed",
    )
    max_lookups: int = Field(
        16, ge=1, description="live look-ups of namespaces at one time; over it the answer is 503"
    )
    max_lookups_per_second: float = Field(
        20.0, ge=1, description="live look-ups of namespaces in one second; same rule"
    )
    handshake_seconds: float = Field(
        5.0,
        gt=0,
        description="for a TLS handshake, and for its counterpart at the end; our own "
        "timeoutSeconds in Kubernetes",
    )
    header_seconds: float = Field(
        5.0,
        gt=0,
        description="for the head of a request, from its first byte; and for a client "
        "to take an answer",
    )
    body_seconds: float = Field(5.0, gt=0, description="for the body of a request")
    lookup_seconds: float = Field(
        1.0, gt=0, lt=5, description="for one live look-up of a namespace that the cache lacks"
    )
    keep_alive_seconds: int = Field(
        120,
        ge=91,
        description="a connection may be idle, also before its first request; more than the "
        "90 s after which API servers close it themselves, so that none is closed under a request",
    )
    drain_seconds: float = Field(
        10.0,
        ge=0,
        description="serving goes on after SIGTERM, with every connection closed after its "
        "answer, until all API servers have moved to other replicas; 5 s for the last answers "
        "follow, and all of it must fit into the pod's terminationGracePeriodSeconds (30)",
    )
