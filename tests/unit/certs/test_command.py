from __future__ import annotations

import datetime as dt
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import certs.__main__ as command
from certs import CertificateSettings
from certs.authority import KeyPair, issue_ca
from certs.ca_secret import REQUEST
from certs.commands import CommandContext
from certs.leaf import Leaf, make_leaf
from certs.settings import DAY
from certs.status import format_duration
from certs.webhook_configs import API, KINDS
from dispatcher.kube.client import KubeError
from tests.unit.apiserver import Api, configuration
from tests.unit.certs.builders import MUTATING, NAME, NOW, SECRET, SETTINGS, make_manager

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = f"{KINDS[0]}/cni-genie/a"


class CommandSite:
    """An API server, a replica, and the terminal of a person."""

    def __init__(self) -> None:
        self.api = Api()
        self.api.store(MUTATING, configuration("cni-genie", "a"))
        self.replica = make_manager(self.api)
        self.replica_runs = True

    def run(self, *arguments: str, **settings: Any) -> tuple[int, str, str]:
        """Run a command with these settings; return its exit code, stdout and stderr."""
        out, progress = io.StringIO(), io.StringIO()
        context = CommandContext(
            self.api.client(),
            CertificateSettings(**settings),
            out,
            progress,
            sleep=self._sleep,
            monotonic=lambda: self.api.seconds,
        )
        context._clock._boot = lambda: self.api.seconds
        code = command.run(
            command.make_parser(CertificateSettings()).parse_args(arguments), context
        )
        return code, out.getvalue(), progress.getvalue()

    def _sleep(self, seconds: float) -> None:
        self.api.seconds += 10 * seconds
        if self.replica_runs:
            self.replica.reconcile()


@pytest.fixture
def site() -> CommandSite:
    """Give a site with a CA."""
    new_site = CommandSite()
    new_site.replica.reconcile()
    return new_site


def test_status_is_a_table_for_people(site: CommandSite) -> None:
    """The phase, what the rotation waits for, and each CA with its role and expiry."""
    code, text, _ = site.run("status")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "genie-webhook.genie-system.svc"
    assert lines[1] == "phase      STEADY: one CA, in every bundle"
    assert lines[2] == "waits for  the next rotation, 2030-01-21T00:00:00Z"
    assert lines[4].split() == ["CA", "ROLE", "TRUSTED", "BY", "EXPIRES", "IN"]
    assert lines[5].split()[1:] == [
        "signs", "1", "of", "1", "entries", "2030-01-31", "00:00Z", "30", "d",
    ]  # fmt: skip


def test_status_is_json_for_programs(site: CommandSite) -> None:
    """With the whole fingerprint, and the entries that trust it."""
    code, text, _ = site.run("status", "--output", "json")
    status: dict[str, Any] = json.loads(text)
    assert code == 0
    assert status["phase"] == "STEADY"
    (only,) = status["certificateAuthorities"]
    assert only["signs"]
    assert only["trustedBy"] == ["mutatingwebhookconfigurations/cni-genie/a"]
    assert dt.datetime.fromisoformat(only["notAfter"]).year == 2030


def test_status_lists_missing_cas_and_problems(site: CommandSite) -> None:
    """A bundle without the CA, a damaged Secret, a request, a CA that is not in the Secret."""
    site.api.store(f"{API}{KINDS[1]}/new", configuration("new", "n"))
    site.api.objects[SECRET]["data"]["state"] = "eA=="
    site.api.objects[SECRET]["metadata"]["annotations"] = {REQUEST: "requested"}
    _, text, _ = site.run("status")
    assert "is missing from validatingwebhookconfigurations/new/n" in text
    assert "problem    state: " in text
    assert "requested  a rotation (requested)" in text
    assert "waits for  a replica to take the next step: a part of the Secret was damaged" in text
    site.api.remove(SECRET)
    code, text, progress = site.run("status")
    assert code == 1
    assert "phase      NONE: there is no usable CA" in text
    assert "unknown" in text
    assert progress == ""


