"""Certificates for these tests, made at run time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from certs.authority import KeyPair, issue_ca
from certs.settings import CertificateSettings

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
SETTINGS = CertificateSettings()
NAME = SETTINGS.dns_name


@pytest.fixture
def make_ca() -> Callable[..., KeyPair]:
    """Give a maker of CAs: of a name, at a time, with a life in seconds."""

    def make(
        name: str = NAME, now: dt.datetime = NOW, lifetime: float = SETTINGS.ca_lifetime
    ) -> KeyPair:
        return issue_ca(name, now=now, lifetime=lifetime, backdating=300)

    return make
