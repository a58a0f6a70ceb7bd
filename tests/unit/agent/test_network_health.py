from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dispatcher.agent import network_health
from dispatcher.agent.journal_reader import JournalEntry, JournalStep
from dispatcher.agent.network_health import FAILURES, PODS, WINDOW, AddCircuit, NetworkHealth
from dispatcher.agent.node_state import NodeState
from dispatcher.node.status_answers import StatusAnswer, StatusAnswers

GONE = 60.0


def add(
    time: float, pod: str, code: int = 999, network: str = "weave", interface: str = "eth0"
) -> JournalEntry:
    """Return an ADD; one that failed rolls back, so that its last step succeeds."""
    steps = [JournalStep(network, 0.1, each, interface) for each in ((code, 0) if code else (0,))]
    return JournalEntry(time, "ADD", "c1", 0.1, code, "", ("ns", "p", pod), tuple(steps))


def after(*entries: JournalEntry) -> NetworkHealth:
    health = NetworkHealth(GONE)
    health.observe_adds(entries)
    return health


def answers(time: float, **codes: int) -> StatusAnswers:
    return StatusAnswers(time, {name: StatusAnswer(code) for name, code in codes.items()})


class TestAdds:
    """Networks that do not speak STATUS."""

    def test_failed_adds_of_several_pods_open_the_circuit(self) -> None:
        """The reason names how many pods, the last code, and the time until it is tried again."""
        health = after(add(0, "a"), add(10, "b"), add(20, "a", 11))
        problem = health.problems(20)["weave"]
        assert problem.is_lasting
        assert problem.reason == (
            "ADD failed for 2 pods within 60 s, last with code 11 (see the Events of these pods); "
            "Genie retries the network after 60 s"
        )
        assert list(health.problems(79)) == ["weave"]
        assert health.problems(80) == {}

    @pytest.mark.parametrize(
        "entries",
        [
            pytest.param([add(t, "a") for t in range(9)], id="one pod alone fails"),
            pytest.param([add(0, "a"), add(1, "b")], id="two failures"),
            pytest.param([add(0, "a"), add(1, "b"), add(2, "c", 0), add(3, "d")], id="a success"),
            pytest.param([add(0, "a"), add(40, "b"), add(61, "c")], id="in more than a minute"),
            pytest.param([add(t, str(t), 100) for t in range(9)], id="faults of the call"),
            pytest.param([add(t, str(t), network="shop/a") for t in range(9)], id="definitions"),
            *(
                pytest.param([add(t, str(t), interface=name) for t in range(9)], id=name)
                for name in ("all", "tunl0", "data", "eth100", "eth", "veth0", "eth0.1")
            ),
            pytest.param(
                [add(t, str(t))._replace(command="DEL") for t in range(9)], id="failed DELs"
            ),
        ],
    )
    def test_nothing_else_does(self, entries: list[JournalEntry]) -> None:
        """At no time."""
        health = after(*entries)
        assert [health.problems(now) for now in range(9)] == [{}] * 9

    @pytest.mark.parametrize("interface", ["eth0", "eth1", "eth15", "net1", "net32"])
    def test_secondaries_count_where_genie_could_have_named_them(self, interface: str) -> None:
        """Also if the author wrote the name: every example names ``net1``."""
        assert after(*(add(t, str(t), interface=interface) for t in range(3))).problems(2)

    def test_a_success_on_any_interface_closes_the_circuit(self) -> None:
        """The network works, whatever the name."""
        health = after(*(add(t, str(t)) for t in range(3)), add(3, "d", 0, interface="data"))
        assert health.problems(3) == {}

    def test_pods_without_uid_are_told_apart_by_their_containers(self) -> None:
        """A runtime that passes no CNI_ARGS."""
        calls = [add(0, "")._replace(container_id=str(number)) for number in range(3)]
        assert after(*calls).problems(0)

    def test_each_opening_without_a_success_lasts_twice_as_long(self) -> None:
        """Up to ten minutes; a success makes the next one short again, and closes at once."""
        health, now, lasted = NetworkHealth(GONE), 0.0, []
        for _ in range(6):
            health.observe_adds(add(now, str(pod)) for pod in range(3))
            begin = now
            while health.problems(now):
                now += 1
            lasted.append(now - begin)
        assert lasted == [60, 120, 240, 480, 600, 600]
        health.observe_adds(add(now, str(pod)) for pod in range(3))
        health.observe_adds([add(now, "d", 0)])
        assert health.problems(now) == {}
        health.observe_adds(add(now, str(pod)) for pod in range(3))
        assert (bool(health.problems(now + 59)), health.problems(now + 60)) == (True, {})