def test_status_in_publish_has_no_countdown(site: CommandSite) -> None:
    """Only a replica knows how much longer it takes."""
    site.run("rotate")
    site.replica.reconcile()
    site.api.seconds = 50
    assert "waits for  every API server to read the bundles, 60 s after" in site.run("status")[1]


def pair() -> tuple[KeyPair, Leaf]:
    ca = issue_ca(NAME, now=NOW, lifetime=30 * DAY, backdating=300)
    return ca, make_leaf(ca, NOW, SETTINGS, early=0)


def forbidden(_method: str, path: str) -> None:
    """Fail where a ServiceAccount without a right on Secrets does."""
    if "/secrets" in path:
        raise KubeError(403, "Forbidden", f"{path}: not allowed")


def test_status_of_mounted_files_has_their_expiry_and_the_bundles_that_lack_their_ca(
    site: CommandSite, tmp_path: Path
) -> None:
    """No Secret is read: the ServiceAccount may have no right on it."""
    ca, leaf = pair()
    (tmp_path / "tls.crt").write_bytes(leaf.chain_pem)
    (tmp_path / "tls.key").write_bytes(leaf.key_pem)
    (tmp_path / "ca.crt").write_bytes(ca.certificate_pem)
    site.api.before = forbidden
    code, text, _ = site.run("status", directory=tmp_path)
    assert code == 0
    lines = text.splitlines()
    assert lines[1] == "phase      FILES: certificates come from mounted files"
    expires = "the current one expires 2030-01-08T00:00:00Z"
    assert lines[2] == f"waits for  a new pair in {tmp_path}; {expires}"
    assert lines[3].startswith(f"problem    the caBundle of {ENTRY} does not cover tls.crt: ")
    assert lines[6].split()[1:6] == ["file", "0", "of", "1", "entries"]


def test_status_of_unusable_mounted_files_has_the_reason(site: CommandSite, tmp_path: Path) -> None:
    """Exit code 1, as where there is no usable CA."""
    code, text, _ = site.run("status", directory=tmp_path)
    assert code == 1
    assert f"waits for  usable files in {tmp_path}: {tmp_path}/tls.crt: No such file" in text


def test_rotate_with_mounted_files_is_refused(site: CommandSite, tmp_path: Path) -> None:
    """Nothing is requested, because no replica would carry it out."""
    site.api.before = forbidden
    code, _, progress = site.run("rotate", directory=tmp_path)
    assert code == 1
    assert f"certificates come from files in {tmp_path}, so there is no CA to rotate" in progress


def test_rotate_requests_and_returns(site: CommandSite) -> None:
    """It sets the annotation; a replica carries the rotation out."""
    code, _, progress = site.run("rotate")
    assert code == 0
    assert progress.startswith("rotation requested\n")
    assert site.api.objects[SECRET]["metadata"]["annotations"][REQUEST] == "requested"


def test_rotate_with_wait_shows_progress_until_the_new_ca_signs(site: CommandSite) -> None:
    """A line for each phase and condition, then the table."""
    code, text, progress = site.run("rotate", "--wait")
    assert code == 0
    assert "PUBLISH: waits for every API server to read the bundles" in progress
    assert "PROMOTE: waits for the last leaf of the old CA to expire" in progress
    assert [line.split()[1] for line in text.splitlines()[5:]] == ["signs", "previous"]


def test_rotate_in_promote_says_what_the_request_waits_for(site: CommandSite) -> None:
    """A second rotation waits for the first, unless the CA is compromised."""
    site.run("rotate", "--wait")
    for _ in range(2):
        code, _, progress = site.run("rotate")
        assert code == 0
        assert "2030-01-08T01:01:05Z; then the requested rotation. --comp" in progress


