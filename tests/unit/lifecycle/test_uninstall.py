from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.kube.errors import KubeError
from dispatcher.kube.removal_report import RemovalReport
from lifecycle.uninstall import (
    Options,
    Outcome,
    Result,
    Settings,
    Uninstall,
    exit_code,
    sentences,
)
from tests.unit.lifecycle.builders import SimulatedCluster, obedient, situation

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.situation import NodeSituation

NEEDY = ("shop/b", "weave", "canal")


def run(cluster: SimulatedCluster, **options: object) -> tuple[Outcome, list[str]]:
    """Return the outcome and the lines of progress."""
    lines: list[str] = []
    outcome = Uninstall(
        cluster,
        Options(**options),  # type: ignore[arg-type]
        progress=lines.append,
        clock=lambda: cluster.now,
        sleep=cluster.sleep,
    ).run()
    return outcome, lines


def test_a_cluster_that_needs_genie_no_more_loses_it_in_two_steps() -> None:
    """First no pod gets another network, then plugin and conflist go; the mode stays."""
    cluster = SimulatedCluster([situation("n1", ("shop/a", "canal")), situation("n2")], obedient)
    outcome, lines = run(cluster)
    assert outcome == Outcome(Result.REMOVED, mode="remove")
    assert cluster.modes == ["disable", "remove", "remove"]
    assert cluster.current == Settings("remove", "remove"), "a removal is not undone later"
    assert 'n1: done with "disable"' in lines
    assert 'n2: done with "remove"' in lines
    assert sum("the plugin stays" in line for line in lines) == 2


def test_a_refusal_changes_nothing() -> None:
    """Pods that need Genie are named with their node."""
    cluster = SimulatedCluster([situation("n1", NEEDY)], obedient)
    outcome, lines = run(cluster)
    assert (outcome.result, cluster.modes, lines) == (Result.REFUSED, [], [])
    assert outcome.obstacles[0].pods == ("shop/b",)
    assert "Nothing was changed." in sentences(outcome)[-1]


def test_a_dry_run_checks_and_changes_nothing() -> None:
    """It says that an uninstall would begin."""
    cluster = SimulatedCluster([situation()], obedient)
    outcome, _ = run(cluster, dry_run=True)
    assert (outcome.result, cluster.modes) == (Result.READY, [])


def test_a_pod_that_came_meanwhile_is_named_and_the_mode_restored() -> None:
    """Between the first check and the moment at which no such pod can start any more."""

    def answer(mode: str, seconds: float, nodes: list[NodeSituation]) -> list[NodeSituation]:
        late = situation("n1", NEEDY)
        return obedient(mode, seconds, [late, *nodes[1:]])

    cluster = SimulatedCluster([situation()], answer)
    outcome, lines = run(cluster)
    assert (outcome.result, outcome.mode) == (Result.RESTORED, "install")
    assert outcome.obstacles[0].pods == ("shop/b",)
    assert cluster.modes == ["disable", "install"]
    assert lines[-1] == 'the mode is "install" again'


@pytest.mark.parametrize("stuck", ["disable", "remove"])
def test_a_node_that_does_not_answer_in_time_is_named_and_the_mode_restored(stuck: str) -> None:
    """In either step; a mode that the administrator had set before is not lost."""

    def answer(mode: str, seconds: float, nodes: list[NodeSituation]) -> list[NodeSituation]:
        answered = obedient(mode, seconds, nodes)
        return [answered[0], nodes[1]] if mode == stuck else answered

    cluster = SimulatedCluster([situation("n1"), situation("n2")], answer)
    outcome, _ = run(cluster, timeout=300)
    assert outcome.result is Result.RESTORED
    assert [each.node for each in outcome.obstacles] == ["n2"]
    assert f'has not applied the mode "{stuck}"' in outcome.obstacles[0].reason
    assert cluster.modes[-1] == "install"
    assert 300 <= cluster.now < 310


