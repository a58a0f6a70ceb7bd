from __future__ import annotations

import pytest

from tests.devcluster.apiread import api_path

PATHS = {
    "pod web": "/api/v1/namespaces/default/pods/web",
    "pod web -n shop": "/api/v1/namespaces/shop/pods/web",
    "pods -n shop -l app=web": "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb",
    "pods -A": "/api/v1/pods",
    "events --field-selector a=b": "/api/v1/namespaces/default/events?fieldSelector=a%3Db",
    "node node1": "/api/v1/nodes/node1",
    "nodes": "/api/v1/nodes",
    "deployment web -n shop": "/apis/apps/v1/namespaces/shop/deployments/web",
    "endpointslices -n shop": "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
}
FOR_KUBECTL = [
    "clusterrole x",
    "pods,nodes",
    "pod/web",
    "pods --watch",
    "pod a b",
    "pod a -l b=c",
    "",
]


@pytest.mark.parametrize(("arguments", "path"), PATHS.items(), ids=PATHS)
def test_a_simple_get_reads_the_path_that_kubectl_reads(arguments: str, path: str) -> None:
    """Without starting kubectl."""
    assert api_path(arguments.split()) == path


@pytest.mark.parametrize("arguments", FOR_KUBECTL)
def test_any_other_get_is_left_to_kubectl(arguments: str) -> None:
    """Unknown resources and options, and several objects at once."""
    assert api_path(arguments.split()) is None
