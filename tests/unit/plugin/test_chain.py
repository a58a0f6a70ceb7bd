"""One network's chain: which plugin gets which result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.conf import VERSIONS, Conf
from dispatcher.plugin.chain import Chain
from dispatcher.state.record import Attachment
from tests.unit.plugin.rig import Delegates

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, LAST = ({"ips": [{"address": f"10.0.0.{number}/8"}]} for number in (1, 2))


def carry_out(version: str, deed: Callable[[Chain, Attachment], Any]) -> list[list[str]]:
    """Attach a chain of two, run *deed*, and return the addresses in each call's prevResult."""
    delegates = Delegates()
    delegates.results = {
        "a": {**FIRST, "cniVersion": "1.0.0"},
        "b": {**LAST, "cniVersion": "1.0.0"},
    }
    attachment = Attachment("n", "e", "e", Conf("/f", "n", version, [{"type": "a"}, {"type": "b"}]))
    chain = Chain(delegates, "c1", "/ns")
    attachment.result = chain.add(attachment, 9.0)
    added = len(delegates.confs)
    deed(chain, attachment)
    return [_addresses(conf) for conf in delegates.confs[added:] or delegates.confs]


def _addresses(conf: dict[str, Any]) -> list[str]:
    previous = conf.get("prevResult", {})
    assert previous.get("cniVersion", conf["cniVersion"]) == conf["cniVersion"]
    ips = [each["address"] for each in previous.get("ips", ())]
    return ips or [previous["ip4"]["ip"]] if previous else []


@pytest.mark.parametrize("version", VERSIONS)
def test_add_gives_each_plugin_the_result_of_the_one_before(version: str) -> None:
    """The first gets none. Results are in the version of the configuration."""
    assert carry_out(version, lambda *_: None) == [[], ["10.0.0.1/8"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_del_gives_each_plugin_the_final_result_since_0_4_0(version: str) -> None:
    """Earlier versions of the specification have no result on DEL."""
    expected = [[], []] if version < "0.4.0" else [["10.0.0.2/8"]] * 2
    assert carry_out(version, lambda chain, each: chain.delete(each, 9.0)) == expected


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_gives_each_plugin_the_final_result(version: str) -> None:
    """As DEL does."""
    expected = [["10.0.0.2/8"]] * 2
    assert carry_out(version, lambda chain, each: chain.check(each, 9.0)) == expected
