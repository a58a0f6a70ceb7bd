from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from dispatcher.kube.client import MERGE_PATCH, Kube
from dispatcher.kube.errors import FORBIDDEN, KubeError
from lifecycle import __main__ as hooks
from lifecycle.cluster import KubeCluster, list_objects
from lifecycle.uninstall import Settings
from tests.devcluster.commands import run
from tests.unit.apiserver import Api, fail
from tests.unit.lifecycle.builders import agent, node, pod

if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACE = "genie-system"
SETTINGS = f"/api/v1/namespaces/{NAMESPACE}/configmaps/genie"
UNINSTALL = ("uninstall", "--namespace", NAMESPACE)


def settings(mode: str) -> dict[str, Any]:
    metadata = {"name": "genie", "namespace": NAMESPACE}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {"mode": mode, "limits": "warn"}}


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a call of the hook's command on an API server with objects."""

    def call(api: Api, *words: str) -> int:
        monkeypatch.setattr(Kube, "load", lambda _: api.client())
        return hooks.main(words)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("time.sleep", lambda _: None)
    try:
        return call
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_mode_and_what_it_was_before_are_one_object() -> None:
    """A second run restores what the first found; other settings stay."""
    api = Api(settings("install"))
    cluster = KubeCluster(api.client(), NAMESPACE)
    assert cluster.settings() == Settings("install", "install")
    cluster.set_mode("disable", "install")
    assert cluster.settings() == Settings("disable", "install")
    assert api.objects[SETTINGS]["data"] == {"mode": "disable", "limits": "warn"}
    cluster.set_mode("install", "install")
    assert cluster.settings() == Settings("install", "install")
    assert keys.MODE_BEFORE not in api.objects[SETTINGS]["metadata"]["annotations"]


@pytest.mark.parametrize("left", ["disable", "remove"])
def test_after_a_run_that_was_killed_a_refusal_restores_the_mode(
    hook: Callable[..., int], left: str
) -> None:
    """The annotation alone proves no killed run; that the mode is the run's own does."""
    api = Api(settings("install"), node("n1", ready="Unknown"))
    KubeCluster(api.client(), NAMESPACE).set_mode(left, "install")
    assert hook(api, *UNINSTALL) == 3
    assert api.objects[SETTINGS]["data"]["mode"] == "install"


@pytest.mark.parametrize("chosen", ["disable", "remove"])
def test_after_a_killed_run_the_administrators_next_mode_is_not_undone(
    hook: Callable[..., int], chosen: str
) -> None:
    """`helm rollback` sets the mode back and leaves the annotation; later another mode is set."""
    api = Api(settings("install"), node("n1", ready="Unknown"))
    KubeCluster(api.client(), NAMESPACE).set_mode("disable", "install")
    for mode in ("install", chosen):
        api.client().patch(f"{SETTINGS}?fieldManager=helm", {"data": {"mode": mode}}, MERGE_PATCH)
    assert hook(api, *UNINSTALL) == 1
    assert api.objects[SETTINGS]["data"]["mode"] == chosen


def test_a_removal_by_an_older_version_is_not_undone(hook: Callable[..., int]) -> None:
    """Its annotation is left; a node that joins before the objects are deleted is not ready."""
    removed = settings("remove")
    removed["metadata"]["annotations"] = {keys.MODE_BEFORE: "install"}
    removed["metadata"]["managedFields"] = [
        {"manager": "cni-genie-lifecycle", "fieldsV1": {"f:data": {"f:mode": {}}}}
    ]
    api = Api(removed, node("n1", ""), node("n2", ready="Unknown"))
    assert hook(api, *UNINSTALL) == 1
    assert api.objects[SETTINGS]["data"]["mode"] == "remove"
    assert hook(api, *UNINSTALL, "--ignore-nodes", "n2") == 0
    assert keys.MODE_BEFORE not in api.objects[SETTINGS]["metadata"]["annotations"]


def test_who_applies_the_mode_of_a_killed_run_has_chosen_it() -> None:
    """Server-side apply of the same value: both manage the field then."""
    api = Api(settings("install"))
    cluster = KubeCluster(api.client(), NAMESPACE)
    cluster.set_mode("disable", "install")
    managers = api.objects[SETTINGS]["metadata"]["managedFields"]
    managers.append({**managers[0], "manager": "flux"})
    assert cluster.settings() == Settings("disable", "disable")


def test_a_cluster_without_the_configmap_has_no_settings() -> None:
    """Every other error is the caller's."""
    api = Api()
    cluster = KubeCluster(api.client(), NAMESPACE)
    assert cluster.settings() is None
    api.before = fail(KubeError(FORBIDDEN, "Forbidden", "no"))
    with pytest.raises(KubeError):
        cluster.settings()


