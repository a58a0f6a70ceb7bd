"""``python -m webhook``: the admission webhook. ``--help`` prints its settings."""

from __future__ import annotations

import asyncio
import sys

from certs import CertificateManager
from certs.settings import CertificateSettings
from dispatcher.kube import logs
from dispatcher.kube.client import Kube, KubeError
from dispatcher.kube.settings import InvalidSettings, load
from webhook.service import Service
from webhook.settings import WebhookSettings

PROGRAM = "python -m webhook"


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; returns the exit code: 0, or 2 where the start was refused."""
    try:
        settings = load(WebhookSettings, PROGRAM, arguments)
        logs.configure(settings.log_level)
        certificate_settings = CertificateSettings(listen_port=settings.port)
        kube = Kube.load("cni-genie-webhook")
    except (InvalidSettings, KubeError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    certificates = CertificateManager(kube, certificate_settings)
    asyncio.run(_run(settings, kube, certificates))
    return 0


async def _run(settings: WebhookSettings, kube: Kube, certificates: CertificateManager) -> None:
    await Service(settings, kube, certificates).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
