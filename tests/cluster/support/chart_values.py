"""Values of the chart that make sense together: each alone, and several combined."""

from __future__ import annotations

from typing import Any

import pytest

METRICS = {
    "podMonitor": True,
    "serviceMonitor": True,
    "rules": True,
    "dashboards": True,
    "labels": {"release": "prometheus"},
}
TENANTS = {
    "trustedNamespaces": ["kube-system", "infra"],
    "tenantTemplates": [
        {
            "namespaces": ["shop"],
            "cniNamePrefix": "tenant-",
            "subnets": ["10.20.0.0/16"],
            "nodeNetworks": ["storage"],
            "plugins": [
                {
                    "type": "bridge",
                    "fixed": {"bridge": "tenants0", "vlan": 7},
                    "free": ["mtu"],
                    "ipam": "host-local",
                    "capabilities": ["ips", "mac"],
                }
            ],
        }
    ],
}
WITHOUT_WEBHOOK = {"enabled": False}

COMBINATIONS: list[Any] = [
    pytest.param({}, id="the defaults"),
    *(pytest.param({"platform": each}, id=each) for each in ("k3s", "rke2", "crio")),
    pytest.param({"oldRuntimes": True}, id="old runtimes"),
    pytest.param({"certificates": "cert-manager"}, id="cert-manager"),
    pytest.param(
        {
            "certificates": "cert-manager",
            "certificateIssuer": {"name": "company", "kind": "ClusterIssuer"},
        },
        id="cert-manager with an issuer of the company",
    ),
    pytest.param({"certificates": "files", "certificateSecret": "tls"}, id="certificates of files"),
    pytest.param({"webhook": {"hostNetwork": True}}, id="host network"),
    pytest.param({"metrics": METRICS}, id="metrics"),
    pytest.param(
        {"attachmentDefinitions": {"mode": "observe", **TENANTS}}, id="definitions of tenants"
    ),
    pytest.param(
        {
            "attachmentDefinitions": {
                "mode": "enforce",
                "missingCapability": "cni-args",
                "sharedNamespaces": ["common", "infra-42"],
            },
            "limits": "warn",
        },
        id="definitions that are attached",
    ),
    pytest.param({"limits": "warn", "maxAttachments": 8, "maxPerNetwork": 4}, id="limits"),
    pytest.param(
        {
            "imagePullSecrets": [{"name": "registry"}],
            "agent": {"nodeSelector": {"rollout": "first"}},
            "webhook": {
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
                "networks": ["later"],
                "scheduling": "off",
            },
        },
        id="pull secrets, node selectors, later networks and no scheduling",
    ),
    pytest.param(
        {
            "platform": "k3s",
            "certificates": "cert-manager",
            "webhook": {"hostNetwork": True},
            "metrics": METRICS,
        },
        id="k3s, cert-manager, host network and metrics",
    ),
    pytest.param(
        {
            "platform": "crio",
            "oldRuntimes": True,
            "certificates": "files",
            "certificateSecret": "tls",
            "webhook": {"hostNetwork": True, "scheduling": "preferred"},
            "limits": "warn",
            "metrics": METRICS,
        },
        id="CRI-O, old runtimes, files, host network, warnings and metrics",
    ),
]

POLICIES_ALONE: list[Any] = [
    pytest.param({"webhook": WITHOUT_WEBHOOK}, id="policies alone"),
    pytest.param(
        {
            "webhook": WITHOUT_WEBHOOK,
            "platform": "rke2",
            "limits": "warn",
            "metrics": {**METRICS, "serviceMonitor": False},
        },
        id="policies alone on RKE2 with metrics",
    ),
]
