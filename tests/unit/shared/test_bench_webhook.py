"""What the webhook's benchmark measures: a server that holds what a replica holds."""

from __future__ import annotations

import subprocess
import sys

import urllib3

from dispatcher.kube.client import Kube
from dispatcher.kube.login import Login
from tests.bench import kube_api
from webhook.informer_caches import InformerCaches

MANY = 1200
"""Objects of each kind: three pages of a list."""

_TESTS_LOADED = """
import sys
import tests.bench.webhook_server
print(*sorted(name for name in sys.modules if name.startswith("tests.")))
"""


def test_the_stand_in_fills_the_caches_page_by_page() -> None:
    """All namespaces with their default, and the networks of all nodes."""
    with kube_api.running({"cni": "net1"}, "", objects=MANY) as api:
        caches = InformerCaches(Kube(Login(api.address, urllib3.PoolManager(), str), "test"), ())
        caches.start()
        assert caches.namespaces_cache.wait(30)
        assert caches.nodes_cache.wait(30)
        requests = api.count()
        caches.stop()

    assert len(caches.namespaces_cache.items) == len(caches.nodes_cache.items) == MANY
    assert caches.namespaces_cache.items[f"ns{MANY - 1}"].default == "net1"
    assert caches.networks.nodes["net0"].attachable == MANY
    assert requests >= 2 * 3


def test_the_measured_server_loads_nothing_of_the_tests() -> None:
    """Its memory would count: of this tree's tests it loads its own module alone."""
    command = [sys.executable, "-c", _TESTS_LOADED]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["tests.bench", "tests.bench.webhook_server"]
