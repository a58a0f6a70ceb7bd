"""Says which networks of the node do not work although they are complete (pure; clocks passed in).

Two sources, of which the first counts where it answers:

    STATUS   the network says with code 50 or 51 that no pod can be attached. Its label turns to
             "false" after ``gone_seconds`` of such answers, and to "true" with the first code 0.
    ADD      a circuit breaker for networks that do not answer STATUS (older than CNI 1.1):

        closed ── FAILURES failed ADDs of PODS pods within WINDOW seconds, none succeeds ──▶ open
        open   ── an ADD succeeds ──▶ closed
        open   ── the backoff is over ──▶ closed; if it opens again without a success between,
                                          the backoff is twice as long

While the circuit is open, the label is "false" for all pods. So failures do not open it whose
reason may be what the author of the pods chose:

- failures of one pod: its own configuration may be the reason;
- an interface with a name that Genie gives to none (:data:`OWN_INTERFACE`): it may be in use, as
  ``tunl0`` is in each pod of some nodes, or the network's plugin may refuse it;
- attachments of NetworkAttachmentDefinitions: pod authors choose arguments of their plugins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import cni_errors
from dispatcher.kube.backoff import Backoff
from dispatcher.node.status_answers import NO_ANSWERS, READY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dispatcher.agent.journal_reader import JournalEntry, JournalStep
    from dispatcher.node.status_answers import StatusAnswer, StatusAnswers

FAILURES = 3
PODS = 2
WINDOW = 60.0
"""What opens a circuit: so many failed ADDs of so many pods, within so many seconds."""

MAX_FAILURES = 50
"""Failed ADDs that are remembered of one network."""

FIRST_BACKOFF = 60.0
LONGEST_BACKOFF = 600.0
"""Seconds for which a circuit stays open."""

STALE_SECONDS = 180.0
"""Age at which answers no longer count: the reaper does not run."""

FAULTS_OF_THE_CALL = frozenset(
    {
        cni_errors.INVALID_ENVIRONMENT,
        cni_errors.INVALID_NETNS,
        cni_errors.INVALID_ANNOTATION,
        cni_errors.ALREADY_ATTACHED,
    }
)
"""Codes that say nothing about the network: the pod has ended meanwhile, or asks for the wrong."""

OWN_INTERFACE = re.compile("(eth|net)[0-9]{1,2}")
"""Names that Genie itself gives to interfaces; authors may write them too, as in ``weave@net1``."""


class HealthProblem(NamedTuple):
    """Why a network does not work; ``is_lasting``: its label must be "false"."""

    reason: str
    is_lasting: bool


class AddCircuit:
    """The circuit breaker of one network since its last success; times are seconds of the epoch."""

    def __init__(self) -> None:
        self._failures: list[tuple[float, str]] = []
        self._backoff = Backoff(FIRST_BACKOFF, LONGEST_BACKOFF)
        self._opened_at = 0.0
        self._cause = ""

    def fail(self, time: float, pod: str, code: int) -> None:
        """Count an ADD of *pod* that failed with *code* at *time*."""
        if self.is_open(time):
            return

        recent = [each for each in self._failures if abs(time - each[0]) < WINDOW]
        self._failures = [*recent[-MAX_FAILURES:], (time, pod)]
        pods = len({each for _, each in self._failures})
        if len(self._failures) >= FAILURES and pods >= PODS:
            self._backoff.fail()
            self._opened_at, self._failures = time, []
            self._cause = f"ADD failed for {pods} pods within {WINDOW:.0f} s, last with code {code}"

    def is_open(self, now: float) -> bool:
        """Return whether new pods should be kept away."""
        # A clock that was set back must not keep it open for ever.
        return 0 <= now - self._opened_at < self._backoff.delay()

    @property
    def reason(self) -> str:
        """Why the circuit has opened, and for how long."""
        seconds = self._backoff.delay()
        return (
            f"{self._cause} (see the Events of these pods); "
            f"Genie retries the network after {seconds:.0f} s"
        )


class NetworkHealth:
    """What is known of the health of all networks; times are seconds of the epoch."""

    def __init__(self, gone_seconds: float) -> None:
        self._gone_seconds = gone_seconds
        self._answers: StatusAnswers = NO_ANSWERS
        self._unavailable: dict[str, tuple[float, str]] = {}
        """Since when STATUS says so, and why, by network."""
        self._circuits: dict[str, AddCircuit] = {}

    def observe_adds(self, entries: Iterable[JournalEntry]) -> None:
        """Count the ADDs of a part of the journal."""
        for entry in entries:
            pod = entry.pod[2] or entry.container_id
            for command, step in entry.operations():
                if command != "ADD":
                    continue
                if step.code == 0:
                    self._circuits.pop(step.network, None)
                elif _may_be_the_networks_fault(step):
                    circuit = self._circuits.setdefault(step.network, AddCircuit())
                    circuit.fail(entry.time, pod, step.code)

    def observe_answers(self, answers: StatusAnswers) -> None:
        """Take the answers of the reaper's last pass."""
        self._answers = answers
        self._unavailable = {
            network: self._since(network, answer)
            for network, answer in answers.by_network.items()
            if answer.code != READY
        }

    def problems(self, now: float) -> dict[str, HealthProblem]:
        """Return the networks that do not work."""
        is_stale = abs(now - self._answers.time) > STALE_SECONDS
        answering = () if is_stale else self._answers.by_network
        by_status = {
            network: HealthProblem(reason, now - since >= self._gone_seconds)
            for network, (since, reason) in self._unavailable.items()
            if network in answering
        }
        by_adds = {
            network: HealthProblem(circuit.reason, is_lasting=True)
            for network, circuit in self._circuits.items()
            if network not in answering and circuit.is_open(now)
        }
        return {**by_status, **by_adds}

    def _since(self, network: str, answer: StatusAnswer) -> tuple[float, str]:
        """Return since when *network* is not available, and the first reason with this code."""
        sentence = f"STATUS of the network returned code {answer.code}"
        since, reason = self._unavailable.get(network, (self._answers.time, ""))
        since = min(since, self._answers.time)  # the clock was set back
        # The first sentence stays: some plugins print a time, and a metric has it as a label.
        if reason.startswith(sentence):
            return since, reason
        return since, f"{sentence}: {answer.msg}" if answer.msg else sentence


def _may_be_the_networks_fault(failed: JournalStep) -> bool:
    is_definition = "/" in failed.network
    return (
        not is_definition
        and failed.code not in FAULTS_OF_THE_CALL
        and OWN_INTERFACE.fullmatch(failed.interface) is not None
    )
