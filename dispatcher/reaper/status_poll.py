"""Ask the networks of the node for their STATUS, in one pass after the other.

Only networks whose configuration has CNI 1.1 are asked: an older plugin does not know the command.
A network that gives no answer (its executables are older than its configuration, or it hangs) is
asked again after a growing delay, and at once when its configuration changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from dispatcher.kube.backoff import Backoff
from dispatcher.reaper.plugin_status import SINCE, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dispatcher.conf import Conf
    from dispatcher.node.status_answers import StatusAnswer

LONGEST_BACKOFF = 600.0
"""Seconds between two STATUS calls to a network that gives no answer."""

log = structlog.get_logger("status")


class _Retry:
    """When the network of a configuration that gave no answer is asked again."""

    def __init__(self, plugins: list[dict[str, Any]], seconds: float) -> None:
        self.plugins = plugins
        self.backoff = Backoff(2 * seconds, LONGEST_BACKOFF)
        self.due_at = 0.0

    def fail(self, now: float) -> None:
        self.backoff.fail()
        self.due_at = now + self.backoff.delay()


class StatusPoll:
    """Asks each network by *ask*, which may raise StatusError; *seconds* is the time of a pass.

    *clock* is monotonic.
    """

    def __init__(
        self,
        ask: Callable[[Conf], StatusAnswer],
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._retries: dict[str, _Retry] = {}

    def answers(self, confs: Mapping[str, Conf]) -> dict[str, StatusAnswer]:
        """Ask the networks *confs*; return the answers by name.

        A configuration with several names is asked once.
        """
        asked = {conf.path: conf for conf in confs.values() if conf.supports(SINCE)}
        self._retries = {path: self._retries[path] for path in asked.keys() & self._retries.keys()}

        answers = {path: self._answer(conf) for path, conf in asked.items()}
        return {
            name: answer
            for name, conf in confs.items()
            if (answer := answers.get(conf.path)) is not None
        }

    def _answer(self, conf: Conf) -> StatusAnswer | None:
        """Ask one network if it is due; return its answer, or None."""
        retry = self._retries.get(conf.path)
        if retry is None or retry.plugins != conf.plugins:
            retry = _Retry(conf.plugins, self._seconds)
        elif self._clock() < retry.due_at:
            return None

        try:
            answer = self._ask(conf)
        except StatusError as error:
            retry.fail(self._clock())
            self._retries[conf.path] = retry
            log.info("no answer to STATUS", network=conf.name, reason=str(error))
            return None
        self._retries.pop(conf.path, None)
        return answer
