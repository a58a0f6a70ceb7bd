from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.removal_confirmation import READ_SECONDS, RemovalConfirmation
from tests.unit.agent.builders import NODE, node_api

if TYPE_CHECKING:
    from tests.unit.host import Clock


@pytest.mark.parametrize(
    ("annotations", "is_present"),
    [
        (None, False),
        ({}, False),
        ({"cni-genie.io/confirm-remove": ""}, False),
        ({"cni-genie.io/confirm-remove": "true"}, False),
        ({"cni-genie.io/confirm-remove": "force"}, True),
    ],
)
def test_only_one_value_of_the_annotation_confirms(
    clock: Clock, annotations: dict[str, str] | None, *, is_present: bool
) -> None:
    """A person types it on purpose."""
    api = node_api()
    api.objects[NODE]["metadata"]["annotations"] = annotations
    confirmation = RemovalConfirmation(api.client(), "n1", clock)
    assert confirmation.refresh(is_awaited=True) is is_present
    assert confirmation.is_present is is_present


def test_the_node_is_read_every_ten_seconds_and_only_while_it_matters(clock: Clock) -> None:
    """A confirmation of last month does not confirm today's mode unread."""
    api = node_api()
    reads: list[str] = []
    api.before = lambda method, path: reads.append(f"{method} {path}")
    confirmation = RemovalConfirmation(api.client(), "n1", clock)
    assert not confirmation.refresh(is_awaited=False)
    assert reads == []
    assert not confirmation.refresh(is_awaited=True)

    api.objects[NODE]["metadata"]["annotations"] = {"cni-genie.io/confirm-remove": "force"}
    clock.now += READ_SECONDS - 1
    assert not confirmation.refresh(is_awaited=True)
    clock.now += 1
    assert confirmation.refresh(is_awaited=True)
    assert reads == [f"GET {NODE}"] * 2

    assert not confirmation.refresh(is_awaited=False)
    assert not confirmation.is_present
    assert confirmation.refresh(is_awaited=True)
    assert len(reads) == 3
