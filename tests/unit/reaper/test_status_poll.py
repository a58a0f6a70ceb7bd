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


class PolledNetworks:
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
    networks = PolledNetworks()
    weave = conf("10-weave")
    confs = {"weave": weave, "10-weave": weave, "canal": conf("canal", "1.0.0")}
    assert networks.poll.answers(confs) == {"weave": StatusAnswer(0), "10-weave": StatusAnswer(0)}
    assert networks.paths == ["10-weave"]


def passes(networks: PolledNetworks, network: Conf, seconds: int) -> list[float]:
    """Make passes every 30 seconds; return when the network was asked, from the first pass."""
    begin, times = networks.clock.now, []
    for _ in range(seconds // 30):
        networks.paths.clear()
        networks.poll.answers({"weave": network})
        times += [networks.clock.now - begin for _ in networks.paths]
        networks.clock.now += 30
    return times


def test_a_network_without_an_answer_is_asked_less_and_less_often() -> None:
    """Up to ten minutes; after an answer it is asked in each pass again."""
    networks, network = PolledNetworks(), conf("weave")
    networks.silent = {"weave"}
    assert passes(networks, network, 1800) == [0, 60, 180, 420, 900, 1500]
    assert LONGEST_BACKOFF == 600
    networks.silent = set()
    networks.clock.now += 600
    assert passes(networks, network, 120) == [0, 30, 60, 90]


def test_a_changed_configuration_is_asked_at_once() -> None:
    """Its plugins may be newer; a file that was away is new, too."""
    networks = PolledNetworks()
    networks.silent = {"weave"}
    networks.poll.answers({"weave": conf("weave")})
    networks.poll.answers({"weave": conf("weave")})
    assert networks.paths == ["weave"]
    networks.poll.answers({"weave": conf("weave", plugin_type="ptp")})
    assert networks.paths == ["weave"] * 2
    networks.poll.answers({})
    networks.poll.answers({"weave": conf("weave", plugin_type="ptp")})
    assert networks.paths == ["weave"] * 3