def test_rotate_with_wait_in_promote_waits_for_the_second_rotation(site: CommandSite) -> None:
    """Up to its timeout: the first rotation is not the success that was waited for."""
    site.run("rotate", "--wait")
    code, text, progress = site.run("rotate", "--wait", "--timeout", "20", "--output", "json")
    assert (code, text) == (1, "")
    assert "not done after 20 s: PROMOTE: waits for the last leaf" in progress
    site.api.seconds = 7.1 * 86_400
    code, text, _ = site.run("rotate", "--wait", "--output", "json")
    assert code == 0
    assert json.loads(text)["phase"] == "PROMOTE"


def test_rotate_in_publish_requests_no_second_rotation(site: CommandSite) -> None:
    """It follows the rotation that is in progress."""
    site.run("rotate")
    site.replica.reconcile()
    code, _, progress = site.run("rotate", "--wait")
    assert code == 0
    assert progress.startswith(
        "a rotation is in progress; it waits for every API server to read the bundles, 60 s after"
    )
    assert REQUEST not in site.api.objects[SECRET]["metadata"]["annotations"]


def test_a_wait_continues_while_the_api_server_does_not_answer(site: CommandSite) -> None:
    """It reports that; only the timeout ends the wait."""
    silent_until = [15.0]

    def silent(method: str, path: str) -> None:
        if method == "GET" and 0 < site.api.seconds < silent_until[0]:
            raise KubeError(0, "NoAnswer", f"{method} {path}: no answer")

    site.api.before = silent
    code, _, progress = site.run("rotate", "--wait")
    assert code == 0
    assert progress.count("s  no answer: GET") == 1
    silent_until[0] = 1e9
    site.api.seconds = 0
    site.replica_runs = False
    code, _, progress = site.run("rotate", "--compromised", "--wait", "--timeout", "20")
    assert code == 1
    assert "not done after 20 s: no answer: GET" in progress


def test_ctrl_c_ends_a_command_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code that a shell expects, and a line about the request."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("certs.__main__.Kube.load", interrupted)
    assert command.main(["rotate"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; a requested rotation goes on\n")


def test_compromised_warns_of_the_cost_and_leaves_no_trust(site: CommandSite) -> None:
    """It returns when no bundle holds the old CA."""
    old = site.replica.leaf
    code, text, progress = site.run("rotate", "--compromised", "--wait", "--output", "json")
    assert code == 0
    assert progress.startswith("The old CA stops being trusted as soon as")
    assert [one["role"] for one in json.loads(text)["certificateAuthorities"]] == ["signs"]
    assert site.replica.leaf is not old
    assert REQUEST not in site.api.objects[SECRET]["metadata"]["annotations"]


def test_rotate_ends_at_its_timeout_with_a_reason(site: CommandSite) -> None:
    """No replica runs: it reports what it still waits for, and the page to read."""
    site.replica_runs = False
    code, _, progress = site.run("rotate", "--wait", "--timeout", "20")
    assert code == 1
    assert "not done after 20 s: STEADY: waits for a replica to take the next step" in progress


def test_rotate_without_a_ca_is_refused(site: CommandSite) -> None:
    """Nothing is written; the message says how one is created."""
    site.api.remove(SECRET)
    code, _, progress = site.run("rotate")
    assert code == 1
    assert "A running replica creates one; check: kubectl get pods -n genie-system" in progress
    progress = site.run("rotate", namespace="elsewhere")[2]
    assert "Secret elsewhere/genie-webhook-ca" in progress
    assert "check: kubectl get pods -n elsewhere" in progress


@pytest.mark.parametrize(
    ("conflicts", "fails"),
    [
        pytest.param(1, False, id="one, by a replica that writes in between, is retried"),
        pytest.param(2, True, id="two in a row are reported"),
    ],
)
def test_rotate_with_conflicts(site: CommandSite, conflicts: int, *, fails: bool) -> None:
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
    [(-1, "expired"), (5, "5 s"), (300, "5 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_durations_are_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
