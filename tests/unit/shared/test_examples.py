"""The examples that a newcomer applies."""

from __future__ import annotations

import pytest
import yaml

from tests.cluster.support.pods import EXAMPLES


@pytest.mark.parametrize("network", ["canal", "weave", "wave"])
def test_an_example_is_the_pod_that_the_feature_was_described_with(network: str) -> None:
    """Field for field: names, label, annotation, image and port are those of the description."""
    container = {
        "name": "key-value-store",
        "image": "nginx:latest",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 6379}],
    }
    assert yaml.safe_load((EXAMPLES / f"nginx-{network}-master.yaml").read_text()) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"nginx-{network}-master",
            "labels": {"app": "web"},
            "annotations": {"cni": network},
        },
        "spec": {"containers": [container]},
    }