def test_what_the_agent_finds_in_its_records_is_in_the_message() -> None:
    """The API server does not know of a container whose DEL failed."""

    def answer(mode: str, seconds: float, nodes: list[NodeSituation]) -> list[NodeSituation]:
        if mode == "remove":
            blocked = RemovalReport("remove", ("canal",), ("shop/hidden",))
            return [each._replace(report=blocked) for each in nodes]
        return obedient(mode, seconds, nodes)

    outcome, _ = run(SimulatedCluster([situation()], answer))
    assert outcome.result is Result.RESTORED
    assert "Genie is needed by shop/hidden" in outcome.obstacles[0].reason


def test_an_ignored_node_is_neither_checked_nor_waited_for() -> None:
    """And named in the end: files stay there."""

    def answer(mode: str, seconds: float, nodes: list[NodeSituation]) -> list[NodeSituation]:
        return [*obedient(mode, seconds, nodes[:1]), *nodes[1:]]

    down = situation("n2", NEEDY, is_ready=False)
    outcome, _ = run(SimulatedCluster([situation("n1"), down], answer), ignored_nodes=("n2",))
    assert outcome.result is Result.REMOVED
    assert "ignored nodes: n2" in sentences(outcome)


@pytest.mark.parametrize("mode", ["remove", "remove --force"])
def test_a_removal_that_is_in_force_is_waited_for(mode: str) -> None:
    """The mode "disable" would install Genie again on nodes that have lost it."""
    gone = situation(is_marked=False, report=None)
    cluster = SimulatedCluster([gone], obedient, mode)
    outcome, _ = run(cluster)
    assert (outcome.result, outcome.mode) == (Result.REMOVED, mode)
    assert set(cluster.modes) == {mode}


def test_a_run_that_was_killed_does_not_change_what_is_restored() -> None:
    """The first run keeps the mode; the second restores that one, not "disable"."""
    cluster = SimulatedCluster([situation()], lambda _mode, _seconds, nodes: nodes)
    cluster.set_mode("disable", "install")
    outcome, _ = run(cluster, timeout=10)
    assert (outcome.result, cluster.modes[-1]) == (Result.RESTORED, "install")


@pytest.mark.parametrize("left", ["disable", "remove"])
def test_a_refusal_after_a_run_that_was_killed_restores_the_mode(left: str) -> None:
    """Otherwise pods on other networks would stay Pending in the whole cluster."""
    cluster = SimulatedCluster([situation("n1"), situation("n2", is_ready=False)], obedient)
    cluster.current = Settings(left, "install")
    outcome, _ = run(cluster, dry_run=True)
    assert (outcome.result, outcome.mode, cluster.modes) == (Result.REFUSED, left, [])
    outcome, lines = run(cluster)
    assert (outcome.result, outcome.mode) == (Result.RESTORED, "install")
    assert [each.node for each in outcome.obstacles] == ["n2"]
    assert (cluster.modes, lines) == (["install"], ['the mode is "install" again'])


def test_a_refusal_after_a_removal_installs_nothing_again() -> None:
    """The nodes of the first run have lost Genie; the one that it ignored did not."""
    nodes = [situation("n1"), situation("n2", is_ready=False)]

    def answer(mode: str, seconds: float, nodes: list[NodeSituation]) -> list[NodeSituation]:
        return [*obedient(mode, seconds, nodes[:1]), *nodes[1:]]

    cluster = SimulatedCluster(nodes, answer)
    run(cluster, ignored_nodes=("n2",))
    outcome, _ = run(cluster)
    assert (outcome.result, outcome.mode) == (Result.REFUSED, "remove")
    assert cluster.modes[-1] == "remove"


@pytest.mark.parametrize(
    ("result", "mode"), [(each, mode) for each in Result for mode in ("install", "")]
)
def test_every_ending_names_the_mode_in_force(result: Result, mode: str) -> None:
    """Unless there is none, because the ConfigMap is gone."""
    ending = sentences(Outcome(result, mode=mode))[-1]
    assert ending.endswith('The mode is "install".') == bool(mode)


