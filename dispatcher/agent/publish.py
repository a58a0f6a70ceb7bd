"""Which labels this node should have: what it can attach in, changes of labels out.

Rules: a network that can be attached is ``"true"`` at once. One that is known but cannot be
attached is ``"false"``: at once if it has no label yet, and only after a while if it was
``"true"``, since installers rewrite their files and a pod must not become unschedulable for
that. Where the mode leaves new pods the default network only, every other is ``"false"`` at once:
a pod that asks for it would get the default. A key is never removed (the webhook's list of known
networks is made of the keys), and one that is there from the node's birth is treated like ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUE, FALSE = "true", "false"


class Publication:
    """The labels of one node over time; times are monotonic seconds.

    A label turns to ``"false"`` when its network has been away for *gone_seconds*, and not
    before *not_before* (agents start together with those who install networks). *only* is the one
    network that may wait so; None: all may.
    """

    def __init__(self, gone_seconds: float, not_before: float, only: str | None = None) -> None:
        self._gone_seconds = gone_seconds
        self._not_before = not_before
        self._only = only
        self._away_since: dict[str, float] = {}

    def changes(
        self, networks: Mapping[str, str], labels: Mapping[str, str], now: float
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
            name: self._away_since.get(name, now) for name in held if name not in able
        }
        values = dict.fromkeys(able, TRUE)
        values |= dict.fromkeys(
            (name for name in networks if name not in able | held.keys()), FALSE
        )
        values |= {
            name: FALSE for name, since in self._away_since.items() if self._due(name, since, now)
        }
        return {
            keys.network_label(name): value
            for name, value in sorted(values.items())
            if held.get(name) != value
        }

    def _due(self, name: str, since: float, now: float) -> bool:
        if self._only not in {None, name}:
            return True
        return now - since >= self._gone_seconds and now >= self._not_before
