"""Settings: where they come from, and what a person reads when one is wrong."""

from __future__ import annotations

import re
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from certs import CertificateError
from dispatcher.kube import logs
from dispatcher.kube.settings import InvalidSettingsError, load
from tests.ports import free_port
from webhook import __main__ as command
from webhook.server import raise_descriptor_limit
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GENIE_CONFIG", "GENIE_NETWORKS", "GENIE_PORT", "GENIE_DRAIN_SECONDS"):
        monkeypatch.delenv(name, raising=False)


def settings(*arguments: str) -> WebhookSettings:
    return load(WebhookSettings, "python -m webhook", arguments)


def test_defaults_are_complete() -> None:
    """The webhook starts without a single setting."""
    assert settings().port == 8443
    assert settings().networks == ()


def test_the_command_line_wins_over_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them may set any of them."""
    file = tmp_path / "webhook.yaml"
    file.write_text("port: 1001\nprobe_port: 1002\ndrain_seconds: 3.5\nnetworks: [weave]\n")
    monkeypatch.setenv("GENIE_CONFIG", str(file))
    monkeypatch.setenv("GENIE_PORT", "2001")
    monkeypatch.setenv("GENIE_PROBE_PORT", "2002")
    result = settings("--port", "3001")
    assert (result.port, result.probe_port, result.drain_seconds) == (3001, 2002, 3.5)
    assert result.networks == ("weave",)


@pytest.mark.parametrize(
    ("text", "names"),
    [("weave, canal", ("weave", "canal")), ("", ()), (" , weave,", ("weave",))],
    ids=["two", "empty", "blanks"],
)
def test_networks_are_names_with_commas(
    text: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an allow-list."""
    monkeypatch.setenv("GENIE_NETWORKS", text)
    assert settings().networks == names


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "0"], r"--port \(GENIE_PORT\): .*greater than or equal to 1, got \"0\""),
        (["--networks", "a/b"], r"--networks .*\"a/b\" is not the name of a network"),
        (["--scheduling", "maybe"], r"--scheduling \(GENIE_SCHEDULING\): .*'required'.*\"maybe\""),
        (["--multus-namespace", "a/b"], r"--multus-namespace .*the name of one namespace"),
        (["--keep-alive-seconds", "5"], r"--keep-alive-seconds .*greater than or equal to 91"),
    ],
    ids=["port", "networks", "scheduling", "multus-namespace", "keep-alive"],
)
def test_a_bad_setting_is_one_line_that_names_it(arguments: list[str], sentence: str) -> None:
    """And says what was given."""
    with pytest.raises(InvalidSettingsError) as refused:
        settings(*arguments)
    assert re.search(sentence, str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("ports: 1\n", "setting --ports .*Extra inputs are not permitted"),
        ("port: [\n", "is not valid YAML"),
        (None, "does not exist"),
    ],
    ids=["unknown-key", "no-yaml", "no-file"],
)
def test_a_bad_file_is_one_line_that_names_it(
    content: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that nothing reads is a mistake too."""
    file = tmp_path / "webhook.yaml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("GENIE_CONFIG", str(file))
    with pytest.raises(InvalidSettingsError, match=sentence) as refused:
        settings()
    assert "\n" not in str(refused.value)


def test_help_lists_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    """A person needs no other document."""
    with pytest.raises(SystemExit) as ended:
        settings("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in WebhookSettings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description
        assert " ".join(field.description.split()[:5]) in text
    assert "GENIE_CONFIG" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "nine"], "python -m webhook: setting --port"),
        ([], "python -m webhook: cannot log in to Kubernetes"),
    ],
    ids=["bad-setting", "no-kubernetes"],
)
def test_a_start_that_cannot_work_is_refused_in_one_line(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Exit code 2, nothing started."""
    nowhere = str(tmp_path / "none")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", nowhere)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(logs, "configure", lambda _: None)  # other tests log too
    assert command.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(sentence)
    assert printed.count("\n") == 1


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {token: a-token-for-tests}}]
"""


@pytest.fixture
def unreachable_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Provide credentials for an API server that is not there."""
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.setattr(logs, "configure", lambda _: None)


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """Give the hard limit of descriptors while the soft one is what container runtimes set."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("unreachable_cluster")
def test_a_start_takes_all_descriptors_it_may_have(few_descriptors: int) -> None:
    """Those that a container gets without asking are fewer than connections may need."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = [f"--port={taken.getsockname()[1]}", f"--probe-port={free_port()}"]
        assert command.main(["--address=127.0.0.1", *options]) == 2
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few_descriptors


def test_a_limit_of_descriptors_that_cannot_be_raised_is_lived_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hard limit may have been inherited that the kernel no longer grants anybody."""

    def refused(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr("resource.setrlimit", refused)
    raise_descriptor_limit()


@pytest.mark.usefixtures("unreachable_cluster")
def test_a_client_ca_that_went_away_during_the_start_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings read the file, too; the manager, a moment later, is the one that uses it."""

    def refused(*_: object) -> None:
        raise CertificateError("the file cannot be read: No such file or directory")

    monkeypatch.setattr(command, "CertificateManager", refused)
    assert command.main([]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    sentence = "setting GENIE_CERTS_CLIENT_CA: the file cannot be read: No such file or directory"
    assert line == f"python -m webhook: {sentence}"


@pytest.mark.usefixtures("unreachable_cluster")
def test_a_port_that_is_taken_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the setting; the replica ends instead of being killed by its probes for ever."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [str(taken.getsockname()[1]), str(free_port())]
        options = ["--address=127.0.0.1", f"--port={ports[0]}", f"--probe-port={ports[1]}"]
        assert command.main(options) == 2
    # Other tests may have set up logging: what the threads say meanwhile then stands before it.
    output = capsys.readouterr().err
    line = output.splitlines()[-1]
    sentence = f"setting --port (GENIE_PORT): cannot listen on port {ports[0]}: "
    assert line.startswith(f"python -m webhook: {sentence}")
    assert "Traceback" not in output


def test_an_invalid_tenant_template_stops_the_start() -> None:
    """The sentence names the setting and the field; namespaces are text with commas."""
    with pytest.raises(InvalidSettingsError, match=r"--tenant-templates.*\[0\]\.namespaces"):
        settings("--tenant-templates", '[{"namespaces": []}]')
    assert settings("--trusted-namespaces", "infra, a").trusted_namespaces == ("infra", "a")
    assert settings().trusted_namespaces == ("*",)
