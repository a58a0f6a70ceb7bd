"""Fixtures of the tests of certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certs.authority import KeyPair, issue_ca
from certs.webhook_configs import API, KINDS
from tests.unit.apiserver import Api, configuration
from tests.unit.certs.builders import MUTATING, NAME, NOW, SETTINGS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator


@pytest.fixture
def make_ca() -> Callable[..., KeyPair]:
    """Give a function that issues a CA: for a name, at a time, with a life in seconds."""

    def make(
        name: str = NAME, now: dt.datetime = NOW, lifetime: float = SETTINGS.ca_lifetime
    ) -> KeyPair:
        return issue_ca(name, now=now, lifetime=lifetime, backdating=300)

    return make


@pytest.fixture
def api() -> Iterator[Api]:
    """Give an API server with one configuration of ours and one of another program."""
    server = Api()
    server.store(MUTATING, configuration("cni-genie", "a", "b"))
    foreign = configuration("foreign", "x")
    foreign["metadata"]["labels"] = {}
    server.store(f"{API}{KINDS[0]}/foreign", foreign)
    yield server
    server.close()
