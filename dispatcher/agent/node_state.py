"""What the agent reports of its node: the networks that it can attach, and its problem (pure)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from dispatcher.agent.label_policy import PATIENT, Patience

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dispatcher.node.mode import Mode


class NodeState(NamedTuple):
    """The state of the node after a reconciliation.

    ``networks`` are those that have a configuration, each with the reason why this node cannot
    attach it ("": it can). ``problem`` is why new pods are not attached as the settings say ("":
    they are). ``patience`` says how soon labels must follow. ``conflist_removed``: the mode has
    removed the conflist. ``plugin_removed``: the plugin, too, so that the files in its state
    directory may be removed. ``plugin_types`` are those of each network whose configuration can
    be read.
    """

    networks: dict[str, str]
    problem: str
    patience: Patience = PATIENT
    conflist_removed: bool = False
    plugin_removed: bool = False
    plugin_types: Mapping[str, Sequence[str]] = MappingProxyType({})


def serving_state(
    reasons: Mapping[str, str], problem: str, *, mode: Mode, default: str
) -> NodeState:
    """Return the state of a node whose runtime calls Genie.

    *reasons* say why a network cannot be attached ("": it can); *default* is the default network.
    """
    networks = dict(reasons)
    if not mode.offers_choice:
        by_mode = f'mode "{mode}" attaches the default network only'
        networks = {
            name: reason if name == default else by_mode for name, reason in reasons.items()
        }
    return NodeState(networks, problem, _mode_patience(mode, default))


def unserved_state(
    reasons: Mapping[str, str],
    problem: str,
    *,
    mode: Mode,
    default: str,
    bypass: Collection[str] | None,
) -> NodeState:
    """Return the state of a node whose runtime cannot call Genie.

    *bypass* are the networks to which the runtime attaches new pods without Genie; None: it
    attaches none.
    """
    patience = _mode_patience(mode, default)
    if bypass is not None:
        unchanged = frozenset(name for name in bypass if not reasons[name])
        patience = Patience(waiting=frozenset(), unchanged=unchanged)
    reason = f"Genie does not attach pods on this node: {problem}"
    return NodeState(dict.fromkeys(reasons, reason), problem, patience)


def _mode_patience(mode: Mode, default: str) -> Patience:
    """Return the patience of *mode*: without a choice new pods get the network *default* only."""
    return PATIENT if mode.offers_choice else Patience(waiting=frozenset({default}))
