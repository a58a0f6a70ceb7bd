"""The table that compares pods without Genie and with it."""

from __future__ import annotations

import pytest

from tests.bench.churn_report import Cost, Turn, table

ONE, TWO = "one network", "two networks"
NONE = Cost(1, 2, 3, 0, 5)
GENIE = Cost(2, 2, 3, 1, 6)


def report(rates: list[float], ready: list[float]) -> list[list[str]]:
    """Return the cells of the table's rows, for three rounds of two pods with Genie.

    Without Genie the machine is slower from round to round: 100, 50 and 25 pods a minute, and 1, 2
    and 4 seconds.
    """
    base = [Turn(100 / 2**n, [2.0**n] * 2, NONE) for n in range(3)]
    genie = [Turn(rate, [each] * 2, GENIE) for rate, each in zip(rates, ready, strict=True)]
    turns = {(ONE, "no Genie"): base, (ONE, "Genie"): genie, (TWO, "Genie"): genie[:1]}
    text = table(turns, [ONE, TWO, "never measured"], ["no Genie", "Genie"], "a machine")
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_ratios_compare_the_turns_of_one_round() -> None:
    """A round on a busy machine does not count against whoever was measured in it."""
    _, none, genie, two, *_ = report([99, 49, 25], [1.02, 2.1, 4])
    assert none[:6] == [ONE, "no Genie", "50", "1.00", "2.00 / 4.00", "1.00"]
    ready = ["2.10 / 4.00", "1.02 (1.00 to 1.05)"]
    assert genie[:6] == [ONE, "Genie", "49", "0.99 (0.98 to 1.00)", *ready]
    assert two[:4] == [TWO, "Genie", "99", "1.00"]


def test_processor_time_is_that_of_one_pod_and_the_node_has_no_admission_in_its_sum() -> None:
    """In milliseconds: plugins, containerd, kubelet, daemons, their sum, and the API server."""
    _, none, genie, *_ = report([1, 1, 1], [1, 1, 1])
    assert none[6:] == ["500", "1000", "1500", "0", "3000", "2500"]
    assert genie[6:] == ["1000", "1000", "1500", "500", "4000", "3000"]


def test_the_rounds_of_each_kind_of_pods_are_counted() -> None:
    """Pods on several networks have fewer rounds."""
    turns = {(ONE, "Genie"): [Turn(1, [1] * 9, NONE)] * 5, (TWO, "Genie"): [Turn(1, [1], NONE)]}
    turns[ONE, "no Genie"] = turns[ONE, "Genie"]
    text = table(turns, [ONE, TWO, "never measured"], ["no Genie", "Genie"], "a machine")
    assert "- one network: medians of 5 rounds of 9 pods each.\n" in text
    assert "- two networks: medians of 1 rounds of 1 pods each.\n" in text


@pytest.mark.parametrize(
    ("factor", "met"), [(1.0, ["yes", "yes"]), (0.951, ["yes", "no"]), (0.94, ["no", "no"])]
)
def test_the_aim_is_five_percent_of_rate_and_of_time(factor: float, met: list[str]) -> None:
    """Each has its own row; the second factor is one over the first."""
    rates = [100 * factor, 50 * factor, 25 * factor]
    ready = [1 / factor, 2 / factor, 4 / factor]
    rows = report(rates, ready)[-2:]
    assert [row[-1] for row in rows] == met
    assert [row[0] for row in rows] == ["pods a minute", "seconds to Ready"]