@pytest.mark.parametrize("marked", [True, False])
def test_without_settings_only_nodes_are_left_to_name(*, marked: bool) -> None:
    """After `helm uninstall`, a second one finds nothing; nodes that were ignored are named."""
    cluster = SimulatedCluster([situation(is_marked=marked)], obedient)
    cluster.current = None
    outcome, _ = run(cluster)
    assert outcome.result is (Result.REFUSED if marked else Result.REMOVED)
    assert cluster.modes == []


def outage(cluster: SimulatedCluster, first: int, last: int) -> None:
    """Answer none of the calls *first* to *last*, counted from 1."""

    def away(_name: str) -> None:
        if first <= cluster.calls <= last:
            raise KubeError(0, "NoAnswer", "refused")

    cluster.on_call = away


def test_an_api_server_that_is_away_for_a_while_is_waited_for() -> None:
    """It may be restarted during the minutes of an uninstall, at any call but the first two."""
    undisturbed = SimulatedCluster([situation()], obedient)
    run(undisturbed)
    for first in range(3, undisturbed.calls + 1):
        cluster = SimulatedCluster([situation()], obedient)
        outage(cluster, first, first + 2)
        outcome, lines = run(cluster)
        assert (first, outcome.result) == (first, Result.REMOVED)
        assert "the API server does not answer: refused" in lines


def stuck(away: Callable[[str, float], bool]) -> SimulatedCluster:
    """Return a cluster whose node applies nothing, and that is *away* at (call, seconds)."""
    cluster = SimulatedCluster([situation()], lambda _mode, _seconds, nodes: nodes)

    def fail(name: str) -> None:
        if away(name, cluster.now):
            raise KubeError(0, "NoAnswer", "refused")

    cluster.on_call = fail
    return cluster


def test_the_mode_is_restored_when_the_api_server_is_back() -> None:
    """The time of the steps is over then."""
    cluster = stuck(lambda name, now: name != "nodes" and 10 <= now < 40)
    outcome, lines = run(cluster, timeout=10)
    assert (outcome.result, outcome.mode) == (Result.RESTORED, "install")
    assert lines[-2:] == ["the API server does not answer: refused", 'the mode is "install" again']


def test_a_mode_that_cannot_be_restored_is_an_error_that_names_it() -> None:
    """With what to do; the attempts end."""
    cluster = stuck(lambda _name, now: now >= 10)
    with pytest.raises(KubeError) as error:
        run(cluster, timeout=10)
    assert error.value.message == (
        'refused; Genie is not removed, and the mode is "disable": uninstall again, or set the '
        'mode "install" in the ConfigMap genie'
    )
    assert 70 <= cluster.now < 90


@pytest.mark.parametrize("call", ["nodes", "set_mode"])
def test_a_right_that_is_missing_ends_the_run_at_once(call: str) -> None:
    """Nothing was changed then, which the error says."""
    cluster = SimulatedCluster([situation()], obedient)

    def forbid(*_: object) -> None:
        raise KubeError(403, "Forbidden", "no right")

    setattr(cluster, call, forbid)
    with pytest.raises(KubeError, match=r'no right; Genie is not removed, .* "install" \(403'):
        run(cluster)
    assert (cluster.now, cluster.current) == (0, Settings("install", "install"))


def test_an_interrupted_run_restores_the_mode() -> None:
    """Ctrl-C, or the end of the hook's pod."""
    cluster = SimulatedCluster([situation()], obedient)

    def interrupt() -> None:
        if cluster.now > 10:
            raise KeyboardInterrupt

    cluster.on_read = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(cluster)
    assert cluster.modes == ["disable", "install"]


@pytest.mark.parametrize(
    ("result", "code"),
    [(Result.REMOVED, 0), (Result.READY, 0), (Result.REFUSED, 1), (Result.RESTORED, 3)],
)
def test_the_exit_code_says_whether_anything_was_changed(result: Result, code: int) -> None:
    """As documented in the help."""
    assert exit_code(Outcome(result)) == code
