"""A replica of the webhook that closes the connection after every answer, as a draining one does.

So each call of the API server is a TLS handshake: `python -m tests.cluster.support.certs_replica`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

from webhook.__main__ import main
from webhook.app import create_app

if TYPE_CHECKING:
    from fastapi import FastAPI


def closing_app(handlers: Any, body_reader: Any, metrics: Any, _draining: Any) -> FastAPI:
    """Make the application of a replica that is always draining."""
    return create_app(handlers, body_reader, metrics, lambda: True)


if __name__ == "__main__":
    with mock.patch("webhook.service.create_app", closing_app):
        sys.exit(main(sys.argv[1:]))
