from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli import app, output
from cli.commands import removal
from dispatcher.kube.client import Kube
from lifecycle.cluster import KubeCluster
from tests.unit.apiserver import Api
from tests.unit.lifecycle.builders import agent, node, pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer.testing import Result

    Run = Callable[..., Result]

SETTINGS: dict[str, Any] = {
    "kind": "ConfigMap",
    "metadata": {"name": "genie", "namespace": "genie-system"},
    "data": {"mode": "install"},
}
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
REFUSED = """\
n1: Genie is needed by shop/web: without it, the node has only network "canal"
    -> delete or drain these pods first, and change what creates them
n2: the node is not ready
    -> bring it back, delete the Node if it is gone for good, \
or ignore n2: what Genie has there stays, and its pods' addresses may, too
Genie is not removed. Nothing was changed. The mode is "install".
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Yield a call of the command on an API server."""

    def call(api: Api, *words: str) -> Result:
        monkeypatch.setattr(
            removal, "connect", lambda *_: KubeCluster(api.client(), "genie-system")
        )
        return CliRunner().invoke(app.app, ["uninstall", *words])

    before = {each: signal.getsignal(each) for each in SIGNALS}
    monkeypatch.setattr("time.sleep", lambda _: None)
    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


def refusing() -> Api:
    nodes = (node("n1"), node("n2", ready="Unknown"), agent("n1"))
    return Api(SETTINGS, *nodes, pod("web", "weave", "canal"))


def mode(api: Api) -> str:
    [settings] = [each for path, each in api.objects.items() if path.endswith("/configmaps/genie")]
    return str(settings["data"]["mode"])


def test_a_refusal_names_pods_and_nodes_and_changes_nothing(run: Run) -> None:
    """The whole text, as in docs/kubectl-genie.md."""
    api = refusing()
    result = run(api)
    assert (result.exit_code, result.stdout, mode(api)) == (1, REFUSED, "install")
    page = (Path(__file__).parents[3] / "docs" / "kubectl-genie.md").read_text()
    assert REFUSED in page


def test_json_has_every_pod(run: Run) -> None:
    """For programs; the exit code is the same."""
    result = run(refusing(), "-o", "json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["result"], data["mode"]) == (1, "refused", "install")
    assert [(each["node"], each["pods"]) for each in data["obstacles"]] == [
        ("n1", ["shop/web"]),
        ("n2", []),
    ]


def test_a_dry_run_of_what_is_possible_changes_nothing(run: Run) -> None:
    """With one of the nodes left out."""
    api = Api(SETTINGS, node("n1"), node("n2", ready="Unknown"), agent("n1"))
    result = run(api, "--dry-run", "--ignore-nodes", "n2")
    assert (result.exit_code, mode(api)) == (0, "install")
    ending = 'Nothing keeps Genie from being removed. Nothing was changed. The mode is "install".'
    assert result.stdout.splitlines()[-1] == ending


def test_progress_is_on_standard_error_and_the_end_on_standard_output(run: Run) -> None:
    """The node here has lost Genie before."""
    api = Api(SETTINGS, node("n1", ""))
    result = run(api)
    assert (result.exit_code, mode(api)) == (0, "remove")
    assert result.stderr.splitlines() == ['the mode is "disable" now', 'the mode is "remove" now']
    assert result.stdout.startswith("Genie is removed from the nodes;")


def test_a_node_that_does_not_follow_is_exit_code_3(run: Run) -> None:
    """And the mode is what it was."""
    api = Api(SETTINGS, node("n1"), agent("n1"))
    result = run(api, "--timeout", "0")
    assert (result.exit_code, mode(api)) == (3, "install")
    assert 'n1: no answer in time: its agent has not applied the mode "disable"' in result.stdout


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_restores_the_mode_and_a_second_does_not_prevent_it(
    run: Run, number: signal.Signals
) -> None:
    """SIGHUP comes when an SSH session ends, from the kernel and from the shell."""
    api = Api(SETTINGS, node("n1"), agent("n1"))

    def interrupt(method: str, _path: str) -> None:
        if method == "PATCH":
            signal.raise_signal(number)

    api.after = interrupt
    assert run(api).exit_code != 0
    assert mode(api) == "install"


def test_a_signal_that_is_ignored_stays_so(run: Run) -> None:
    """With nohup the run goes on when the terminal is gone."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    api = Api(SETTINGS, node("n1", ""))
    api.after = lambda _method, _path: signal.raise_signal(signal.SIGHUP)
    assert (run(api).exit_code, mode(api)) == (0, "remove")


def test_the_help_documents_exit_codes_and_has_examples(run: Run) -> None:
    """Within 80 columns."""
    text = run(Api(), "--help").stdout
    assert "Examples:\n    kubectl genie uninstall --dry-run" in text
    assert "Exit codes:\n    0  removed, or with --dry-run: nothing prevents it" in text
    assert "    3  not removed" in text
    assert max(map(len, text.splitlines())) <= output.WIDTH


def test_the_cluster_is_that_of_the_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every command."""
    logins: list[Any] = []
    api = Api(SETTINGS)

    def load(_agent: str, kubeconfig: str | None, context: str | None) -> Any:
        logins.append((kubeconfig, context))
        return api.client()

    monkeypatch.setattr(Kube, "load", load)
    actual = removal.connect("/k", "two", "genie-system").settings()
    assert actual is not None
    assert (actual.mode, logins) == ("install", [("/k", "two")])
