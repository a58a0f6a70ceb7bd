"""A stand-in for cert-manager, which the tests cannot install.

It has a CA, issues the leaf that a Certificate requests into its Secret (``tls.crt``, ``tls.key``,
``ca.crt``), and writes the CA into every entry of the configurations that name the Certificate in
``cert-manager.io/inject-ca-from``, as cert-manager's injector does. It does so when a test says so,
not when cert-manager would.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import trustme

from certs.webhook_configs import API, KINDS
from dispatcher.kube.errors import NOT_FOUND, KubeError

if TYPE_CHECKING:
    from dispatcher.kube.client import Kube

INJECT = "cert-manager.io/inject-ca-from"


class CertManagerStandIn:
    """Does what cert-manager does for one Certificate."""

    def __init__(self, kube: Kube, certificate: dict[str, Any]) -> None:
        spec, metadata = certificate["spec"], certificate["metadata"]
        self._kube = kube
        self._authority = trustme.CA()
        self._names: list[str] = spec["dnsNames"]
        self._certificate = f"{metadata['namespace']}/{metadata['name']}"
        self._collection = f"/api/v1/namespaces/{metadata['namespace']}/secrets"
        self.secret: str = spec["secretName"]

    def issue(self) -> None:
        """Issue a new leaf into the Secret."""
        leaf = self._authority.issue_cert(*self._names)
        chain = b"".join(one.bytes() for one in leaf.cert_chain_pems)
        values = {
            "tls.crt": chain,
            "tls.key": leaf.private_key_pem.bytes(),
            "ca.crt": self._authority.cert_pem.bytes(),
        }
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.secret},
            "type": "kubernetes.io/tls",
            "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
        }
        path = f"{self._collection}/{self.secret}"
        try:
            self._kube.update(path, secret)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            self._kube.create(self._collection, secret)

    def inject(self) -> int:
        """Write the CA into the entries that request it; return how many do."""
        return self._write(self._authority.cert_pem.bytes())

    def withdraw(self) -> None:
        """Empty the bundles, because Genie keeps foreign CAs that it finds there."""
        self._write(b"")

    def _write(self, trusted: bytes) -> int:
        bundle = base64.b64encode(trusted).decode()
        written = 0
        for kind in KINDS:
            for item in self._kube.get(API + kind)["items"]:
                metadata = item["metadata"]
                if (metadata.get("annotations") or {}).get(INJECT) == self._certificate:
                    for entry in item["webhooks"]:
                        entry["clientConfig"]["caBundle"] = bundle
                        written += 1
                    self._kube.update(f"{API}{kind}/{metadata['name']}", item)
        return written