class CircuitMachine(RuleBasedStateMachine):
    """A circuit against the history of its ADDs."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = AddCircuit()
        self.now = 1000.0
        self.failures: list[tuple[float, str]] = []
        """Since the last opening."""
        self.was_open = False

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(pod=st.sampled_from("abc"))
    def fail(self, pod: str) -> None:
        """Let an ADD fail."""
        self.was_open = self.circuit.is_open(self.now)
        self.circuit.fail(self.now, pod, 999)
        if self.was_open:
            return
        self.failures.append((self.now, pod))
        recent = [pod for time, pod in self.failures if self.now - time < WINDOW]
        is_enough = len(recent) >= FAILURES and len(set(recent)) >= PODS
        assert self.circuit.is_open(self.now) == is_enough
        if is_enough:
            self.failures.clear()

    @invariant()
    def is_closed_in_the_end(self) -> None:
        """Whatever happened, new pods are tried again within ten minutes."""
        assert not self.circuit.is_open(self.now + network_health.LONGEST_BACKOFF)

    @invariant()
    def survives_a_clock_that_is_set_back(self) -> None:
        """Close the circuit rather than keep it open for ever."""
        assert not self.circuit.is_open(0.0)


TestCircuit = CircuitMachine.TestCase


class TestStatus:
    """Networks that speak STATUS."""

    def test_the_label_waits_for_gone_seconds_and_the_reason_does_not(self) -> None:
        """From the first answer of that code or the other."""
        health = NetworkHealth(GONE)
        for time, code in ((100, 50), (130, 51), (160, 51)):
            health.observe_answers(answers(time, weave=code, canal=0))
            assert list(health.problems(time)) == ["weave"]
        assert not health.problems(159)["weave"].is_lasting
        assert health.problems(160)["weave"].is_lasting
        assert health.problems(160)["weave"].reason == "STATUS of the network returned code 51"

    def test_a_clock_that_was_set_back_does_not_delay_the_label(self) -> None:
        """The time counts from the first answer after that."""
        health = NetworkHealth(GONE)
        for time in (100_000, 100, 100 + GONE):
            health.observe_answers(answers(time, weave=50))
        assert health.problems(100 + GONE)["weave"].is_lasting

    def test_the_first_ready_answer_ends_it(self) -> None:
        """The next failure counts from its own begin."""
        health = NetworkHealth(GONE)
        for time, code in ((100, 50), (170, 0), (200, 50)):
            health.observe_answers(answers(time, weave=code))
        assert not health.problems(259)["weave"].is_lasting
        health.observe_answers(answers(260, weave=0))
        assert health.problems(260) == {}

    def test_the_first_sentence_stays(self) -> None:
        """A plugin that prints a time must not make a new series of a metric each time."""
        health = NetworkHealth(GONE)
        for time in (100, 130):
            unavailable = {"weave": StatusAnswer(50, f"down at {time}")}
            health.observe_answers(StatusAnswers(time, unavailable))
        reason = "STATUS of the network returned code 50: down at 100"
        assert health.problems(130)["weave"].reason == reason

    def test_answers_of_a_reaper_that_does_not_run_do_not_count(self) -> None:
        """Then failed ADDs do."""
        health = after(*(add(1000, str(pod)) for pod in range(3)))
        health.observe_answers(answers(900, weave=50))
        assert "STATUS" in health.problems(1000)["weave"].reason
        health.observe_answers(answers(800, weave=50))
        assert "ADD" in health.problems(1000)["weave"].reason

    def test_a_network_that_says_that_it_is_ready_is_believed(self) -> None:
        """Whatever its ADDs do."""
        health = after(*(add(1000, str(pod)) for pod in range(3)))
        health.observe_answers(answers(1000, weave=0))
        assert health.problems(1000) == {}


@given(
    st.lists(st.tuples(st.floats(0, 90), st.sampled_from([None, 0, 50, 51])), max_size=12),
)
def test_lasting_means_unavailable_for_gone_seconds(
    passes: list[tuple[float, int | None]],
) -> None:
    """Against the whole history: no answer in between was "ready", none was missing."""
    health, now, since = NetworkHealth(GONE), 1000.0, None
    for pause, code in passes:
        now += pause
        health.observe_answers(answers(now, **({} if code is None else {"weave": code})))
        since = None if not code else now if since is None else since
        problem = health.problems(now).get("weave")
        assert (problem is not None) == (since is not None)
        if problem is not None and since is not None:
            assert problem.is_lasting == (now - since >= GONE)


def test_a_network_keeps_the_reason_that_it_has() -> None:
    """An problem of a network that cannot be attached anyway changes nothing."""
    health = after(*(add(0, str(pod), network=name) for name in "abc" for pod in range(3)))
    state = NodeState({"a": "", "b": "no executable", "d": ""}, "")
    changed = state.with_health_problems(health.problems(0))
    reason: Any = health.problems(0)["a"].reason
    assert changed.networks == {"a": reason, "b": "no executable", "d": ""}
    assert changed.grace.failing == {"a"}
    assert state.with_health_problems({}) == state
