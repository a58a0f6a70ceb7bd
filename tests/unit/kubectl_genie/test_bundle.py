from __future__ import annotations

import io
import json
import tarfile
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.bundle import archive, own_events
from cli.redact import REMOVED, redact, redact_text
from dispatcher.kube.errors import KubeError

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----"

SECRETS = [
    pytest.param(f"token {JWT} end", JWT, id="a token of a service account"),
    pytest.param(f"a\n{KEY}\nb", "MHcCAQEEI", id="a private key"),
    pytest.param(KEY[:40], "MHcCAQ", id="a private key that is cut off"),
    pytest.param("Authorization: Bearer abcdefgh12345", "abcdefgh12345", id="a header"),
    pytest.param("https://me:hunter2@etcd:2379/x", "hunter2", id="a password in a URL"),
    pytest.param('{"etcd_password": "hunter2"}', "hunter2", id="a password in JSON in a log"),
    pytest.param('"{\\"apiKey\\": \\"hunter2\\"}"', "hunter2", id="JSON in JSON"),
    pytest.param("client_secret=hunter2 other=1", "hunter2", id="a setting"),
    pytest.param("password: 'my hunter2, long'", "hunter2", id="a password with blanks"),
    pytest.param("exec weaver --password hunter2 --mtu 1", "hunter2", id="an option"),
    pytest.param('["weaver", "--password", "hunter2"]', "hunter2", id="an option in JSON"),
    pytest.param("weaver --token=hunter2", "hunter2", id="an option with an equals sign"),
    pytest.param("- name: DB_PASSWORD\n  value: hunter2\n", "hunter2", id="a variable in YAML"),
    pytest.param('{"name":"API_KEY","value":"hunter2"}', "hunter2", id="a variable in JSON"),
    pytest.param(
        '{\\"name\\":\\"TOKEN\\",\\"value\\":\\"hunter2\\"}', "hunter2", id="JSON in JSON in a log"
    ),
    pytest.param("client-key-data: LS0tLS1CRUdJTiBSU0E=", "LS0tLS1", id="a kubeconfig"),
    pytest.param("data LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVk=", "LS0t", id="a key in base64"),
    pytest.param("    token: hunter2\n  name: u", "hunter2", id="a user of a kubeconfig"),
    pytest.param("Authorization: AWS4 Credential=hunter2", "AWS4", id="another header"),
    pytest.param("use ghp_0123456789abcdefghijklmn", "ghp_0123", id="a token of GitHub"),
    pytest.param("GET /x?access_token=hunter2&y=1", "hunter2", id="a query"),
    pytest.param("wg set wg0 private-key=hunter2", "hunter2", id="a key of WireGuard"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_in_a_text_is_removed(text: str, secret: str) -> None:
    """Whatever is around it stays."""
    shown = redact_text(text)
    assert secret not in shown
    assert REMOVED in shown


def test_what_is_no_secret_stays() -> None:
    """Or the archive would be of no use."""
    text = "10-canal.conflist: plugin bridge failed: netns /var/run/netns/cni-1 (code 7)"
    assert redact_text(text) == text
    value = {"network": "canal", "tokens": 3, "hasSecret": True, "list": ["a", 1, None]}
    assert redact(value) == value


def test_values_under_telling_keys_are_removed_whole() -> None:
    """Of any depth and type."""
    value = {"a": [{"kubeToken": {"x": "y"}, "type": "bridge"}], "PASSWORD": "hunter2"}
    assert redact(value) == {"a": [{"kubeToken": REMOVED, "type": "bridge"}], "PASSWORD": REMOVED}


def test_variables_and_copies_of_objects_are_removed() -> None:
    """A pod's environment, registry log-ins, and what `kubectl apply` keeps."""
    value = {
        "env": [{"name": "WEAVE_PASSWORD", "value": "hunter2"}, {"name": "MTU", "value": "1400"}],
        "auths": {"registry.example": {"auth": "dTpodW50ZXIy"}},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "cni": "weave"},
        "args": ["--token", 3, "--mtu=1"],
    }
    shown = redact(value)
    assert shown["env"] == [
        {"name": "WEAVE_PASSWORD", "value": REMOVED},
        {"name": "MTU", "value": "1400"},
    ]
    assert shown["auths"]["registry.example"] == {"auth": REMOVED}
    assert set(shown["annotations"].values()) == {REMOVED, "weave"}
    assert shown["args"] == value["args"]


@given(
    st.sampled_from(
        ["password", "DB_PASSWORD", "apiKey", "client-secret", "token", "authorization"]
    ),
    st.text(alphabet="abcXYZ019_/+=.", min_size=6, max_size=30),
    st.integers(0, 3),
)
def test_a_value_under_such_a_key_is_removed_however_deep_the_json(
    key: str, secret: str, depth: int
) -> None:
    """JSON in a string of JSON, as in annotations that a log quotes."""
    secret = f"s3cr3t{secret}"
    text = json.dumps({"a": 1, key: secret, "z": "kept"})
    for _ in range(depth):
        text = json.dumps({"annotations": text})
    assert secret not in redact_text(text)
    assert "kept" in redact_text(text)
    assert secret not in json.dumps(redact({"text": text}))


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "name: ",
        "name=token ",
        "--",
        '"',
        "\\",
        'password="',
        "-----BEGIN PRIVATE KEY-----",
        "x://",
        "eyJ",
    ],
)
def test_a_log_that_a_stranger_fills_costs_no_more_than_its_length(piece: str) -> None:
    """A quadratic pattern would need minutes for one such line."""
    text = piece * (60_000 // len(piece))
    start = time.process_time()
    redact_text(text)
    assert time.process_time() - start < 2  # at most some 60 ms on an idle machine


def test_a_long_secret_is_removed() -> None:
    """Longer than a quoted value is searched for."""
    assert redact_text(f'password: "{"x" * 5000}"').count("x") == 0


def unpack(data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {}
        for member in tar.getmembers():
            content = tar.extractfile(member)
            assert content is not None
            assert member.mode == 0o600
            files[member.name] = content.read().decode()
    return files


def test_the_archive_has_a_file_for_each_part_and_says_what_failed() -> None:
    """One node that does not answer costs its own files only; nothing planted comes through."""

    def fail() -> Any:
        raise KubeError(0, "Timeout", f"exec in pod x: Bearer {JWT}")

    parts = [
        ("status.json", lambda: {"token": JWT, "text": f"x {JWT}", "ok": True}),
        ("nodes/n1/doctor.json", fail),
        ("nodes/n1/agent.log", lambda: f"line\npassword=hunter2\n{KEY}\n"),
    ]
    seen: list[str] = []
    files = unpack(archive(parts, "genie", seen.append))
    assert seen == [name for name, _ in parts]
    assert files.keys() == {"genie/status.json", "genie/nodes/n1/agent.log", "genie/errors.txt"}
    assert json.loads(files["genie/status.json"])["ok"] is True
    assert "nodes/n1/doctor.json: exec in pod x" in files["genie/errors.txt"]
    everything = "".join(files.values())
    for secret in (JWT, "hunter2", "MHcCAQEEI"):
        assert secret not in everything


def test_only_genies_events_are_kept_in_order_of_time() -> None:
    """Those of a busy cluster are many, and other people's."""
    events: list[dict[str, Any]] = [
        {"reportingComponent": "genie-agent", "reason": "B", "lastTimestamp": "2026-02-01"},
        {"source": {"component": "kubelet"}, "reason": "X"},
        {"source": {"component": "genie-agent"}, "reason": "A", "eventTime": "2026-01-01"},
        {
            "reportingComponent": "genie-agent",
            "reason": "C",
            "eventTime": "2026-01-02",
            "series": {"count": 2, "lastObservedTime": "2026-03-01"},
        },
    ]
    assert [each["reason"] for each in own_events(events)] == ["A", "B", "C"]
