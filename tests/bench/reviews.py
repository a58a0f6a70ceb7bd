"""The reviews that the webhook's benchmark sends, as the API server would.

The pods are what a Deployment of an ordinary service gives: probes, volumes, a service account's
token, tolerations and managed fields, 3.7 KB in all. (Reviews of real clusters have 2.5 to 7 KB.)
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.unit.webhook.builders import envelope

NAMESPACE = "ns7"
MANY = 1000
"""Reviews of :data:`VARIED` and :data:`UNEQUAL`: more different pods than the webhook remembers."""

NAMED = "pod that names networks"
VARIED = "the same, each of another namespace"
UNEQUAL = "the same, each with another node selector"
"""Which the rules read, so that no decision is remembered."""

WITH_PEER = frozenset({NAMED, VARIED, UNEQUAL})
"""The reviews that the webhook in Go answers in the same way."""


class Load(NamedTuple):
    """Requests of one kind, sent in turn; all get responses of the same length."""

    path: str
    bodies: list[bytes]


def loads() -> dict[str, Load]:
    """Return the requests of each kind, by name."""
    named = " net1 , net2 "
    return {
        NAMED: _load("/pods", pod({"cni": named})),
        VARIED: _load("/pods", *(pod({"cni": named}, f"ns{n}") for n in range(MANY))),
        UNEQUAL: _load(
            "/pods", *(pod({"cni": named}, nodeSelector={"shard": f"{n:04}"}) for n in range(MANY))
        ),
        "pod that gets the default": _load("/pods", pod({})),
        "pod that is refused": _load("/pods", pod({"cni": "nett"})),
        "namespace": _load("/namespaces", namespace("net1")),
        "workload template": _load("/workloads", deployment("net1")),
    }


def _load(path: str, *objects: dict[str, Any]) -> Load:
    return Load(
        path, [json.dumps(envelope(one), separators=(",", ":")).encode() for one in objects]
    )


def pod(annotations: dict[str, str], namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """Return a Pod as a ReplicaSet creates it, with *spec* besides."""
    template = _template(annotations, **{**_OWNED, "namespace": namespace})
    template["spec"] |= spec
    return {"apiVersion": "v1", "kind": "Pod", **template, "status": {}}


def namespace(default: str) -> dict[str, Any]:
    """Return a Namespace that gets *default*."""
    metadata = {"name": NAMESPACE, "annotations": {"cni": default}, "labels": {}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def deployment(cni: str) -> dict[str, Any]:
    """Return a Deployment whose template names networks."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"replicas": 3, "template": _template({"cni": cni})},
    }


def _template(annotations: dict[str, str], **metadata: Any) -> dict[str, Any]:
    labels = {"app": "web", "pod-template-hash": "6c5f9d7b8"}
    return {
        "metadata": {"labels": labels, "annotations": annotations, **metadata},
        "spec": {
            "volumes": _VOLUMES,
            "containers": [_CONTAINER],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "web",
            "serviceAccount": "web",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": f"node.kubernetes.io/{taint}", "operator": "Exists"}
                | {"effect": "NoExecute", "tolerationSeconds": 300}
                for taint in ("not-ready", "unreachable")
            ],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
    }


_OWNER = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": "web-6c5f9d7b8",
    "uid": "9c1e0b1e-6a4b-4a53-9f6e-0f6c3f1f2a77",
    "controller": True,
    "blockOwnerDeletion": True,
}

_MANAGED: dict[str, Any] = {
    "f:metadata": {
        "f:annotations": {".": {}, "f:cni": {}},
        "f:generateName": {},
        "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}},
        "f:ownerReferences": {".": {}, f'k:{{"uid":"{_OWNER["uid"]}"}}': {}},
    },
    "f:spec": {
        "f:containers": {
            'k:{"name":"web"}': {
                ".": {},
                **{f"f:{key}": {} for key in ("args", "image", "imagePullPolicy", "livenessProbe")},
                **{f"f:{key}": {} for key in ("name", "ports", "readinessProbe", "resources")},
                "f:env": {
                    ".": {},
                    'k:{"name":"LOG_LEVEL"}': {".": {}, "f:name": {}, "f:value": {}},
                },
            }
        },
        **{f"f:{key}": {} for key in ("dnsPolicy", "enableServiceLinks", "restartPolicy")},
        **{f"f:{key}": {} for key in ("schedulerName", "securityContext")},
        "f:terminationGracePeriodSeconds": {},
    },
}

_OWNED: dict[str, Any] = {
    "generateName": "web-6c5f9d7b8-",
    "namespace": NAMESPACE,
    "creationTimestamp": None,
    "ownerReferences": [_OWNER],
    "managedFields": [
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-11-27T10:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": _MANAGED,
        }
    ],
}

_TOKEN = "kube-api-access-x7k2p"  # noqa: S105 - the name of a volume

_VOLUMES = [
    {"name": "config", "configMap": {"name": "web", "defaultMode": 420}},
    {
        "name": _TOKEN,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {
                                    "apiVersion": "v1",
                                    "fieldPath": "metadata.namespace",
                                },
                            }
                        ]
                    }
                },
            ],
            "defaultMode": 420,
        },
    },
]


def _probe(path: str, seconds: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": seconds,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


_FIELD = {"apiVersion": "v1", "fieldPath": "metadata.name"}

_CONTAINER = {
    "name": "web",
    "image": "registry.example.com/shop/web:1.27.3",
    "imagePullPolicy": "IfNotPresent",
    "args": ["--listen=:8080", "--log-format=json"],
    "ports": [
        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
        {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
    ],
    "env": [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": _FIELD}},
        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "web", "key": "url"}}},
        {"name": "LOG_LEVEL", "value": "info"},
    ],
    "resources": {
        "limits": {"cpu": "500m", "memory": "256Mi"},
        "requests": {"cpu": "100m", "memory": "128Mi"},
    },
    "livenessProbe": _probe("/healthz", 10),
    "readinessProbe": _probe("/readyz", 5),
    "volumeMounts": [
        {"name": "config", "mountPath": "/etc/web", "readOnly": True},
        {
            "name": _TOKEN,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "readOnly": True,
        },
    ],
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "securityContext": {
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
    },
}
