from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import pytest

import certs.__main__ as command
from certs import CertificateManager, CertificateSettings
from certs.observed import API, KINDS
from certs.status import span
from certs.stored import COMPROMISED, REQUEST
from dispatcher.kube.client import KubeError
from tests.unit.certs.api import Api, configuration

MUTATING = f"{API}{KINDS[0]}/cni-genie"
SECRET = "/api/v1/namespaces/genie-system/secrets/genie-webhook-ca"  # noqa: S105 - a path


class Site:
    """An API server, a replica, and a person at a terminal."""

    def __init__(self) -> None:
        self.api = Api()
        self.api.store(MUTATING, configuration("cni-genie", "a"))
        self.replica = CertificateManager(
            self.api.client(),
            CertificateSettings(),
            monotonic=lambda: self.api.seconds,
            boot=lambda: self.api.seconds,
        )
        self.replica_runs = True

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; returns its exit code, and what it wrote to stdout and stderr."""
        out, progress = io.StringIO(), io.StringIO()
        terminal = command.Terminal(
            self.api.client(),
            CertificateSettings(),
            out,
            progress,
            sleep=self._sleep,
            monotonic=lambda: self.api.seconds,
        )
        terminal._clock._boot = lambda: self.api.seconds
        code = command.run(command._parser(CertificateSettings()).parse_args(arguments), terminal)
        return code, out.getvalue(), progress.getvalue()

    def _sleep(self, seconds: float) -> None:
        self.api.seconds += 10 * seconds
        if self.replica_runs:
            self.replica.round()


@pytest.fixture
def site() -> Site:
    """Give a site with a CA."""
    made = Site()
    made.replica.round()
    return made


def test_status_is_a_table_for_people(site: Site) -> None:
    """Phase, what signs, what is trusted, expiry, what it waits for."""
    code, text, _ = site.run("status")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "genie-webhook.genie-system.svc"
    assert lines[1] == "phase      STEADY: one CA, known everywhere"
    assert lines[2] == "waits for  the next rotation, 2030-01-21T00:00:00Z"
    assert lines[4].split() == ["CA", "ROLE", "TRUSTED", "BY", "EXPIRES", "IN"]
    assert lines[5].split()[1:] == [
        "signs", "1", "of", "1", "entries", "2030-01-31", "00:00Z", "30", "d",
    ]  # fmt: skip


def test_status_is_json_for_programs(site: Site) -> None:
    """With the whole fingerprint, and who trusts it."""
    code, text, _ = site.run("status", "--output", "json")
    found: dict[str, Any] = json.loads(text)
    assert code == 0
    assert found["phase"] == "STEADY"
    (only,) = found["certificateAuthorities"]
    assert only["signs"]
    assert only["trustedBy"] == ["mutatingwebhookconfigurations/cni-genie/a"]
    assert dt.datetime.fromisoformat(only["notAfter"]).year == 2030


def test_status_names_what_is_missing_and_what_is_broken(site: Site) -> None:
    """A bundle without the CA, a damaged Secret, a request, a CA that nobody knows any more."""
    site.api.store(f"{API}{KINDS[1]}/new", configuration("new", "n"))
    site.api.objects[SECRET]["data"]["state"] = "eA=="
    site.api.objects[SECRET]["metadata"]["annotations"] = {REQUEST: "requested"}
    _, text, _ = site.run("status")
    assert "is missing from validatingwebhookconfigurations/new/n" in text
    assert "problem    state: " in text
    assert "asked for  a rotation (requested)" in text
    assert "waits for  a replica to take the next step: the Secret was damaged in part" in text
    site.api.remove(SECRET)
    code, text, progress = site.run("status")
    assert code == 1
    assert "phase      NONE: there is no usable CA" in text
    assert "unknown" in text
    assert progress == ""


def test_rotate_asks_and_returns(site: Site) -> None:
    """The annotation is there, and the replica takes it from there."""
    code, _, progress = site.run("rotate")
    assert code == 0
    assert progress.startswith("asked for\n")
    assert site.api.objects[SECRET]["metadata"]["annotations"][REQUEST] == "requested"


def test_rotate_with_wait_shows_progress_until_the_new_ca_signs(site: Site) -> None:
    """A line for each thing that is waited for; then the table."""
    code, text, progress = site.run("rotate", "--wait")
    assert code == 0
    assert "PUBLISH: waits for API servers that lag" in progress
    assert "PROMOTE: waits for the last leaf of the old CA to expire" in progress
    assert [line.split()[1] for line in text.splitlines()[5:]] == ["signs", "previous"]


def test_rotate_in_promote_says_when_it_will_be(site: Site) -> None:
    """A second rotation waits for the first, unless the CA is compromised."""
    site.run("rotate", "--wait")
    code, _, progress = site.run("rotate", "--wait")
    assert code == 0
    assert "yours begins after it. --compromised would not wait" in progress


def test_compromised_says_what_it_costs_and_leaves_no_trust(site: Site) -> None:
    """It returns when no bundle holds the old CA."""
    old = site.replica.leaf
    code, text, progress = site.run("rotate", "--compromised", "--wait", "--output", "json")
    assert code == 0
    assert progress.startswith("The old CA is trusted no more as soon as")
    assert [one["role"] for one in json.loads(text)["certificateAuthorities"]] == ["signs"]
    assert site.replica.leaf is not old
    assert REQUEST not in site.api.objects[SECRET]["metadata"]["annotations"]
    assert COMPROMISED == "compromised"


def test_rotate_gives_up_with_a_reason(site: Site) -> None:
    """No replica runs: it says what it still waits for, and where help is."""
    site.replica_runs = False
    code, _, progress = site.run("rotate", "--wait", "--timeout", "20")
    assert code == 1
    assert "not done after 20 s; it still waits for a replica to take the next step" in progress


def test_rotate_without_a_ca_says_who_makes_one(site: Site) -> None:
    """Nothing is written."""
    site.api.remove(SECRET)
    code, _, progress = site.run("rotate")
    assert code == 1
    assert "a running replica makes one" in progress


@pytest.mark.parametrize(
    ("conflicts", "fails"),
    [
        pytest.param(1, False, id="a replica that writes in between is no matter"),
        pytest.param(2, True, id="two in a row are reported"),
    ],
)
def test_rotate_meets_a_conflict(site: Site, conflicts: int, *, fails: bool) -> None:
    left = [conflicts]

    def conflict(method: str, path: str) -> None:
        if method == "PUT" and left[0]:
            left[0] -= 1
            raise KubeError(409, "Conflict", f"PUT {path}: modified")

    site.api.before = conflict
    if fails:
        with pytest.raises(KubeError, match="modified"):
            site.run("rotate")
    else:
        assert site.run("rotate")[0] == 0


def test_without_a_cluster_the_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and the reason."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    assert command.main(["status"]) == 1
    assert capsys.readouterr().err.startswith("python -m certs: cannot log in to Kubernetes")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "over"), (5, "5 s"), (300, "5 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_spans_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert span(seconds) == text
