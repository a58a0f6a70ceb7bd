"""Finds the API server and logs in to it: as a pod does, else as kubectl does.

A pod has everything in two variables and two files. A kubeconfig has dozens of forms (exec plugins,
client certificates, proxies), which are left to the ``kubernetes`` library. It is imported only in
that case, because it costs 21 MiB (docs/adr/0007-own-api-client.md) and no pod needs it.

Rules: an account's token is read again each minute, because kubelet replaces it. No error contains
a token or a key.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import urllib3

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder with the service account of a pod."""

TOKEN_SECONDS = 60.0
"""How long a token is used before it is read again."""

CONNECTIONS = 8
"""Idle connections that are kept open."""


class LoginError(Exception):
    """No log-in is possible; the text says why."""


class Login(NamedTuple):
    """The API server's URL, the connections to it, and the Authorization header ("": none)."""

    url: str
    pool: urllib3.PoolManager
    authorization: Callable[[], str]


def as_pod(environ: Mapping[str, str], account: Path = ACCOUNT) -> Login | None:
    """Return the log-in of this process as a pod; None if it does not run in one.

    Raises :class:`LoginError` if the pod has no service account.
    """
    host, port = (environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    if not (host and port):
        return None
    token = Token(account / "token")
    try:
        token()
        pool = urllib3.PoolManager(
            cert_reqs="CERT_REQUIRED", ca_certs=str(account / "ca.crt"), maxsize=CONNECTIONS
        )
        (account / "ca.crt").stat()
    except OSError as error:
        raise LoginError(f"{error.filename}: {error.strerror}") from None
    return Login(f"https://{f'[{host}]' if ':' in host else host}:{port}", pool, token)


def as_kubectl(path: str | None = None, context: str | None = None) -> Login:
    """Return the log-in of the kubeconfig at *path*, or of the one that kubectl uses.

    *context* is the one to use instead of the current one. Raises :class:`LoginError`.
    """
    from kubernetes import client, config  # noqa: PLC0415 - costs 21 MiB

    settings = client.Configuration()
    try:
        config.load_kube_config(config_file=path, context=context, client_configuration=settings)
    except config.ConfigException as error:
        raise LoginError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - no kubeconfig: YAMLError, TypeError, KeyError, …
        reason = f"{type(error).__name__}: {error}"
        raise LoginError(f"the kubeconfig cannot be read: {reason}") from None
    settings.retries = False
    settings.connection_pool_maxsize = CONNECTIONS
    pool = client.ApiClient(settings).rest_client.pool_manager

    def authorization() -> str:
        return str(settings.get_api_key_with_prefix("BearerToken") or "")

    return Login(settings.host, pool, authorization)


def find() -> Login:
    """Log in as a pod does, else as kubectl does. Raises :class:`LoginError` for neither."""
    return as_pod(os.environ) or as_kubectl()


class Token:
    """The Authorization header of a service account whose token is in the file *path*."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._header = ""
        self._read_at = 0.0

    def __call__(self) -> str:
        """Return the header. Raises OSError when the token cannot be read."""
        now = self._clock()
        if not self._header or now - self._read_at >= TOKEN_SECONDS:
            self._header = f"Bearer {self._path.read_text().strip()}"
            self._read_at = now
        return self._header
