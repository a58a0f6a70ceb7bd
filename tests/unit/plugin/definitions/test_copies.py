"""The copies of definitions on the node: missing, changed, refused, or not kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.plugin.definitions.rig import DefinitionRig

OLD = {"type": "b1", "name": "old"}
NEW = {"type": "b1", "name": "new"}


def later(rig: DefinitionRig, seconds: float, change: Callable[[], None]) -> None:
    """Do *change* once a call has waited for *seconds*."""
    due = rig.clock + seconds

    def on_sleep() -> None:
        if rig.clock >= due:
            change()
            rig.on_sleep = lambda: None

    rig.on_sleep = on_sleep


@pytest.mark.parametrize("copy", [None, OLD], ids=["missing", "changed"])
def test_a_copy_that_comes_within_three_seconds_is_awaited(
    rig: DefinitionRig, copy: dict[str, Any] | None
) -> None:
    """The definition was created or changed a moment before the pod."""
    rig.define("ns/blue", NEW)
    permitted = rig.permit("ns/blue")
    if copy is None:
        (rig.definitions / "ns" / "blue").unlink()
    else:
        rig.define("ns/blue", copy)
    later(rig, 2.9, lambda: rig.define("ns/blue", NEW))
    start = rig.clock
    rig.ask("ADD", "blue", permitted)
    assert rig.delegates.confs[-1]["name"] == "new"
    assert 2.9 <= rig.clock - start <= 3.0


def test_a_current_copy_is_not_awaited(rig: DefinitionRig) -> None:
    """Nor is ``.synced`` read: the agent may be down for days."""
    start = rig.clock
    (rig.definitions / ".synced").unlink()
    rig.attach("blue", "ns/blue")
    assert rig.clock == start


def test_another_copy_is_used_if_the_agent_is_in_contact(rig: DefinitionRig) -> None:
    """After a restore of etcd the hash of the pod never comes again."""
    start = rig.clock
    rig.ask("ADD", "blue,red", "ns/blue:000000,ns/red:000000")
    assert rig.delegates.confs[1]["name"] == "blue-net"
    assert 3.0 <= rig.clock - start < 3.1, "one wait for all copies"


NOT_SYNCED: dict[str, tuple[dict[str, Any] | None, str]] = {
    "the agent is down": ({"age": 300}, "last heard of the API server 300 s ago"),
    "the agent has never run": (None, "has not copied any"),
    "the agent has not finished": ({"age": 0, "complete": False}, "has not copied all"),
}


@pytest.mark.parametrize(("state", "part"), NOT_SYNCED.values(), ids=NOT_SYNCED)
@pytest.mark.parametrize("copy", [None, OLD], ids=["missing", "changed"])
def test_a_stale_copy_fails_with_code_11(
    rig: DefinitionRig, copy: dict[str, Any] | None, state: dict[str, Any] | None, part: str
) -> None:
    """The kubelet tries again; nothing is attached."""
    if state is None:
        (rig.definitions / ".synced").unlink()
    else:
        rig.sync(**state)
    if copy is None:
        (rig.definitions / "ns" / "blue").unlink()
    with pytest.raises(CNIError) as caught:
        rig.ask("ADD", "blue", "ns/blue:000000")
    assert caught.value.code == cni_errors.TRY_AGAIN
    assert '"ns/blue"' in caught.value.msg
    assert part in caught.value.msg
    assert (rig.delegates.calls, rig.records) == ([], [])


def test_a_definition_that_does_not_exist_fails_with_code_11(rig: DefinitionRig) -> None:
    """It may have been created just now, so it is no fault of the pod."""
    with pytest.raises(CNIError, match="does not exist in the cluster") as caught:
        rig.attach("green", "ns/green")
    assert caught.value.code == cni_errors.TRY_AGAIN


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 2}', b"\xff"], ids=repr)
def test_a_copy_that_cannot_be_read_counts_as_missing(rig: DefinitionRig, data: bytes) -> None:
    """The agent writes it again."""
    (rig.definitions / "ns" / "blue").write_bytes(data)
    (rig.definitions / ".synced").write_bytes(data)
    with pytest.raises(CNIError) as caught:
        rig.attach("blue", "ns/blue")
    assert caught.value.code == cni_errors.TRY_AGAIN


def test_a_static_pod_takes_any_copy(rig: DefinitionRig) -> None:
    """No webhook saw a hash."""
    start = rig.clock
    rig.ask("ADD", "blue", source="file")
    assert rig.clock == start


REFUSED: dict[str, tuple[Any, dict[str, str], str]] = {
    "by the agent": ({"type": "x"}, {"refused": "not permitted"}, ": not permitted"),
    "a device": ({"type": "x"}, {"resource": "intel.com/vf"}, 'the device "intel.com/vf"'),
    "a path as type": ({"type": "../x"}, {}, '"type" must be the name of an executable'),
    "a path as ipam.type": ({"type": "x", "ipam": {"type": "/x"}}, {}, '"ipam.type" of "x"'),
    "genie": ({"type": "genie"}, {}, "Genie would call itself"),
    "multus": ({"type": "multus"}, {}, 'the plugin "multus" cannot be attached'),
    "in a list": ({"plugins": [{"type": "x"}, {"type": "danm"}]}, {}, "plugins[1].type"),
    "no JSON": ("{", {}, "not valid JSON"),
    "no object": ("[null]", {}, "must be a JSON object"),
    "no type": ({}, {}, "plugins"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "more", "part"), REFUSED.values(), ids=REFUSED)
def test_a_definition_that_is_refused_is_not_attached(
    rig: DefinitionRig, config: Any, more: dict[str, Any], part: str
) -> None:
    """The plugin validates each copy again, whatever the agent has written."""
    rig.define("ns/blue", config, **more)
    with pytest.raises(CNIError) as caught:
        rig.attach("blue", "ns/blue")
    assert caught.value.code == cni_errors.BROKEN_NETWORK
    assert 'NetworkAttachmentDefinition "ns/blue" cannot be attached' in caught.value.msg
    assert part in caught.value.msg
    assert (rig.delegates.calls, rig.records) == ([], [])
