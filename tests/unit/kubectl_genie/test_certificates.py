from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cli.certificates import DAY, Entry, Replica, certificate_check, read_entries, read_replica
from tests.unit.kubectl_genie.builders import (
    CLUSTER,
    CONFIGURATION,
    GENIE,
    bundle,
    metrics,
    metrics_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    Run = Callable[..., Result]

NOW = datetime(2030, 1, 10, tzinfo=UTC)
SECONDS = NOW.timestamp()
A, B = "genie-webhook-a", "genie-webhook-b"


def entries(*bundles: str) -> list[Entry]:
    """Return entries of a webhook configuration with these bundles."""
    listed = [
        {"name": f"e{n}", "clientConfig": {"caBundle": each}} for n, each in enumerate(bundles)
    ]
    return read_entries({"webhooks": listed})


def test_the_end_of_a_bundle_is_that_of_its_last_ca() -> None:
    """During a rotation it has two."""
    [entry] = entries(bundle(NOW, NOW + timedelta(days=30)))
    assert entry == Entry("e0", SECONDS + 30 * DAY)


@pytest.mark.parametrize("text", ["", "!", "eA==", base64.b64encode("\xff".encode()).decode()])
def test_a_bundle_without_a_certificate_has_ended(text: str) -> None:
    """The API server cannot use it."""
    assert entries(text) == [Entry("e0", 0)]
    assert read_entries({"webhooks": [{"name": "e0"}]}) == [Entry("e0", 0)]


def test_metrics_give_the_leaf_and_the_entries_that_do_not_cover_it() -> None:
    """Of the text that Prometheus reads."""
    assert read_replica(A, metrics("1.893456e+09", 2)["text"]) == Replica(A, 1893456000.0, 2)


@pytest.mark.parametrize("text", [None, "", "x", metrics("x")["text"], metrics("NaN")["text"]])
def test_metrics_without_a_leaf_are_unknown(text: str | None) -> None:
    """A pod that does not answer, or has no certificate yet."""
    assert read_replica(A, text).leaf_expiry is None


LATER = SECONDS + 20 * DAY
CHECKS = [
    pytest.param(
        [Entry("e", LATER)],
        [Replica(A, SECONDS + 7 * DAY)],
        "ok",
        "CA valid until 2030-01-30 00:00Z, leaves until 2030-01-17 00:00Z",
        id="valid",
    ),
    pytest.param(
        [Entry("e", LATER)],
        [Replica(A, SECONDS + 7 * DAY), Replica(B, None)],
        "ok",
        "leaves until 2030-01-17 00:00Z, not every leaf could be read",
        id="a pod that does not answer",
    ),
    pytest.param(
        [Entry("e", LATER)],
        [],
        "ok",
        "CA valid until 2030-01-30 00:00Z, not every leaf could be read",
        id="pods that may not be listed",
    ),
    pytest.param(
        [Entry("e", None)],
        [Replica(A, SECONDS + 7 * DAY)],
        "ok",
        "no CA in the bundles, leaves until",
        id="a bundle with the leaf itself",
    ),
    pytest.param([Entry("e", 0)], [], "failed", "no CA in e: the API server cannot", id="no CA"),
    pytest.param(
        [Entry("e", SECONDS - 1)],
        [],
        "failed",
        "the CA in e has expired on 2030-01-09 23:59Z",
        id="an expired CA",
    ),
    pytest.param(
        [Entry("e", LATER)],
        [Replica(A, SECONDS), Replica(B, LATER)],
        "failed",
        f"the leaf of {A} has expired on 2030-01-10 00:00Z",
        id="an expired leaf",
    ),
    pytest.param(
        [Entry("e", LATER)],
        [Replica(A, LATER, uncovered=1)],
        "failed",
        f"the leaf of {A} is not covered by 1 entries: the API server does not trust it",
        id="a leaf of another CA",
    ),
    pytest.param(
        [Entry("e", SECONDS + 3 * DAY - 1)],
        [Replica(A, LATER)],
        "warning",
        "the CA in e expires on 2030-01-12 23:59Z: the renewal fails",
        id="a CA that ends within three days",
    ),
    pytest.param(
        [Entry("e", LATER)],
        [Replica(A, LATER), Replica(B, SECONDS + DAY - 1)],
        "warning",
        f"the leaf of {B} expires on 2030-01-10 23:59Z: the renewal fails",
        id="a leaf that ends within a day",
    ),
]


@pytest.mark.parametrize(("listed", "replicas", "state", "message"), CHECKS)
def test_certificates_are_checked_for_their_end_and_for_trust(
    listed: list[Entry], replicas: list[Replica], state: str, message: str
) -> None:
    """A check that does not pass names the command that shows more."""
    check = certificate_check(listed, replicas, SECONDS, "kubectl exec")
    assert str(check.state) == state
    assert message in check.message
    assert ("kubectl exec" in check.fix) == (state != "ok")


def certificates(done: Result) -> dict[str, Any]:
    [check] = [each for each in json.loads(done.stdout) if each["subject"] == "certificates"]
    return dict(check)


def test_status_fails_for_a_certificate_that_has_expired(run: Run) -> None:
    """And warns of one that is about to; the dates are those of the cluster's objects."""
    near = (datetime.now(UTC) + timedelta(hours=3)).timestamp()
    objects = {**CLUSTER, metrics_path(A): metrics("1.5e+09")}
    result = run("status", "-o", "json", objects=objects)
    assert result.exit_code == 1
    assert f"the leaf of {A} has expired on 2017-07-14" in certificates(result)["message"]
    result = run("status", "-o", "json", objects={**CLUSTER, metrics_path(A): metrics(str(near))})
    assert (result.exit_code, certificates(result)["state"]) == (0, "warning")

    old = [{"name": "pods", "clientConfig": {"caBundle": bundle(datetime(2021, 1, 1, tzinfo=UTC))}}]
    result = run("status", "-o", "json", objects={**CLUSTER, CONFIGURATION: {"webhooks": old}})
    assert certificates(result)["message"] == "the CA in pods has expired on 2021-01-01 00:00Z"


def test_who_may_not_ask_the_webhooks_pods_sees_the_ca_alone(run: Run) -> None:
    """With the right that is missing on standard error."""
    forbidden = (metrics_path(A), metrics_path(B))
    result = run("status", "-o", "json", forbidden=forbidden)
    assert certificates(result)["message"].endswith("not every leaf could be read")
    assert "you may not get pods/proxy in namespace genie-system" in result.stderr


def test_a_webhook_without_a_port_for_probes_is_not_asked(run: Run) -> None:
    """Some other image may have been installed."""
    pods = json.loads(json.dumps(CLUSTER[f"{GENIE}/pods"]))
    for pod in pods[2:]:
        del pod["spec"]["containers"][0]["ports"]
    done = run("status", "-o", "json", objects={**CLUSTER, f"{GENIE}/pods": pods})
    assert certificates(done)["message"].endswith("not every leaf could be read")
