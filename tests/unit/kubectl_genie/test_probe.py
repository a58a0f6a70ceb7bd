"""``status`` says whether a pod with an annotation would really be attached."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.kube.errors import UNPROCESSABLE, KubeError
from tests.unit.kubectl_genie.builders import APPS, CLUSTER, GENIE, FakeAPI, admitted, whole_node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typer.testing import Result

    Run = Callable[..., Result]


def states(done: Result) -> dict[str, str]:
    return {each["subject"]: each["state"] for each in json.loads(done.stdout)}


def seen(done: Result, subject: str) -> str:
    [check] = [each for each in json.loads(done.stdout) if each["subject"] == subject]
    return f"{check['message']} -> {check['fix']}"


def refuse(pod: Mapping[str, Any]) -> dict[str, Any]:
    name = pod["metadata"]["annotations"]["cni"].strip()
    if name == "weave":
        path = "/api/v1/namespaces/default/pods?dryRun=All"
        raise KubeError(UNPROCESSABLE, "Invalid", f"POST {path}: weave is on strike")
    return {"metadata": {"annotations": {"cni": name}}}


def ignore(pod: Mapping[str, Any]) -> dict[str, Any]:
    return dict(pod)


def refuse_blanks(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Answer as the policies do while the API server cannot call the webhook."""
    if pod["metadata"]["annotations"]["cni"].startswith(" "):
        raise KubeError(UNPROCESSABLE, "Invalid", "POST: check that the webhook runs")
    return dict(pod)


def fail(_: Mapping[str, Any]) -> dict[str, Any]:
    raise KubeError(0, "NoAnswer", "POST /api: no answer")


def answer_with(admit: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[FakeAPI], None]:
    def change(api: FakeAPI) -> None:
        api.admit = admit

    return change


def test_a_pod_that_is_refused_fails_the_check(run: Run) -> None:
    """With the API server's own sentence as what to do."""
    result = run("status", "-o", "json", change=answer_with(refuse))
    assert result.exit_code == 1
    expected = "a pod that names weave is refused in namespace default -> weave is on strike"
    assert seen(result, "admission") == expected


@pytest.mark.parametrize("admit", [ignore, refuse_blanks])
def test_a_webhook_that_the_api_server_cannot_call_fails_the_check(
    run: Run, admit: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> None:
    """Its failure policy admits the pod, so only the blank shows it, which a policy may refuse."""
    result = run("status", "-o", "json", change=answer_with(admit))
    assert result.exit_code == 1
    assert "does not call the webhook" in seen(result, "admission")


def test_without_a_webhook_an_admitted_pod_is_enough(run: Run) -> None:
    """The policies decide alone; nothing removes the blank."""
    objects = {**CLUSTER, f"{APPS}/deployments": []}
    for admit in (ignore, refuse_blanks):
        done = run("status", "-o", "json", objects=objects, change=answer_with(admit))
        assert states(done)["admission"] == "ok"


@pytest.mark.parametrize(
    ("words", "change", "reason"),
    [
        pytest.param(
            (),
            {"may_create": False},
            "you may not create pods in namespace default",
            id="a user who may not create pods",
        ),
        pytest.param(
            ("-n", "kube-system"),
            {},
            "Genie leaves pods in namespace kube-system alone",
            id="an excluded namespace",
        ),
    ],
)
def test_where_no_pod_can_be_tried_the_answer_is_unknown(
    run: Run, words: tuple[str, ...], change: dict[str, Any], reason: str
) -> None:
    """That does not fail `status`, but `--wait` does not succeed without an answer."""

    def set_all(api: FakeAPI) -> None:
        vars(api).update(change)

    result = run("status", *words, "-o", "json", change=set_all)
    assert (result.exit_code, states(result)["admission"]) == (0, "unknown")
    assert reason in seen(result, "admission")
    result = run("status", *words, "--wait", "--timeout", "0", "-o", "json", change=set_all)
    assert result.exit_code == 1


def test_networks_that_the_namespace_does_not_allow_are_not_tried(run: Run) -> None:
    """Their refusal would say nothing about Genie."""
    shop = {"metadata": {"name": "shop", "annotations": {"cni-genie.io/allowed": "canal"}}}
    objects = {**CLUSTER, "/api/v1/namespaces": [shop]}
    done = run("status", "-n", "shop", "-o", "json", objects=objects, change=answer_with(refuse))
    assert seen(done, "admission") == "pods in namespace shop may name canal -> "


def test_a_developer_learns_at_least_whether_the_webhook_answers(run: Run) -> None:
    """He knows neither networks nor settings: a pod that leaves the choice to others is tried."""
    hidden = (f"{APPS}/daemonsets", f"{APPS}/deployments", f"{GENIE}/configmaps/genie")
    forbidden = ("/api/v1/nodes", *hidden)
    done = run("status", "-o", "json", forbidden=forbidden)
    assert seen(done, "admission") == "pods in namespace default may name networks -> "
    done = run("status", "-o", "json", forbidden=forbidden, change=answer_with(ignore))
    assert states(done)["admission"] == "warning"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            {"/api/v1/nodes/n1": whole_node(cordoned=True)}, "n1 is cordoned", id="cordoned"
        ),
        pytest.param(
            {"/api/v1/nodes/n1": whole_node("True", "gpu")}, "n1 has the taint gpu", id="tainted"
        ),
        pytest.param(
            {"/api/v1/nodes/n1": whole_node("Unknown")}, "n1 is not Ready", id="not ready"
        ),
        pytest.param({f"{GENIE}/pods": []}, "the agent on n1 is not ready", id="no agent"),
    ],
)
def test_a_network_whose_nodes_cannot_run_pods_fails(
    run: Run, change: dict[str, Any], reason: str
) -> None:
    """The label alone promises nothing: weave is on n1 only."""
    result = run("status", "-o", "json", objects={**CLUSTER, **change})
    assert result.exit_code == 1
    assert f"but no pod can run there: {reason}" in seen(result, "network weave")


def test_waiting_ends_when_a_pod_would_be_attached(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: the agent comes first, then the answer of the API server, then the webhook's."""
    objects = {**CLUSTER, f"{APPS}/daemonsets": []}
    apis: list[FakeAPI] = []

    def begin(api: FakeAPI) -> None:
        apis.append(api)
        api.admit = fail

    steps = iter(
        (
            lambda _: objects.update({f"{APPS}/daemonsets": CLUSTER[f"{APPS}/daemonsets"]}),
            answer_with(ignore),
            answer_with(refuse),
            answer_with(admitted),
        )
    )
    monkeypatch.setattr("time.sleep", lambda _: next(steps)(apis[0]))
    result = run("status", "--wait", objects=objects, change=begin)
    assert result.exit_code == 0, result.output
    assert list(steps) == []
    waited = [line for line in result.stderr.splitlines() if line.startswith("waiting: ")]
    assert [line.split()[1] for line in waited] == ["POST", "POST", "admission:", "admission:"]


def test_waiting_gives_up_after_its_time(run: Run) -> None:
    """With the exit code of a failed check."""
    objects = {**CLUSTER, f"{APPS}/daemonsets": []}
    assert run("status", "--wait", "--timeout", "0", objects=objects).exit_code == 1
