"""Decides which labels this node should have: its networks in, changes of labels out (pure).

:data:`RULES` is the policy. A key is never removed, because the webhook's list of known networks
consists of the keys. A label set by kubelet (``--node-labels``) is treated like one of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TRUE, FALSE = "true", "false"


class LabelGrace(NamedTuple):
    """The labels that need not turn to ``"false"`` as soon as their network is unavailable.

    ``may_stay_true`` are the networks whose labels may stay ``"true"`` for ``gone_seconds`` (None:
    all). ``attached_without_genie`` are those to which the runtime itself attaches pods: their
    labels stay as they are. ``failing`` are those that do not work, for long enough already.
    """

    may_stay_true: frozenset[str] | None = None
    attached_without_genie: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()

    def covers(self, name: str) -> bool:
        """Return whether the label of the network *name* may stay ``"true"`` for a while."""
        return self.may_stay_true is None or name in self.may_stay_true


GRACE_FOR_ALL = LabelGrace()
"""Every label may stay ``"true"`` for a while."""


class Facts(NamedTuple):
    """The facts about one network by which its label is decided."""

    is_available: bool
    """The node can attach it."""
    has_label: bool
    is_failing: bool
    """It does not work, for long enough already."""
    is_attached_without_genie: bool
    """The runtime attaches pods to it without Genie."""
    may_stay_true: bool
    """Its label may stay ``"true"`` for a while."""
    is_overdue: bool
    """It has been unavailable for long enough."""


class LabelRule(NamedTuple):
    """The label's ``value`` where ``applies``; None: the label stays as it is."""

    applies: Callable[[Facts], bool]
    value: str | None


RULES = (
    LabelRule(lambda network: network.is_available, TRUE),
    # A configuration without its executables, for example: the network is known, but no pod may
    # be scheduled for it.
    LabelRule(lambda network: not network.has_label, FALSE),
    # Its pods would wait on this node for a network that says itself that it is not available, or
    # that failed for others just now.
    LabelRule(lambda network: network.is_failing, FALSE),
    # Its pods get what they ask for, while the runtime attaches all other pods wrongly.
    LabelRule(lambda network: network.is_attached_without_genie, None),
    # A pod that asks for it would get another network: the mode leaves new pods the default network
    # only, or the runtime attaches pods without Genie. That may be over in seconds, and a pod stays
    # Pending meanwhile, which harms less than a pod on the wrong network.
    LabelRule(lambda network: not network.may_stay_true, FALSE),
    # Installers rewrite their files, and a pod must not become unschedulable for that.
    LabelRule(lambda network: network.is_overdue, FALSE),
    LabelRule(lambda _: True, None),
)
"""The first rule that applies to a network decides its label."""


class LabelPlan:
    """The labels of one node over time; times are monotonic seconds.

    A network is overdue when it has been unavailable for *gone_seconds*, and not before
    *not_before*: agents start together with the programs that install networks.
    """

    def __init__(self, gone_seconds: float, not_before: float) -> None:
        self._gone_seconds = gone_seconds
        self._not_before = not_before
        self._unavailable_since: dict[str, float] = {}

    def changes(
        self,
        networks: Mapping[str, str],
        labels: Mapping[str, str],
        now: float,
        grace: LabelGrace = GRACE_FOR_ALL,
    ) -> dict[str, str]:
        """Return the label keys to set, with their values.

        *networks* are those that have a configuration, each with the reason why it cannot be
        attached ("": it can); *labels* are the node's present ones.
        """
        current = {
            key.removeprefix(keys.NETWORK_LABEL): value
            for key, value in labels.items()
            if key.startswith(keys.NETWORK_LABEL)
        }
        available = {name for name, reason in networks.items() if not reason}
        self._unavailable_since = {
            name: self._unavailable_since.get(name, now)
            for name in current
            if name not in available | grace.attached_without_genie
        }

        changes = {}
        for name in sorted(networks.keys() | current.keys()):
            facts = Facts(
                is_available=name in available,
                has_label=name in current,
                is_failing=name in grace.failing,
                is_attached_without_genie=name in grace.attached_without_genie,
                may_stay_true=grace.covers(name),
                is_overdue=self._is_overdue(name, now),
            )
            value = next(rule.value for rule in RULES if rule.applies(facts))
            if value is not None and value != current.get(name):
                changes[keys.network_label(name)] = value
        return changes

    def _is_overdue(self, name: str, now: float) -> bool:
        since = self._unavailable_since.get(name, now)
        return now - since >= self._gone_seconds and now >= self._not_before
