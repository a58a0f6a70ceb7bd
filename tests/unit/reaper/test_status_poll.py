from __future__ import annotations

import json

from dispatcher.conf import Conf, decode
from dispatcher.node.status_answers import StatusAnswer
from dispatcher.reaper.plugin_status import StatusError
from dispatcher.reaper.status_poll import LONGEST_BACKOFF, StatusPoll
from tests.unit.host import Clock


def conf(path: str, version: str = "1.1.0", plugin_type: str = "bridge") -> Conf:
    document = {"cniVersion": version, "name": "n", "plugins": [{"type": plugin_type}]}
    return decode(json.dumps(document).encode(), path)


class Asked:
    """The networks that were asked; those in ``silent`` give no answer."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.silent: set[str] = set()
        self.clock = Clock()
        self.poll = StatusPoll(self, 30.0, self.clock)

    def __call__(self, network: Conf) -> StatusAnswer:
        """Return the answer "ready"."""
        self.paths.append(network.path)
        if network.path in self.silent:
            raise StatusError("unknown command")
        return StatusAnswer(0)


def test_networks_of_cni_1_1_are_asked_each_configuration_once() -> None:
    """All its names get the answer; a configuration of an older version has no STATUS."""
    asked = Asked()
    weave = conf("10-weave")
    confs = {"weave": weave, "10-weave": weave, "canal": conf("canal", "1.0.0")}
    assert asked.poll.answers(confs) == {"weave": StatusAnswer(0), "10-weave": StatusAnswer(0)}
    assert asked.paths == ["10-weave"]


def passes(asked: Asked, network: Conf, seconds: int) -> list[float]:
    """Make passes every 30 seconds; return when the network was asked, from the first pass."""
    begin, times = asked.clock.now, []
    for _ in range(seconds // 30):
        asked.paths.clear()
        asked.poll.answers({"weave": network})
        times += [asked.clock.now - begin for _ in asked.paths]
        asked.clock.now += 30
    return times


def test_a_network_without_an_answer_is_asked_less_and_less_often() -> None:
    """Up to ten minutes; after an answer it is asked in each pass again."""
    asked, network = Asked(), conf("weave")
    asked.silent = {"weave"}
    assert passes(asked, network, 1800) == [0, 60, 180, 420, 900, 1500]
    assert LONGEST_BACKOFF == 600
    asked.silent = set()
    asked.clock.now += 600
    assert passes(asked, network, 120) == [0, 30, 60, 90]


def test_a_changed_configuration_is_asked_at_once() -> None:
    """Its plugins may be newer; a file that was away is new, too."""
    asked = Asked()
    asked.silent = {"weave"}
    asked.poll.answers({"weave": conf("weave")})
    asked.poll.answers({"weave": conf("weave")})
    assert asked.paths == ["weave"]
    asked.poll.answers({"weave": conf("weave", plugin_type="ptp")})
    assert asked.paths == ["weave"] * 2
    asked.poll.answers({})
    asked.poll.answers({"weave": conf("weave", plugin_type="ptp")})
    assert asked.paths == ["weave"] * 3
