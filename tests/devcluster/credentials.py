"""Keys, certificates, tokens and kubeconfigs of a cluster, created anew at each start."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.devcluster.commands import run
from tests.devcluster.layout import API_SERVICE_ADDRESS, Layout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_DAYS = "30"
COMPONENTS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
}
"""Users with a token, each with its group; some get their rights by name and need no group."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files with the keys, certificates and tokens of one cluster."""

    folder: Path

    @property
    def ca(self) -> Path:
        """Return the file of the CA certificate, which signs all others."""
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        """Return a certificate's file."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return a private key's file."""
        return self.folder / f"{name}.key"

    @property
    def tokens(self) -> Path:
        """Return the API server's token file."""
        return self.folder / "tokens.csv"

    def token(self, user: str) -> str:
        """Return the token of a user."""
        for line in self.tokens.read_text().splitlines():
            token, name, _ = line.split(",", 2)
            if name == user:
                return token
        raise KeyError(user)


def create(credentials: Credentials, layout: Layout, nodes: Iterable[str]) -> None:
    """Create everything; `nodes` are all names that a node of this cluster may get."""
    folder = credentials.folder
    folder.mkdir(parents=True, mode=0o700)
    _self_signed(credentials, "ca", "/CN=cluster-ca")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    addresses = [layout.api_ipv4, layout.ipv6(2), API_SERVICE_ADDRESS, "127.0.0.1"]
    alternatives = [*(f"DNS:{name}" for name in names), *(f"IP:{ip}" for ip in addresses)]
    _signed(credentials, "apiserver", "/CN=kube-apiserver",
            "extendedKeyUsage=serverAuth", f"subjectAltName={','.join(alternatives)}")  # fmt: skip
    _signed(credentials, "kubelet-client", "/O=system:masters/CN=kube-apiserver",
            "extendedKeyUsage=clientAuth")  # fmt: skip
    run(["openssl", "genrsa", "-out", credentials.key("service-accounts"), "2048"])
    run(["openssl", "rsa", "-in", credentials.key("service-accounts"), "-pubout",
         "-out", folder / "service-accounts.pub"])  # fmt: skip
    users = {**COMPONENTS, **{f"system:node:{node}": "system:nodes" for node in nodes}}
    lines = [
        f'{secrets.token_urlsafe(32)},{user},{user},"{group}"' for user, group in users.items()
    ]
    credentials.tokens.touch(mode=0o600)
    credentials.tokens.write_text("\n".join(lines) + "\n")


def kubeconfig(layout: Layout, credentials: Credentials, user: str, token: str = "") -> str:
    """Return a self-contained kubeconfig for a user.

    Without `token` the user must be in the API server's token file. Raises KeyError if not.
    """
    ca = base64.b64encode(credentials.ca.read_bytes()).decode()
    cluster = {"server": layout.api_url, "certificate-authority-data": ca}
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token or credentials.token(user)}}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": user}}],
        "current-context": layout.name,
    }
    return json.dumps(content, indent=1)


def write_kubeconfig(
    path: Path, layout: Layout, credentials: Credentials, user: str, token: str = ""
) -> Path:
    """Write a user's kubeconfig, readable by its owner alone, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(kubeconfig(layout, credentials, user, token))
    return path


def _self_signed(credentials: Credentials, name: str, subject: str) -> None:
    run(["openssl", "req", "-x509", *_KEY, "-days", _DAYS, "-subj", subject,
         "-addext", "basicConstraints=critical,CA:TRUE",
         "-addext", "keyUsage=critical,keyCertSign,cRLSign",
         "-keyout", credentials.key(name), "-out", credentials.certificate(name)])  # fmt: skip


def _signed(credentials: Credentials, name: str, subject: str, *extensions: str) -> None:
    added = [word for extension in extensions for word in ("-addext", extension)]
    run(["openssl", "req", "-x509", *_KEY, "-days", _DAYS, "-subj", subject,
         "-CA", credentials.ca, "-CAkey", credentials.key("ca"),
         "-addext", "basicConstraints=critical,CA:FALSE", *added,
         "-keyout", credentials.key(name), "-out", credentials.certificate(name)])  # fmt: skip
