"""What the agent reports of its node: the networks that it can attach, and its problem (pure)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from dispatcher.agent.label_policy import GRACE_FOR_ALL, LabelGrace

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dispatcher.agent.network_health import HealthProblem
    from dispatcher.node.mode import Mode
    from dispatcher.node.settings import LiveSettings


class NodeState(NamedTuple):
    """The state of the node after a reconciliation.

    ``networks`` are those that have a configuration, each with the reason why this node cannot
    attach it ("": it can). ``problem`` is why new pods are not attached as the settings say ("":
    they are). ``grace`` says which labels may stay "true" for a while. ``conflist_removed``: the
    mode has removed the conflist. ``plugin_removed``: the plugin, too, so that the files in its
    state directory may be removed. ``plugin_types`` are those of each network whose configuration
    can be read. ``removal`` is the node's annotation about its removal; "": none, since nothing of
    Genie's is on the node. ``may_attach_definitions``: a pod that selects definitions may be
    scheduled here once all are copied. ``settings`` are those that were in force; None: there are
    none yet, or the first reconciliation is not complete, so that nothing may be published.
    """

    networks: dict[str, str]
    problem: str
    grace: LabelGrace = GRACE_FOR_ALL
    conflist_removed: bool = False
    plugin_removed: bool = False
    plugin_types: Mapping[str, Sequence[str]] = MappingProxyType({})
    removal: str = ""
    may_attach_definitions: bool = False
    settings: LiveSettings | None = None

    def with_health_problems(self, problems: Mapping[str, HealthProblem]) -> NodeState:
        """Return this state, in which networks that have *problems* cannot be attached.

        A network that cannot be attached for another reason keeps that one.
        """
        unhealthy = {
            name: problems[name]
            for name, reason in self.networks.items()
            if not reason and name in problems
        }
        reasons = {name: problem.reason for name, problem in unhealthy.items()}
        failing = frozenset(name for name, problem in unhealthy.items() if problem.is_lasting)
        return self._replace(
            networks={**self.networks, **reasons}, grace=self.grace._replace(failing=failing)
        )


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
    return NodeState(networks, problem, _mode_grace(mode, default))


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
    grace = _mode_grace(mode, default)
    if bypass is not None:
        attached = frozenset(name for name in bypass if not reasons[name])
        grace = LabelGrace(may_stay_true=frozenset(), attached_without_genie=attached)
    reason = f"the runtime cannot call Genie, because {problem}"
    return NodeState(dict.fromkeys(reasons, reason), problem, grace)


def _mode_grace(mode: Mode, default: str) -> LabelGrace:
    """Return the grace in *mode*: without a choice new pods get the network *default* only."""
    if mode.offers_choice:
        return GRACE_FOR_ALL
    return LabelGrace(may_stay_true=frozenset({default}))