def test_nodes_are_read_with_their_pods_and_agents() -> None:
    """A pod of another namespace with the agent's label is no agent."""
    impostor = agent("n2")
    impostor["metadata"]["namespace"] = "shop"
    api = Api(node("n1"), node("n2"), pod("web", "weave"), agent("n1"), impostor)
    actual = {each.name: each for each in KubeCluster(api.client(), NAMESPACE).nodes()}
    assert [actual[name].has_agent for name in ("n1", "n2")] == [True, False]
    assert [each.name for each in actual["n1"].pods] == ["shop/web"]


def test_lists_are_read_page_by_page() -> None:
    """A cluster may have more objects than an answer."""
    queries: list[dict[str, str]] = []

    class Pages:
        def get(self, _path: str, query: dict[str, str]) -> dict[str, Any]:
            queries.append(dict(query))
            more = {} if "continue" in query else {"continue": "x"}
            return {"items": [{"page": len(queries)}], "metadata": more}

    actual = list(list_objects(Pages(), "/api/v1/pods"))  # type: ignore[arg-type]
    assert actual == [{"page": 1}, {"page": 2}]
    assert queries == [{"limit": "500"}, {"limit": "500", "continue": "x"}]


def test_the_hook_refuses_and_names_pods_and_nodes(
    hook: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard output, which Helm shows; nothing was changed."""
    api = Api(settings("install"), node("n1"), node("n2", ready="Unknown"), agent("n1"))
    api.add(pod("web", "weave"))
    assert hook(api, *UNINSTALL) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("n1: Genie is needed by shop/web")
    assert lines[2].startswith("n2: the node is not ready")
    assert lines[-1] == 'Genie is not removed. Nothing was changed. The mode is "install".'
    assert api.objects[SETTINGS]["data"]["mode"] == "install"


def test_a_refusal_says_how_to_keep_helms_release(
    hook: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Helm would not upgrade it; after a success there is nothing to keep."""
    release = ("--release", "net", "--revision", "7")
    rollback = f"    helm rollback net 7 --namespace {NAMESPACE}"
    refusing = Api(settings("install"), node("n1"))
    assert hook(refusing, *UNINSTALL, *release) == 1
    assert rollback in capsys.readouterr().out.splitlines()
    refusing.before = fail(KubeError(FORBIDDEN, "Forbidden", "no right"))
    assert hook(refusing, *UNINSTALL, *release) == 2
    assert rollback in capsys.readouterr().out.splitlines()
    assert hook(Api(settings("install"), node("n1", "")), *UNINSTALL, *release) == 0
    assert "rollback" not in capsys.readouterr().out


def test_the_hook_removes_genie_from_a_cluster_whose_nodes_have_none(
    hook: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """One node is ignored."""
    api = Api(settings("install"), node("n1", ""), node("n2"))
    assert hook(api, *UNINSTALL, "--ignore-nodes", "n2,", "--timeout", "5") == 0
    assert api.objects[SETTINGS]["data"]["mode"] == "remove"
    assert "ignored nodes: n2" in capsys.readouterr().out


def test_an_api_server_that_refuses_is_one_line(
    hook: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code of an error."""
    api = Api()
    api.before = fail(KubeError(FORBIDDEN, "Forbidden", "GET /x: no right"))
    assert hook(api, *UNINSTALL) == 2
    assert capsys.readouterr().err == "genie: GET /x: no right (403 Forbidden)\n"


def test_a_hook_that_is_ended_restores_the_mode(hook: Callable[..., int]) -> None:
    """The kubelet sends SIGTERM."""
    api = Api(settings("install"), node("n1"), agent("n1"))

    def after(method: str, _path: str) -> None:
        if method == "PATCH" and api.objects[SETTINGS]["data"]["mode"] == "disable":
            signal.raise_signal(signal.SIGTERM)

    api.after = after
    with pytest.raises(KeyboardInterrupt):
        hook(api, *UNINSTALL)
    assert api.objects[SETTINGS]["data"]["mode"] == "install"


def test_the_hook_needs_neither_typer_nor_rich() -> None:
    """The image does not have them."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['typer', 'rich', 'kubernetes']));"
        "import lifecycle.__main__"
    )
    assert run([sys.executable, "-c", code]).returncode == 0


def test_the_test_of_the_chart_fails_with_a_line(
    hook: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is what Helm sees."""
    api = Api(settings("install"))
    words = ("test", "--namespace", NAMESPACE, "--pods-namespace", "default", "--image", "i")
    assert hook(api, *words) == 1
    assert capsys.readouterr().out.startswith("failed  no default network is set")
