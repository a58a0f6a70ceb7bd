"""``python -m webhook``: the admission webhook. ``--help`` prints its settings."""

from __future__ import annotations

import sys

import uvloop

from certs import CertificateError, CertificateManager
from certs.settings import load as load_certificate_settings
from dispatcher.kube import logs
from dispatcher.kube.client import Kube, KubeError
from dispatcher.kube.settings import InvalidSettingsError, load
from webhook.server import ListenError, raise_descriptor_limit
from webhook.service import Service
from webhook.settings import WebhookSettings

PROGRAM = "python -m webhook"


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; return the exit code: 0, or 2 if the start failed."""
    try:
        settings = load(WebhookSettings, PROGRAM, arguments)
        logs.configure(settings.log_level)
        address = {"listen_address": settings.address} if settings.address else {}
        certificate_settings = load_certificate_settings(listen_port=settings.port, **address)
        kube = Kube.load("cni-genie-webhook")
    except (InvalidSettingsError, KubeError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2

    raise_descriptor_limit()
    try:
        certificates = CertificateManager(kube, certificate_settings)
    except CertificateError as error:  # the file has changed since the settings were read
        sys.stderr.write(f"{PROGRAM}: setting GENIE_CERTS_CLIENT_CA: {error}\n")
        return 2

    try:
        uvloop.run(_run(settings, kube, certificates))
    except ListenError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    return 0


async def _run(settings: WebhookSettings, kube: Kube, certificates: CertificateManager) -> None:
    await Service(settings, kube, certificates).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
