"""Which labels this node should have: what it can attach in, changes of labels out.

Rules: a network that can be attached is ``"true"`` at once. One that is known but cannot be
attached is ``"false"``: at once if it has no label yet, and only after a while if it was
``"true"``, since installers rewrite their files and a pod must not become unschedulable for
that. It is ``"false"`` at once, too, where a pod that asks for it would get another network: the
mode leaves new pods the default network only, or the runtime attaches pods without Genie. That may
pass within seconds; then a pod stays Pending for as long, which harms less than a pod on the wrong
network. The network that the runtime itself uses meanwhile keeps its label: its pods get what they
ask for. A key is never removed (the webhook's list of known
networks is made of the keys), and one that is there from the node's birth is treated like ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUE, FALSE = "true", "false"


class Patience(NamedTuple):
    """Which labels need not turn to ``"false"`` at once.

    ``waiting`` are the networks whose labels may wait (None: all), ``unchanged`` those whose
    labels stay as they are.
    """

    waiting: frozenset[str] | None = None
    unchanged: frozenset[str] = frozenset()

    def may_wait(self, name: str) -> bool:
        """Whether the label of the network *name* may stay ``"true"`` for a while."""
        return self.waiting is None or name in self.waiting


PATIENT = Patience()
"""Every label may wait."""


class LabelPlan:
    """The labels of one node over time; times are monotonic seconds.

    A label turns to ``"false"`` when its network has been away for *gone_seconds*, and not
    before *not_before* (agents start together with those who install networks).
    """

    def __init__(self, gone_seconds: float, not_before: float) -> None:
        self._gone_seconds = gone_seconds
        self._not_before = not_before
        self._away_since: dict[str, float] = {}

    def changes(
        self,
        networks: Mapping[str, str],
        labels: Mapping[str, str],
        now: float,
        patience: Patience = PATIENT,
    ) -> dict[str, str]:
        """Return the label keys to set, with their values.

        *networks* are those that have a configuration, each with the reason why it cannot be
        attached (empty: it can); *labels* are the node's present ones.
        """
        held = {
            key.removeprefix(keys.NETWORK_LABEL): value
            for key, value in labels.items()
            if key.startswith(keys.NETWORK_LABEL)
        }
        able = {name for name, reason in networks.items() if not reason}
        self._away_since = {
            name: self._away_since.get(name, now)
            for name in held
            if name not in able | patience.unchanged
        }
        values = dict.fromkeys(able, TRUE)
        values |= dict.fromkeys(
            (name for name in networks if name not in able | held.keys()), FALSE
        )
        values |= {
            name: FALSE
            for name, since in self._away_since.items()
            if not patience.may_wait(name) or self._is_due(since, now)
        }
        return {
            keys.network_label(name): value
            for name, value in sorted(values.items())
            if held.get(name) != value
        }

    def _is_due(self, since: float, now: float) -> bool:
        return now - since >= self._gone_seconds and now >= self._not_before
